"""ImageNet-1K (Russakovsky et al., 2015): 1,281,167 and 50,000 photographs of any size in 1000 classes.

Looked for below the root in this order; the first that exists is read:
1. class folders, as torchvision prepares them: `imagenet/train/<wnid>/*.JPEG`, `imagenet/val/<wnid>/*.JPEG`;
   or the published flat `imagenet/val/*.JPEG`, with the labels of the development kit;
2. the Hugging Face hub's parquet files: `imagenet/train-*.parquet`, `imagenet/validation-*.parquet`, or the
   same in `imagenet/data/`;
3. WebDataset's tar files: `imagenet/*train*.tar`, `imagenet/*val*.tar`.

Classes are numbered in the order of their sorted wnids, as by torchvision and the hub. The published test
images have no labels; the validation set is our test set.
"""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lthpaper.data import archives, parquet, register, tars
from lthpaper.data.files import Files, Paths, class_folders, listed
from lthpaper.data.finding import contents, not_found
from lthpaper.data.folders import check_classes, class_names, train_classes
from lthpaper.data.own import PHOTOGRAPHS
from lthpaper.errors import InputError, require
from lthpaper.torchvision_compat import torchvision

CARD = replace(PHOTOGRAPHS, num_classes=1000, train=1_281_167, test=50_000)
KIT = "ILSVRC2012_devkit_t12"


def from_folders(folder: Path) -> Files:
    """`train/<wnid>/` and `val/`, with any number of classes and images. Raises InputError."""
    classes = train_classes(folder)
    val = folder / "val"
    require(val.is_dir(), f"{folder} has no folder val/; it holds {contents(folder)}.")
    inner = [name for name in (folder.name, "train", "val") if name in (*classes, *class_names(val))]
    require(not inner, f"{folder}: train/ or val/ holds another {', '.join(inner)}: move the inner one up.")
    if class_names(val):
        check_classes(folder, "val", classes)
        test = class_folders(val, classes)
    else:
        test = _flat(folder, val, classes)
    return Files(
        *class_folders(folder / "train", classes), *test, classes, f"class folders in {folder.name}/"
    )


def _flat(folder: Path, val: Path, classes: Sequence[str]) -> tuple[Paths, Tensor]:
    """The published validation images, sorted into the order of class folders. Raises InputError."""
    found = listed(val)
    labels = [classes.index(wnid) for wnid in _wnids(folder, set(classes))]
    require(
        len(found) == len(labels),
        f"{val} holds {len(found)} images, and the development kit has labels of {len(labels)}: the copy is "
        "incomplete.",
    )
    order = sorted(range(len(found)), key=lambda i: (labels[i], found[i]))
    names, sizes = zip(*(found[i] for i in order), strict=True)
    return Paths(val, names, sizes), torch.tensor([labels[i] for i in order], dtype=torch.int64)


def _wnids(folder: Path, classes: set[str]) -> list[str]:
    """The class of each validation image, in the order of their names, from the development kit."""
    from scipy.io import loadmat  # here, since the import takes a second

    archive = folder / f"{KIT}.tar.gz"
    require(
        archive.is_file(),
        f"{folder / 'val'} has no class folders: put {archive.name} (2.5 MB, from where the images are) into "
        f"{folder}, whose labels are then read, or sort the images into val/<wnid>/.",
    )
    archives.check(archive, _published())
    try:
        with tarfile.open(archive, "r:gz") as tar:
            truth = archives.open_member(tar, f"{KIT}/data/ILSVRC2012_validation_ground_truth.txt").read()
            synsets = loadmat(io.BytesIO(archives.open_member(tar, f"{KIT}/data/meta.mat").read()))["synsets"]
        wnid = {int(row["ILSVRC2012_ID"].item()): str(row["WNID"].item()) for row in synsets.flat}
        labels = [wnid[int(line)] for line in truth.split()]
    except (OSError, EOFError, tarfile.TarError, KeyError, ValueError) as error:
        raise InputError(f"{archive} cannot be read ({error!r}): download it again.") from error
    require(
        set(labels) == classes,
        f"{folder / 'train'} does not have the {len(set(labels))} classes of the development kit: the copy "
        "is incomplete.",
    )
    return labels


def _published() -> str:
    return torchvision().datasets.imagenet.ARCHIVE_META["devkit"][1]


def from_parquet(folder: Path) -> Files:
    """The hub's shards. Raises InputError."""
    test = "val" if any(folder.glob("val-*.parquet")) else "validation"
    return parquet.files(folder, test)


def from_tars(folder: Path) -> Files:
    """WebDataset's shards. Raises InputError."""
    train, labels = tars.read(_shards(folder, "*train*.tar"))
    test, test_labels = tars.read(_shards(folder, "*val*.tar"))
    classes = tuple(str(i) for i in range(int(labels.max()) + 1))  # their names are not known
    return Files(train, labels, test, test_labels, classes, f"tar files in {folder.name}/")


def _shards(folder: Path, pattern: str) -> list[Path]:
    shards = sorted(folder.glob(pattern))
    require(bool(shards), f"{folder} has no files {pattern}; it holds {contents(folder)}.")
    return shards


@register("imagenet", CARD)
def load(root: Path) -> Files:
    """ImageNet below root, in any of the layouts above; no image is read yet."""
    folder = root / "imagenet"
    if (folder / "train").is_dir() or (folder / "val").is_dir():
        return from_folders(folder)
    stored = parquet.home((folder, folder / "data"))
    if stored is not None:
        return from_parquet(stored)
    if any(folder.glob("*train*.tar")) and not (folder / "ILSVRC2012_img_train.tar").exists():
        return from_tars(folder)
    if folder.is_dir():
        published = (folder / "ILSVRC2012_img_train.tar").exists()
        raise InputError(
            f"{folder} holds {contents(folder)}; expected train/<wnid>/ and val/<wnid>/, train-*.parquet and "
            "validation-*.parquet, or tar files of shards."
            + (" torchvision.datasets.ImageNet unpacks the published archives." if published else "")
        )
    raise not_found(
        "imagenet",
        root,
        ("imagenet/train/<wnid>/*.JPEG", "imagenet/*.parquet", "imagenet/*.tar"),
        "register at image-net.org and put one of these there",
    )
