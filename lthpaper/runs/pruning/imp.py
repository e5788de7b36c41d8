"""IMP: iterative magnitude pruning, one round of it (Table 1)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lthpaper.errors import require
from lthpaper.paper import PRUNED_PER_ROUND
from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.inits.rewind import Rewind
from lthpaper.runs.masks import Mask, global_magnitude, kept
from lthpaper.runs.pruning import register

if TYPE_CHECKING:
    from lthpaper.runs.run import Run


@register("imp")
@dataclass(frozen=True)
class Imp:
    """One round: remove round(rate·k) of the k weights that `after` still has, the smallest first.

    After k rounds s = 1 − (1 − rate)^k, up to rounding to whole weights in each round.
    """

    after: "Run"
    rate: float = PRUNED_PER_ROUND

    def __post_init__(self):
        coerce_floats(self)
        require(
            isinstance(self.rate, float) and 0 < self.rate < 1,
            f"The IMP rate is {self.rate!r}; it must be between 0 and 1.",
        )

    @property
    def label(self) -> str:
        """IMP; IMPrewound where the round before was itself trained from rewound weights (Frankle 2020)."""
        rewound = self.after.mask is not None and isinstance(self.after.init, Rewind)
        return "IMPrewound" if rewound else "IMP"

    @property
    def sparsity(self) -> float:
        before = self.after.mask.sparsity if self.after.mask is not None else 0.0
        return 1 - (1 - self.rate) * (1 - before)

    def prune(self, weights: Mask, mask: Mask) -> Mask:
        left = kept(mask)
        count = round(self.rate * left)
        require(
            count > 0,
            f"A round of IMP at rate {self.rate:g} removes none of the {left} weights that are left. Take "
            "fewer rounds, a larger rate, or more prunable weights.",
        )
        return global_magnitude(weights, mask, count)
