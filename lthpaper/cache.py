"""What took long to find out, kept in the user's cache folder. Losing it only costs time."""

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
# what numpy raises on files that are damaged
NO_ARRAYS = (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, MemoryError, RuntimeError)
NO_ARRAYS += (zipfile.BadZipFile, zlib.error, struct.error)


def place(name: str) -> Path:
    """Where a file of this name is remembered: below XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lthpaper" / name


def keep(file: Path, write: Callable[[Path], object]) -> None:
    """A whole file or none, as `write` makes it; none where the home cannot be written."""
    draft = file.with_suffix(f".{os.getpid()}.part")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write(draft)
        draft.replace(file)


def arrays(what: str, about: str, make: Callable[[], Arrays]) -> Arrays:
    """`make()`, or what it gave the last time for the same `about`."""
    file = place(f"{what}-{hashlib.sha256(about.encode()).hexdigest()[:32]}.npz")
    with suppress(*NO_ARRAYS), open(file, "rb") as opened, np.load(opened) as known:
        return {name: known[name] for name in known.files}
    found = make()

    def write(path: Path) -> None:
        with open(path, "wb") as target:
            np.savez(target, **found)

    keep(file, write)
    return found
