"""Results by digest. A folder a run: described, checksummed, whole or absent. No pickle is ever read.

<store>/<network>-<data>-<digest>/
    run.json              the run and its ancestors (runs.to_json)
    result.json           curves, provenance, checksums of the files above and below
    weights.safetensors   θT: parameters and buffers
    mask.safetensors      the mask, eight weights a byte
    epoch-0004-<checksum>.safetensors  weights after 4 epochs, where someone asked for them

Snapshots may come later than the rest and from several processes at once, so each carries its checksum
in its own name, and no file is ever written twice.
"""

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lthpaper.errors import InputError, require
from lthpaper.masks import Mask
from lthpaper.runs import Run, from_json, to_json
from lthpaper.training import Trained, Weights

RESULT, RUN, WEIGHTS, MASK = "result.json", "run.json", "weights.safetensors", "mask.safetensors"
FORMAT = 1  # of the files; a reader refuses a newer one
NOT_AS_WRITTEN = "does not have the checksum it was written with"


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
    """Results in a folder; several processes may use it at once."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        require(
            self.folder.is_dir() or not self.folder.exists(),
            f"The store {folder} is a file; it must be a folder, there or to be made.",
        )

    def path(self, run: Run) -> Path:
        """The run's folder, there or not."""
        return self.folder / run.name

    def __contains__(self, run: Run) -> bool:
        """Raises InputError if the run's folder is there without its result (a copy that was cut off)."""
        folder = self.path(run)
        if not folder.exists():  # first: entries appear whole, but between two looks
            return False
        if not (folder / RESULT).exists():
            raise _damaged(folder, f"has no {RESULT}")
        return True

    def snapshots(self, run: Run) -> set[int]:
        """Epochs whose weights are kept."""
        return {int(p.name.split("-")[1]) for p in self.path(run).glob("epoch-*-*.safetensors")}

    def put(self, trained: Trained, fingerprint: str, provenance: dict[str, Any]) -> Result:
        """Keep a result: written beside and renamed, so that it is whole or absent.

        A run that is there already gains the snapshots it lacked; its other files stay as they are.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.path(trained.run)
        draft = self.folder / f".draft-{trained.run.name}-{uuid.uuid4().hex[:8]}"
        draft.mkdir()
        try:
            self._write(draft, trained, fingerprint, provenance)
            _sync(draft)
            try:
                draft.rename(final)
            except OSError:
                if trained.run not in self:
                    raise
                for path in draft.glob("epoch-*"):
                    path.replace(final / path.name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self.get(trained.run)

    def _write(self, draft: Path, trained: Trained, fingerprint: str, provenance: dict[str, Any]) -> None:
        _save(trained.weights, draft / WEIGHTS)
        for epoch, weights in trained.snapshots.items():
            path = draft / "snapshot"
            _save(weights, path)
            path.rename(draft / f"epoch-{epoch:04d}-{_file_checksum(path)[:16]}.safetensors")
        total = sum(trained.run.task.prunable_weights.values())
        kept = total
        if trained.mask is not None:
            kept = sum(int(m.sum()) for m in trained.mask.values())
            _save_mask(trained.mask, draft / MASK)
        _write_json(draft / RUN, to_json(trained.run))
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
        return self._read(self.path(run), run)

    def _read(self, folder: Path, run: Run | None = None) -> Result:
        result = _read_result(folder)
        described = _read_json(_verified(folder / RUN, result["files"]))
        if described["digest"] != folder.name[-16:]:
            raise _damaged(folder, f"holds the run {described['digest']}")
        curves = {k: [math.nan if v is None else v for v in c] for k, c in result["curves"].items()}
        fields = {name: result[name] for name in ("kept", "sparsity", "fingerprint", "seconds", "provenance")}
        return Result(run or from_json(described), curves, **fields, folder=folder)

    def weights(self, run: Run, epoch: int | None = None) -> tuple[Weights, Mask | None]:
        """θT (or the snapshot after an epoch) and the mask, checksums verified.

        Raises KeyError if they are not there, InputError if they are damaged.
        """
        if run not in self:
            raise KeyError(f"{run} is not in {self.folder}")
        folder = self.path(run)
        files = _read_result(folder)["files"]
        mask = _load_mask(folder, files) if MASK in files else None
        if epoch is None or epoch == run.recipe.epochs:
            return _load(_verified(folder / WEIGHTS, files)), mask
        kept = sorted(folder.glob(f"epoch-{epoch:04d}-*.safetensors"))
        if not kept:
            raise KeyError(f"{run} has no weights after epoch {epoch}")
        checksum = kept[0].stem.rpartition("-")[2]
        if not _file_checksum(kept[0]).startswith(checksum):
            raise _damaged(kept[0], NOT_AS_WRITTEN)
        return _load(kept[0]), mask

    def __iter__(self) -> Iterator[Result]:
        """Every result, by name. Raises InputError at a damaged one."""
        for path in sorted(self.folder.glob(f"*/{RESULT}")):
            if not path.parent.name.startswith("."):  # a draft
                yield self._read(path.parent)

    def size(self, run: Run) -> int:
        """Bytes on disk."""
        return sum(p.stat().st_size for p in self.path(run).iterdir())


def _damaged(path: Path, how: str) -> InputError:
    return InputError(
        f"The store entry {path} {how}, and cannot be trusted. Move it away or delete it, and run the "
        "same command again: only that entry is trained anew."
    )


def _sync(folder: Path) -> None:
    """On the disk before the rename: else a power cut could leave a folder of empty files."""
    for path in folder.iterdir():
        with open(path, "rb") as f:
            os.fsync(f.fileno())


def _json_float(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _checksum(result: dict[str, Any]) -> str:
    content = {k: v for k, v in result.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_checksum(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _write_json(path: Path, document: dict[str, Any]) -> None:
    with open(path, "w") as f:
        json.dump(document, f, indent=1)


def _write_result(folder: Path, result: dict[str, Any]) -> None:
    files = {name: _file_checksum(folder / name) for name in (RUN, WEIGHTS, MASK) if (folder / name).exists()}
    result = {"format": FORMAT, **result, "files": files}
    _write_json(folder / RESULT, result | {"checksum": _checksum(result)})


def _read_result(folder: Path) -> dict[str, Any]:
    result = _read_json(folder / RESULT)
    version = result.get("format")
    if type(version) is int and version > FORMAT:
        raise _damaged(folder, f"was written by a newer lthpaper (format {version})")
    if result.get("checksum") != _checksum(result):
        raise _damaged(folder / RESULT, NOT_AS_WRITTEN)
    return result


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if not isinstance(document, dict):
        raise _damaged(path, "is not a description")
    return document


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _save_mask(mask: Mask, path: Path) -> None:
    packed = {name: torch.from_numpy(np.packbits(m.numpy().reshape(-1))) for name, m in mask.items()}
    shapes = {name: json.dumps(list(m.shape)) for name, m in mask.items()}
    save_file(packed, path, metadata=shapes)


def _verified(path: Path, files: dict[str, str]) -> Path:
    try:
        found = _file_checksum(path)
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if files.get(path.name) != found:
        raise _damaged(path, NOT_AS_WRITTEN)
    return path


def _load(path: Path) -> Weights:
    with safe_open(path, "pt") as f:
        return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  not a dict


def _load_mask(folder: Path, files: dict[str, str]) -> Mask:
    path = _verified(folder / MASK, files)
    with safe_open(path, "pt") as f:
        shapes = {name: tuple(json.loads(shape)) for name, shape in f.metadata().items()}
        bits = {name: np.unpackbits(f.get_tensor(name).numpy()) for name in shapes}
    return {
        name: torch.from_numpy(bits[name][: int(np.prod(shape))].astype(bool)).view(shape)
        for name, shape in shapes.items()
    }
