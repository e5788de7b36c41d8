"""N:M pruning: n of every m neighbouring weights, the pattern that sparse tensor cores compute with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lthpaper.errors import require
from lthpaper.runs.masks import Mask
from lthpaper.runs.pruning import register

if TYPE_CHECKING:
    from lthpaper.runs.run import Run


@register("n-of-m")
@dataclass(frozen=True)
class NOfM:
    """Of every m weights of `after` that follow each other along the inputs, keep the n largest (2 of 4).

    Groups run along input features or channels, within one output and one position of the kernel. An
    incomplete last group keeps at most n of what it has. Of equal weights the first goes.
    """

    after: "Run"
    n: int = 2
    m: int = 4

    def __post_init__(self):
        whole = type(self.n) is int and type(self.m) is int and 1 <= self.n < self.m <= 64
        require(whole, f"n and m are {self.n!r} and {self.m!r}; they must be whole numbers, 1 ≤ n < m ≤ 64.")

    @property
    def label(self) -> str:
        return f"{self.n}of{self.m}"

    @property
    def sparsity(self) -> float:
        return 1 - self.n / self.m

    def prune(self, weights: dict[str, Tensor], mask: Mask) -> Mask:
        return {name: self._layer(weights[name].detach().cpu(), kept) for name, kept in mask.items()}

    def _layer(self, weight: Tensor, kept: Tensor) -> Tensor:
        sizes = weight.double().abs().nan_to_num(nan=torch.inf).where(kept, -1.0)  # pruned before: first
        rows = sizes.movedim(1, -1)  # (out, ..., in)
        missing = -rows.shape[-1] % self.m
        groups = torch.nn.functional.pad(rows, (0, missing), value=-2.0).unflatten(-1, (-1, self.m))
        order = groups.argsort(dim=-1, stable=True)
        chosen = torch.zeros_like(groups, dtype=torch.bool).scatter(-1, order[..., self.m - self.n :], True)
        flat = chosen.flatten(-2)[..., : rows.shape[-1]]
        return flat.movedim(-1, 1) & kept
