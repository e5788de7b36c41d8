"""Magnitude pruning of a start: of θ0 (at initialisation), or of θt early in a training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.inits import check_init
from lthpaper.runs.masks import Mask, check_sparsity, down_to, magnitudes
from lthpaper.runs.pruning import register

if TYPE_CHECKING:
    from lthpaper.runs.inits import Init


@register("magnitude")
@dataclass(frozen=True)
class Magnitude:
    """Remove round(s·n) of the n prunable weights of `at`, the smallest first.

    at θt of a few epochs this is an early ticket: mask and training are those of Early-Bird tickets (You
    2020) but for single weights instead of channels.
    """

    at: "Init"
    sparsity: float

    def __post_init__(self):
        check_init("at", self.at)
        check_sparsity(self.sparsity)
        coerce_floats(self)

    @property
    def label(self) -> str:
        epoch = getattr(self.at, "epoch", 0)
        return f"early{epoch}" if epoch else "magnitude"

    def prune(self, weights: dict[str, Tensor], mask: Mask) -> Mask:
        return down_to(self.sparsity, magnitudes(weights, mask), mask)
