"""Fashion-MNIST (Xiao et al., 2017): 60,000 and 10,000 grey pictures of clothes, 28×28, in ten classes.

Read from the first that exists: torchvision's `FashionMNIST/raw/` below the root, as .gz or unpacked; the
folder that Debian's package dataset-fashion-mnist installs. Debian compresses the files again, so the
unpacked content is checked.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthpaper.data import Card, Images, archives, register
from lthpaper.data.finding import DOWNLOAD, contents, may_download, not_found
from lthpaper.errors import InputError, require
from lthpaper.torchvision_compat import torchvision

CARD = Card(
    num_classes=10,
    channels=1,
    size=28,
    train=60_000,
    test=10_000,
    mean=(0.2860,),
    std=(0.3530,),
    pad=2,
)
_FIRST = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")
CLASSES = (*_FIRST, "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
MD5 = {  # of the unpacked files
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
LARGEST = 16 + 60_000 * 28 * 28  # bytes of the largest of them


def read_idx(path: Path, md5: str) -> Tensor:
    """An IDX file of bytes, gzipped or not -> (N, ...) uint8. Raises InputError if its MD5 differs."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            raw = file.read(LARGEST + 1)  # bounded, since a small file may unpack to any size
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged or half-copied ({error}): replace it.") from error
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    require(
        found == md5,
        f"{path} is not the published file (MD5 of its content {found}, expected {md5}): replace it.",
    )
    # the header: two zeros, the type, the number of dimensions, the dimensions
    start = 4 + 4 * raw[3] if len(raw) > 3 else 0
    shape = struct.unpack(f">{raw[3]}I", raw[4:start]) if 4 < start <= len(raw) else ()
    require(
        bool(shape) and raw[:3] == b"\0\0\x08" and math.prod(shape) == len(raw) - start,
        f"{path} does not hold as many bytes as its header says: replace it.",
    )
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy())


def lacking(folder: Path) -> list[str]:
    """Which of the four files are not in a folder, neither unpacked nor as .gz."""
    return [n for n in MD5 if not ((folder / n).is_file() or (folder / f"{n}.gz").is_file())]


def from_folder(folder: Path, md5: Mapping[str, str] = MD5) -> Images:
    """Read the four files of a folder; an unpacked file is preferred to its .gz. md5: of the unpacked files,
    in the order training images, labels, test images, labels. Raises InputError if one is missing or damaged.
    """
    parts, get = [], f"Put it there or set {DOWNLOAD}=1"
    for name, checksum in md5.items():
        paths = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        require(bool(paths), f"{folder} lacks {name}.gz; it holds {contents(folder)}. {get}.")
        parts.append(read_idx(paths[0], checksum))
    train, train_labels, test, test_labels = parts
    return Images(
        train.unsqueeze(-1), train_labels.long(), test.unsqueeze(-1), test_labels.long(), CLASSES, str(folder)
    )


def download(root: Path) -> None:
    """Download the four published files (31 MB) into FashionMNIST/raw below root."""
    published = torchvision().datasets.FashionMNIST
    for name, md5 in published.resources:
        archives.download(published.mirrors[0] + name, root / "FashionMNIST" / "raw" / name, md5)


@register("fashion-mnist", CARD, download)
def load(root: Path) -> Images:
    """Fashion-MNIST below root, else Debian's."""
    below = root / "FashionMNIST"
    raw = below / "raw"
    # an earlier download may have been interrupted, or another process's be under way
    if may_download() and lacking(raw) and (raw.is_dir() or lacking(DEBIAN)):
        download(root)
    if below.is_dir():
        require(raw.is_dir(), f"{below} holds {contents(below)}; expected the folder raw/ in it.")
        return from_folder(raw)
    if DEBIAN.is_dir():
        return from_folder(DEBIAN)
    raise not_found(
        "fashion-mnist",
        root,
        ("FashionMNIST/raw/*-ubyte.gz", f"{DEBIAN}/"),
        f"install Debian's package dataset-fashion-mnist or set {DOWNLOAD}=1",
    )
