"""VGG for small images (Simonyan & Zisserman 2015, configuration D), as the authors' code has it.

3×3 convolutions without bias, each with batch-norm; the mean over what the last stage leaves (2×2 pixels
of 32×32); one linear layer: 14,724,042 parameters with 10 classes. There are four max-pools and no
fifth. No residual connections.
"""

from torch import Tensor, nn

from lthpaper.errors import require
from lthpaper.networks import he_fan_out, register, scaled, small_classifier

Stages = tuple[tuple[int, ...], ...]  # output channels of the convolutions between two max-pools

VGG16: Stages = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SMALL: Stages = ((8,), (16, 16), (32, 32))


class VGG(nn.Module):
    """images (B, in_channels, H, W) -> logits (B, num_classes)."""

    def __init__(self, stages: Stages, num_classes: int, in_channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = in_channels
        for number, stage in enumerate(stages):
            if number:
                layers.append(nn.MaxPool2d(2))
            for outputs in stage:
                layers += [
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                ]
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, num_classes)
        he_fan_out(self)
        small_classifier(self.fc)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


def _family(name: str, stages: Stages) -> None:
    smallest = 2 ** (len(stages) - 1)

    @register(name)
    def make(num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32) -> nn.Module:
        require(
            size >= smallest,
            f"{name} halves its images {len(stages) - 1} times, so they must have at least "
            f"{smallest}×{smallest} pixels, not {size}×{size}; vgg-small takes 4×4 and more.",
        )
        scaled_stages = tuple(tuple(scaled(c, width) for c in stage) for stage in stages)
        return VGG(scaled_stages, num_classes, in_channels)


_family("vgg16", VGG16)
_family("vgg-small", SMALL)  # the relative for digits
