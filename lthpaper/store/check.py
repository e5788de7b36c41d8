"""Check a store: every file of every entry against its checksum and its digest. Changes nothing.

A stranger's store is trusted as far as checksums and digests go. Names in it are never imported, and paths
and links in it are not followed: only the files that an entry may have are read, by their names.
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthpaper import networks
from lthpaper.errors import require
from lthpaper.runs.digest import digest as digest_of
from lthpaper.runs.masks import Mask
from lthpaper.runs.run import Run, from_json
from lthpaper.store import checkpoints
from lthpaper.store.entry import (
    ENTRY,
    MASK,
    NO_TENSORS,
    RESULT,
    RUN,
    SNAPSHOT,
    WEIGHTS,
    Damaged,
    NewerFormat,
    Unreadable,
    damaged,
    left_out,
    load_mask,
    load_weights,
    mode,
    read_json,
    read_result,
    verified,
)
from lthpaper.store.store import Store
from lthpaper.training.result import Weights

GOOD, LEAN, FOREIGN, DAMAGED = "good", "weights left out", "foreign", "damaged"  # entries
UNREADABLE = "unreadable"  # the disk or the network does not give it now; it may be whole
DRAFT, ORPHAN = "draft", "orphan"  # left by a killed process; a file that belongs to no run
CHECKPOINT, DONE = "checkpoint", "done"  # of a run under way; of one whose result is here


@dataclass(frozen=True)
class Checked:
    """An entry, or a file beside the entries, and what is wrong with it."""

    name: str
    status: str
    what: str = ""
    paths: tuple[Path, ...] = ()  # that are damaged, unreadable, foreign, a draft or an orphan


def existing(folder: Path) -> Path:
    """The folder. Raises InputError if it does not exist."""
    require(
        folder.is_dir(),
        f"There is no store {folder}: name a folder of results, or let `lthpaper run` make one.",
    )
    return folder


def names(folder: Path, only: str = "*") -> list[str]:
    """Names of a store's entries that match a pattern (`resnet20-*`), sorted."""
    if not folder.exists():
        return []
    return sorted(
        p.name for p in folder.iterdir() if ENTRY.fullmatch(p.name) and fnmatch.fnmatchcase(p.name, only)
    )


# --- check ---


def check_store(store: Store) -> Iterator[Checked]:
    """Every entry of the store itself, then checkpoints, drafts and orphans. Reads every file."""
    folder = store.folder
    there = names(folder)
    for name in there:
        yield from check(folder / name)
    there += names(store.published) if store.published else []
    places = [place for place in (folder, store.published) if place]
    yield from check_checkpoints(folder / checkpoints.FOLDER, places)
    for path in sorted(folder.glob(".draft-*")):
        yield Checked(path.name, DRAFT, "left by a killed process, or in use by a running one", (path,))
    for path in sorted(folder.glob("surfaces/*.npz")):
        digest = path.name[:16]
        here = any(name.endswith(digest) for name in there)
        if not here and not (store.published and digest in store.tables):
            yield Checked(
                f"surfaces/{path.name}", ORPHAN, "the loss surface of a run that is not here", (path,)
            )


def check_checkpoints(folder: Path, places: Iterable[Path]) -> Iterator[Checked]:
    """The checkpoints of runs; places: of entries. Where one has its weights, the checkpoint is no longer
    needed; where they were left out, the run may be trained again for them."""
    for path in _inside(folder):
        name, run = f"{folder.name}/{path.name}", path.stem
        if path.suffix == ".part":
            yield Checked(
                name, DRAFT, "of a checkpoint, left by a killed process or in use by a running one", (path,)
            )
        elif os.path.isdir(path):  # False, too, of what cannot be looked at: who reads it says so
            for kept in _inside(path):
                yield Checked(f"{name}/{kept.name}", ORPHAN, "a checkpoint that was set aside", (kept,))
        elif fault := _checkpoint_fault(path):
            if os.path.lexists(path):  # else its run has just finished
                yield Checked(name, *fault, (path,))
        elif (entry := next((p / run for p in places if (p / run).exists()), None)) and _has_weights(entry):
            yield Checked(name, DONE, "the checkpoint of a run that is here", (path,))
        else:
            yield Checked(name, CHECKPOINT, "of a run under way", (path,))


def _has_weights(entry: Path) -> bool:
    try:
        return not left_out(entry, read_result(entry))
    except Damaged:
        return False


def _checkpoint_fault(path: Path) -> tuple[str, str] | None:
    """(status, what) of a checkpoint that cannot be used, as `Checkpoints.load` tells them apart."""
    try:
        described, _ = checkpoints.read(path)
    except Damaged as error:
        return _status(error), error.how
    except (OSError, MemoryError) as error:
        return UNREADABLE, f"cannot be read now ({error})"
    except NO_TENSORS as error:
        return DAMAGED, f"cannot be read ({error})"
    return None if path.stem.endswith(f"-{described['digest']}") else (DAMAGED, "is of another run")


def _status(error: Damaged) -> str:
    if isinstance(error, Unreadable):
        return UNREADABLE
    return FOREIGN if isinstance(error, NewerFormat) else DAMAGED


def check(folder: Path, name: str = "") -> Iterator[Checked]:
    """One entry, then its damaged snapshots and the files that do not belong to an entry. name: of the entry,
    if it is not the folder's.

    Yields nothing for an entry that another process sets aside or deletes meanwhile.
    """
    name = name or folder.name
    try:
        found = Checked(name, *_check_entry(folder, name))
    except Damaged as error:
        what = error.how if error.path == folder else f"{error.path.name} {error.how}"
        found = Checked(name, _status(error), what, (folder,))
    if _is_gone(folder):
        return
    yield found
    for path in _inside(folder):
        if SNAPSHOT.fullmatch(path.name):
            try:
                load_weights(verified(path, {}))
            except Damaged as error:
                yield Checked(name, _status(error), f"{path.name} {error.how}", (path,))
        elif path.name not in (RESULT, RUN, WEIGHTS, MASK):
            yield Checked(f"{name}/{path.name}", ORPHAN, "does not belong to an entry", (path,))


def _is_gone(folder: Path) -> bool:
    try:
        return mode(folder) is None
    except Unreadable:
        return False


def _inside(folder: Path) -> list[Path]:
    try:
        return [] if folder.is_symlink() else sorted(folder.iterdir())
    except OSError:  # a file with an entry's name, or one that has just been removed
        return []


def _check_entry(folder: Path, name: str) -> tuple[Any, ...]:
    result = read_result(folder)
    files = result["files"]
    if not {RUN, WEIGHTS} <= set(files) <= {RUN, WEIGHTS, MASK}:
        raise damaged(folder / RESULT, "lists other files than an entry has")
    document = read_json(verified(folder / RUN, files))
    if fault := _description_fault(document, name):
        raise damaged(folder / RUN, fault)
    gone = left_out(folder, result)
    weights = None if WEIGHTS in gone else load_weights(verified(folder / WEIGHTS, files))
    mask = None if MASK in gone or MASK not in files else load_mask(folder, files)
    run, foreign = _readable_here(document, name)
    if foreign:
        return FOREIGN, foreign, (folder,)
    if run is not None:
        _check_fit(folder, run, weights, mask)
    return (LEAN, f"{', '.join(gone)} left out") if gone else (GOOD,)


def _description_fault(document: dict[str, Any], name: str) -> str:
    """What is wrong with a description by its own digests; "" if nothing is."""
    try:
        for digest, described in document["runs"].items():
            if digest_of(described) != digest:
                return f"describes {digest_of(described)} under the name {digest}"
        if document["digest"] not in document["runs"]:
            return "does not describe its run"
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return "is not the description of a run"
    return "" if name.endswith(f"-{document['digest']}") else f"holds the run {document['digest']}"


def _readable_here(document: dict[str, Any], name: str) -> tuple[Run | None, str]:
    """The run of a valid description, or why this version cannot read it.

    Neither for custom networks and data sets, since looking up their names would import their modules.
    """
    try:
        tasks = [described["task"] for described in document["runs"].values()]
        if any(":" in str(task[what]) for task in tasks for what in ("network", "data")):
            return None, ""
        run = from_json(document)
    except Exception as error:  # a stranger's description may make the code that reads it fail in any way
        return None, f"describes what this version of lthpaper does not know: {str(error)[:300]}"
    return (run, "") if run.name == name else (None, f"should be named {run.name}")


def _check_fit(folder: Path, run: Run, weights: Weights | None, mask: Mask | None) -> None:
    """Raise Damaged unless weights and mask have the names and shapes of the run's network."""
    task = run.task
    if weights is not None:
        expected = {n: t.shape for n, t in networks.skeleton(**task.shape).state_dict().items()}
        if {n: t.shape for n, t in weights.items()} != expected:
            raise damaged(folder / WEIGHTS, f"holds no weights of a {task.network}")
    if mask is not None and {n: m.numel() for n, m in mask.items()} != task.prunable_weights:
        raise damaged(folder / MASK, f"is no mask of a {task.network}")
