"""A mask carried to another start by permuting units: does it fail at θ0′ because it is of another basin?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from lthpaper.errors import require
from lthpaper.networks import alignment, units
from lthpaper.runs.masks import Mask
from lthpaper.runs.pruning import check_rule, pruned, register, source
from lthpaper.runs.pruning.seen import Seen

if TYPE_CHECKING:
    from lthpaper.runs.inits import Init
    from lthpaper.runs.pruning import Rule
    from lthpaper.runs.run import Run


@register("permuted")
@dataclass(frozen=True)
class Permuted:
    """The mask `of`, its units permuted as `dense` has to be to be most like `onto` (Adnan 2025).

    dense: the trained dense network that the mask was made for, from θ0. onto: the one from θ0′, to which the
    mask goes. The two are aligned by their final weights (networks.alignment); arXiv 2505.05143 aligns by
    activations. Every layer keeps as many weights as before.
    """

    of: "Rule"
    dense: "Run"
    onto: "Run"

    def __post_init__(self):
        check_rule("of", self.of)
        require(
            self.dense.task.shape == self.onto.task.shape,
            f"{self.dense} and {self.onto} have different networks; their units cannot be aligned.",
        )
        for run in (self.dense, self.onto):
            require(run.mask is None, f"{run} is not dense; masks are carried between dense networks.")

    @property
    def source(self) -> "Run | Init | None":
        return source(self.of)

    @property
    def sparsity(self) -> float:
        return self.of.sparsity

    @property
    def label(self) -> str:
        return f"permuted-{self.of.label}"

    def prune_seeing(self, weights: dict[str, Tensor], mask: Mask, seen: Seen) -> Mask:
        groups = units.of_task(seen.task.shape)
        orders = alignment.matched(seen.trained(self.dense), seen.trained(self.onto), groups)
        return units.taken(pruned(self.of, weights, mask, seen), groups, orders)
