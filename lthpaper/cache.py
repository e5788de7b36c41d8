"""Results of slow computations, kept in the user's cache folder. Deleting it only costs time."""

import hashlib
import json
import os
import struct
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
# what numpy raises on damaged files
NO_ARRAYS = (
    *(OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def place(name: str) -> Path:
    """The path of a cached file: below XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lthpaper" / name


def keep(file: Path, write: Callable[[Path], object]) -> None:
    """Keep the file that `write` makes, whole or not at all; skipped if the folder cannot be written."""
    draft = file.with_suffix(f".{uuid.uuid4().hex[:8]}.part")  # the folder may be shared by machines
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(draft)
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


def document(file: Path) -> dict[str, Any]:
    """The JSON object of a file; an empty one if it is missing or damaged, since it is only a cache."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keep_document(file: Path, content: Mapping[str, Any]) -> None:
    """Keep a JSON object in the place of an earlier one."""
    text = json.dumps(content, indent=1)
    keep(file, lambda draft: draft.write_text(text))


def arrays(what: str, about: str, make: Callable[[], Arrays]) -> Arrays:
    """`make()`, or what it returned last time for the same `about`."""
    file = place(f"{what}-{hashlib.sha256(about.encode()).hexdigest()[:32]}.npz")
    with suppress(*NO_ARRAYS), open(file, "rb") as opened, np.load(opened) as known:
        return {name: known[name] for name in known.files}
    found = make()
    values: dict[str, Any] = {**found}  # as keywords of savez, one of which is a bool

    def write(path: Path) -> None:
        with open(path, "wb") as target:
            np.savez(target, **values)

    keep(file, write)
    return found
