"""Random masks without a pretraining: what every rule has to beat (Liu 2022)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lthpaper.data.augment import derived_seed
from lthpaper.errors import require
from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.inits.fresh import check_seed
from lthpaper.runs.masks import Mask, apportioned, check_sparsity
from lthpaper.runs.pruning import register
from lthpaper.runs.pruning.shuffled import drawn

LAYERS = ("global", "uniform", "erk")


@register("random")
@dataclass(frozen=True)
class Random:
    """Remove round(s·n) of the n prunable weights at random, with layer ratios that are fixed beforehand.

    layers: "global": every set of this many weights is equally likely; "uniform": the same density in every
    layer; "erk": density in proportion to the sum of a weight tensor's sides over their product
    (Erdős–Rényi kernels), at most 1.
    """

    sparsity: float
    layers: str = "global"
    seed: int = 0
    draw: int = 0

    def __post_init__(self):
        check_sparsity(self.sparsity)
        coerce_floats(self)
        require(self.layers in LAYERS, f"layers is {self.layers!r}; it must be one of {', '.join(LAYERS)}.")
        check_seed("seed", self.seed)
        check_seed("draw", self.draw)

    @property
    def label(self) -> str:
        return f"random-{self.layers}"

    def prune(self, weights: dict[str, Tensor], mask: Mask) -> Mask:
        """weights: any, for nothing is read from them."""
        shapes = {name: mask[name].shape for name in sorted(mask)}
        total = sum(shape.numel() for shape in shapes.values())
        keep = total - round(self.sparsity * total)
        seed = derived_seed("random", self.layers, self.seed, self.draw)
        if self.layers == "global":
            flat = drawn(torch.Size([total]), keep, seed)
            pieces = flat.split([shape.numel() for shape in shapes.values()])
            found = {name: piece.view(shapes[name]) for name, piece in zip(shapes, pieces, strict=True)}
        else:
            shares = dict.fromkeys(shapes, 1.0) if self.layers == "uniform" else erk(shapes)
            counts = apportioned(keep, shares, {name: shape.numel() for name, shape in shapes.items()})
            found = {n: drawn(shapes[n], counts[n], derived_seed(seed, n)) for n in shapes}
        return {name: found[name] for name in mask}


def erk(shapes: Mapping[str, torch.Size]) -> dict[str, float]:
    """Density of each layer up to one factor: (out + in + height + width) / (out · in · height · width)."""
    return {name: sum(shape) / math.prod(shape) for name, shape in shapes.items()}
