"""Data sets by name: in memory as uint8, or files that are decoded when needed. A new one is one new file.

A file registers a card (what is known without the images) and a loader:

    @register("cifar10", Card(num_classes=10, channels=3, size=32, train=50_000, test=10_000, ...))
    def load(root: Path) -> Images: ...

A loader that returns `files.Files` (photographs in folders, tar or parquet files) has read no image yet.
Images of one size are then decoded into memory here, if they fit; photographs of any size stay files and
`streaming` decodes them.

Data sets are looked for in the folder given by `--data` (or `root=`), else in that of the environment
variable LTHPAPER_DATA, else in the project's `data/` (`locations.data_folder`). Nothing is downloaded unless
LTHPAPER_DOWNLOAD=1 or `download` asks for it. A name with a colon, `package.module:name`, is a custom data
set (`own.py`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from lthpaper import locations, memory
from lthpaper.data.files import Files
from lthpaper.data.images import Card, Images, check
from lthpaper.errors import InputError
from lthpaper.registry import Registry


@dataclass(frozen=True)
class DataSet:
    """A task's images: the card, the (possibly reduced) training set and the whole test set."""

    name: str
    card: Card
    images: Images | Files
    fingerprint: str


@dataclass(frozen=True)
class Source:
    """A data set that can be loaded. load, download: called with the folder of all data sets."""

    card: Card
    load: Callable[[Path], Images | Files]
    download: Callable[[Path], None] | None = None


SOURCES: Registry[Source] = Registry("data set", "lthpaper.data", "package.module:name")


def register(
    name: str, card: Card, download: Callable[[Path], None] | None = None
) -> Callable[[Callable], Callable]:
    """Decorator for a loader. download: fetches the published files, where that is possible."""

    def add(load: Callable) -> Callable:
        SOURCES.register(name)(Source(card, load, download))
        return load

    return add


def source(name: str, root: Path | None = None) -> Source:
    """A registered data set, or a custom one by dotted path. Raises InputError for an unknown name.

    root: where a custom function loads from, since its card is computed from its images.
    """
    if ":" not in name:
        return SOURCES[name]
    from lthpaper.data.own import own_source  # it is built on this module

    return own_source(name, root)


def card(name: str) -> Card:
    """What is known of a data set. Raises InputError for an unknown name."""
    return source(name).card


def _ready(about: Card, images: Images | Files) -> Images | Files:
    """Images for training: files are decoded if their images have one size and fit, else checked quickly."""
    if isinstance(images, Images):
        return images
    decoded = (about.train + about.test) * about.size**2 * about.channels  # bytes; they have one size
    if not about.streams and decoded <= memory.limit(memory.HOST):
        return images.decoded(about.size, about.channels)
    from lthpaper.data.examine import look  # it is built on this module

    look(images)
    return images


@lru_cache(maxsize=8)
def _whole(name: str, root: Path) -> tuple[Card, Images | Files]:
    """All of a data set, checked; kept, so that `load` does not decode once more what `look_for` found."""
    found = source(name, root)
    about, images = found.card, found.load(root)
    check(name, about, images, root)
    return about, images


@lru_cache(maxsize=8)
def _load(name: str, root: Path, train_images: int, validation_images: int) -> DataSet:
    about, images = _whole(name, root)
    fingerprint = images.fingerprint  # of files as they lie, whether or not memory has room to decode them
    images = _ready(about, images)
    if ":" in name:  # a custom data set's card may change, as its images may
        resize = f" resize={about.resize}" if about.resize else ""
        fingerprint = hashlib.sha256(f"{fingerprint} {about}{resize}".encode()).hexdigest()[:16]
    if train_images or validation_images:
        shuffled = torch.randperm(about.train, generator=torch.Generator().manual_seed(0))
        used = shuffled[: train_images or about.train]
        kept = len(used) - validation_images
        if validation_images:
            images = images.held_out(used[kept:])
        images = images.chosen(used[:kept])
        _whole.cache_clear()  # these are copies: a process should not hold the rest beside them
    return DataSet(name, about, images, fingerprint)


def load(
    name: str, root: str | Path | None = None, train_images: int = 0, validation_images: int = 0
) -> DataSet:
    """A data set, read from its files once a process. `images` are `Images` if they could be decoded into
    memory, else `files.Files`.

    train_images: how many training images to use (0: all); the choice is random and always the same.
    validation_images: how many of these to hold out for validation.
    Raises InputError if the files are missing, damaged or of another layout.
    """
    return _load(name, locations.data_folder(root).resolve(), train_images, validation_images)


def look_for(name: str, root: str | Path | None = None) -> None:
    """Raise InputError, as `load` does, unless the data set is there and whole; decodes no photograph, and
    images that are read into memory once for both."""
    _whole(name, locations.data_folder(root).resolve())


def download(name: str, root: str | Path | None = None) -> None:
    """Download a data set's published files to where `load` looks, and verify their checksums.

    Raises InputError if it has no such files, they cannot be downloaded, or they are not the published ones.
    """
    fetch = source(name).download
    if fetch is None:
        raise InputError(f"{name} cannot be downloaded from here; data/README.md says how to get it.")
    fetch(locations.data_folder(root).resolve())
