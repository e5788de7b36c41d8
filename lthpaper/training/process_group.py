"""Several processes that train one run together: each does its share of every batch's micro-batches.

They speak by torch.distributed: gloo between CPUs, NCCL between GPUs (`lthpaper.sweep.torchrun` starts them). What
a step computes is fixed by the recipe's `micro_batch`, not by how many processes share it, so a team
computes what one process does, but for the order in which gradients are added.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

WAIT = timedelta(days=7)  # for what another process does by itself: a plan, the data, a checkpoint


class TeamLost(RuntimeError):
    """A process of the team has ended, and the others cannot go on."""


class Alone:
    """One process, which trains everything."""

    rank = 0
    size = 1

    def share(self, parts: int) -> range:
        """Which of a batch's micro-batches this process trains on."""
        return range(self.rank, parts, self.size)

    def sum(self, *tensors: Tensor) -> None:
        """Replace each by its sum over all processes, on all of them."""

    def any(self, flag: bool) -> bool:
        """Whether any process says so: the same answer on all, and all wait for each other."""
        return flag


class Team(Alone):
    """The processes of torch.distributed's default group; each makes one of these at the same time.

    Whatever is called, is called by all. Raises TeamLost where one of them has ended.
    """

    def __init__(self):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        with _lost():
            self._words = dist.new_group(backend="gloo", timeout=WAIT)  # a GPU need not stop for them

    def sum(self, *tensors: Tensor) -> None:
        with _lost():
            for tensor in tensors:
                dist.all_reduce(tensor)

    def any(self, flag: bool) -> bool:
        said = torch.tensor([int(flag)])
        with _lost():
            dist.all_reduce(said, group=self._words)
        return bool(said.item())

    def told(self, what: Any = None) -> Any:
        """What process 0 tells; `what` is its own, and nobody else's."""
        words = [what]
        with _lost():
            dist.broadcast_object_list(words, src=0, group=self._words)
        return words[0]


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo has no kind of its own for a connection that is closed
        raise TeamLost(str(error)) from error


ALONE = Alone()
