"""Where a pack's batches come from: normalised images on the device, one batch after the other.

What a batch holds depends on a run's seed, the epoch and the step alone, so that a training can begin in the
middle of an epoch, and it is the same wherever the images lie.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lthpaper.augment import crop_flip, draws, normalised, padded
from lthpaper.data import DataSet
from lthpaper.runs import Run

EVALUATION_BATCH = 500

Part = Callable[[int], Tensor]  # positions, in a batch of so many images, that this process trains on


class Feed(ABC):
    """Batches of a pack of runs that share network, data and batch size."""

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

    @property
    @abstractmethod
    def test_images(self) -> int:
        """Images of `test_batches` together."""

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch; the last batch may be smaller."""
        return math.ceil(self.images / self.batch_size)

    def batch_length(self, step: int) -> int:
        """Images of a step's batch, over all processes."""
        return min(self.batch_size, self.images - step * self.batch_size)

    @abstractmethod
    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's part of every batch from a step on: images (K, B, C, H, W), labels (K, B)."""

    @abstractmethod
    def test_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, H, W), the same for every run, and labels (B,)."""


class ResidentFeed(Feed):
    """All images on the device, as uint8; cropped, flipped and normalised there."""

    def __init__(self, runs, data, device, dtype, part=None):
        super().__init__(runs, data, device, dtype, part)
        images = data.images
        self.train = padded(images.train, data.card.pad).to(device)
        self.train_labels = images.train_labels.to(device)
        self.test, self.test_labels = images.test.to(device), images.test_labels.to(device)

    @property
    def images(self) -> int:
        return len(self.train)

    @property
    def test_images(self) -> int:
        return len(self.test)

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        card = self.data.card
        drawn = [draws(run.seed, epoch, self.images, card.pad, card.flip) for run in self.runs]
        order, shift, flip = (torch.stack(part).to(self.device) for part in zip(*drawn, strict=True))
        for step in range(first_step, self.steps):
            mine = self._positions(step)
            index = order[:, mine]
            pixels = crop_flip(self.train, index, shift[:, mine], flip[:, mine], card.size)
            yield normalised(pixels, self.mean, self.std, self.dtype), self.train_labels[index]

    def _positions(self, step: int) -> slice | Tensor:
        """Places of this process's part of a step's batch in the epoch."""
        first, length = step * self.batch_size, self.batch_length(step)
        if self.part is None:
            return slice(first, first + length)
        return self.part(length).to(self.device) + first

    def test_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, self.test_images, EVALUATION_BATCH):
            part = slice(first, first + EVALUATION_BATCH)
            pixels = self.test[part].permute(0, 3, 1, 2)
            yield normalised(pixels, self.mean, self.std, self.dtype), self.test_labels[part]


def feed(
    runs: Sequence[Run],
    data: DataSet,
    device: torch.device,
    dtype: torch.dtype,
    part: Part | None = None,
) -> Feed:
    """The feed for a pack. part: the positions of a batch that this process trains on; all, if None."""
    return ResidentFeed(runs, data, device, dtype, part)
