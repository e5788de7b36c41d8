"""θ0 and θ0′: weights drawn from the network's initial distribution."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lthpaper import networks
from lthpaper.data.augment import derived_seed
from lthpaper.errors import require
from lthpaper.runs.inits import Named, register

if TYPE_CHECKING:
    from lthpaper.runs.task import Task


def check_seed(what: str, value: Any) -> None:
    """Raises InputError unless it is a whole number from 0 that fits 63 bits."""
    require(
        type(value) is int and 0 <= value < 2**63,
        f"{what} is {value!r}; it must be a whole number from 0, below 2**63.",
    )


@register("fresh")
@dataclass(frozen=True)
class Fresh:
    """Weights drawn from the initial distribution: θ0 (draw 0) or θ0′ (draw 1) of a seed."""

    seed: int = 0
    draw: int = 0
    first_epoch = 0

    def __post_init__(self):
        check_seed("seed", self.seed)
        check_seed("draw", self.draw)

    def weights(self, task: "Task", mask: Any = None, load: Any = None) -> dict[str, Tensor]:
        """The same bits for the same seed and draw."""
        network = networks.build_seeded(derived_seed("init", self.seed, self.draw), **task.shape)
        return networks.tensors(network)

    def name(self, named: Named) -> str:
        return named(self)
