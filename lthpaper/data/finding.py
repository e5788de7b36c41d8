"""The error for a data set that is not where it is looked for: what was tried, and how to get it."""

import os
from collections.abc import Sequence
from pathlib import Path

from lthpaper.errors import InputError

DOWNLOAD = "LTHPAPER_DOWNLOAD"


def may_download() -> bool:
    """Whether the environment allows downloads: LTHPAPER_DOWNLOAD=1."""
    return os.environ.get(DOWNLOAD) == "1"


def contents(folder: Path) -> str:
    """The first names in a folder, for a message."""
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "") if names else "nothing"


def misplaced(root: Path, names: Sequence[str]) -> Path | None:
    """A file or folder with one of these names that lies up to two folders too deep, or is `root` itself."""
    for name in names:
        if root.name == name:
            return root
        for pattern in (f"*/{name}", f"*/*/{name}"):
            found = next(iter(sorted(root.glob(pattern))), None)
            if found is not None:
                return found
    return None


def not_found(name: str, root: Path, places: Sequence[str], get: str) -> InputError:
    """The error for a data set of which nothing lies in any of `places` (relative to root, or absolute).

    get: what to do, a clause beginning with a verb.
    """
    below = [place for place in places if not place.startswith("/")]
    also = "".join(f" and for {place}" for place in places if place.startswith("/"))
    where = f"{name} was not found: looked for {'; '.join(below)} below {root}{also}"
    if not root.is_dir():
        return InputError(f"{where}. {root} is not a folder: name another with --data, or {get}.")
    elsewhere = misplaced(root, [place.split("/")[0] for place in below])
    if elsewhere == root:
        return InputError(f"{where}. That folder is {name} itself: name the folder above it.")
    if elsewhere is not None:
        return InputError(f"{where}. There is {elsewhere}: move it up into {root}.")
    return InputError(f"{where}. To get it, {get}; data/README.md has the details.")
