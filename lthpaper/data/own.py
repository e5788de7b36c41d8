"""Custom data sets: by dotted path, `package.module:name`, or handed over in this process (`local`).

The name is a `Source`, or a function that returns `Images` or `Files` (called with the data folder if it
takes an argument). For a function, the card is computed from the images: normalisation by the training
pixels, crops with a padding of an eighth of the side, horizontal flips. `Files` are treated as photographs,
like ImageNet's: random resized crops of 224, flips, ImageNet's mean and deviation. Where this is wrong (text
must not be flipped), write a Source with your own card.
"""

import errno
import hashlib
import inspect
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch

from lthpaper import locations
from lthpaper.data import Card, Images, Source, check
from lthpaper.data.files import Files
from lthpaper.errors import InputError, failed, imported, require
from lthpaper.registry import LOCAL, is_local

PHOTOGRAPHS = Card(  # for photographs of any size; the numbers of images and classes are filled in
    num_classes=0,
    channels=3,
    size=224,
    train=0,
    test=0,
    mean=(0.485, 0.456, 0.406),  # of ImageNet's training images
    std=(0.229, 0.224, 0.225),
    pad=0,
    resize=256,
)

_local: dict[str, Source] = {}


def local(given: object, folder: str | Path | None = None) -> str:
    """A name for data of this process, such as a function written in a notebook: `local:NAME_HASH`.

    given: what a dotted path may name, or Images. folder: what a function is called with. The hash is of the
    images and their card, so that other images are another data set and never meet results of these. Raises
    InputError if they are unusable.
    """
    root = locations.data_folder(folder).resolve()
    name = re.sub(r"\W+", "_", getattr(given, "__name__", "images"))
    if isinstance(given, Source):
        _check_card(name, given.card)
        images = _made(name, given.load, root)
    elif isinstance(given, Images | Files):
        images = given
    elif callable(given):
        images = _made(name, given, root)
    else:
        raise InputError(
            f"The data set is a {type(given).__name__}; it must be a name, package.module:name, "
            "lthpaper.data.Images, or a function that returns them. Images.of(train, test) makes them of two "
            "PyTorch data sets, such as TensorDataset(images, labels)."
        )
    about = given.card if isinstance(given, Source) else card_of(images)
    check(f"{LOCAL}:{name}", about, images, root)
    content = hashlib.sha256(f"{images.fingerprint} {about} resize={about.resize}".encode()).hexdigest()
    name = f"{LOCAL}:{name}_{content[:8]}"
    _local[name] = Source(about, lambda root: images)
    return name


def card_of(images: Images | Files) -> Card:
    """The card computed from images. Raises InputError unless arrays are square, uint8 and not constant."""
    if isinstance(images, Files):
        classes, count, test = len(images.classes), len(images.train), len(images.test)
        return replace(PHOTOGRAPHS, num_classes=classes, train=count, test=test)
    train = images.train
    require(
        train.ndim != 4 or train.shape[1] == train.shape[2] or train.shape[3] not in (1, 3),
        f"The images are {' × '.join(map(str, train.shape[1:3]))} pixels (height × width); they must be "
        "square: crop or pad them.",
    )
    require(
        train.ndim == 4
        and train.dtype == torch.uint8
        and train.shape[1] == train.shape[2]
        and len(train) > 0,
        f"Training images are {train.dtype} {tuple(train.shape)}; expected uint8 (N, size, size, channels): "
        "pixels from 0 to 255, channels last, at least one image. Images.of(train, test) makes them of two "
        "PyTorch data sets, such as TensorDataset(images, labels).",
    )
    grey, means, stds = torch.arange(256), [], []
    for channel in train.unbind(-1):
        shades, pixels = torch.bincount(channel.flatten(), minlength=256), channel.numel()
        total, squares = int((shades * grey).sum()), int((shades * grey**2).sum())
        # in whole numbers: a dot product's last digit, and so the fingerprint, depends on the processor
        means.append(total / (255 * pixels))
        stds.append(math.sqrt(pixels * squares - total**2) / (255 * pixels))
    require(min(stds, default=0) > 0, "A channel of the training images is constant; leave it out.")
    return Card(
        num_classes=len(images.classes),
        channels=train.shape[3],
        size=train.shape[1],
        train=len(train),
        test=len(images.test),
        mean=tuple(means),
        std=tuple(stds),
        pad=train.shape[1] // 8,
    )


def _check_card(name: str, card: Card) -> None:
    """Raise InputError for a card of one's own that would give other pixels than it seems to, or NaN."""
    require(isinstance(card, Card), f"The card of {name} is a {type(card).__name__}, not a data.Card.")
    mean, std = card.mean, card.std
    require(
        isinstance(mean, tuple | list)
        and isinstance(std, tuple | list)
        and len(mean) == len(std) == card.channels
        and all(0 <= value <= 1 for value in mean)
        and all(0 < value <= 1 for value in std),
        f"The card of {name} has mean {mean} and std {std}; each is a number per channel ({card.channels}), "
        "of pixels scaled to [0, 1], and std is above 0.",
    )
    require(card.pad >= 0, f"The card of {name} has pad {card.pad}; it must be a whole number from 0.")
    require(
        not card.streams or card.resize >= card.size,
        f"The card of {name} resizes test images to {card.resize} and crops {card.size} of them, with black "
        "borders: resize must be at least size.",
    )


def _made(name: str, make: Callable[..., Images | Files], root: Path) -> Images | Files:
    """What a custom function or loader returns. Raises InputError if it fails or returns something else."""
    try:
        images = make(root) if inspect.signature(make).parameters else make()
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a custom function may raise anything
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise  # the disk's fault, not the function's
        said = failed(f"Data set {name!r}", error)
        if isinstance(error, FileNotFoundError):
            said += (
                f" A function that takes an argument is given the data folder, {root} (--data, data_root)."
            )
        if isinstance(error, TypeError):
            said += " A data function takes no argument, or one, the data folder."
        raise InputError(said) from error
    if not isinstance(images, Images | Files):
        raise InputError(
            f"Data set {name!r} returned {type(images).__name__}, not lthpaper.data.Images or files.Files. "
            "lthpaper.data.Images.of(train, test) makes them of two PyTorch data sets."
        )
    return images


@lru_cache(maxsize=4)
def _called(name: str, make: Callable[..., Images | Files], root: Path) -> Images | Files:
    images = _made(name, make, root)
    check(name, card_of(images), images, root)
    return images


def own_source(name: str, root: Path | None = None) -> Source:
    """The Source behind a dotted path. Raises InputError if there is none or its images are unusable."""
    if is_local(name):
        require(name in _local, f"Data set {name!r} was handed over in another process; give it again.")
        return _local[name]
    found = imported(name, "Data set", "name of a Source or a function")
    if isinstance(found, Source):
        _check_card(name, found.card)
        return replace(found, load=partial(_made, name, found.load))
    if not callable(found):
        raise InputError(f"Data set {name!r} is a {type(found).__name__}, not a Source or a function.")
    folder = locations.data_folder(root or locations.CUSTOM_DATA.get(name))
    images = _called(name, found, folder.resolve())
    return Source(card_of(images), lambda root: _called(name, found, root))
