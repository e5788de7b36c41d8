"""The files of a store entry: their names, how they are written, and how they are verified when read.

A file may come from a stranger: only regular files are opened (no link, pipe or device), sizes are checked
before memory is allocated, and any other fault raises `Damaged`.
"""

import hashlib
import json
import math
import os
import re
import shlex
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lthpaper import locations
from lthpaper.errors import InputError, printable
from lthpaper.runs.masks import Mask, Packed, packed, unpacked
from lthpaper.training.result import Weights

RESULT, RUN, WEIGHTS, MASK = "result.json", "run.json", "weights.safetensors", "mask.safetensors"
ENTRY = re.compile(r"\w[\w.-]*-[0-9a-f]{16}", re.ASCII)  # Run.name; other folders hold no results
SNAPSHOT = re.compile(r"epoch-(\d{4,6})-([0-9a-f]{16})\.safetensors", re.ASCII)
LARGEST = 8 * 2**20  # bytes of a description; one of a thousand epochs takes 100 kB
SHAPES = "shapes"  # of a mask's tensors, in its file
FORMAT = 1  # of the files; a reader refuses a newer one
NOT_AS_WRITTEN = "does not have the checksum it was written with"
NO_TENSORS = (
    *(SafetensorError, ValueError, TypeError, KeyError, AttributeError, OverflowError),
    *(RuntimeError, MemoryError, OSError),  # RecursionError is a RuntimeError
)


class Damaged(InputError):
    """An entry that is not what was written."""

    path: Path
    how: str

    @classmethod
    def about(cls, path: Path, how: str, sentence: str) -> Self:
        """The error that says the sentence. `path` and `how` are no arguments of it: between processes an
        exception is pickled with its one argument, the message."""
        error = cls(sentence)
        error.path, error.how = path, how
        return error


class NewerFormat(Damaged):
    """An entry that another version of lthpaper wrote."""


class Unreadable(Damaged):
    """An entry that the disk or the network does not give now, which does not make it a damaged one."""


class Unwritable(InputError):
    """The store's folder cannot be written: a full disk, a read-only folder."""


def damaged(path: Path, how: str, kind: type[Damaged] = Damaged) -> Damaged:
    """The error that names what is damaged and says what to do. path: an entry, or what lies in one."""
    store = path.parent if ENTRY.fullmatch(path.name) else path.parent.parent
    entry, repair = f"The store entry {printable(f'{path} {how}')}", repairing(store)
    again = "run the same command again: only that entry is trained again."
    sentence = f"{entry}, and cannot be trusted. Move it away (`{repair}`) or delete it, and {again}"
    if issubclass(kind, NewerFormat):
        repair += " --foreign"
        sentence = f"{entry}. Use the version that wrote it, or move it away (`{repair}`) and {again}"
    elif kind is Unreadable:
        sentence = f"{entry}. It may be whole: run the same command again when it can be read."
    return kind.about(path, how, sentence)


def unreadable(path: Path, error: OSError) -> Damaged:
    """The error for a file that cannot be read now."""
    return damaged(path, f"cannot be read now ({error.strerror or error})", Unreadable)


def repairing(store: Path) -> str:
    """The command that sets a store's damaged entries aside."""
    if store.resolve() == locations.store_folder().resolve():
        return "lthpaper store repair"
    return f"lthpaper store repair --store {shlex.quote(printable(str(store)))}"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full disk or a read-only folder into one sentence: raises Unwritable."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise Unwritable(
            f"The store {folder} cannot be written ({error}). What is in it stays good: free some space, "
            "make the folder writable, or name another one (--store); then run the command again."
        ) from error


# --- checksums ---


def checksum(result: dict[str, Any]) -> str:
    """SHA-256 of a result.json's content."""
    content = {k: v for k, v in result.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def mode(path: Path) -> int | None:
    """`st_mode` of what lies at a path, of a link itself; None if nothing does. Raises Unreadable if that
    cannot be said now."""
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def is_there(path: Path) -> bool:
    """Whether anything lies at a path. Raises Unreadable if that cannot be said now."""
    return mode(path) is not None


def plain(path: Path) -> Path:
    """The path, if it is a regular file: no link, and nothing that blocks when it is read. Raises Damaged
    otherwise, Unreadable if that cannot be said now."""
    found = mode(path)
    if found is None:
        raise damaged(path, "is missing")
    if not stat.S_ISREG(found):
        raise damaged(path, "is not a file")
    return path


def verified(path: Path, files: dict[str, str]) -> Path:
    """The path of a file, after its checksum was verified: a snapshot has it in its name, any other file in
    `files`. Raises Damaged if it differs."""
    match = SNAPSHOT.fullmatch(path.name)
    try:
        found = file_checksum(plain(path))
    except OSError as error:
        raise unreadable(path, error) from error
    if not (found.startswith(match[2]) if match else found == files.get(path.name)):
        raise damaged(path, NOT_AS_WRITTEN)
    return path


def lacking(folder: Path, here: dict[str, Any], other: Path, there: dict[str, Any]) -> list[str]:
    """Files that an entry lacks and that another one, with the same weights and mask, has: weights, mask and
    snapshots. here, there: their results. Raises Damaged if one is lost."""
    gone = left_out(other, there)
    found = [name for name in left_out(folder, here) if name not in gone]
    if not gone:  # snapshots are of no use without the mask
        kept = snapshot_files(folder)
        found += sorted(path.name for epoch, path in snapshot_files(other).items() if epoch not in kept)
    return found


def left_out(folder: Path, result: dict[str, Any]) -> list[str]:
    """Files that an entry lists but lacks, since they were left out. Raises Damaged if one is lost,
    Unreadable if that cannot be said now."""
    gone = [name for name in (MASK, WEIGHTS) if name in result["files"] and mode(folder / name) is None]
    for name in gone:
        if name not in result.get("left_out", ()):
            raise damaged(folder / name, "is missing")
    return gone


def is_name(name: str) -> bool:
    """Whether an entry may have a file of this name; such a name is never a path to another folder."""
    return name in (RESULT, RUN, WEIGHTS, MASK) or SNAPSHOT.fullmatch(name) is not None


def snapshot_files(folder: Path) -> dict[int, Path]:
    """Epoch -> the file of an entry's weights after that epoch, without θT's."""
    found = ((SNAPSHOT.fullmatch(path.name), path) for path in sorted(folder.glob("epoch-*"), reverse=True))
    return {int(match[1]): path for match, path in found if match}


# --- descriptions ---


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a description as indented JSON."""
    with open(path, "w") as f:
        json.dump(document, f, indent=1, allow_nan=False)


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write result.json, with the checksums of the files beside it and its own."""
    files = {name: file_checksum(folder / name) for name in (RUN, WEIGHTS, MASK) if (folder / name).exists()}
    result = {"format": FORMAT, **result, "files": files}
    write_json(folder / RESULT, result | {"checksum": checksum(result)})


def read_json(path: Path) -> dict[str, Any]:
    """Read a description; raises Damaged if the file holds none."""
    try:
        if plain(path).lstat().st_size > LARGEST:
            raise damaged(path, "is larger than any description")
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_json)
    except Damaged:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"cannot be read ({error})") from error
    if not isinstance(document, dict):
        raise damaged(path, "is not a description")
    return document


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def read_result(folder: Path) -> dict[str, Any]:
    """Read result.json; raises Damaged if it is not as it was written."""
    if stat.S_ISLNK(mode(folder) or 0):
        raise damaged(folder, "is a link to a folder elsewhere")
    result = read_json(folder / RESULT)
    version = result.get("format")
    if type(version) is int and version > FORMAT:
        raise damaged(folder, "was written by a newer lthpaper (another format)", NewerFormat)
    try:
        as_written = result.get("checksum") == checksum(result)
    except RecursionError:
        as_written = False
    if not as_written:
        raise damaged(folder / RESULT, NOT_AS_WRITTEN)
    if not _is_result(result):  # a checksum is no proof: anyone can compute one
        raise damaged(folder / RESULT, "is not the description of a result")
    return result


def _is_result(result: dict[str, Any]) -> bool:
    kinds = {"files": dict, "curves": dict, "provenance": dict, "fingerprint": str}
    if not all(isinstance(result.get(name), kind) for name, kind in kinds.items()):
        return False
    curves = result["curves"]
    return (
        type(result.get("kept")) is int
        and all(_is_number(result.get(name)) for name in ("kept", "seconds", "sparsity"))
        and bool(curves.get("test_accuracy"))
        and all(isinstance(curve, list) for curve in curves.values())
        and all(v is None or _is_number(v) for curve in curves.values() for v in curve)
        and all(isinstance(checksum, str) for checksum in result["files"].values())
        and isinstance(result.get("left_out", []), list)
        and isinstance(result.get("layers", {}), dict)
        and all(type(count) is int for count in result.get("layers", {}).values())
    )


def _is_number(value: Any) -> bool:
    """Whether a float can hold the number: JSON reads 1e999 as infinity, and its integers have no limit."""
    return type(value) in (int, float) and abs(value) < 2**1000 and not math.isnan(value)


# --- tensors ---


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file with ordinary permissions: the library's own function lets only the owner read
    it, and a store may be shared by a group."""
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def save_mask(mask: Mask, path: Path) -> None:
    """Write a mask, eight weights a byte."""
    path.write_bytes(mask_content(packed(mask)))


def mask_content(bits: Packed) -> bytes:
    """The bytes of a mask's file: equal for equal masks."""
    tensors = {name: torch.from_numpy(np.frombuffer(b, np.uint8).copy()) for name, (_, b) in bits.items()}
    shapes = {name: list(shape) for name, (shape, _) in bits.items()}
    # One item, since safetensors writes several in any order, so equal masks could give unequal files.
    return save(tensors, {SHAPES: json.dumps(shapes, sort_keys=True)})


def mask_checksum(bits: Packed) -> str:
    """SHA-256 of a mask's file."""
    return hashlib.sha256(mask_content(bits)).hexdigest()


def load_weights(path: Path) -> Weights:
    """The tensors of a file; raises Damaged if it holds none."""
    plain(path)
    try:
        with safe_open(path, "pt") as f:
            return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  not a dict
    except OSError as error:
        raise unreadable(path, error) from error
    except NO_TENSORS as error:
        raise damaged(path, f"holds no weights ({error})") from error


def load_mask(folder: Path, files: dict[str, str]) -> Mask:
    """An entry's mask; raises Damaged if its file is not what was written, or no mask."""
    path = verified(folder / MASK, files)
    try:
        with safe_open(path, "pt") as f:
            described = f.metadata()
            if set(described) == {SHAPES}:
                described = json.loads(described[SHAPES])
            else:  # the first format: one item per tensor
                described = {name: json.loads(shape) for name, shape in described.items()}
            return unpacked({name: _bits(f.get_tensor(name), shape) for name, shape in described.items()})
    except OSError as error:
        raise unreadable(path, error) from error
    except NO_TENSORS as error:
        raise damaged(path, f"holds no mask ({error})") from error


def same_bits(folder: Path, here: dict[str, Any], other: Path, there: dict[str, Any]) -> bool:
    """Whether two entries have the same θT and mask. here, there: their results. Masks are compared weight by
    weight where their files differ, since the first format did not always give equal masks equal files.
    Raises Damaged if a mask is damaged."""
    ours, theirs = here["files"], there["files"]
    if ours.get(WEIGHTS) != theirs.get(WEIGHTS) or (MASK in ours) != (MASK in theirs):
        return False
    if ours.get(MASK) == theirs.get(MASK):
        return True
    if mode(folder / MASK) is None or mode(other / MASK) is None:
        return False
    mask, their_mask = load_mask(folder, ours), load_mask(other, theirs)
    return mask.keys() == their_mask.keys() and all(torch.equal(m, their_mask[n]) for n, m in mask.items())


def _bits(content: Tensor, shape: list[int]) -> tuple[tuple[int, ...], bytes]:
    """(bytes,) uint8 and a shape as part of a packed mask. Raises ValueError if they are none."""
    if content.dtype != torch.uint8 or content.ndim != 1:
        raise ValueError(f"{content.ndim} axes of {content.dtype} where bytes of a mask should be")
    return tuple(shape), content.numpy().tobytes()


# --- on the disk ---


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft to write, which then takes the path's name: at any time the file there is whole, old or new."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield draft
        with open(draft, "rb") as f:
            os.fsync(f.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_names(path.parent)


def sync(folder: Path) -> None:
    """Flush a folder's files to the disk before it is renamed: a power cut could else leave empty files."""
    for path in folder.iterdir():
        with open(path, "rb") as f:
            os.fsync(f.fileno())
    sync_names(folder)


def sync_names(folder: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a power cut."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # the folder can be written but not read
        return
    try:
        os.fsync(handle)
    except OSError:  # the file system cannot do that; the files themselves are there
        pass
    finally:
        os.close(handle)
