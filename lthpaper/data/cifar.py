"""CIFAR-10 and CIFAR-100 are read from one of three layouts, looked for in this order:

1. torchvision's: `cifar-10-batches-py/`, or `cifar-10-python.tar.gz`, which is then unpacked beside itself;
2. the Hugging Face hub's parquet files: `cifar10/*.parquet`, or one folder deeper (`plain_text/`);
3. class folders: `cifar10/train/<class>/*.png`, `cifar10/test/<class>/*.png`.

The first that exists is read; if it is damaged, that is an error, and the next is not tried.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lthpaper.data import Card, Images, archives, folders, parquet
from lthpaper.data.finding import DOWNLOAD, contents, may_download, not_found
from lthpaper.errors import InputError, require
from lthpaper.torchvision_compat import torchvision


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets. batches, archive: torchvision's names. label: the parquet column."""

    name: str
    card: Card
    classes: tuple[str, ...]
    torchvision_name: str
    batches: str
    archive: str
    label: str
    parquet_folder: str  # the hub's name for the configuration, a folder in some copies


def vision_class(cifar: Cifar) -> Any:
    """torchvision's class, which carries the published checksums."""
    return getattr(torchvision().datasets, cifar.torchvision_name)


def _files(vision: Any) -> dict[str, str]:
    """Name and MD5 of every file that torchvision unpickles."""
    return dict(vision.train_list + vision.test_list) | {vision.meta["filename"]: vision.meta["md5"]}


def download(root: Path, vision: Any) -> None:
    """Download and unpack the published archive, unless the unpacked folder exists."""
    if not (root / vision.base_folder).exists():
        archives.download(vision.url, root / vision.filename, vision.tgz_md5)
        archives.extract(root / vision.filename, vision.tgz_md5, vision.base_folder, _files(vision))


def check_batches(folder: Path, vision: Any) -> None:
    """Raise InputError unless every file has its published MD5. Only then may it be unpickled."""
    again = f"Remove {folder} and unpack {vision.filename} again"
    require(folder.is_dir(), f"{folder} is not a folder. {again}.")
    require(
        not (folder / folder.name).is_dir(),
        f"{folder} holds another {folder.name}: move the inner folder in place of the outer one.",
    )
    absent = [name for name in _files(vision) if not (folder / name).is_file()]
    require(not absent, f"{folder} lacks {', '.join(absent[:3])} and holds {contents(folder)}. {again}.")
    damaged = [name for name, md5 in _files(vision).items() if archives.md5(folder / name) != md5]
    require(
        not damaged,
        f"{folder}: {', '.join(damaged[:3])} is not the published file (its MD5 differs: half-copied or "
        f"altered). {again}.",
    )


def from_batches(root: Path, vision: Any) -> Images:
    """torchvision's layout. The batches are pickles: checked against the published MD5s first."""
    if not (root / vision.base_folder).exists():
        archives.extract(root / vision.filename, vision.tgz_md5, vision.base_folder, _files(vision))
    check_batches(root / vision.base_folder, vision)
    with warnings.catch_warnings():
        # The published pickles hold two booleans as 0 and 1; NumPy 2.4.0 to 2.4.4 warn about that.
        warnings.filterwarnings("ignore", r"dtype\(\): align", np.exceptions.VisibleDeprecationWarning)
        train, test = (vision(str(root), train=part) for part in (True, False))
    return Images(
        torch.from_numpy(np.ascontiguousarray(train.data)),
        torch.tensor(train.targets, dtype=torch.int64),
        torch.from_numpy(np.ascontiguousarray(test.data)),
        torch.tensor(test.targets, dtype=torch.int64),
        tuple(train.classes),
        f"torchvision's batches in {vision.base_folder}/",
    )


def load(root: Path, cifar: Cifar) -> Images:
    """The images below root, from the first layout that exists.

    Raises InputError if there is none, or the copy found is incomplete, damaged or of another layout.
    """
    if (root / cifar.batches).exists() or (root / cifar.archive).exists():
        return from_batches(root, vision_class(cifar))
    card, folder = cifar.card, root / cifar.name
    stored = parquet.home((folder, folder / cifar.parquet_folder))
    if stored is not None:
        found = parquet.files(stored, "test", "img", cifar.label, cifar.classes, most=card.train)
        return found.decoded(card.size, card.channels)
    if folders.present(folder):
        return folders.read(folder, card.size, card.channels)
    if may_download():
        download(root, vision_class(cifar))
        return from_batches(root, vision_class(cifar))
    if folder.is_dir():
        raise InputError(
            f"{folder} holds {contents(folder)}; expected train-*.parquet and test-*.parquet, or "
            "train/<class>/ and test/<class>/ with images."
        )
    raise not_found(
        cifar.name,
        root,
        (
            f"{cifar.batches}/",
            cifar.archive,
            f"{cifar.name}/*.parquet",
            f"{cifar.name}/train/<class>/*.png",
        ),
        f"set {DOWNLOAD}=1 or put one of these there",
    )
