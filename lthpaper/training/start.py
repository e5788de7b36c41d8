"""Where trainings begin: θ0, θ ⊙ m, rewound weights, or a checkpoint of the run itself."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from lthpaper import networks
from lthpaper.data import DataSet
from lthpaper.runs import pruning
from lthpaper.runs.masks import Mask, dense_mask, prunable
from lthpaper.runs.pruning.seen import Seen
from lthpaper.runs.run import Fresh, Rewind, Run
from lthpaper.training.result import Checkpoint, Keeper, Load, Start, Weights, curves_of


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


def shares(
    runs: Sequence[Run],
    largest: int,
    load: Load | None,
    keep: Mapping[Run, frozenset[int]],
    checkpoints: Keeper | None,
    data: DataSet,
    masks: Mapping[Run, Mask],
) -> Iterator[dict[Run, Checkpoint]]:
    """Packs of at most `largest` runs that stand at one place of their recipe, and each run's state there.

    keep: epochs after which weights are wanted. masks: those that need not be made.
    """
    places: dict[tuple[int, int], list[tuple[Run, Checkpoint]]] = {}
    for run in runs:
        begin = under(run, masks[run], load) if run in masks else start(run, load, data)
        state = before_the_first_step(run, begin)
        found = checkpoints.load(run, data.fingerprint) if checkpoints else None
        if found is not None and goes_on_from(state, found, keep.get(run, frozenset())):
            state = replace(found, mask=found.mask or begin.mask)
        places.setdefault((state.epoch, state.step), []).append((run, state))
    for together in places.values():
        for first in range(0, len(together), largest):
            yield dict(together[first : first + largest])


def before_the_first_step(run: Run, begin: Start) -> Checkpoint:
    """The state of a run that begins."""
    curves: dict[str, list[float]] = {name: [] for name in curves_of(run)}
    place = (run.first_epoch, 0)
    return Checkpoint(*place, 0.0, hash_of(begin), begin.weights, {}, curves, {}, 0.0, (), mask=begin.mask)


def goes_on_from(begun: Checkpoint, checkpoint: Checkpoint, keep: frozenset[int]) -> bool:
    """Whether a checkpoint is of the training that began so, and has all snapshots that are past and wanted.

    Its parents may have been trained again since, on another device and with other bits.
    """
    past = {epoch for epoch in keep if (epoch, 0) < (checkpoint.epoch, checkpoint.step)}
    return checkpoint.start == begun.start and past <= set(checkpoint.snapshots)


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
