"""Training: `train` turns runs into results, packed. The only place with a training loop."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from lthpaper.data import DataSet
from lthpaper.errors import Stopped, require
from lthpaper.provenance import git_revision
from lthpaper.runs.masks import Mask
from lthpaper.runs.recipe import CURVE_POINTS, is_tested
from lthpaper.runs.run import Run
from lthpaper.runs.shape import check_trainable, shape_key
from lthpaper.training.autotune import choose, smallest_pack
from lthpaper.training.forms import check_last_batch
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.process_group import ALONE, Alone
from lthpaper.training.result import Checkpoint, Keeper, Load, Progress, Start, Trained, curves_of
from lthpaper.training.start import shares

SECONDS_BETWEEN_CHECKPOINTS = 120.0  # LTHPAPER_CHECKPOINT_SECONDS
SHARE_OF_CHECKPOINTS = 0.01  # of the time, at most
STEPS_BETWEEN_QUESTIONS = 16  # of a team to its processes: whether to stop, or to keep a checkpoint


def train(
    runs: Sequence[Run],
    data: DataSet,
    load: Load | None = None,
    device: torch.device | str = "cpu",
    keep: Mapping[Run, frozenset[int]] | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Keeper | None = None,
    stop: Callable[[], bool] = lambda: False,
    team: Alone = ALONE,
    curve_points: int = CURVE_POINTS,
    masks: Mapping[Run, Mask] = MappingProxyType({}),
) -> Iterator[Trained]:
    """Train runs of one shape, in packs, and yield each result when its pack is done.

    keep: epochs after which a run's weights are kept as snapshots (0 is the start); asking never
    changes a result. checkpoints: where runs are kept on the way, and go on from. stop: asked before every
    step; when it says so, Stopped is raised and the checkpoints are as late as can be. curve_points: at
    most this many tests during one training; they change its curves and nothing else. masks: of runs whose
    mask is at hand, so that it is not made from an ancestor's weights. A pack that the
    device's memory does not hold is halved. Raises ValueError if the runs cannot share a pack, InputError
    if one has nothing left to train or its network fails on the images.
    """
    device, runs = torch.device(device), list(dict.fromkeys(runs))
    for run in runs:
        check_trainable(run)
    for task in {run.task for run in runs}:
        task.verify()
    if len({shape_key(run) for run in runs}) > 1:
        raise ValueError("these runs differ in more than learning rate, start, mask and seed")
    if runs:
        check_last_batch(runs[0], len(data.images.train))
    largest = choose(runs[0], device, team).largest if runs else 1
    ways = _Ways(device, keep or {}, on_epoch, checkpoints, stop, team, curve_points)

    def packs(runs: list[Run], largest: int) -> list[dict[Run, Checkpoint]]:
        with repeatable(device):  # masks too: threads of more workers than cores wait for each other
            return list(shares(runs, largest, load, ways.keep, checkpoints, data, masks))

    waiting = packs(runs, largest)
    while waiting:
        share = waiting.pop(0)
        training = None  # the memory of the pack before
        try:
            with repeatable(device):
                training = _Training(share, data, ways)
                training.finish()
        except torch.OutOfMemoryError:
            if len(share) == 1:
                raise
            rest = [run for some in (share, *waiting) for run in some]
            waiting = packs(rest, len(share) // 2)
        else:
            yield from training.results()
        finally:
            if training is not None:
                training.pack.feed.close()


@dataclass(frozen=True)
class _Ways:
    """What all packs of one `train` share."""

    device: torch.device
    keep: Mapping[Run, frozenset[int]]
    on_epoch: Callable[[Progress], None]
    checkpoints: Keeper | None
    stop: Callable[[], bool]
    team: Alone
    curve_points: int


class _Training:
    """One pack from its start, or its checkpoints, to its end. begun: the state that each run begins from."""

    def __init__(self, begun: Mapping[Run, Checkpoint], data: DataSet, ways: _Ways):
        self.begun, self.runs, self.ways, self.fingerprint = begun, list(begun), ways, data.fingerprint
        self.curves = {run: state.curves for run, state in begun.items()}
        self.snapshots = {run: state.snapshots for run, state in begun.items()}
        copies = max(0, smallest_pack(self.runs[0], ways.device) - len(self.runs))
        runs = self.runs + self.runs[:1] * copies
        states = [begun[run] for run in runs]
        starts = [Start(s.weights, s.mask, s.velocity, s.square) for s in states]
        form = choose(runs[0], ways.device, ways.team).form_of(runs[0])
        self.pack = Pack(runs, starts, data, ways.device, form, ways.team)
        self.pack.epoch, self.pack.step = states[0].epoch, states[0].step
        self.pack.loss.copy_(torch.tensor([s.loss for s in states], dtype=torch.float64))
        self.kept_at = (self.pack.epoch, self.pack.step)
        self.began = time.perf_counter()
        self.pause = seconds_between_checkpoints()
        self.next_checkpoint = self.began + self.pause

    def finish(self) -> None:
        """Train to the end of the recipe. Raises Stopped when asked to."""
        self._snap()
        while self.pack.epoch < self.pack.recipe.epochs:
            train_loss = self.pack.train_epoch(self._before_step)
            points = (train_loss, *self._test())
            for i, run in enumerate(self.runs):
                for name, values in zip(curves_of(run), points, strict=True):
                    self.curves[run][name].append(float(values[i]))
            self._snap()
            self.ways.on_epoch(Progress(self.runs, self.pack.epoch, self.curves))
        self.seconds = time.perf_counter() - self.began

    def _test(self) -> list[torch.Tensor]:
        """Test loss and accuracy, and the accuracy on images held out if there are any, (K,) each; NaN where
        this epoch has no point in the curves."""
        held = self.pack.feed.tested("validation")
        if not is_tested(self.pack.epoch, self.pack.recipe.epochs, self.ways.curve_points):
            return [torch.full((len(self.pack.runs),), math.nan)] * (3 if held else 2)
        return [*self.pack.evaluate(), *(self.pack.evaluate("validation")[1:] if held else ())]

    def results(self) -> Iterator[Trained]:
        """What is left of every run."""
        k = len(self.runs)
        for i, run in enumerate(self.runs):
            yield Trained(
                run,
                self.pack.weights(i),
                self.pack.mask(i),
                self.curves[run],
                self.snapshots[run],
                self.seconds + k * self.begun[run].seconds,
                k,
                self.pack.not_stacked,
                str(self.pack.form),
                self.pack.feed.why,
                self.begun[run].devices,
            )

    def _snap(self) -> None:
        for i, run in enumerate(self.runs):
            if self.pack.step == 0 and self.pack.epoch in self.ways.keep.get(run, ()):
                self.snapshots[run][self.pack.epoch] = self.pack.weights(i)

    def _before_step(self) -> None:
        team = self.ways.team
        if team.size > 1 and self.pack.step % STEPS_BETWEEN_QUESTIONS:
            return
        stop = team.any(self.ways.stop())
        if stop or team.any(time.perf_counter() >= self.next_checkpoint):
            self._checkpoint()
        if stop:
            raise Stopped(f"stopped after {self.pack.epoch} epochs and {self.pack.step} steps")

    def _checkpoint(self) -> None:
        place = (self.pack.epoch, self.pack.step)
        if self.ways.checkpoints is None or place == self.kept_at:
            return
        began = time.perf_counter()
        if self.ways.team.rank == 0:
            for i, run in enumerate(self.runs):
                self.ways.checkpoints.save(run, self._state(i, float(self.pack.loss[i])), self.fingerprint)
        self.kept_at, now = place, time.perf_counter()
        self.next_checkpoint = now + max(self.pause, (now - began) / SHARE_OF_CHECKPOINTS)

    def _state(self, i: int, loss: float) -> Checkpoint:
        run, begun = self.runs[i], self.begun[self.runs[i]]
        velocity, square = self.pack.optimizer.moments(i)
        return Checkpoint(
            self.pack.epoch,
            self.pack.step,
            loss,
            begun.start,
            self.pack.weights(i),
            velocity,
            self.curves[run],
            self.snapshots[run],
            begun.seconds + (time.perf_counter() - self.began) / len(self.runs),
            tuple(dict.fromkeys((*begun.devices, where(self.ways.device)))),
            square,
            self.pack.mask(i) if run.topology else None,
        )


def where(device: torch.device) -> str:
    """A device and the code that trains on it: "cuda, torch 2.13.0+cu130, revision 473b958c0ffe"."""
    revision = git_revision()
    return f"{device}, torch {torch.__version__}" + (f", revision {revision}" if revision else "")


def seconds_between_checkpoints() -> float:
    """LTHPAPER_CHECKPOINT_SECONDS, else two minutes. Raises InputError if it is no number of seconds."""
    text = os.environ.get("LTHPAPER_CHECKPOINT_SECONDS") or str(SECONDS_BETWEEN_CHECKPOINTS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    require(seconds >= 0, f"LTHPAPER_CHECKPOINT_SECONDS is {text!r}; it must be a number of seconds.")
    return seconds
