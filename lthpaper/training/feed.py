"""The interface between a pack and the source of its batches."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lthpaper.data import DataSet
from lthpaper.runs.run import Run

Part = Callable[[int], Tensor]  # size of a batch -> positions in it that this process trains on


class Feed(ABC):
    """Batches of a pack of runs that share network, data and batch size.

    why: where the images are, in words and numbers.
    """

    why: str = ""

    def __init__(
        self, runs: Sequence[Run], data: DataSet, device: torch.device, dtype: torch.dtype, part: Part | None
    ):
        self.runs, self.data, self.device, self.dtype = list(runs), data, device, dtype
        self.batch_size, self.part = runs[0].recipe.batch_size, part
        self.mean = torch.tensor(data.card.mean, device=device, dtype=torch.float64)
        self.std = torch.tensor(data.card.std, device=device, dtype=torch.float64)

    @property
    @abstractmethod
    def images(self) -> int:
        """Training images of an epoch."""

    def tested(self, part: str = "test") -> int:
        """Images of a part's `test_batches` together; 0 for "validation" where no images are held out."""
        labels = getattr(self.data.images, f"{part}_labels")
        return 0 if labels is None else len(labels)

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch; the last batch may be smaller."""
        return math.ceil(self.images / self.batch_size)

    def batch_length(self, step: int) -> int:
        """Images of a step's batch, over all processes."""
        return min(self.batch_size, self.images - step * self.batch_size)

    def places(self, step: int) -> Tensor:
        """Places in the epoch of this process's part of a step's batch."""
        length = self.batch_length(step)
        mine = torch.arange(length) if self.part is None else self.part(length)
        return mine + step * self.batch_size

    @abstractmethod
    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of every batch from a step on: images (K, B, C, H, W), labels (K, B)."""

    @abstractmethod
    def test_batches(
        self, first: int = 0, every: int = 1, part: str = "test"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W), the same for every run, and labels (B,). every: yield only every n-th. part:
        "test" or "validation"."""

    def close(self) -> None:  # noqa: B027
        """Release workers and file handles. The feed yields no batches after this."""
