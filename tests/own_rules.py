"""Pruning rules as a researcher has them: in a module of their own, which registers nothing."""

from dataclasses import dataclass
from typing import Any

import torch

from lthpaper.runs.masks import down_to

POWER = 2.0


def saliency(weight: torch.Tensor) -> torch.Tensor:
    return -(weight.double().abs() ** POWER)


@dataclass(frozen=True)
class Smallest:
    """Keeps the smallest weights of θ0."""

    at: Any
    sparsity: float
    label = "smallest"

    def prune(self, weights, mask):
        return down_to(self.sparsity, {name: saliency(weights[name]) for name in mask}, mask)


@dataclass(frozen=True)
class Gradual:
    """Magnitude pruning of trained weights, half of the way first."""

    after: Any
    sparsity: float
    label = "gradual"

    @classmethod
    def schedule(cls, sparsity):
        return sparsity / 2, sparsity

    def prune(self, weights, mask):
        return down_to(self.sparsity, {name: weights[name].double().abs() for name in mask}, mask)


@dataclass(frozen=True)
class Drawn:
    """Rounds of random pruning, by torch's global generator."""

    after: Any
    rate: float
    seed: int
    label = "drawn"

    @property
    def sparsity(self):
        return 1 - (1 - self.rate) * (1 - (self.after.mask.sparsity if self.after.mask else 0.0))

    def prune(self, weights, mask):
        return down_to(self.sparsity, {name: torch.rand(m.shape) for name, m in mask.items()}, mask)


# --- rules that are wrong ---


class NoDataclass:
    def prune(self, weights, mask):
        return mask


@dataclass(frozen=True)
class NothingToDo:
    at: Any
    sparsity: float


@dataclass(frozen=True)
class ReadsNothing:
    sparsity: float

    def prune(self, weights, mask):
        return mask


@dataclass(frozen=True)
class NoSparsity:
    at: Any

    def prune(self, weights, mask):
        return mask


@dataclass(frozen=True)
class Needy:
    at: Any
    sparsity: float
    images: int

    def prune(self, weights, mask):
        return mask


@dataclass(frozen=True)
class Falling(Gradual):
    @classmethod
    def schedule(cls, sparsity):
        return [0.9, sparsity]


@dataclass(frozen=True)
class CalledOmp(Smallest):
    label = "OMP"


@dataclass(frozen=True)
class Flat(Smallest):
    def prune(self, weights, mask):
        return {name: m.flatten() for name, m in super().prune(weights, mask).items()}


@dataclass(frozen=True)
class NoMask(Smallest):
    def prune(self, weights, mask):
        return None


@dataclass(frozen=True)
class Everything(Smallest):
    def prune(self, weights, mask):
        return mask


@dataclass(frozen=True)
class Regrown(Gradual):
    """Its second mask has weights that the first had not."""

    def prune(self, weights, mask):
        whole = {name: torch.ones_like(m) for name, m in mask.items()}
        return down_to(self.sparsity, {name: weights[name].double().abs() for name in mask}, whole) | (
            {name: ~m for name, m in mask.items()} if self.after.mask else {}
        )


@dataclass(frozen=True)
class Broken(Smallest):
    def prune(self, weights, mask):
        return weights["nowhere"]
