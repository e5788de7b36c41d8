"""A start at another start's norms: is a ticket more than the size of its weights?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lthpaper.runs.inits import Init, Named, check_init, register
from lthpaper.runs.masks import Mask

if TYPE_CHECKING:
    from lthpaper.runs.task import Task


@register("norm-matched")
@dataclass(frozen=True)
class NormMatched:
    """`of` rescaled, layer by layer, to the L2 norms that `norms` has under the run's mask.

    Magnitude masks keep large weights, so θ0 ⊙ m is longer than θ0′ ⊙ m in every layer, and before a
    batch-norm a longer weight is a smaller effective learning rate. Each parameter tensor θ of `of` becomes
    θ · ‖φ ⊙ m‖ / ‖θ ⊙ m‖ with φ of `norms`; where ‖θ ⊙ m‖ is 0 it stays. Buffers are those of `of`.
    """

    of: "Init"
    norms: "Init"

    def __post_init__(self):
        check_init("of", self.of)
        check_init("norms", self.norms)

    @property
    def first_epoch(self) -> int:
        return self.of.first_epoch

    def weights(self, task: "Task", mask: Mask | None, load: Callable) -> dict[str, Tensor]:
        own, other = (init.weights(task, mask, load) for init in (self.of, self.norms))
        kept = mask or {}
        return {
            name: at_norm(theta, norm(other[name], kept.get(name)), kept.get(name))
            if name in task.parameter_names
            else theta
            for name, theta in own.items()
        }

    def name(self, named: Named) -> str:
        return f"{self.of.name(named)}@{self.norms.name(named)}norms"


def norm(theta: Tensor, kept: Tensor | None) -> float:
    """‖θ ⊙ m‖₂ in float64; kept: m, None: all."""
    values = theta.double() if kept is None else theta.double()[kept]
    return float(torch.linalg.vector_norm(values))


def at_norm(theta: Tensor, wanted: float, kept: Tensor | None) -> Tensor:
    """θ rescaled so that ‖θ ⊙ m‖₂ is `wanted`, in θ's own precision; θ itself where θ ⊙ m is 0."""
    own = norm(theta, kept)
    return (theta.double() * (wanted / own)).to(theta.dtype) if own > 0 else theta
