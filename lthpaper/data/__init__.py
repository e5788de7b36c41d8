"""Data sets by name, whole in memory as uint8. A new data set is one new file here.

A file registers a card (what is known without the images) and a loader:

    @register("cifar10", Card(num_classes=10, channels=3, size=32, train=50_000, test=10_000, ...))
    def load(root: Path) -> Images: ...

One rule says where data sets are looked for: the folder given by `--data` (or `root=`), else the one
in the environment variable LTHPAPER_DATA, else `data/` below the working directory.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthpaper.errors import InputError
from lthpaper.registry import Registry


@dataclass(frozen=True)
class Card:
    """What is known of a data set before it is loaded. mean, std: per channel, of pixels in [0, 1]."""

    num_classes: int
    channels: int
    size: int  # height and width of an image
    train: int  # number of images
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int = 4  # random crops from the image padded with this many zeros
    flip: bool = True  # random horizontal flips
    similar: float = 0.5  # accuracy within this many points is "similar" (§2.2)


@dataclass(frozen=True)
class Images:
    """train, test: (N, H, W, C) uint8; labels: (N,) int64, on the CPU. origin: where they came from."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    origin: str

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of all pixels and labels in order."""
        hasher = hashlib.sha256()
        for part in (self.train, self.train_labels, self.test, self.test_labels):
            hasher.update(str(tuple(part.shape)).encode())
            hasher.update(np.ascontiguousarray(part.numpy()).data)
        return hasher.hexdigest()[:16]


@dataclass(frozen=True)
class DataSet:
    """One task's images: the card, the (possibly reduced) training set and the whole test set."""

    name: str
    card: Card
    images: Images
    fingerprint: str


@dataclass(frozen=True)
class Source:
    """A registered data set."""

    card: Card
    load: Callable[[Path], Images]


SOURCES: Registry[Source] = Registry("data set", "lthpaper.data")


def register(name: str, card: Card) -> Callable[[Callable[[Path], Images]], Callable[[Path], Images]]:
    """Decorator for a loader."""

    def add(load: Callable[[Path], Images]) -> Callable[[Path], Images]:
        SOURCES.register(name)(Source(card, load))
        return load

    return add


def card(name: str) -> Card:
    """What is known of a data set. Raises InputError for an unknown name."""
    return SOURCES[name].card


def data_root(root: str | Path | None = None) -> Path:
    """The folder that data sets are looked for in, by the rule above."""
    return Path(root or os.environ.get("LTHPAPER_DATA") or "data")


@lru_cache(maxsize=8)
def _load(name: str, root: Path, train_images: int) -> DataSet:
    source = SOURCES[name]
    images = source.load(root)
    about = source.card
    want = {"training": (images.train, about.train), "test": (images.test, about.test)}
    for part, (found, expected) in want.items():
        if tuple(found.shape) != (expected, about.size, about.size, about.channels):
            raise InputError(
                f"The {part} images of {name} from {images.origin} are {tuple(found.shape)}; "
                f"expected {(expected, about.size, about.size, about.channels)}. The copy is incomplete "
                "or another data set: replace it."
            )
    fingerprint = images.fingerprint
    if train_images:
        chosen = torch.randperm(about.train, generator=torch.Generator().manual_seed(0))[:train_images]
        images = Images(
            images.train[chosen],
            images.train_labels[chosen],
            images.test,
            images.test_labels,
            images.classes,
            images.origin,
        )
    return DataSet(name, about, images, fingerprint)


def load(name: str, root: str | Path | None = None, train_images: int = 0) -> DataSet:
    """A data set, from its files; remembered within the process.

    train_images: how many training images to use (0: all), chosen at random, the same every time.
    Raises InputError if the files are missing, damaged or of another layout.
    """
    return _load(name, data_root(root).resolve(), train_images)
