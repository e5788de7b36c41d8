"""How a network is trained: everything that changes the result and is not the network or the data."""

import math
from dataclasses import dataclass, replace

from lthpaper.canonical import coerce_floats
from lthpaper.errors import require

SCHEDULES = ("step", "cosine")
PRECISIONS = ("fp32", "bf16", "fp64")


@dataclass(frozen=True)
class Recipe:
    """SGD with a learning-rate schedule (§3.1; batch, momentum and decay from the authors' code).

    lr: initial learning rate. milestones: epochs after which lr is multiplied by gamma (schedule
    "step"; "cosine" anneals to zero by optimizer step and ignores them). warmup_epochs: linear
    warm-up by optimizer step. precision: "fp32", "bf16" (convolutions and products in bfloat16, the
    weights in float32), "fp64" (for checks). Raises InputError on a value out of range.
    """

    epochs: int = 160
    lr: float = 0.1
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "step"
    milestones: tuple[int, ...] = (80, 120)
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    precision: str = "fp32"

    def __post_init__(self):
        coerce_floats(self)
        object.__setattr__(self, "milestones", tuple(self.milestones))
        whole = isinstance(self.epochs, int) and isinstance(self.batch_size, int)
        require(whole, f"epochs and batch_size are whole numbers, not {self.epochs!r}, {self.batch_size!r}.")
        require(self.epochs >= 1, f"epochs is {self.epochs}; it must be at least 1.")
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}; it must be at least 1.")
        require(
            isinstance(self.lr, float) and 0 < self.lr < math.inf,
            f"The learning rate is {self.lr}; it must be a number above 0.",
        )
        require(0 <= self.momentum < 1, f"momentum is {self.momentum}; it must be in [0, 1).")
        require(self.weight_decay >= 0, f"weight_decay is {self.weight_decay}; it must not be negative.")
        require(
            self.schedule in SCHEDULES,
            f"schedule is {self.schedule!r}; it must be one of {', '.join(SCHEDULES)}.",
        )
        require(
            self.precision in PRECISIONS,
            f"precision is {self.precision!r}; it must be one of {', '.join(PRECISIONS)}.",
        )
        require(
            list(self.milestones) == sorted(set(self.milestones)) and all(m >= 1 for m in self.milestones),
            f"milestones are {self.milestones}; they must be rising epochs, at least 1.",
        )
        require(
            0 <= self.warmup_epochs <= self.epochs,
            f"warmup_epochs is {self.warmup_epochs}; it must be between 0 and epochs.",
        )
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing is {self.label_smoothing}; it must be in [0, 1).",
        )

    def with_(self, **changes) -> "Recipe":
        """The same recipe with some fields changed."""
        return replace(self, **changes)

    def for_epochs(self, epochs: int) -> "Recipe":
        """The recipe stretched to another length: milestones and warm-up keep their fractions."""
        milestones = sorted({max(1, round(m * epochs / self.epochs)) for m in self.milestones})
        return replace(
            self,
            epochs=epochs,
            milestones=tuple(milestones),
            warmup_epochs=self.warmup_epochs * epochs / self.epochs,
        )


def learning_rate(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """Learning rate of one optimizer step; epoch, step count from 0, steps in an epoch."""
    done = epoch + step / steps  # epochs of training before this step
    if done < recipe.warmup_epochs:
        return recipe.lr * (done + 1 / steps) / (recipe.warmup_epochs + 1 / steps)
    if recipe.schedule == "cosine":
        share = (done - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.lr * recipe.gamma ** sum(epoch >= m for m in recipe.milestones)
