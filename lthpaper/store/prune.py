"""Delete what a store no longer needs, set aside what is damaged: `lthpaper store prune` and `repair`."""

import itertools
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lthpaper.store.check import (
    DAMAGED,
    DONE,
    DRAFT,
    FOREIGN,
    ORPHAN,
    Checked,
    check_store,
    existing,
    names,
)
from lthpaper.store.entry import MASK, SNAPSHOT, WEIGHTS, Damaged, read_result, writing
from lthpaper.store.locks import FOLDER as LOCKS
from lthpaper.store.locks import is_held
from lthpaper.store.merge import leave_out
from lthpaper.store.store import Store

IN_USE = 3600.0  # seconds: a process may still be writing a younger draft


@dataclass(frozen=True)
class Removal:
    """Something to delete, its size in bytes, and why it may be deleted."""

    path: Path
    why: str
    bytes: int


def removals(
    store: Store,
    only: str = "*",
    weights: bool = False,
    snapshots: bool = False,
    entries: bool = False,
    drafts: bool = False,
    orphans: bool = False,
    checkpoints: bool = False,
) -> list[Removal]:
    """What these choices would delete. weights: θT, masks and snapshots; results stay readable.

    checkpoints: of runs whose results are there with their weights, unless a process trains the run again.
    Damaged entries and checkpoints are never included (`repair` sets them aside), nor are drafts younger than
    an hour.
    """
    found = []
    for name in names(existing(store.folder), only):
        folder = store.folder / name
        if entries:
            found.append(Removal(folder, "entry", _size(folder)))
            continue
        for path in sorted(folder.iterdir()) if _is_sound(folder) else ():
            if SNAPSHOT.fullmatch(path.name) and (weights or snapshots):
                found.append(Removal(path, "snapshot", _size(path)))
            elif path.name in (WEIGHTS, MASK) and weights:
                found.append(Removal(path, "weights", _size(path)))
    beside = check_store(store) if drafts or orphans or checkpoints else ()
    gone, locks = {removal.path for removal in found}, store.folder / LOCKS
    for checked in beside:
        if not checked.paths:
            continue
        (path,) = checked.paths
        if checked.status == DRAFT and drafts and time.time() - _newest(path) > IN_USE:
            found.append(Removal(path, DRAFT, _size(path)))
        elif checked.status == DONE and checkpoints and not is_held(locks / f"{path.stem}.lock"):
            found.append(Removal(path, "checkpoint", _size(path)))
        elif checked.status == ORPHAN and orphans and gone.isdisjoint((path, path.parent)):
            found.append(Removal(path, ORPHAN, _size(path)))
    return found


def remove(store: Store, chosen: list[Removal]) -> None:
    """Delete. An entry is renamed before its files are deleted; weights are marked as left out before they
    are, so a kill at any moment leaves a valid store."""
    with writing(store.folder):
        for folder in {removal.path.parent for removal in chosen if removal.why == "weights"}:
            leave_out(folder)
        for removal in chosen:
            with suppress(FileNotFoundError):  # another process was faster
                _delete(store, removal)


def _delete(store: Store, removal: Removal) -> None:
    if removal.why == "entry":
        with store.draft(removal.path.name) as draft, suppress(FileNotFoundError):
            removal.path.rename(draft / "entry")
    elif removal.path.is_dir() and not removal.path.is_symlink():
        shutil.rmtree(removal.path)
    else:
        removal.path.unlink()


def repair(store: Store, foreign: bool = False, dry_run: bool = False) -> list[tuple[Checked, Path | None]]:
    """Move damaged entries and snapshots to `damaged/`, and return where each went.

    foreign: also those that this version cannot read. What the disk does not give now stays. Deletes nothing;
    the runs are trained again when they are needed.
    """
    existing(store.folder)
    wanted = (DAMAGED, FOREIGN) if foreign else (DAMAGED,)
    moved: list[tuple[Checked, Path | None]] = []
    gone: set[Path] = set()
    for checked in check_store(store):  # each is moved as soon as it is checked, before it can change
        if checked.status not in wanted:
            continue
        (path,) = checked.paths
        if gone.isdisjoint((path, path.parent)):
            gone.add(path)
            with writing(store.folder), suppress(FileNotFoundError):  # another process was faster
                moved.append((checked, None if dry_run else store.set_aside(path, "damaged")))
    return moved


def _is_sound(folder: Path) -> bool:
    try:
        read_result(folder)
    except Damaged:
        return False
    return True


def _looks(path: Path) -> Iterator[os.stat_result]:
    """`lstat` of a file, or of a folder and everything below it; what vanishes meanwhile is left out."""
    below = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    for part in itertools.chain([path], below):
        with suppress(FileNotFoundError):
            yield part.lstat()


def _size(path: Path) -> int:
    return sum(look.st_size for look in _looks(path) if not stat.S_ISDIR(look.st_mode))


def _newest(path: Path) -> float:
    return max((look.st_mtime for look in _looks(path)), default=0.0)
