"""What an optimizer does to a pack: torch.optim's updates, over one flat vector of all weights.

Nothing here waits for the device, so that a step can be recorded as a CUDA graph: what changes from step to
step (learning rates, AdamW's bias corrections) is written into tensors before the step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lthpaper.runs.recipe import Recipe
from lthpaper.training.result import Weights

BETA2, EPS = 0.999, 1e-8  # AdamW's, as torch.optim has them; β1 is the recipe's momentum
CLIP_EPS = 1e-6  # of torch.nn.utils.clip_grad_norm_
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Layout:
    """Where the parameters of K networks lie in a flat vector, one parameter of all networks after another.

    shapes: (K, *shape) of every parameter.
    """

    shapes: Mapping[str, torch.Size]

    @property
    def total(self) -> int:
        return sum(shape.numel() for shape in self.shapes.values())

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """A flat vector's parts by parameter, (K, *shape), in the same memory."""
        pieces = vector.split([shape.numel() for shape in self.shapes.values()])
        return {n: piece.view(shape) for (n, shape), piece in zip(self.shapes.items(), pieces, strict=True)}


class Optimizer:
    """The state and the step of a pack's optimizer.

    pruned: of every single weight whether it is; where `has_masks`, nothing ever reaches such a weight.
    velocity is SGD's, or AdamW's first moment; square is AdamW's second moment, None for SGD.
    """

    def __init__(self, recipe: Recipe, layout: Layout, flat: Tensor, undecayed: frozenset[str]):
        self.recipe, self.layout, self.flat, self.has_masks = recipe, layout, flat, False
        self.pruned = torch.zeros_like(flat, dtype=torch.bool)
        self.gradient, self.velocity = torch.zeros_like(flat), torch.zeros_like(flat)
        self.square = torch.zeros_like(flat) if recipe.optimizer == "adamw" else None
        self.rates = torch.empty_like(flat)  # learning rate of every single weight
        self._rates_now: list[float] = []
        self._corrections = torch.ones(2, dtype=flat.dtype, device=flat.device)
        self._owner = torch.empty_like(flat, dtype=torch.int32)  # run of every single weight
        for owner in layout.views(self._owner).values():
            owner.view(len(owner), -1).copy_(torch.arange(len(owner))[:, None])
        self._decay: Tensor | None = None  # of every single weight, where it is not the same for all
        if not recipe.decay_norms:
            self._decay = torch.full_like(flat, recipe.weight_decay)
            for name, decay in layout.views(self._decay).items():
                if name in undecayed:
                    decay.zero_()

    def begin(self, i: int, velocity: Weights | None, square: Weights | None) -> None:
        """Give run i the moments that it goes on with; None or {}: none yet."""
        for vector, moments in ((self.velocity, velocity), (self.square, square)):
            if vector is not None and moments:
                for name, view in self.layout.views(vector).items():
                    view[i] = moments[name]

    def moments(self, i: int) -> tuple[Weights, Weights | None]:
        """Copies of run i's velocity and square by parameter, on the CPU."""

        def copied(vector: Tensor) -> Weights:
            return {name: view[i].cpu().clone() for name, view in self.layout.views(vector).items()}

        return copied(self.velocity), None if self.square is None else copied(self.square)

    def changed(self) -> list[Tensor]:
        """All that a step changes in place."""
        state = [self.flat, self.velocity, self.gradient]
        return state if self.square is None else [*state, self.square]

    def prepare(self, rates: Sequence[float], number: int) -> None:
        """Before a step: the runs' learning rates, and which step of the training it is, from 1."""
        if list(rates) != self._rates_now:
            self._rates_now = list(rates)
            torch.index_select(self._on_device(rates), 0, self._owner, out=self.rates)
        if self.square is not None:
            corrections = 1 - self.recipe.momentum**number, math.sqrt(1 - BETA2**number)
            self._corrections.copy_(self._on_device([1 / c for c in corrections]))

    def _on_device(self, values: Sequence[float]) -> Tensor:
        """Numbers on the device, without waiting for it: each step of a cosine has other ones."""
        on_gpu = self.flat.device.type == "cuda"
        here = torch.tensor(values, dtype=self.flat.dtype, pin_memory=on_gpu)
        return here.to(self.flat.device, non_blocking=True)

    @torch.no_grad()
    def step(self) -> None:
        """One update by the gradient.

        At pruned weights the gradient is overwritten, not multiplied: 0·NaN is NaN, and a diverged run keeps
        its mask.
        """
        self._zero_pruned(self.gradient)
        if self.recipe.clip:
            self._clip()
        if self.recipe.optimizer == "adamw":
            self._adamw()
        else:
            self._sgd()
        self._zero_pruned(self.flat)  # NaN of a neighbour cannot reach here, but 0·inf could

    def _zero_pruned(self, vector: Tensor) -> None:
        if self.has_masks:
            vector.masked_fill_(self.pruned, 0)

    def _clip(self) -> None:
        """torch.nn.utils.clip_grad_norm_ of each network on its own."""
        each = [g.view(len(g), -1).norm(dim=1) for g in self.layout.views(self.gradient).values()]
        norms = torch.stack(each, 1).norm(dim=1)  # (K, parameters) -> (K,)
        share = (self.recipe.clip / (norms + CLIP_EPS)).clamp(max=1)
        self.gradient.mul_(share.index_select(0, self._owner))
        self._zero_pruned(self.gradient)  # a share may be NaN

    def _sgd(self) -> None:
        """torch.optim.SGD's update."""
        if self._decay is None:
            self.gradient.add_(self.flat, alpha=self.recipe.weight_decay)
        else:
            self.gradient.addcmul_(self._decay, self.flat)
        self.velocity.mul_(self.recipe.momentum).add_(self.gradient)
        if self.recipe.optimizer == "nesterov":
            self.gradient.add_(self.velocity, alpha=self.recipe.momentum)
            self.flat.addcmul_(self.rates, self.gradient, value=-1)
        else:
            self.flat.addcmul_(self.rates, self.velocity, value=-1)

    def _adamw(self) -> None:
        """torch.optim.AdamW's update; the weight decay is apart from the moments."""
        assert self.square is not None
        beta1 = self.recipe.momentum
        decay = self.recipe.weight_decay if self._decay is None else self._decay
        self.flat.mul_(1 - self.rates * decay)
        self.velocity.mul_(beta1).add_(self.gradient, alpha=1 - beta1)
        self.square.mul_(BETA2).add_(self.gradient.square_(), alpha=1 - BETA2)
        first, second = self._corrections.unbind()
        size = self.square.sqrt().mul_(second).add_(EPS)
        self.flat.sub_(self.velocity / size * (self.rates * first))


def undecayed(network: nn.Module) -> frozenset[str]:
    """The parameters that `decay_norms=False` leaves out of the weight decay: those of norms, and all of one
    axis (biases and scales)."""
    found = {name for name, parameter in network.named_parameters() if parameter.ndim <= 1}
    for name, module in network.named_modules():
        if isinstance(module, NORMS):
            found |= {f"{name}.{own}" if name else own for own, _ in module.named_parameters(recurse=False)}
    return frozenset(found)
