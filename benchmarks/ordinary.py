"""The ordinary loop, the baseline: one nn.Module, torch.optim.SGD, float32, torch's own number of threads.

`Ordinary` reads PIL images through a DataLoader, as a training script does; `OnDevice` is the same
training with the images in the device's memory and our batched augmentation.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lthpaper import networks
from lthpaper.data import Card, DataSet
from lthpaper.data.augment import crop_flip, draws, normalised, padded
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.torchvision_compat import torchvision
from lthpaper.training.start import initial_weights


class PilImages(Dataset):
    """Images as in torchvision's CIFAR10: every access makes a PIL image and transforms it."""

    def __init__(self, pixels: Tensor, labels: Tensor, card: Card):
        self.pixels = (pixels[..., 0] if card.channels == 1 else pixels).numpy()  # (N, H, W[, 3])
        self.labels, self.card = labels.tolist(), card

    @cached_property  # not before a worker has it: pickled, it would import torchvision too plainly
    def transform(self) -> Callable[[object], Tensor]:
        transforms, card = torchvision().transforms, self.card
        steps = [transforms.RandomCrop(card.size, padding=card.pad)]
        steps += [transforms.RandomHorizontalFlip()] if card.flip else []
        steps += [transforms.ToTensor(), transforms.Normalize(card.mean, card.std)]
        return transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[i])), self.labels[i]


def train(
    network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]
) -> Tensor:
    """One optimizer step a batch; returns the mean training loss over images, float64."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for images, labels in batches:
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total = total.to(loss.device) + loss.detach().double() * len(labels)
        count += len(labels)
    return total / count


class _OneModule:
    """One network from the run's θ0 and its optimizer."""

    def __init__(self, run: Run, device: torch.device, dtype: torch.dtype = torch.float32):
        recipe: Recipe = run.recipe
        self.network = networks.build_seeded(0, **run.task.shape)
        self.network.load_state_dict(initial_weights(run))
        self.network.to(device, dtype)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.device, self.dtype = device, dtype

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        raise NotImplementedError

    def train_epoch(self) -> Tensor:
        """The mean training loss of one epoch."""
        return train(self.network, self.optimizer, self._batches())


class Ordinary(_OneModule):
    """DataLoader with `workers` processes; every epoch starts with nothing read ahead."""

    def __init__(self, run: Run, data: DataSet, device: torch.device, workers: int):
        super().__init__(run, device)
        self.loader = DataLoader(
            PilImages(data.images.train, data.images.train_labels, data.card),
            run.recipe.batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            # what a script gets on Linux; a spawned process, as the bench's are, would spawn them
            multiprocessing_context="fork" if workers and sys.platform.startswith("linux") else None,
            pin_memory=device.type == "cuda",
        )

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


class OnDevice(_OneModule):
    """Images on the device; order and augmentation are those of the run, as in `Pack`."""

    def __init__(self, run: Run, data: DataSet, device: torch.device, dtype: torch.dtype = torch.float32):
        super().__init__(run, device, dtype)
        self.run, self.card, self.epoch = run, data.card, 0
        self.images = padded(data.images.train, data.card.pad).to(device)
        self.labels = data.images.train_labels.to(device)
        self.mean, self.std = (
            torch.tensor(values, device=device, dtype=torch.float64)
            for values in (data.card.mean, data.card.std)
        )

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        n, batch = len(self.labels), self.run.recipe.batch_size
        drawn = draws(self.run.seed, self.epoch, n, self.card.pad, self.card.flip)
        self.epoch += 1
        order, shift, flip = (part.to(self.device) for part in drawn)
        for first in range(0, n, batch):
            part = slice(first, first + batch)
            pixels = crop_flip(
                self.images, order[None, part], shift[None, part], flip[None, part], self.card.size
            )
            yield normalised(pixels[0], self.mean, self.std, self.dtype), self.labels[order[part]]
