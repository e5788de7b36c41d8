"""CIFAR-10 at 16×16: each pixel is the mean of 2×2. Same photographs and labels, a quarter of the work.

The padding is halved, so crops shift by the same share of the image; the normalisation is CIFAR-10's.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lthpaper.data import Images, cifar10, register

CARD = replace(cifar10.CARD, size=16, pad=2)


def halved(images: Tensor) -> Tensor:
    """(N, H, W, C) uint8 -> (N, H/2, W/2, C) uint8: means of 2×2 pixels, rounded half up."""
    n, height, width, channels = images.shape
    blocks = images.view(n, height // 2, 2, width // 2, 2, channels)
    return ((blocks.sum((2, 4), dtype=torch.int32) + 2) // 4).to(torch.uint8)


@register("cifar10-16", CARD, cifar10.download)
def load(root: Path) -> Images:
    """CIFAR-10 below root, in any of its layouts, halved."""
    found = cifar10.load(root)
    return replace(found, train=halved(found.train), test=halved(found.test))
