"""Merge stores: entries are copied to a draft, checked again and renamed. Nothing is overwritten."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lthpaper.errors import require
from lthpaper.store.check import DAMAGED, FOREIGN, UNREADABLE, check, existing, names
from lthpaper.store.entry import (
    MASK,
    RESULT,
    RUN,
    WEIGHTS,
    Damaged,
    Unreadable,
    checksum,
    is_name,
    lacking,
    read_result,
    replacing,
    same_bits,
    sync,
    sync_names,
    verified,
    write_json,
)
from lthpaper.store.store import Store

ADDED, COMPLETED, THERE, CONFLICT, REFUSED = "added", "completed", "there", "conflict", "refused"
SAME = ("curves", "kept", "sparsity", "fingerprint")  # besides the checksums of weights and mask


@dataclass(frozen=True)
class Brought:
    """What became of an entry of another store."""

    name: str
    outcome: str
    what: str = ""


def bring(
    source: Path, target: Store, only: str = "*", weights: bool = True, dry_run: bool = False
) -> Iterator[Brought]:
    """Copy what `target` lacks from `source`, each entry whole or not at all. Overwrites nothing.

    weights: False copies descriptions and results only, and marks the weights as left out. Measurements of
    the entries come along; one that cannot be read now is refused. Raises InputError if either is not a
    folder or both are the same one, Unwritable if the target cannot be written.
    """
    existing(source)
    require(
        source.resolve() != target.folder.resolve(),
        f"{source} and {target.folder} are the same folder; name the store of another place.",
    )
    for name in names(source, only):
        yield _bring(source / name, target, weights, dry_run)
    if not dry_run and (source / "measurements").is_dir():
        yield from _bring_measurements(source, target, {name[-16:] for name in names(source, only)})


def _bring_measurements(source: Path, target: Store, digests: set[str]) -> Iterator[Brought]:
    """Copy the measurements of these runs that are what was written; links are not followed. Yields those
    that cannot be read now."""
    from lthpaper.store import measurements, parquet  # they import pyarrow

    for path in sorted(source.glob(f"{measurements.FOLDER}/*/*.parquet")):
        match, there = measurements.FILE.fullmatch(path.name), path.relative_to(source)
        if not match or match[1] not in digests or path.resolve() != source.resolve() / there:
            continue
        if not (target.folder / there).exists():
            try:
                parquet.write(target.folder / there, parquet.content_at(path, match[3]))
            except Unreadable as error:
                yield Brought(str(there), REFUSED, f"there: {error.how}")
            except Damaged:
                continue


def _bring(entry: Path, target: Store, weights: bool, dry_run: bool) -> Brought:
    name, final = entry.name, target.folder / entry.name
    for place, where in ((entry, "there"), (final, "here")):
        faults = [c for c in check(place) if c.status in (DAMAGED, FOREIGN, UNREADABLE)]
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
        faults = [c for c in check(draft, name) if c.status in (DAMAGED, UNREADABLE)]
        if faults:  # it has changed, or the disk is faulty
            return Brought(name, REFUSED, f"while it was copied: {'; '.join(c.what for c in faults)}")
        sync(draft)
        try:
            draft.rename(final)
        except OSError:
            if not final.exists():
                raise
            return _complete(entry, final, target, weights, dry_run)  # another process was faster
        sync_names(target.folder)
    return Brought(name, ADDED)


def _complete(entry: Path, final: Path, target: Store, weights: bool, dry_run: bool) -> Brought:
    """Add weights and snapshots to an entry of the same content; a conflict if the content differs."""
    here, there = read_result(final), read_result(entry)
    if any(here[key] != there[key] for key in SAME) or not same_bits(final, here, entry, there):
        return Brought(entry.name, CONFLICT, f"here {_about(here)}; there {_about(there)}")
    files = lacking(final, here, entry, there) if weights else []
    if not files:
        return Brought(entry.name, THERE)
    if not dry_run:
        with target.draft(entry.name) as draft:
            _copy(entry, draft, files)
            try:
                for path in draft.iterdir():
                    verified(path, here["files"])
            except Damaged as error:
                return Brought(entry.name, REFUSED, f"while it was copied: {error.path.name} {error.how}")
            sync(draft)
            for file in files:
                (draft / file).replace(final / file)
            sync_names(final)
    return Brought(entry.name, COMPLETED, ", ".join(files))


def _about(result: dict[str, Any]) -> str:
    """An accuracy and where it came from."""
    last, origin = result["curves"]["test_accuracy"][-1], result["provenance"]
    versions = origin.get("versions")
    version = versions.get("torch", "?") if isinstance(versions, dict) else "?"
    accuracy = "diverged" if last is None else f"{last:.2f} %"
    parts = (origin.get("device", "?"), f"torch {version}", f"revision {origin.get('revision') or '?'}")
    return f"{accuracy} ({', '.join(map(str, parts))}, data {result['fingerprint'][:8] or '?'})"


def _copy(entry: Path, draft: Path, files: list[str]) -> None:
    """Copy files of an entry; other names are ignored, so none of them can be a path."""
    for name in files:
        if is_name(name):
            shutil.copyfile(entry / name, draft / name)


def leave_out(folder: Path) -> None:
    """Mark an entry's weights and mask as left out; the files themselves are not touched."""
    result = read_result(folder)
    result["left_out"] = [name for name in (WEIGHTS, MASK) if name in result["files"]]
    with replacing(folder / RESULT) as draft:
        write_json(draft, result | {"checksum": checksum(result)})
