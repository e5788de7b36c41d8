"""Image data sets as class folders: `train/<class>/*.png`, `test/<class>/*.png` (or JPEG)."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from lthpaper.data import Images
from lthpaper.data.decode import SUFFIXES, decode
from lthpaper.data.finding import contents
from lthpaper.errors import InputError, require


def present(folder: Path) -> bool:
    """Whether a folder has this layout, whole or not."""
    return any((folder / part).is_dir() for part in ("train", "test"))


def class_names(folder: Path) -> tuple[str, ...]:
    """The sorted names of the folders in a folder, hidden ones left out."""
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))


def image_files(folder: Path) -> list[Path]:
    """The images of one class, sorted by name. Raises InputError if there are none."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    require(
        bool(files),
        f"{folder} holds {contents(folder)}; expected images ({', '.join(SUFFIXES)}) directly in it.",
    )
    return files


def contents_of(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file, read when asked for. Raises InputError for one that cannot be read."""
    for path in files:
        try:
            yield str(path), path.read_bytes()
        except OSError as error:
            raise InputError(f"The image {path} cannot be read ({error.strerror}).") from error


def read_part(folder: Path, classes: tuple[str, ...], size: int, channels: int) -> tuple[Tensor, Tensor]:
    """Images (N, size, size, channels) uint8 and labels (N,) int64, class after class."""
    files = [image_files(folder / name) for name in classes]
    labels = torch.repeat_interleave(torch.tensor([len(each) for each in files]))
    paths = [path for each in files for path in each]
    return decode(contents_of(paths), len(paths), size, channels), labels


def read(folder: Path, size: int, channels: int) -> Images:
    """Both parts. Raises InputError if one lacks, their classes differ, or an image is damaged."""
    for part in ("train", "test"):
        require((folder / part).is_dir(), f"{folder} has no folder {part}/; it holds {contents(folder)}.")
    classes = class_names(folder / "train")
    require(bool(classes), f"{folder / 'train'} holds {contents(folder / 'train')}; expected class folders.")
    other = set(classes) ^ set(class_names(folder / "test"))
    require(
        not other,
        f"{folder}: train/ and test/ must hold the same classes; only one of them has "
        f"{', '.join(sorted(other)[:4])}.",
    )
    train, train_labels = read_part(folder / "train", classes, size, channels)
    test, test_labels = read_part(folder / "test", classes, size, channels)
    return Images(train, train_labels, test, test_labels, classes, f"class folders in {folder.name}/")
