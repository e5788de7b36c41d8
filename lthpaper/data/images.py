"""What a data set consists of: its card, its images in memory, and whether the two fit."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lthpaper.errors import InputError, require

if TYPE_CHECKING:
    from lthpaper.data.files import Files  # it is built on this module


@dataclass(frozen=True)
class Card:
    """What is known of a data set before it is loaded. mean, std: per channel, of pixels scaled to [0, 1]."""

    num_classes: int
    channels: int
    size: int  # height and width of an image
    train: int  # number of images
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int = 4  # random crops are cut from the image padded with this many zeros
    flip: bool = True  # random horizontal flips
    similar: float = 0.5  # accuracy within this many points is "similar" (§2.2); paper.THRESHOLDS goes first
    # above 0: photographs of any size. The shorter side of a test image is resized to this, and its middle
    # cropped to `size`; training takes random resized crops of `size` and ignores `pad`
    resize: int = field(default=0, repr=False)

    @property
    def streams(self) -> bool:
        """Whether the images are photographs of any size, decoded batch by batch."""
        return self.resize > 0


@dataclass(frozen=True)
class Images:
    """train, test: (N, H, W, C) uint8; labels: (N,) whole numbers. origin: where they came from. validation:
    training images that were held out of `train`; None where none were.

    Stored as CPU tensors; NumPy arrays are accepted, and so are labels in a list or of another integer type.
    Raises InputError for anything else.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    origin: str
    validation: Tensor | None = None
    validation_labels: Tensor | None = None

    def __post_init__(self):
        for name in ("train", "test"):
            object.__setattr__(self, name, _tensor(name, getattr(self, name)))
        for name in ("train_labels", "test_labels"):
            labels = _tensor(name, getattr(self, name))
            if not labels.is_floating_point():  # `check` reports those
                labels = labels.to(torch.int64)
            object.__setattr__(self, name, labels)
        require(
            hasattr(self.classes, "__len__"),
            f"classes of these images is {self.classes!r}; it must be the names of the classes.",
        )

    @classmethod
    def of(cls, train: "Sequence[tuple[Any, Any]]", test: "Sequence[tuple[Any, Any]]") -> "Images":
        """Those of two PyTorch data sets of (image, label), without random transforms and `Normalize`.

        An image is a tensor (C, H, W), an array (H, W, C) or a PIL image, with whole numbers from 0 to 255 or
        floats from 0 to 1. Raises InputError for others.
        """
        from lthpaper.data.datasets import images  # it is built on this module

        return images(train, test)

    def chosen(self, index: Tensor) -> "Images":
        """The same test images, and only these training images."""
        return replace(self, train=self.train[index], train_labels=self.train_labels[index])

    def held_out(self, index: Tensor) -> "Images":
        """The same with these training images for validation, besides those that are trained on."""
        return replace(self, validation=self.train[index], validation_labels=self.train_labels[index])

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of all pixels and labels in order."""
        hasher = hashlib.sha256()
        for part in (self.train, self.train_labels, self.test, self.test_labels):
            hasher.update(str(tuple(part.shape)).encode())
            hasher.update(np.ascontiguousarray(part.numpy()).data)
        return hasher.hexdigest()[:16]


def _tensor(name: str, values: object) -> Tensor:
    """A tensor, array or list as a tensor. Raises InputError for anything else."""
    if isinstance(values, Tensor):
        return values
    try:
        array = np.ascontiguousarray(values)
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} of these images is a {type(values).__name__} ({error}); it must be a tensor or an "
            "array: images uint8 (N, H, W, C), labels whole numbers (N,)."
        ) from error


def check(name: str, about: Card, images: "Images | Files", root: Path) -> None:
    """Raise InputError unless images, labels and classes have the number and type that the card says."""
    where = f"{name} ({images.origin}, below {root})"
    wrong = "All images must be as its card says; a function's card is that of its training images."
    if ":" not in name:
        get = "replace it, or make it a custom data set (data/README.md)"
        wrong = f"The copy is incomplete or another data set: {get}."
    parts = {
        "training": (images.train, images.train_labels, about.train),
        "test": (images.test, images.test_labels, about.test),
    }
    for part, (pixels, labels, count) in parts.items():
        require(
            count > 0, f"{where} has no {part} images; a network is trained on some and tested on others."
        )
        expected = (count, about.size, about.size, about.channels)
        if not isinstance(pixels, Tensor):
            require(
                len(pixels) == count,
                f"{where} has {len(pixels):,} {part} images; expected {count:,}. {wrong}",
            )
            require(
                about.channels in (1, 3),
                f"The card of {name} has {about.channels} channels; images in files are read with 3 or 1.",
            )
        elif tuple(pixels.shape) != expected or pixels.dtype != torch.uint8:
            raise InputError(
                f"The {part} images of {where} are {pixels.dtype} {tuple(pixels.shape)}; expected uint8 "
                f"{expected}. {wrong}"
            )
        if labels.shape != (count,) or labels.dtype != torch.int64:
            raise InputError(
                f"The {part} labels of {where} are {labels.dtype} {tuple(labels.shape)}; expected int64 "
                f"{(count,)}."
            )
        if not 0 <= int(labels.min()) <= int(labels.max()) < about.num_classes:
            raise InputError(
                f"The {part} labels of {where} run from {int(labels.min())} to {int(labels.max())}; "
                f"expected 0 to {about.num_classes - 1}."
            )
    require(
        about.num_classes > 1,
        f"{where} has {about.num_classes} class; a network needs images of two or more to tell apart.",
    )
    if len(images.classes) != about.num_classes:
        raise InputError(
            f"{where} has {len(images.classes)} classes; expected {about.num_classes}: another data set."
        )
