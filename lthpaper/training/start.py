"""Where trainings begin: θ0, θ ⊙ m, rewound weights, or a checkpoint of the run itself."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from lthpaper import networks
from lthpaper.data.augment import derived_seed
from lthpaper.runs.masks import Mask, dense_mask, prunable
from lthpaper.runs.run import Fresh, Run
from lthpaper.training.forms import tensors
from lthpaper.training.pack import Start, Weights

Load = Callable[[Run, int | None], tuple[Weights, Mask | None]]  # weights of a run after an epoch (None: T)


def initial_weights(run: Run) -> Weights:
    """θ0 (or θ0′) of a run with a fresh start: the same bits for the same seed and draw."""
    assert isinstance(run.init, Fresh)
    seed = derived_seed("init", run.init.seed, run.init.draw)
    return tensors(networks.build_seeded(seed, **run.task.shape))


def start(run: Run, load: Load | None) -> Start:
    """θ ⊙ m from which a run trains; `load` gives its ancestors' weights and masks."""
    weights = initial_weights(run) if isinstance(run.init, Fresh) else load(run.init.to, run.init.epoch)[0]
    if run.mask is None:
        return Start(weights, None)
    trained, mask = load(run.mask.after, None)
    names = prunable(networks.skeleton(**run.task.shape), run.task.prunable)
    mask = run.mask.prune(trained, mask or dense_mask(trained, names))
    return Start({n: w.where(mask[n], 0) if n in mask else w for n, w in weights.items()}, mask)


@dataclass(frozen=True)
class Checkpoint:
    """A run under way: all that its training needs to go on with the same bits.

    epoch, step: epochs done, and steps of the next. loss: sum of its images' losses so far. start: hash of
    the weights and the mask that it began with. devices: that it was trained on. seconds: of its packs, its
    own share.
    """

    epoch: int
    step: int
    loss: float
    start: str
    weights: Weights
    velocity: Weights
    curves: dict[str, list[float]]
    snapshots: dict[int, Weights]
    seconds: float
    devices: tuple[str, ...]


class Keeper(Protocol):
    """Where checkpoints are kept between processes (lthpaper.store.checkpoints)."""

    def load(self, run: Run, fingerprint: str) -> Checkpoint | None: ...

    def save(self, run: Run, checkpoint: Checkpoint, fingerprint: str) -> None: ...


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
    fingerprint: str,
) -> Iterator[list[Begun]]:
    """Packs of at most `largest` runs that stand at one place of their recipe.

    keep: epochs after which weights are wanted. fingerprint: of the data set.
    """
    places: dict[tuple[int, int], list[Begun]] = {}
    for run in runs:
        begin = start(run, load)
        found = checkpoints.load(run, fingerprint) if checkpoints else None
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
