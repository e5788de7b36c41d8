"""Where trainings begin: θ0, θ ⊙ m, rewound weights, or a checkpoint of the run itself."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lthpaper import networks
from lthpaper.data import DataSet
from lthpaper.runs import pruning
from lthpaper.runs.masks import Mask, dense_mask, prunable
from lthpaper.runs.pruning.seen import Seen
from lthpaper.runs.run import Fresh, Rewind, Run
from lthpaper.training.result import Checkpoint, Keeper, Load, Start, Weights


def initial_weights(run: Run) -> Weights:
    """θ0 (or θ0′) of a run with a fresh start: the same bits for the same seed and draw."""
    assert isinstance(run.init, Fresh)
    return run.init.weights(run.task)


def start(run: Run, load: Load | None, data: DataSet | None = None) -> Start:
    """θ ⊙ m from which a run trains; `load` gives its ancestors' weights and masks. data: the run's, for
    masks that are made from images."""
    return under(run, None if run.mask is None else made_mask(run, load, data), load)


def under(run: Run, mask: Mask | None, load: Load | None) -> Start:
    """θ ⊙ m from which a run trains under a mask that was made already, such as a stored one."""
    weights = run.init.weights(run.task, mask, load)
    if mask is None:
        return Start(weights, None)
    return Start({n: w.where(mask[n], 0) if n in mask else w for n, w in weights.items()}, mask)


def made_mask(run: Run, load: Load | None, data: DataSet | None = None) -> Mask:
    """The run's mask, by its rule, from what that reads."""
    source, mask = pruning.source(run.mask), None
    if isinstance(source, Run):
        assert load is not None  # a mask of another run is never asked for without it
        weights, mask = load(source, None)
    elif isinstance(source, Rewind):
        assert load is not None
        weights, mask = load(source.to, source.epoch)
    else:
        weights = (source or Fresh()).weights(run.task, None, load)
    names = prunable(networks.skeleton(**run.task.shape), run.task.prunable)
    return pruning.pruned(run.mask, weights, mask or dense_mask(weights, names), Seen(run.task, data, load))


@dataclass(frozen=True)
class Begun:
    """A run where its training is to begin, or to go on."""

    run: Run
    start: Start
    checkpoint: Checkpoint | None

    @property
    def place(self) -> tuple[int, int]:
        """Epochs done, and steps of the next."""
        return (self.checkpoint.epoch, self.checkpoint.step) if self.checkpoint else (self.run.first_epoch, 0)


def shares(
    runs: Sequence[Run],
    largest: int,
    load: Load | None,
    keep: Mapping[Run, frozenset[int]],
    checkpoints: Keeper | None,
    data: DataSet,
    masks: Mapping[Run, Mask],
) -> Iterator[list[Begun]]:
    """Packs of at most `largest` runs that stand at one place of their recipe.

    keep: epochs after which weights are wanted. masks: those that need not be made.
    """
    places: dict[tuple[int, int], list[Begun]] = {}
    for run in runs:
        begin = under(run, masks[run], load) if run in masks else start(run, load, data)
        found = checkpoints.load(run, data.fingerprint) if checkpoints else None
        if found is not None and not goes_on_from(run, begin, found, keep.get(run, frozenset())):
            found = None
        begun = Begun(run, begin, found)
        places.setdefault(begun.place, []).append(begun)
    for together in places.values():
        for first in range(0, len(together), largest):
            yield together[first : first + largest]


def goes_on_from(run: Run, begin: Start, checkpoint: Checkpoint, keep: frozenset[int]) -> bool:
    """Whether a checkpoint is of this training, and has all snapshots that are past and wanted.

    Its parents may have been trained again since, on another device and with other bits.
    """
    past = {epoch for epoch in keep if (epoch, 0) < (checkpoint.epoch, checkpoint.step)}
    return checkpoint.start == hash_of(begin) and past <= set(checkpoint.snapshots)


def hash_of(begin: Start) -> str:
    """Of a start's weights and mask."""
    hasher = hashlib.sha256()
    for tensors_of in (begin.weights, begin.mask or {}):
        hash_tensors(hasher, tensors_of)
    return hasher.hexdigest()[:16]


def hash_tensors(hasher: Any, tensors_of: Mapping[str, torch.Tensor]) -> None:
    """Add names, kinds, shapes and bits of tensors on the CPU to a hash of hashlib's."""
    for name in sorted(tensors_of):
        tensor = tensors_of[name].contiguous()
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
