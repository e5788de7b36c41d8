"""torchvision's ResNet-18 and ResNet-50 at any width, and their relatives for 64×64 images.

At width 1 and 3 channels `resnet18-imagenet` and `resnet50` are torchvision's, weight for weight.
torchvision itself scales only the inner channels of a bottleneck (`width_per_group`); here its blocks
are put together with every channel count scaled.

The `-tiny` networks are ours (§3.1 does not say how Tiny-ImageNet's 64×64 images enter): a 3×3
convolution of stride 1 replaces the 7×7 of stride 2, and there is no max-pool. With 1000 classes this
ResNet-18 has 11.68M parameters, as Table 2 prints; ResNet-50 has 25.55M where it prints 25.56M.
"""

import torch
from torch import nn

from lthpaper.networks import he_fan_out, register, scaled


def _stage(block: type, inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    outputs = planes * block.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = block(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(block(outputs, planes) for _ in range(1, blocks)))


def _resnet(
    block_name: str, depths: tuple[int, ...], num_classes: int, in_channels: int, width: float, small: bool
) -> nn.Module:
    from lthpaper.torchvision_compat import torchvision  # seconds: only those who need it wait

    resnet = torchvision().models.resnet
    block = getattr(resnet, block_name)
    with torch.device("meta"):  # a frame: every parameter of it is replaced below
        network = resnet.ResNet(block, list(depths))
    inputs = scaled(64, width)
    kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
    network.conv1 = nn.Conv2d(in_channels, inputs, kernel, stride, padding, bias=False)
    network.bn1 = nn.BatchNorm2d(inputs)
    if small:
        network.maxpool = nn.Identity()
    for stage, blocks in enumerate(depths):
        planes = scaled(64 * 2**stage, width)
        layer = _stage(block, inputs, planes, blocks, stride=2 if stage else 1)
        setattr(network, f"layer{stage + 1}", layer)
        inputs = planes * block.expansion
    network.inplanes = inputs
    network.fc = nn.Linear(inputs, num_classes)
    he_fan_out(network)
    return network


def _family(name: str, block_name: str, depths: tuple[int, ...], classes: int, small: bool = False) -> None:
    @register(name)
    def make(num_classes: int = classes, width: float = 1.0, in_channels: int = 3) -> nn.Module:
        return _resnet(block_name, depths, num_classes, in_channels, width, small)


_family("resnet18-imagenet", "BasicBlock", (2, 2, 2, 2), 1000)
_family("resnet50", "Bottleneck", (3, 4, 6, 3), 1000)
_family("resnet18-tiny", "BasicBlock", (2, 2, 2, 2), 200, small=True)
_family("resnet50-tiny", "Bottleneck", (3, 4, 6, 3), 200, small=True)
