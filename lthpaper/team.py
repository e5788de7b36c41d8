"""Several processes that train one run together: each does its share of every batch's micro-batches.

They are started by `torchrun` and speak by torch.distributed: gloo between CPUs, NCCL between GPUs. What a
step computes is fixed by the recipe's `micro_batch`, not by how many processes share it, so a team computes
what one process does, but for the order in which gradients are added.
"""

import torch
from torch import Tensor
from torch import distributed as dist


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
        """Whether any process says so: the same answer on all."""
        return flag


class Team(Alone):
    """The processes of torch.distributed's default group."""

    def __init__(self):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def sum(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def any(self, flag: bool) -> bool:
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        said = torch.tensor([int(flag)], device=device)
        dist.all_reduce(said)
        return bool(said.item())


ALONE = Alone()
