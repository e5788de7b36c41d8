"""A start with another start's signs: is a ticket more than the signs of its weights (Zhou 2019)?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lthpaper.runs.inits import Init, Named, check_init, register
from lthpaper.runs.masks import Mask

if TYPE_CHECKING:
    from lthpaper.runs.task import Task


@register("signs")
@dataclass(frozen=True)
class Signs:
    """The magnitudes of `of` with the signs of `signs`, weight by weight.

    A zero of `signs` counts as positive (IEEE's −0 as negative), so no magnitude is lost. Buffers are those
    of `of`.
    """

    of: "Init"
    signs: "Init"

    def __post_init__(self):
        check_init("of", self.of)
        check_init("signs", self.signs)

    @property
    def first_epoch(self) -> int:
        return self.of.first_epoch

    def weights(self, task: "Task", mask: Mask | None, load: Callable) -> dict[str, Tensor]:
        own, other = (init.weights(task, mask, load) for init in (self.of, self.signs))
        return {n: torch.copysign(w, other[n]) if n in task.parameter_names else w for n, w in own.items()}

    def name(self, named: Named) -> str:
        return f"{self.of.name(named)}@{self.signs.name(named)}signs"
