"""SNIP: connection sensitivity at initialisation (Lee 2019)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lthpaper import networks
from lthpaper.data.augment import derived_seed
from lthpaper.errors import require_whole
from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.inits import check_init
from lthpaper.runs.inits.fresh import check_seed
from lthpaper.runs.masks import Mask, check_sparsity, down_to
from lthpaper.runs.pruning import register
from lthpaper.runs.pruning.seen import Seen

if TYPE_CHECKING:
    from lthpaper.runs.inits import Init


@register("snip")
@dataclass(frozen=True)
class Snip:
    """Remove round(s·n) prunable weights of `at`, those with the smallest |θ ∂L/∂θ| on one batch first.

    L: cross-entropy, batch-norms with the batch's statistics. images: of the batch, drawn by seed and draw.
    """

    at: "Init"
    sparsity: float
    images: int = 100
    seed: int = 0
    draw: int = 0
    label = "SNIP"

    def __post_init__(self):
        check_init("at", self.at)
        check_sparsity(self.sparsity)
        coerce_floats(self)
        require_whole("images", self.images, 2)
        check_seed("seed", self.seed)
        check_seed("draw", self.draw)

    def prune_seeing(self, weights: dict[str, Tensor], mask: Mask, seen: Seen) -> Mask:
        images, labels = seen.batch(self.images, derived_seed("batch", self.seed, self.draw))
        network = seen.network(weights).train()
        thetas = [network.get_parameter(name) for name in mask]
        with networks.seeded(derived_seed("forward", self.seed, self.draw)):  # what it draws, dropout
            logits = network(images)
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels), thetas)
        scores = {n: (t.detach() * g).abs() for n, t, g in zip(mask, thetas, gradients, strict=True)}
        return down_to(self.sparsity, scores, mask)
