"""GraSP: keep the gradient's flow (Wang 2020)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lthpaper import networks
from lthpaper.data.augment import derived_seed
from lthpaper.errors import require, require_whole
from lthpaper.runs.digest import coerce_floats
from lthpaper.runs.inits import check_init
from lthpaper.runs.inits.fresh import check_seed
from lthpaper.runs.masks import Mask, check_sparsity, down_to, prunable
from lthpaper.runs.pruning import register
from lthpaper.runs.pruning.seen import Seen

if TYPE_CHECKING:
    from lthpaper.runs.inits import Init


@register("grasp")
@dataclass(frozen=True)
class Grasp:
    """Remove round(s·n) prunable weights of `at`, those with the largest −θ ⊙ Hg on one batch first.

    −θq (Hg)q is, to first order, half of what ‖g‖² gains when weight q is removed. g, H: gradient and Hessian
    of the cross-entropy of logits/temperature (200 in the authors' code) with respect to the weights of all
    convolutions and linear layers, batch-norms with the batch's statistics.
    """

    at: "Init"
    sparsity: float
    images: int = 100
    seed: int = 0
    draw: int = 0
    temperature: float = 200.0
    label = "GraSP"

    def __post_init__(self):
        check_init("at", self.at)
        check_sparsity(self.sparsity)
        coerce_floats(self)
        require_whole("images", self.images, 2)
        check_seed("seed", self.seed)
        check_seed("draw", self.draw)
        hot = isinstance(self.temperature, float) and 0 < self.temperature < 1e6
        require(hot, f"temperature is {self.temperature!r}; it must be a number above 0.")

    def prune_seeing(self, weights: dict[str, Tensor], mask: Mask, seen: Seen) -> Mask:
        images, labels = seen.batch(self.images, derived_seed("batch", self.seed, self.draw))
        network = seen.network(weights).train()
        names = prunable(network, ("*",))
        thetas = [network.get_parameter(name) for name in names]
        # torch's fused attention has no second derivative
        with networks.seeded(derived_seed("forward", self.seed, self.draw)), sdpa_kernel(SDPBackend.MATH):
            logits = network(images)
        loss = F.cross_entropy(logits / self.temperature, labels)
        gradients = torch.autograd.grad(loss, thetas, create_graph=True)
        squares = ((g * g.detach()).sum() for g in gradients)
        flow = sum(squares, torch.zeros((), dtype=torch.float64))  # its gradient is Hg
        products = dict(zip(names, torch.autograd.grad(flow, thetas), strict=True))
        return down_to(self.sparsity, {n: weights[n].double() * products[n] for n in mask}, mask)
