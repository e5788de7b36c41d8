"""Tiny-ImageNet: 100,000 training and 10,000 validation photographs of 64×64 in 200 classes.

Its own layout below the root: `tiny-imagenet-200/train/<wnid>/images/*.JPEG`, `val/images/*.JPEG` and
`val/val_annotations.txt`. The published test images have no labels; the validation set is our test set.
"""

from pathlib import Path

import torch
from torch import Tensor

from lthpaper.data import Card, register
from lthpaper.data.files import Files, Paths, class_folders, listed
from lthpaper.data.finding import contents, not_found
from lthpaper.data.folders import class_names
from lthpaper.errors import InputError, require

CARD = Card(
    num_classes=200,
    channels=3,
    size=64,
    train=100_000,
    test=10_000,
    mean=(0.4802, 0.4481, 0.3975),
    std=(0.2770, 0.2691, 0.2821),
)
FOLDER = "tiny-imagenet-200"
ZIP = f"{FOLDER}.zip"


def _train(folder: Path, classes: tuple[str, ...]) -> tuple[Paths, Tensor]:
    for wnid in classes:
        require(
            (folder / wnid / "images").is_dir(),
            f"{folder / wnid} holds {contents(folder / wnid)}; expected the folder images/.",
        )
    return class_folders(folder, classes, "images")


def _annotations(path: Path, classes: tuple[str, ...]) -> dict[str, int]:
    """File name -> label, from lines of file, wnid and a box, separated by tabs."""
    number = {wnid: i for i, wnid in enumerate(classes)}
    labels: dict[str, int] = {}
    for i, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in number or Path(name).name != name or name in labels:
            raise InputError(
                f"Line {i} of {path} is {line[:60]!r}; expected a new file name, a tab and one of the "
                f"{len(classes)} classes in train/."
            )
        labels[name] = number[wnid]
    return labels


def _validation(folder: Path, classes: tuple[str, ...]) -> tuple[Paths, Tensor]:
    notes, images = folder / "val_annotations.txt", folder / "images"
    require(
        notes.is_file() and images.is_dir(),
        f"{folder} holds {contents(folder) if folder.is_dir() else 'nothing'}; expected images/ and "
        f"val_annotations.txt as published (not sorted into classes). Unpack {ZIP} again.",
    )
    labels = _annotations(notes, classes)
    sizes = dict(listed(images))
    unmatched = labels.keys() ^ sizes.keys()
    require(
        not unmatched,
        f"{images} and {notes.name} do not match: {len(unmatched)} files are in one only, such as "
        f"{min(unmatched, default='')}. Unpack {ZIP} again.",
    )
    names = sorted(labels)
    return Paths(images, names, [sizes[name] for name in names]), torch.tensor([labels[n] for n in names])


def read(folder: Path) -> Files:
    """A folder in the published layout, with any number of images and classes; no image is read yet.

    Raises InputError if something is missing or does not match.
    """
    inner = folder / folder.name
    require(not inner.is_dir(), f"{folder} holds another {folder.name}: move the inner folder up.")
    train = folder / "train"
    classes = class_names(train) if train.is_dir() else ()
    require(
        bool(classes),
        f"{folder} holds {contents(folder)}; expected train/<wnid>/images/ and val/. Unpack {ZIP} again.",
    )
    test, test_labels = _validation(folder / "val", classes)  # first, since it finds a bad copy sooner
    images, labels = _train(train, classes)
    return Files(images, labels, test, test_labels, classes, f"{folder.name}/")


@register("tiny-imagenet", CARD)
def load(root: Path) -> Files:
    """Tiny-ImageNet below root."""
    if (root / FOLDER).is_dir():
        return read(root / FOLDER)
    get = f"unzip {root / ZIP}" if (root / ZIP).exists() else f"download {ZIP} and unzip it there"
    raise not_found("tiny-imagenet", root, (f"{FOLDER}/",), get)
