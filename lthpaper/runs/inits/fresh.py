"""θ0 and θ0′: weights drawn from the network's initial distribution."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lthpaper import networks
from lthpaper.data.augment import derived_seed
from lthpaper.errors import as_python, require
from lthpaper.runs.inits import Named, register

if TYPE_CHECKING:
    from lthpaper.runs.task import Task


def check_seed(what: str, value: Any) -> None:
    """Raises InputError unless it is a whole number from 0 that fits 63 bits."""
    require(
        type(value) is int and 0 <= value < 2**63,
        f"{what} is {value!r}; it must be a whole number from 0, below 2**63{as_python(value, 'int')}.",
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


def check_drawn(task: "Task") -> None:
    """Raise InputError unless a seed and a draw fix the initial weights, and another draw has others."""
    if ":" not in task.network:
        return  # the package's own
    one, again, other = (Fresh(0, draw).weights(task) for draw in (0, 0, 1))
    by = "torch's, NumPy's or Python's global generator, which are seeded here"
    changed = [n for n in one if not torch.allclose(one[n], again[n], rtol=0, atol=0, equal_nan=True)]
    require(
        not changed,
        f"Network {task.network!r} begins with another {', '.join(changed[:3])} each time it is built, so LT "
        f"could not begin where pretraining did. Draw weights by {by}.",
    )
    require(
        not all(torch.equal(one[name], other[name]) for name in task.prunable_weights),
        f"Network {task.network!r} begins with the same prunable weights whatever the seed, so RR would be "
        f"LT. Draw them by {by}: no manual_seed in the factory, and no pretrained weights.",
    )
