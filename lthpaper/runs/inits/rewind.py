"""θt: weights that a run had after some of its epochs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lthpaper.errors import require
from lthpaper.runs.inits import Named, register

if TYPE_CHECKING:
    from lthpaper.runs.run import Run
    from lthpaper.runs.task import Task


@register("rewind")
@dataclass(frozen=True)
class Rewind:
    """The weights θt of run `to` after `epoch` epochs (Appendix D); training goes on from there.

    epoch equal to `to`'s number of epochs is fine-tuning or, with `restart`, learning-rate rewinding:
    the whole schedule again from θT.
    """

    to: "Run"
    epoch: int
    restart: bool = False

    def __post_init__(self):
        require(
            type(self.epoch) is int and 0 <= self.epoch <= self.to.recipe.epochs,
            f"The epoch to rewind to is {self.epoch!r}; the run has epochs 0 to {self.to.recipe.epochs}.",
        )
        require(isinstance(self.restart, bool), f"restart is {self.restart!r}; it must be true or false.")

    @property
    def first_epoch(self) -> int:
        return 0 if self.restart else self.epoch

    def weights(self, task: "Task", mask: Any, load: Callable) -> dict[str, Tensor]:
        return load(self.to, self.epoch)[0]

    def name(self, named: Named) -> str:
        return "FT" if self.epoch == self.to.recipe.epochs else "WR"
