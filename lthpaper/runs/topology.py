"""Dynamic sparse training as a value: a mask that changes while its network trains."""

import math
from dataclasses import dataclass

from lthpaper.errors import require, suggestion
from lthpaper.runs.digest import coerce_floats

LABELS = {"set": "SET", "rigl": "RigL"}  # rule -> the name of its settings


@dataclass(frozen=True)
class Topology:
    """When a mask changes, how much of it, and which weights grow.

    After every `every` optimizer steps each layer drops a share of the weights that it has, the smallest
    first, and grows as many others, so that its count never changes. rule: "set" grows at random (Mocanu et
    al. 2018), "rigl" where the gradient of the loss is largest (Evci et al. 2020). The share is `drop` at
    first and falls as a cosine to 0 at `until` of the training; then the mask stays. A step at which the mask
    changes updates no weights, as in RigL's Algorithm 1. Raises InputError on a value out of range.
    """

    rule: str = "rigl"
    every: int = 100
    drop: float = 0.3
    until: float = 0.75

    def __post_init__(self):
        coerce_floats(self)
        require(
            self.rule in tuple(LABELS),
            f"The topology's rule is {self.rule!r}; it must be one of {', '.join(LABELS)}."
            f"{suggestion(self.rule, LABELS)}",
        )
        require(
            type(self.every) is int and self.every >= 1,
            f"every is {self.every!r}; it must be a whole number of steps from 1.",
        )
        for name in ("drop", "until"):
            value = getattr(self, name)
            require(
                isinstance(value, float) and 0 < value <= 1, f"{name} is {value!r}; it must be in (0, 1]."
            )

    @property
    def label(self) -> str:
        return LABELS[self.rule]

    def share(self, step: int, steps: int) -> float:
        """The share of each layer's weights that changes at a step, counted from 0, of a training of so many;
        0 at an ordinary step."""
        end = self.until * steps
        if step == 0 or step % self.every or step >= end:
            return 0.0
        return self.drop / 2 * (1 + math.cos(math.pi * step / end))

    def changes_before(self, step: int, steps: int) -> int:
        """At how many steps before this one the mask changed."""
        return max(0, (min(step, math.ceil(self.until * steps)) - 1) // self.every)
