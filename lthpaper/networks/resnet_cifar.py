"""ResNets for small images (He et al. 2016, §4.2), as the authors' code has them.

Stages of n blocks of two 3×3 convolutions; a shortcut that changes shape is a 1×1 convolution with
batch-norm. ResNet-20 is n=3 with widths 16, 32, 64; the paper's ResNet-32 is n=5, twice as wide;
ResNet-18 is n=2 with four stages of 64 to 512.

ResNet-32-noskip ("ResNet-32-like", §3.1) has the same convolutions and nothing added to their output.
The two projection shortcuts go with the additions: without an addition nothing would receive what they
compute. That leaves 1,849,898 of 1,860,522 parameters: 10,624 fewer (10,240 of them prunable), 0.6 %.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lthpaper.networks import he_fan_out, register, scaled, small_classifier


class Block(nn.Module):
    """Two 3×3 convolutions, and the input added to their output unless `residual` is False."""

    def __init__(self, inputs: int, outputs: int, stride: int, residual: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.residual = residual
        self.shortcut = nn.Sequential()
        if residual and (stride != 1 or inputs != outputs):
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.residual:
            out = out + self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    """images (B, in_channels, H, W) -> logits (B, num_classes)."""

    def __init__(
        self, blocks: int, widths: tuple[int, ...], num_classes: int, in_channels: int, residual: bool = True
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        stages, inputs = [], widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(Block(inputs, outputs, stride, residual))
                inputs = outputs
        self.blocks = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, num_classes)
        he_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.fc(x.mean((2, 3)))


def _family(
    name: str, blocks: int, widths: tuple[int, ...], residual: bool = True, small_head: bool = False
) -> None:
    @register(name)
    def make(num_classes: int = 10, width: float = 1.0, in_channels: int = 3) -> nn.Module:
        network = ResNet(blocks, tuple(scaled(w, width) for w in widths), num_classes, in_channels, residual)
        if small_head:
            small_classifier(network.fc)
        return network


_family("resnet8", 1, (8, 16, 32))  # the relative for digits: one block a stage
_family("resnet8-noskip", 1, (8, 16, 32), residual=False)
_family("resnet20", 3, (16, 32, 64))
_family("resnet20-noskip", 3, (16, 32, 64), residual=False)  # for scales whose network is ResNet-20
_family("resnet32", 5, (32, 64, 128), small_head=True)
_family("resnet32-noskip", 5, (32, 64, 128), residual=False, small_head=True)
_family("resnet18", 2, (64, 128, 256, 512))
