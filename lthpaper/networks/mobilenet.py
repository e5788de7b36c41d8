"""MobileNet-v1 for small images (Howard et al. 2017), as the authors' code has it.

A depthwise 3×3 convolution, then a pointwise 1×1 convolution, 13 times; the first convolution has
stride 1; 3,217,226 parameters with 10 classes. No residual connections.

The authors leave this network, alone among the CIFAR networks they published, at PyTorch's default
initialisation, and so do we: it depends on fan-in. (PyTorch counts a depthwise convolution's fan-out as
if it were dense, so He's fan-out rule would start its weights smaller by the square root of the number
of channels.)
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lthpaper.networks import register, scaled

# (output channels, stride) of each block
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


class Separable(nn.Module):
    """Depthwise, then pointwise convolution, each with batch-norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.depthwise(x)))
        return F.relu(self.bn2(self.pointwise(x)))


class MobileNet(nn.Module):
    """images (B, in_channels, H, W) -> logits (B, num_classes)."""

    def __init__(self, num_classes: int, in_channels: int, width: float):
        super().__init__()
        inputs = scaled(32, width)
        self.conv = nn.Conv2d(in_channels, inputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(inputs)
        blocks = []
        for channels, stride in BLOCKS:
            outputs = scaled(channels, width)
            blocks.append(Separable(inputs, outputs, stride))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


@register("mobilenet-v1")
def mobilenet_v1(num_classes: int = 10, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    return MobileNet(num_classes, in_channels, width)
