"""OMP: one-shot global magnitude pruning of trained weights (Table 1)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.masks import Mask, check_sparsity, down_to, magnitudes
from lthpaper.runs.pruning import register

if TYPE_CHECKING:
    from lthpaper.runs.run import Run


@register("omp")
@dataclass(frozen=True)
class Omp:
    """OMP(θT, s): remove round(s·n) of the n prunable weights of `after`, the smallest first."""

    after: "Run"
    sparsity: float
    label = "OMP"

    def __post_init__(self):
        check_sparsity(self.sparsity)
        coerce_floats(self)

    def prune(self, weights: Mask, mask: Mask) -> Mask:
        return down_to(self.sparsity, magnitudes(weights, mask), mask)
