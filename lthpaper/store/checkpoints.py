"""Checkpoints of runs under way: one file per run, whole or absent, with its own checksum.

<store>/.checkpoints/<network>-<data>-<digest>.safetensors

A checkpoint belongs to a run, not to its pack: a run's result does not depend on the other runs of its pack,
so it may continue in a different one. The file holds weights, the optimizer's moments and snapshots,
and in its metadata the position in the recipe, the curves so far and the SHA-256 of all of it.
"""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from lthpaper.errors import InputError
from lthpaper.runs.run import Run
from lthpaper.store.entry import NO_TENSORS, NOT_AS_WRITTEN, plain, replacing, save_tensors, writing
from lthpaper.training.result import CURVES, VALIDATION, Checkpoint, Weights, curves_of
from lthpaper.training.start import hash_tensors

FOLDER, DESCRIPTION, FORMAT = ".checkpoints", "checkpoint", 1
PLAIN = ("epoch", "step", "loss", "start", "curves", "seconds", "devices")  # fields that are not tensors


class Checkpoints:
    """The checkpoints of a store's runs. A damaged one is moved to the folder `damaged` beside them."""

    def __init__(self, store: str | Path):
        self.store = Path(store)
        self.folder = self.store / FOLDER

    def path(self, run: Run) -> Path:
        """The run's file, whether it exists or not."""
        return self.folder / f"{run.name}.safetensors"

    def position(self, run: Run) -> tuple[int, int]:
        """(epochs done, steps into the next) of the run's checkpoint; its first epoch if it has none."""
        try:
            place = _place(_description(self.path(run)))
        except NO_TENSORS:
            return run.first_epoch, 0
        return place if run.first_epoch <= place[0] <= run.recipe.epochs else (run.first_epoch, 0)

    def save(self, run: Run, checkpoint: Checkpoint, fingerprint: str) -> None:
        """Replace the run's checkpoint. Raises Unwritable if the store cannot be written."""
        tensors = {f"weights/{n}": t for n, t in checkpoint.weights.items()}
        tensors |= {f"velocity/{n}": t for n, t in checkpoint.velocity.items()}
        tensors |= {f"square/{n}": t for n, t in (checkpoint.square or {}).items()}
        tensors |= {f"mask/{n}": t for n, t in (checkpoint.mask or {}).items()}
        for epoch, weights in checkpoint.snapshots.items():
            tensors |= {f"{epoch}/{n}": t for n, t in weights.items()}
        described = {"format": FORMAT, "digest": run.digest, "fingerprint": fingerprint}
        described |= {name: getattr(checkpoint, name) for name in PLAIN}
        described["checksum"] = checksum(described, tensors)
        with writing(self.store):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.path(run)) as draft:
                save_tensors(tensors, draft, {DESCRIPTION: json.dumps(described)})

    def load(self, run: Run, fingerprint: str) -> Checkpoint | None:
        """The run's checkpoint, or None; a damaged one is set aside.

        Raises InputError if it was trained on another copy of the data set, OSError or MemoryError if it
        cannot be read now, which does not make it a damaged one.
        """
        path = self.path(run)
        if not os.path.lexists(path):
            return None
        try:
            described, found = read(path)
            if described["digest"] != run.digest:
                raise ValueError("it is another run's")
            if set(found.curves) != set(curves_of(run)):
                raise ValueError("it lacks a curve")
        except FileNotFoundError:  # another process has finished the run
            return None
        except (OSError, MemoryError):
            raise
        except NO_TENSORS:
            aside = self.folder / "damaged"
            aside.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another process has finished the run
                path.replace(aside / path.name)
            return None
        if described["fingerprint"] != fingerprint:
            raise InputError(
                f"The checkpoint {path} is of a training on another copy of {run.task.data} (fingerprint "
                f"{described['fingerprint']}; this one has {fingerprint}). Bring the first copy back, or "
                "delete the checkpoint to start again."
            )
        return found

    def drop(self, run: Run) -> None:
        """Remove the run's checkpoint, if there is one, since its result is in the store."""
        self.path(run).unlink(missing_ok=True)


def checksum(described: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """SHA-256 of a description (without its checksum) and of all tensors."""
    hasher = hashlib.sha256()
    content = {k: v for k, v in described.items() if k != "checksum"}
    hasher.update(json.dumps(content, sort_keys=True).encode())
    hash_tensors(hasher, tensors)
    return hasher.hexdigest()


def read(path: Path) -> tuple[dict[str, Any], Checkpoint]:
    """A checkpoint's description and content. Raises one of entry.NO_TENSORS if it is none."""
    with safe_open(plain(path), "pt") as file:
        described = json.loads((file.metadata() or {})[DESCRIPTION])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    if described["format"] != FORMAT:
        raise ValueError(f"its format is {described['format']!r}; this lthpaper reads {FORMAT}")
    if described["checksum"] != checksum(described, tensors):
        raise ValueError(f"it {NOT_AS_WRITTEN}")
    parts: dict[str, Weights] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = tensor
    weights, velocity = parts.pop("weights", {}), parts.pop("velocity", {})
    square, mask = parts.pop("square", None), parts.pop("mask", None)
    names = (*CURVES, *(name for name in described["curves"] if name == VALIDATION))
    curves = {name: [float(v) for v in described["curves"][name]] for name in names}
    place, devices = _place(described), tuple(map(str, described["devices"]))
    snapshots = {int(epoch): values for epoch, values in parts.items()}
    loss, seconds = float(described["loss"]), float(described["seconds"])
    return described, Checkpoint(
        *place, loss, described["start"], weights, velocity, curves, snapshots, seconds, devices, square, mask
    )


def _place(described: dict[str, Any]) -> tuple[int, int]:
    return int(described["epoch"]), int(described["step"])


def _description(path: Path) -> dict[str, Any]:
    """A file's description, without reading its tensors. Raises one of NO_TENSORS if there is none."""
    with safe_open(plain(path), "pt") as file:
        return json.loads(file.metadata()[DESCRIPTION])
