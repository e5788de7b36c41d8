"""Image data sets as class folders: `train/<class>/*.png`, `test/<class>/*.png` (or `val/`, or JPEG)."""

from pathlib import Path

from lthpaper.data import Images
from lthpaper.data.files import Files, class_folders
from lthpaper.data.finding import contents
from lthpaper.errors import require

TESTS = ("test", "val")  # possible names of the folder of test images; the first that exists is used


def present(folder: Path) -> bool:
    """Whether a folder has this layout, whole or not."""
    return any((folder / part).is_dir() for part in ("train", *TESTS))


def class_names(folder: Path) -> tuple[str, ...]:
    """The sorted names of the folders in a folder, without hidden ones."""
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))


def train_classes(folder: Path) -> tuple[str, ...]:
    """The classes of `folder/train/`, sorted. Raises InputError if there are none."""
    train = folder / "train"
    require(folder.is_dir(), f"{folder} is not a folder; expected train/<class>/ and test/<class>/ in it.")
    require(train.is_dir(), f"{folder} has no folder train/; it holds {contents(folder)}.")
    classes = class_names(train)
    require(bool(classes), f"{train} holds {contents(train)}; expected class folders.")
    return classes


def check_classes(folder: Path, part: str, classes: tuple[str, ...]) -> None:
    """Raise InputError unless the test images in `folder/part/` have the classes of the training images."""
    other = set(classes) ^ set(class_names(folder / part))
    require(
        not other,
        f"{folder}: train/ and {part}/ must hold the same classes; only one of them has "
        f"{', '.join(sorted(other)[:4])}.",
    )


def files(folder: Path) -> Files:
    """Both parts, not read yet; `test/` is preferred to `val/`.

    Raises InputError if a part is missing or empty, or their classes differ.
    """
    classes = train_classes(folder)
    found = [name for name in TESTS if (folder / name).is_dir()]
    require(bool(found), f"{folder} has no folder test/ or val/; it holds {contents(folder)}.")
    check_classes(folder, found[0], classes)
    train, labels = class_folders(folder / "train", classes)
    test, test_labels = class_folders(folder / found[0], classes)
    return Files(train, labels, test, test_labels, classes, f"class folders in {folder.name}/")


def read(folder: Path, size: int, channels: int) -> Images:
    """Both parts, decoded. Raises InputError as `files` does, and if an image is damaged."""
    return files(folder).decoded(size, channels)
