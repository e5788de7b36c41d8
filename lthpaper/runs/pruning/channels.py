"""Whole channels: what remains is a smaller dense network, fast on any hardware (Li 2017)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.masks import Mask, check_sparsity
from lthpaper.runs.pruning import register

if TYPE_CHECKING:
    from lthpaper.runs.run import Run


@register("channels")
@dataclass(frozen=True)
class Channels:
    """Remove round(s·c) of the c output channels of every prunable layer of `after`, smallest L1 norm first.

    A layer keeps at least one channel. Of equal channels the first goes.
    """

    after: "Run"
    sparsity: float
    label = "channels"

    def __post_init__(self):
        check_sparsity(self.sparsity)
        coerce_floats(self)

    def prune(self, weights: dict[str, Tensor], mask: Mask) -> Mask:
        found = {}
        for name, kept in mask.items():
            norms = (weights[name].detach().cpu().double().abs() * kept).flatten(1).sum(1)  # (out,)
            gone = min(round(self.sparsity * len(norms)), len(norms) - 1)
            alive = torch.ones(len(norms), dtype=torch.bool)
            alive[torch.argsort(norms, stable=True)[:gone]] = False
            found[name] = kept & alive.view(-1, *[1] * (kept.ndim - 1))
        return found
