"""SynFlow: pruning without data that never empties a layer before it must (Tanaka 2020)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lthpaper.errors import require
from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.inits import check_init
from lthpaper.runs.masks import Mask, check_sparsity, down_to
from lthpaper.runs.pruning import register
from lthpaper.runs.pruning.seen import Seen

if TYPE_CHECKING:
    from lthpaper.runs.inits import Init


@register("synflow")
@dataclass(frozen=True)
class Synflow:
    """Remove round(s·n) prunable weights of `at` in `rounds` rounds, those with the smallest θ ∂R/∂θ first.

    R: the sum of the logits for an image of ones, all parameters and buffers by their absolute values and
    batch-norms with their running statistics, as in the authors' code. After round k of K the density is
    (1 − s)^(k/K).
    """

    at: "Init"
    sparsity: float
    rounds: int = 100
    label = "SynFlow"

    def __post_init__(self):
        check_init("at", self.at)
        check_sparsity(self.sparsity)
        coerce_floats(self)
        whole = type(self.rounds) is int and 1 <= self.rounds <= 10_000
        require(whole, f"rounds is {self.rounds!r}; it must be a whole number from 1 to 10000.")

    def prune_seeing(self, weights: dict[str, Tensor], mask: Mask, seen: Seen) -> Mask:
        sizes = {n: t if t.dtype == torch.bool else t.abs() for n, t in weights.items()}
        network = seen.network(sizes).eval()
        thetas = [network.get_parameter(name) for name in mask]
        for k in range(1, self.rounds + 1):
            for theta, kept in zip(thetas, mask.values(), strict=True):
                theta.data.mul_(kept)
            gradients = torch.autograd.grad(network(seen.ones).sum(), thetas)
            scores = {n: t.detach() * g for n, t, g in zip(mask, thetas, gradients, strict=True)}
            sparsity = self.sparsity if k == self.rounds else 1 - (1 - self.sparsity) ** (k / self.rounds)
            mask = down_to(sparsity, scores, mask)
        return mask
