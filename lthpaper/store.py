"""Results by digest. A folder a run: described, checksummed, whole or absent. No pickle is ever read.

<store>/<network>-<data>-<digest>/
    run.json              the run and its ancestors (runs.to_json)
    result.json           curves, provenance, checksums of the files above and below
    weights.safetensors   θT: parameters and buffers
    mask.safetensors      the mask, eight weights a byte
    epoch-0004-<checksum>.safetensors  weights after 4 epochs, where someone asked for them

Snapshots may come later than the rest and from several processes at once, so each carries its checksum
in its own name, and no file is ever written twice.

weights.safetensors and mask.safetensors may be left out of an entry (`lthpaper store export`, `prune`):
result.json then says so in "left_out" and still lists their checksums, so that only those weights come back.
"""

import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lthpaper.errors import InputError, require
from lthpaper.masks import Mask
from lthpaper.runs import Run, from_json, to_json
from lthpaper.training import Trained, Weights

RESULT, RUN, WEIGHTS, MASK = "result.json", "run.json", "weights.safetensors", "mask.safetensors"
ENTRY = re.compile(r"\w[\w.-]*-[0-9a-f]{16}", re.ASCII)  # Run.name; other folders hold no results
SNAPSHOT = re.compile(r"epoch-(\d{4,6})-([0-9a-f]{16})\.safetensors", re.ASCII)
LARGEST = 64 * 2**20  # bytes of a description: a thousand epochs take 100 kB
SHAPES = "shapes"  # of a mask's tensors, in its file
FORMAT = 1  # of the files; a reader refuses a newer one
NOT_AS_WRITTEN = "does not have the checksum it was written with"


class Damaged(InputError):
    """An entry that is not what was written."""

    path: Path
    how: str


class NewerFormat(Damaged):
    """An entry that a newer lthpaper wrote."""


class Unwritable(InputError):
    """The store's folder cannot be written: a full disk, a read-only folder."""


@dataclass(frozen=True)
class Result:
    """What the store knows of a run without opening its weights. Accuracies in percent."""

    run: Run
    curves: dict[str, list[float]]  # per epoch: train_loss, test_loss, test_accuracy
    kept: int  # prunable weights left by the mask
    sparsity: float  # s as it came out, after rounding to whole weights
    fingerprint: str  # of the data set's content
    seconds: float  # of training, this run's share of its pack
    provenance: dict[str, Any]
    folder: Path

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last epoch; NaN if the run diverged."""
        return self.curves["test_accuracy"][-1]

    @property
    def best_accuracy(self) -> float:
        """Of the epoch best on the test images: recorded, never used (that would be peeking)."""
        return max((a for a in self.curves["test_accuracy"] if not math.isnan(a)), default=math.nan)


class Store:
    """Results in a folder; several processes may use it at once.

    published: a folder of the same kind that is only read, for runs that are not in the store itself. One
    entry serves a run, never parts of two: they may come from trainings with other bits.
    """

    def __init__(self, folder: str | Path, published: str | Path | None = None):
        self.folder = Path(folder)
        self.published = None if published is None else Path(published)
        for place in filter(None, (self.folder, self.published)):
            require(
                place.is_dir() or not place.exists(),
                f"The store {place} is a file; it must be a folder, there or to be made.",
            )

    def path(self, run: Run) -> Path:
        """The run's folder in the store itself, there or not."""
        return self.folder / run.name

    def entry(self, run: Run) -> Path:
        """The folder that a run is read from: the store's own, else the published one."""
        own = self.path(run)
        if self.published is None or own.exists():
            return own
        published = self.published / run.name
        return published if published.exists() else own

    def __contains__(self, run: Run) -> bool:
        """Raises InputError if the run's folder is there without its result (a copy that was cut off)."""
        folder = self.entry(run)
        if not folder.exists():  # first: entries appear whole, but between two looks
            return False
        if not (folder / RESULT).exists():
            raise damaged(folder, f"has no {RESULT}")
        return True

    def snapshots(self, run: Run) -> set[int]:
        """Epochs whose weights are kept, θT's apart."""
        found = (SNAPSHOT.fullmatch(p.name) for p in self.entry(run).glob("epoch-*"))
        return {int(match[1]) for match in found if match}

    def has_weights(self, run: Run) -> bool:
        """Whether the run is there with θT and its mask. Raises InputError if its entry is damaged."""
        if run not in self:
            return False
        folder = self.entry(run)
        return not left_out(folder, read_result(folder))

    def holds(self, run: Run, epochs: Iterable[int] = ()) -> bool:
        """Whether the run is there, with its weights after these epochs (the last: θT and the mask)."""
        epochs = set(epochs)
        if not epochs or run not in self:
            return run in self
        return self.has_weights(run) and epochs - {run.recipe.epochs} <= self.snapshots(run)

    def put(self, trained: Trained, fingerprint: str, provenance: dict[str, Any]) -> Result:
        """Keep a result: written beside and renamed, so that it is whole or absent.

        A run that is there already gains the snapshots and weights it lacked; its other files stay as they
        are. Raises Unwritable if the folder cannot be written.
        """
        final = self.path(trained.run)
        with self.draft(trained.run.name) as draft:
            self._write(draft, trained, fingerprint, provenance)
            sync(draft)
            try:
                draft.rename(final)
            except OSError:
                if trained.run not in Store(self.folder):
                    raise
                self._complete(final, draft)
        return self.get(trained.run)

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """A folder to write in, beside the entries; gone afterwards unless it was renamed to one."""
        draft = self.folder / f".draft-{name}-{uuid.uuid4().hex[:8]}"
        try:
            with writing(self.folder):
                draft.mkdir(parents=True)
                yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _complete(self, final: Path, draft: Path) -> None:
        """Give an entry what it lacks, from a second training of its run."""
        ours, theirs = read_result(final), read_result(draft)
        lacking = left_out(final, ours)
        if any(ours["files"][name] != theirs["files"].get(name) for name in lacking):
            # other bits, as from another device: these weights would not be those of that accuracy
            self.set_aside(final, "replaced")
            draft.rename(final)
            return
        for path in [*(draft / name for name in lacking), *draft.glob("epoch-*")]:
            path.replace(final / path.name)

    def set_aside(self, path: Path, where: str) -> Path:
        """Move an entry, or a file of one, to the folder `where` of the store; nothing is deleted."""
        entry = path if path.parent == self.folder else path.parent
        kept = self.folder / where / f"{entry.name}-{uuid.uuid4().hex[:8]}"
        kept.parent.mkdir(exist_ok=True)
        if path != entry:
            kept.mkdir()
            kept = kept / path.name
        return path.rename(kept)

    def _write(self, draft: Path, trained: Trained, fingerprint: str, provenance: dict[str, Any]) -> None:
        _save(trained.weights, draft / WEIGHTS)
        for epoch, weights in trained.snapshots.items():
            path = draft / "snapshot"
            _save(weights, path)
            path.rename(draft / f"epoch-{epoch:04d}-{file_checksum(path)[:16]}.safetensors")
        total = sum(trained.run.task.prunable_weights.values())
        kept = total
        if trained.mask is not None:
            kept = sum(int(m.sum()) for m in trained.mask.values())
            _save_mask(trained.mask, draft / MASK)
        write_json(draft / RUN, to_json(trained.run))
        result = {
            "curves": {name: [_json_float(v) for v in curve] for name, curve in trained.curves.items()},
            "kept": kept,
            "sparsity": 1 - kept / total,
            "fingerprint": fingerprint,
            "seconds": trained.seconds / trained.pack,
            "provenance": provenance | {"pack": trained.pack, "not_stacked": trained.packed},
        }
        _write_result(draft, result)

    def get(self, run: Run) -> Result:
        """Raises KeyError if the run is not there, InputError if its entry is damaged."""
        if run not in self:
            raise KeyError(run)
        return self._read(self.entry(run), run)

    def _read(self, folder: Path, run: Run | None = None) -> Result:
        result = read_result(folder)
        described = read_json(verified(folder / RUN, result["files"]))
        if described.get("digest") != folder.name[-16:]:
            raise damaged(folder, f"holds the run {described.get('digest')}")
        curves = {k: [math.nan if v is None else v for v in c] for k, c in result["curves"].items()}
        fields = {name: result[name] for name in ("kept", "sparsity", "fingerprint", "seconds", "provenance")}
        return Result(run or from_json(described), curves, **fields, folder=folder)

    def weights(self, run: Run, epoch: int | None = None) -> tuple[Weights, Mask | None]:
        """θT (or the snapshot after an epoch) and the mask, checksums verified.

        Raises KeyError if they are not there or were left out, InputError if they are damaged.
        """
        if run not in self:
            raise KeyError(f"{run} is not in {self.folder}")
        folder = self.entry(run)
        result = read_result(folder)
        files = result["files"]
        if gone := left_out(folder, result):
            raise KeyError(
                f"{' and '.join(gone)} of {run} were left out of {folder}: merge a store that has them, or "
                "train the run again"
            )
        mask = load_mask(folder, files) if MASK in files else None
        if epoch is None or epoch == run.recipe.epochs:
            return load_weights(verified(folder / WEIGHTS, files)), mask
        kept = sorted(folder.glob(f"epoch-{epoch:04d}-*.safetensors"))
        if not kept:
            raise KeyError(f"{run} has no weights after epoch {epoch}")
        checksum = kept[0].stem.rpartition("-")[2]
        if not file_checksum(kept[0]).startswith(checksum):
            raise damaged(kept[0], NOT_AS_WRITTEN)
        return load_weights(kept[0]), mask

    def __iter__(self) -> Iterator[Result]:
        """Every result, by name. Raises InputError at a damaged one."""
        places = [place for place in (self.published, self.folder) if place is not None]
        found = {p.parent.name: p.parent for place in places for p in place.glob(f"*/{RESULT}")}
        for name in sorted(found):
            if ENTRY.fullmatch(name):  # not a draft
                yield self._read(found[name])

    def size(self, run: Run) -> int:
        """Bytes on disk."""
        return sum(p.stat().st_size for p in self.entry(run).iterdir())


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A disk that is full and a folder that is read-only are said in one sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise Unwritable(
            f"The store {folder} cannot be written ({error}). What is in it stays good: free some space or "
            "make the folder writable, and run the same command again."
        ) from error


def damaged(path: Path, how: str, kind: type[Damaged] = Damaged) -> Damaged:
    """The error that names what is damaged, and what to do."""
    error = kind(
        f"The store entry {path} {how}, and cannot be trusted. Move it away (`lthpaper store repair`) or "
        "delete it, and run the same command again: only that entry is trained anew."
    )
    error.path, error.how = path, how  # not arguments: exceptions travel between processes by their one
    return error


def left_out(folder: Path, result: dict[str, Any]) -> list[str]:
    """Files that an entry lists and lacks because they were left out; raises Damaged if one is lost."""
    gone = [name for name in (MASK, WEIGHTS) if name in result["files"] and not (folder / name).exists()]
    for name in gone:
        if name not in result.get("left_out", ()):
            raise damaged(folder / name, "is missing")
    return gone


def sync(folder: Path) -> None:
    """On the disk before the rename: else a power cut could leave a folder of empty files."""
    for path in folder.iterdir():
        with open(path, "rb") as f:
            os.fsync(f.fileno())


def _json_float(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def checksum(result: dict[str, Any]) -> str:
    """Of a result.json's content."""
    content = {k: v for k, v in result.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_json(path: Path, document: dict[str, Any]) -> None:
    """A description, readable."""
    with open(path, "w") as f:
        json.dump(document, f, indent=1)


def _write_result(folder: Path, result: dict[str, Any]) -> None:
    files = {name: file_checksum(folder / name) for name in (RUN, WEIGHTS, MASK) if (folder / name).exists()}
    result = {"format": FORMAT, **result, "files": files}
    write_json(folder / RESULT, result | {"checksum": checksum(result)})


def read_result(folder: Path) -> dict[str, Any]:
    """result.json as it was written; raises Damaged if it is not."""
    result = read_json(folder / RESULT)
    version = result.get("format")
    if type(version) is int and version > FORMAT:
        raise damaged(folder, f"was written by a newer lthpaper (format {version})", NewerFormat)
    if result.get("checksum") != checksum(result):
        raise damaged(folder / RESULT, NOT_AS_WRITTEN)
    if not _is_result(result):  # a checksum is no proof: anyone can compute one
        raise damaged(folder / RESULT, "is not the description of a result")
    return result


def _is_result(result: dict[str, Any]) -> bool:
    kinds = {"files": dict, "curves": dict, "provenance": dict, "fingerprint": str}
    kinds |= {"kept": int, "sparsity": int | float, "seconds": int | float}
    if not all(isinstance(result.get(name), kind) for name, kind in kinds.items()):
        return False
    curves = result["curves"]
    return (
        bool(curves.get("test_accuracy"))
        and all(isinstance(curve, list) for curve in curves.values())
        and all(v is None or isinstance(v, int | float) for curve in curves.values() for v in curve)
        and all(isinstance(checksum, str) for checksum in result["files"].values())
        and isinstance(result.get("left_out", []), list)
    )


def read_json(path: Path) -> dict[str, Any]:
    """A description; raises Damaged if it is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise damaged(path, "is larger than any description")
        document = json.loads(path.read_text())
    except Damaged:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"cannot be read ({error})") from error
    if not isinstance(document, dict):
        raise damaged(path, "is not a description")
    return document


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _save_mask(mask: Mask, path: Path) -> None:
    packed = {name: torch.from_numpy(np.packbits(m.numpy().reshape(-1))) for name, m in mask.items()}
    shapes = {name: list(m.shape) for name, m in mask.items()}
    # one item: safetensors writes several in any order, and equal masks would be unequal files
    save_file(packed, path, metadata={SHAPES: json.dumps(shapes, sort_keys=True)})


def verified(path: Path, files: dict[str, str]) -> Path:
    """The path of a file that has its checksum; raises Damaged if it has not."""
    try:
        found = file_checksum(path)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error})") from error
    if files.get(path.name) != found:
        raise damaged(path, NOT_AS_WRITTEN)
    return path


def load_weights(path: Path) -> Weights:
    """The tensors of a file; raises Damaged if it holds none."""
    try:
        with safe_open(path, "pt") as f:
            return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise damaged(path, f"holds no weights ({error})") from error


def load_mask(folder: Path, files: dict[str, str]) -> Mask:
    """An entry's mask; raises Damaged if its file is not what was written, or no mask."""
    path = verified(folder / MASK, files)
    try:
        with safe_open(path, "pt") as f:
            described = f.metadata()
            if set(described) == {SHAPES}:
                described = json.loads(described[SHAPES])
            else:  # as it was at first, one item a tensor
                described = {name: json.loads(shape) for name, shape in described.items()}
            shapes = {name: tuple(shape) for name, shape in described.items()}
            bits = {name: np.unpackbits(f.get_tensor(name).numpy()) for name in shapes}
        return {
            name: torch.from_numpy(bits[name][: int(np.prod(shape))].astype(bool)).view(shape)
            for name, shape in shapes.items()
        }
    except (SafetensorError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise damaged(path, f"holds no mask ({error})") from error
