"""A store as a whole: checked, merged, exported, pruned, damaged entries set aside. Trains nothing.

What a stranger's store says is believed as far as checksums and digests go. Names in it are looked up by
no import, paths in it are not followed: only the files that an entry may have are read, under their names.
"""

import fnmatch
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lthpaper import canonical
from lthpaper.errors import require
from lthpaper.runs import from_json
from lthpaper.store import (
    ENTRY,
    MASK,
    NOT_AS_WRITTEN,
    RESULT,
    RUN,
    SNAPSHOT,
    WEIGHTS,
    Damaged,
    NewerFormat,
    Store,
    checksum,
    damaged,
    file_checksum,
    left_out,
    load_mask,
    load_weights,
    read_json,
    read_result,
    sync,
    verified,
    write_json,
    writing,
)

GOOD, LEAN, FOREIGN, DAMAGED = "good", "weights left out", "foreign", "damaged"  # entries
DRAFT, ORPHAN = "draft", "orphan"  # what a killed process left; a file that belongs to no run
ADDED, COMPLETED, THERE, CONFLICT, REFUSED = "added", "completed", "there", "conflict", "refused"
SAME = ("curves", "kept", "sparsity", "fingerprint")  # besides the checksums of weights and mask
IN_USE = 3600.0  # seconds: a younger draft may be one that a process is writing


@dataclass(frozen=True)
class Checked:
    """An entry, or what lies beside entries, and what is the matter with it."""

    name: str
    status: str
    what: str = ""
    paths: tuple[Path, ...] = ()  # that are damaged, foreign, a draft or an orphan


@dataclass(frozen=True)
class Brought:
    """What became of an entry of another store."""

    name: str
    outcome: str
    what: str = ""


@dataclass(frozen=True)
class Removal:
    """Something to delete, its bytes, and why it may go."""

    path: Path
    why: str
    bytes: int


def existing(folder: Path) -> Path:
    """The folder. Raises InputError if it is not there."""
    require(folder.is_dir(), f"There is no store {folder}; name a folder of results, as with --store.")
    return folder


def names(folder: Path, only: str = "*") -> list[str]:
    """Names of a store's entries that fit a pattern (`resnet20-*`), sorted."""
    if not folder.exists():
        return []
    return sorted(
        p.name for p in folder.iterdir() if ENTRY.fullmatch(p.name) and fnmatch.fnmatchcase(p.name, only)
    )


# --- check ---


def check_store(store: Store) -> Iterator[Checked]:
    """Every entry of the store itself, then drafts and orphans. Reads every file."""
    folder = store.folder
    there = names(folder)
    for name in there:
        yield from check(folder / name)
    there += names(store.published) if store.published else []
    for path in sorted(folder.glob(".draft-*")):
        yield Checked(path.name, DRAFT, "left by a process that was killed, or one at work", (path,))
    for path in sorted(folder.glob("surfaces/*.npz")):
        if not any(name.endswith(path.name[:16]) for name in there):
            yield Checked(
                f"surfaces/{path.name}", ORPHAN, "the loss surface of a run that is not here", (path,)
            )


def check(folder: Path, name: str = "") -> Iterator[Checked]:
    """One entry, then its damaged snapshots and files that no entry has. name: if not the folder's."""
    name = name or folder.name
    try:
        yield Checked(name, *_check_entry(folder, name))
    except NewerFormat as error:
        yield Checked(name, FOREIGN, error.how, (folder,))
    except Damaged as error:
        yield Checked(name, DAMAGED, f"{error.path.name} {error.how}", (folder,))
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        match = SNAPSHOT.fullmatch(path.name)
        if match and not _begins_with(path, match[2]):
            yield Checked(name, DAMAGED, f"{path.name} {NOT_AS_WRITTEN}", (path,))
        elif not match and path.name not in (RESULT, RUN, WEIGHTS, MASK):
            yield Checked(f"{name}/{path.name}", ORPHAN, "no file of an entry", (path,))


def _begins_with(path: Path, start: str) -> bool:
    """Whether a file can be read and its checksum begins so."""
    try:
        return path.is_file() and file_checksum(path).startswith(start)
    except OSError:
        return False


def _check_entry(folder: Path, name: str) -> tuple[Any, ...]:
    for file in (RESULT, RUN, WEIGHTS, MASK):
        if (folder / file).exists() and not (folder / file).is_file():
            raise damaged(folder / file, "is not a file")
    if not (folder / RESULT).is_file():
        raise damaged(folder, f"has no {RESULT}")
    result = read_result(folder)
    files = result["files"]
    if not {RUN, WEIGHTS} <= set(files) <= {RUN, WEIGHTS, MASK}:
        raise damaged(folder / RESULT, "lists other files than an entry has")
    document = read_json(verified(folder / RUN, files))
    if fault := _description_fault(document, name):
        raise damaged(folder / RUN, fault)
    gone = left_out(folder, result)
    if WEIGHTS not in gone:
        load_weights(verified(folder / WEIGHTS, files))
    if MASK in files and MASK not in gone:
        load_mask(folder, files)
    if foreign := _not_readable_here(document, name):
        return FOREIGN, foreign, (folder,)
    return (LEAN, f"{', '.join(gone)} left out") if gone else (GOOD,)


def _description_fault(document: dict[str, Any], name: str) -> str:
    """What is wrong with a description by its own digests; "" if nothing is."""
    try:
        for digest, described in document["runs"].items():
            if canonical.digest(described) != digest:
                return f"describes {canonical.digest(described)} under the name {digest}"
        if document["digest"] not in document["runs"]:
            return "does not describe its run"
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return "is not the description of a run"
    return "" if name.endswith(f"-{document['digest']}") else f"holds the run {document['digest']}"


def _not_readable_here(document: dict[str, Any], name: str) -> str:
    """Why this version makes no run of a sound description; "" if it does.

    Networks and data sets of one's own are not tried: reading their names would import their modules.
    """
    try:
        tasks = [described["task"] for described in document["runs"].values()]
        if any(":" in str(task[what]) for task in tasks for what in ("network", "data")):
            return ""
        run = from_json(document)
    except Exception as error:  # whatever a stranger's description does to the code that reads it
        return f"describes what this version of lthpaper does not know: {error}"
    return "" if run.name == name else f"should be named {run.name}"


# --- merge and export ---


def bring(
    source: Path, target: Store, only: str = "*", weights: bool = True, dry_run: bool = False
) -> Iterator[Brought]:
    """Copy what `target` lacks from `source`, entry by entry, whole or not at all. Overwrites nothing.

    weights: False copies descriptions and results only, and marks them so. Raises InputError if either
    is no folder or both are one, Unwritable if the target cannot be written.
    """
    existing(source)
    require(
        source.resolve() != target.folder.resolve(),
        f"{source} and {target.folder} are the same folder; name the store of another place.",
    )
    for name in names(source, only):
        yield _bring(source / name, target, weights, dry_run)


def _bring(entry: Path, target: Store, weights: bool, dry_run: bool) -> Brought:
    name, final = entry.name, target.folder / entry.name
    for place, where in ((entry, "there"), (final, "here")):
        faults = [c for c in check(place) if c.status in (DAMAGED, FOREIGN)] if place.exists() else []
        if faults:
            return Brought(name, REFUSED, f"{where}: {'; '.join(c.what for c in faults)}")
    if final.exists():
        return _complete(entry, final, target, weights, dry_run)
    if dry_run:
        return Brought(name, ADDED)
    with target.draft(name) as draft:
        _copy(entry, draft, [p.name for p in entry.iterdir() if weights or p.name in (RESULT, RUN)])
        if not weights:
            leave_out(draft)
        faults = [c for c in check(draft, name) if c.status == DAMAGED]
        if faults:  # it changed, or the disk lies
            return Brought(name, REFUSED, f"while it was copied: {'; '.join(c.what for c in faults)}")
        sync(draft)
        try:
            draft.rename(final)
        except OSError:
            if not final.exists():
                raise
            return _complete(entry, final, target, weights, dry_run)  # another process was faster
    return Brought(name, ADDED)


def _complete(entry: Path, final: Path, target: Store, weights: bool, dry_run: bool) -> Brought:
    """Add weights and snapshots to an entry that has the same content; say so where it has not."""
    here, there = read_result(final), read_result(entry)
    if any(here[key] != there[key] for key in SAME) or not _same_bits(final, here, entry, there):
        return Brought(entry.name, CONFLICT, f"here {_about(here)}; there {_about(there)}")
    lacking = []
    if weights:
        gone = left_out(entry, there)
        lacking = [name for name in left_out(final, here) if name not in gone]
        if not gone:
            kept = {p.name[:11] for p in final.glob("epoch-*")}  # by epoch
            lacking += sorted(p.name for p in entry.glob("epoch-*") if p.name[:11] not in kept)
    if not lacking:
        return Brought(entry.name, THERE)
    if not dry_run:
        with target.draft(entry.name) as draft:
            _copy(entry, draft, lacking)
            for path in draft.iterdir():
                match = SNAPSHOT.fullmatch(path.name)
                wanted = match[2] if match else here["files"][path.name]
                if not _begins_with(path, wanted):
                    return Brought(entry.name, REFUSED, f"while it was copied: {path.name} {NOT_AS_WRITTEN}")
            sync(draft)
            for file in lacking:
                (draft / file).replace(final / file)
    return Brought(entry.name, COMPLETED, ", ".join(lacking))


def _same_bits(final: Path, here: dict[str, Any], entry: Path, there: dict[str, Any]) -> bool:
    """Whether two entries have one θT and one mask; equal masks were at first not always equal files."""
    ours, theirs = here["files"], there["files"]
    if ours[WEIGHTS] != theirs[WEIGHTS] or (MASK in ours) != (MASK in theirs):
        return False
    if ours.get(MASK) == theirs.get(MASK):
        return True
    if not ((final / MASK).exists() and (entry / MASK).exists()):
        return False
    one, other = load_mask(final, ours), load_mask(entry, theirs)
    return one.keys() == other.keys() and all(torch.equal(m, other[name]) for name, m in one.items())


def _about(result: dict[str, Any]) -> str:
    """An accuracy and where it came from."""
    last, origin = result["curves"]["test_accuracy"][-1], result["provenance"]
    torch = origin.get("versions", {}).get("torch", "?") if isinstance(origin.get("versions"), dict) else "?"
    accuracy = "diverged" if last is None else f"{last:.2f} %"
    parts = (origin.get("device", "?"), f"torch {torch}", f"revision {origin.get('revision') or '?'}")
    return f"{accuracy} ({', '.join(map(str, parts))}, data {result['fingerprint'][:8] or '?'})"


def _copy(entry: Path, draft: Path, files: list[str]) -> None:
    """Those of the files that an entry may have; a name in an entry is never a path."""
    for name in files:
        if name in (RESULT, RUN, WEIGHTS, MASK) or SNAPSHOT.fullmatch(name):
            shutil.copyfile(entry / name, draft / name)


def leave_out(folder: Path) -> None:
    """Mark an entry's weights and mask as left out; the files themselves are not touched."""
    result = read_result(folder)
    result["left_out"] = [name for name in (WEIGHTS, MASK) if name in result["files"]]
    beside = folder / f".{RESULT}"
    write_json(beside, result | {"checksum": checksum(result)})
    with open(beside, "rb") as f:
        os.fsync(f.fileno())
    beside.replace(folder / RESULT)


# --- prune and repair ---


def removals(
    store: Store,
    only: str = "*",
    weights: bool = False,
    snapshots: bool = False,
    entries: bool = False,
    drafts: bool = False,
    orphans: bool = False,
) -> list[Removal]:
    """What these choices would delete. weights: θT, masks and snapshots; results stay readable.

    Damaged entries are not among it (`repair` sets them aside), nor drafts younger than an hour.
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
    beside = check_store(store) if drafts or orphans else ()
    gone = {removal.path for removal in found}
    for checked in beside:
        (path,) = checked.paths or (None,)
        if checked.status == DRAFT and drafts and time.time() - _newest(path) > IN_USE:
            found.append(Removal(path, DRAFT, _size(path)))
        elif checked.status == ORPHAN and orphans and gone.isdisjoint((path, path.parent)):
            found.append(Removal(path, ORPHAN, _size(path)))
    return found


def remove(store: Store, chosen: list[Removal]) -> None:
    """Delete. An entry is out of sight before its files go; weights go after the mark that says so."""
    with writing(store.folder):
        for folder in {removal.path.parent for removal in chosen if removal.why == "weights"}:
            leave_out(folder)
        for removal in chosen:
            if removal.why == "entry":
                with store.draft(removal.path.name) as draft:
                    removal.path.rename(draft / "entry")
            elif removal.path.is_dir() and not removal.path.is_symlink():
                shutil.rmtree(removal.path)
            else:
                removal.path.unlink(missing_ok=True)


def repair(store: Store, foreign: bool = False, dry_run: bool = False) -> list[tuple[Checked, Path | None]]:
    """Set damaged entries and snapshots aside into `damaged/`, and say where each went.

    foreign: those too that this version cannot read. Deletes nothing; they are trained again when asked for.
    """
    existing(store.folder)
    wanted = (DAMAGED, FOREIGN) if foreign else (DAMAGED,)
    found = [c for c in check_store(store) if c.status in wanted]
    moved, gone = [], set()
    for checked in found:
        (path,) = checked.paths
        if gone.isdisjoint((path, path.parent)):
            gone.add(path)
            with writing(store.folder):
                moved.append((checked, None if dry_run else store.set_aside(path, "damaged")))
    return moved


def _is_sound(folder: Path) -> bool:
    try:
        read_result(folder)
    except Damaged:
        return False
    return True


def _parts(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.rglob("*")


def _size(path: Path) -> int:
    return sum(p.lstat().st_size for p in _parts(path) if not p.is_dir())


def _newest(path: Path) -> float:
    return max(p.lstat().st_mtime for p in _parts(path))
