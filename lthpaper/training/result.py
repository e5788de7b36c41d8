"""The start, progress, checkpoint and result of a training, as values. The code that trains is elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from lthpaper.runs.masks import Mask
from lthpaper.runs.run import Run

CURVES = ("train_loss", "test_loss", "test_accuracy")
VALIDATION = "validation_accuracy"  # one more, of runs that hold images out

Weights = dict[str, Tensor]  # parameters and buffers by name

Load = Callable[[Run, int | None], tuple[Weights, Mask | None]]  # weights of a run after an epoch (None: T)


def curves_of(run: Run) -> tuple[str, ...]:
    """Names of the curves that a run's training records."""
    return (*CURVES, VALIDATION) if run.task.validation_images else CURVES


@dataclass(frozen=True)
class Start:
    """Where a training begins: weights, zero where pruned, the mask, and the optimizer's moments (None: none
    yet; square is AdamW's second)."""

    weights: Weights
    mask: Mask | None
    velocity: Weights | None = None
    square: Weights | None = None


@dataclass
class Progress:
    """What `train` reports after every epoch of a pack."""

    runs: Sequence[Run]
    epoch: int  # epochs done
    curves: Mapping[Run, Mapping[str, list[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A run under way: all that its training needs to go on with the same bits.

    epoch, step: epochs done, and steps of the next. loss: sum of its images' losses so far. start: hash of
    the weights and the mask that it began with. velocity: {} before the first step. devices: that it was
    trained on. seconds: of its packs, its own share. square: AdamW's second moment, None for SGD. mask: as it
    is then; in the file of a checkpoint only where it changes.
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
    square: Weights | None = None
    mask: Mask | None = None


class Keeper(Protocol):
    """Where checkpoints are kept between processes (store/checkpoints.py)."""

    def load(self, run: Run, fingerprint: str) -> Checkpoint | None: ...

    def save(self, run: Run, checkpoint: Checkpoint, fingerprint: str) -> None: ...


@dataclass(frozen=True)
class Trained:
    """What a training leaves. Losses are means over images, accuracies percent on the test images.

    curves: per epoch, those of `curves_of`. All but "train_loss" are NaN after epochs without a test, and
    once logits are not finite; the last epoch is always tested.
    snapshots: epoch -> weights after that many epochs, as asked for.
    """

    run: Run
    weights: Weights  # θT
    mask: Mask | None
    curves: dict[str, list[float]]
    snapshots: dict[int, Weights]
    seconds: float  # of the pack, shared by its runs
    pack: int  # how many runs shared it
    not_stacked: str  # why not, "" if it was
    form: str = ""  # how the pack computed
    images: str = ""  # where the images were: on the device, in the host's memory, in files; and why
    resumed: tuple[str, ...] = ()  # devices and code of the trainings that this one went on from

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last epoch, percent; NaN if the run diverged."""
        return self.curves["test_accuracy"][-1]
