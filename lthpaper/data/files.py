"""Images that stay encoded in their files until a batch needs them (PNG or JPEG, in folders or archives)."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthpaper.data.decode import SUFFIXES, decode
from lthpaper.data.finding import contents
from lthpaper.data.images import Images
from lthpaper.errors import InputError, require

OTHERS = (".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")  # images that torchvision reads, and we do not
LOOKED_AT = 256  # images of each part whose contents are in the fingerprint


class Encoded(ABC):
    """A sequence of encoded images. It is pickled for loader processes, so it holds little."""

    groups: np.ndarray | None = None  # (N,): images that are only read together have equal numbers

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, i: int) -> tuple[str, bytes]:
        """Where image i lies, for messages, and its bytes. Raises InputError if it cannot be read."""

    @abstractmethod
    def described(self) -> Iterator[bytes]:
        """What distinguishes these images from others without reading them: names and sizes."""

    def ends(self, i: int) -> tuple[str, bytes, bytes] | None:
        """Where image i lies, and its first 16 and last 4,096 bytes; None if reading it whole is as fast."""
        return None

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return (self[i] for i in range(len(self)))


class Chosen(Encoded):
    """Some of the images."""

    def __init__(self, items: Encoded, index: np.ndarray):
        self.items, self.index = items, index
        self.groups = None if items.groups is None else items.groups[index]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> tuple[str, bytes]:
        return self.items[int(self.index[i])]

    def described(self) -> Iterator[bytes]:
        yield from self.items.described()
        yield self.index.tobytes()

    def ends(self, i: int) -> tuple[str, bytes, bytes] | None:
        return self.items.ends(int(self.index[i]))


class Paths(Encoded):
    """One file per image. The names, below a folder, are one array instead of a million strings."""

    def __init__(self, folder: Path, names: Sequence[str], sizes: Sequence[int]):
        self.folder = str(folder)
        self.names = np.array([os.fsencode(name) for name in names], dtype=bytes)
        self.sizes = np.array(sizes, dtype=np.int64)  # bytes

    def path(self, i: int) -> str:
        return os.path.join(self.folder, os.fsdecode(self.names[i].item()))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[str, bytes]:
        path = self.path(i)
        try:
            with open(path, "rb") as file:
                return path, file.read()
        except OSError as error:
            raise InputError(f"The image {path} cannot be read ({error.strerror}).") from error

    def ends(self, i: int) -> tuple[str, bytes, bytes]:
        path = self.path(i)
        try:
            with open(path, "rb", buffering=0) as file:
                start = file.read(16)
                file.seek(max(0, int(self.sizes[i]) - 4096))
                return path, start, file.read(4096)
        except OSError as error:
            raise InputError(f"The image {path} cannot be read ({error.strerror}).") from error

    def described(self) -> Iterator[bytes]:
        for name in self.names.tolist():
            yield os.path.basename(name) + b"\0"  # without the folder, which is in the label
        yield self.sizes.tobytes()


@dataclass(frozen=True)
class Files:
    """A data set whose images are decoded when a batch needs them. Labels (N,) int64, on the CPU."""

    train: Encoded
    train_labels: Tensor
    test: Encoded
    test_labels: Tensor
    classes: tuple[str, ...]
    origin: str
    validation: Encoded | None = None
    validation_labels: Tensor | None = None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of the number, names, sizes and labels of all images in order, and of
        the contents of 256 images of each part. Reading every image would take as long as an epoch."""
        hasher = hashlib.sha256()
        for items, labels in ((self.train, self.train_labels), (self.test, self.test_labels)):
            hasher.update(f"{len(items)}\n".encode())
            for piece in items.described():
                hasher.update(piece)
            hasher.update(np.ascontiguousarray(labels.numpy()).data)
            for i in np.unique(np.linspace(0, len(items) - 1, min(len(items), LOOKED_AT)).astype(int)):
                hasher.update(hashlib.sha256(items[int(i)][1]).digest())
        return hasher.hexdigest()[:16]

    def chosen(self, index: Tensor) -> "Files":
        """The same test images, and only these training images."""
        return replace(self, train=Chosen(self.train, index.numpy()), train_labels=self.train_labels[index])

    def held_out(self, index: Tensor) -> "Files":
        """The same with these training images for validation, besides those that are trained on."""
        held = Chosen(self.train, index.numpy())
        return replace(self, validation=held, validation_labels=self.train_labels[index])

    def decoded(self, size: int, channels: int) -> Images:
        """The same data set in memory, (N, size, size, channels) uint8.

        Raises InputError naming an image that is damaged or of another size.
        """
        test = decode(self.test, len(self.test), size, channels)  # first, since it finds a bad copy sooner
        train = decode(self.train, len(self.train), size, channels)
        return Images(train, self.train_labels, test, self.test_labels, self.classes, self.origin)


def listed(folder: Path) -> list[tuple[str, int]]:
    """(name, bytes) of the images directly in a folder, sorted by name.

    Raises InputError if there are none, or one is empty, of another format, or a link to nothing.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name.lower()
            if name[0] == "." or not name.endswith(SUFFIXES + OTHERS):
                continue
            if not (entry.is_file() or (entry.is_symlink() and not entry.is_dir())):
                continue
            if not name.endswith(SUFFIXES):
                raise InputError(
                    f"The image {entry.path} is none of {', '.join(SUFFIXES)}: convert it, or move it away."
                )
            try:
                found.append((entry.name, entry.stat().st_size))
            except OSError as error:
                raise InputError(
                    f"The image {entry.path} cannot be read ({error.strerror}); if it is a link, bring back "
                    "what it points to."
                ) from error
    found.sort()
    require(
        bool(found),
        f"{folder} holds {contents(folder)}; expected images ({', '.join(SUFFIXES)}) directly in it.",
    )
    for name, size in found:
        if not size:
            raise InputError(f"The image {folder / name} is damaged (the file is empty); replace it.")
    return found


def class_folders(folder: Path, classes: Sequence[str], inner: str = "") -> tuple[Paths, Tensor]:
    """The images of `folder/<class>/inner`, class after class, and their labels (N,) int64."""
    names: list[str] = []
    sizes: list[int] = []
    counts = []
    for name in classes:
        found = listed(folder / name / inner)
        counts.append(len(found))
        names += [os.path.join(name, inner, file) for file, _ in found]
        sizes += [size for _, size in found]
    return Paths(folder, names, sizes), torch.repeat_interleave(torch.tensor(counts))
