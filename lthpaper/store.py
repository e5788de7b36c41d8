"""Results by digest. A folder a run: described, checksummed, whole or absent. No pickle is ever read.

<store>/<network>-<data>-<digest>/
    run.json              the run and its ancestors (runs.to_json)
    result.json           curves, provenance, checksums of the files beside it
    weights.safetensors   θT: parameters and buffers
    mask.safetensors      the mask, eight weights a byte
    epoch-0004.safetensors  weights after 4 epochs, where someone asked for them
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lthpaper.errors import InputError
from lthpaper.masks import Mask
from lthpaper.runs import Run, from_json, to_json
from lthpaper.training import Trained, Weights

RESULT, RUN, WEIGHTS, MASK = "result.json", "run.json", "weights.safetensors", "mask.safetensors"
FORMAT = 1  # of the files; a reader refuses a newer one


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
        return float(np.nanmax([-1.0, *self.curves["test_accuracy"]]))


class Store:
    """Results in a folder; several processes may use it at once."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, run: Run) -> Path:
        """The run's folder, there or not."""
        return self.folder / run.name

    def __contains__(self, run: Run) -> bool:
        return (self.path(run) / RESULT).exists()

    def snapshots(self, run: Run) -> set[int]:
        """Epochs whose weights are kept."""
        return {int(p.stem.partition("-")[2]) for p in self.path(run).glob("epoch-*.safetensors")}

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
            try:
                draft.rename(final)
            except OSError:
                if trained.run not in self:
                    raise
                self._add_snapshots(draft, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self.get(trained.run)

    def _write(self, draft: Path, trained: Trained, fingerprint: str, provenance: dict[str, Any]) -> None:
        _save(trained.weights, draft / WEIGHTS)
        for epoch, weights in trained.snapshots.items():
            _save(weights, draft / f"epoch-{epoch:04d}.safetensors")
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

    def _add_snapshots(self, draft: Path, final: Path) -> None:
        with open(final / RESULT) as f:
            result = json.load(f)
        for path in draft.glob("epoch-*.safetensors"):
            if not (final / path.name).exists():
                path.rename(final / path.name)
        _write_result(final, {k: v for k, v in result.items() if k not in ("files", "checksum", "format")})

    def get(self, run: Run) -> Result:
        """Raises KeyError if the run is not there, InputError if its entry is damaged."""
        if run not in self:
            raise KeyError(run)
        return self._read(self.path(run), run)

    def _read(self, folder: Path, run: Run | None = None) -> Result:
        result, described = _read_json(folder / RESULT), _read_json(folder / RUN)
        if result.get("format", 0) > FORMAT:
            raise _damaged(folder, f"was written by a newer lthpaper (format {result['format']})")
        if result.get("checksum") != _checksum(result) or described["digest"] != folder.name[-16:]:
            raise _damaged(folder, "was changed after it was written")
        curves = {k: [float("nan") if v is None else v for v in c] for k, c in result["curves"].items()}
        fields = {name: result[name] for name in ("kept", "sparsity", "fingerprint", "seconds", "provenance")}
        return Result(run or from_json(described), curves, **fields, folder=folder)

    def weights(self, run: Run, epoch: int | None = None) -> tuple[Weights, Mask | None]:
        """θT (or the snapshot after an epoch) and the mask, checksums verified.

        Raises KeyError if they are not there, InputError if they are damaged.
        """
        folder = self.path(run)
        name = WEIGHTS if epoch is None or epoch == run.recipe.epochs else f"epoch-{epoch:04d}.safetensors"
        if not (folder / name).exists():
            raise KeyError(f"{run} has no {name}")
        files = _read_json(folder / RESULT)["files"]
        mask = _load_mask(folder, files) if (folder / MASK).exists() else None
        return _load(folder / name, files), mask

    def __iter__(self) -> Iterator[Result]:
        """Every result, by name. Raises InputError at a damaged one."""
        for path in sorted(self.folder.glob(f"*/{RESULT}")):
            if not path.parent.name.startswith("."):
                yield self._read(path.parent)

    def size(self, run: Run) -> int:
        """Bytes on disk."""
        return sum(p.stat().st_size for p in self.path(run).iterdir())


def _damaged(path: Path, how: str) -> InputError:
    return InputError(
        f"The store entry {path} {how}, and cannot be trusted. Move it away or delete it, and run the "
        "same command again: only that entry is trained anew."
    )


def _json_float(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _checksum(result: dict[str, Any]) -> str:
    content = {k: v for k, v in result.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_checksum(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _write_json(path: Path, document: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    with open(draft, "w") as f:
        json.dump(document, f, indent=1)
        f.flush()
        os.fsync(f.fileno())
    draft.replace(path)


def _write_result(folder: Path, result: dict[str, Any]) -> None:
    files = {p.name: _file_checksum(p) for p in sorted(folder.glob("*.safetensors"))}
    result = {"format": FORMAT, **result, "files": files}
    _write_json(folder / RESULT, result | {"checksum": _checksum(result)})


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
    if files.get(path.name) != _file_checksum(path):
        raise _damaged(path, "does not have the checksum it was written with")
    return path


def _load(path: Path, files: dict[str, str]) -> Weights:
    try:
        with safe_open(_verified(path, files), "pt") as f:
            return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise _damaged(path, f"cannot be read ({error})") from error


def _load_mask(folder: Path, files: dict[str, str]) -> Mask:
    path = _verified(folder / MASK, files)
    with safe_open(path, "pt") as f:
        shapes = {name: tuple(json.loads(shape)) for name, shape in f.metadata().items()}
        bits = {name: np.unpackbits(f.get_tensor(name).numpy()) for name in shapes}
    return {
        name: torch.from_numpy(bits[name][: int(np.prod(shape))].astype(bool)).view(shape)
        for name, shape in shapes.items()
    }
