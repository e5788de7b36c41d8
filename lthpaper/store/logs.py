"""A log of every run, beside the results: how its training went, where, and why it failed.

<store>/.logs/<network>-<data>-<digest>.log
    2026-01-31T12:00:00+00:00 node7 cuda: 20 of 160 epochs, train loss 0.3012, test loss ..., 312.0 s
"""

import math
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lthpaper.errors import Stopped
from lthpaper.runs.run import Run
from lthpaper.training.result import Progress

FOLDER = ".logs"
SECONDS_BETWEEN_LINES = 10.0


def log_of(store: str | Path, run: Run) -> Path:
    """The path of a run's log, whether it exists or not."""
    return Path(store) / FOLDER / f"{run.name}.log"


def note(store: str | Path, runs: Sequence[Run], what: str) -> None:
    """Add a line to the logs of some runs, with the time and this host. A log that cannot be written is
    skipped."""
    line = f"{datetime.now(UTC).isoformat(timespec='seconds')} {socket.gethostname()} {what.rstrip()}\n"
    for run in runs:
        path = log_of(store, run)
        with suppress(OSError):  # if the disk is full, writing the results says so
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a") as file:
                file.write(line)


class Logged:
    """A context manager that logs a pack from its beginning to its end or failure."""

    def __init__(self, store: str | Path, runs: Sequence[Run], device: str):
        self.store, self.runs, self.device = store, list(runs), device
        self._next, self._began = 0.0, time.monotonic()

    def __enter__(self) -> "Logged":
        note(self.store, self.runs, f"{self.device}: begins in a pack of {len(self.runs)}")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Stopped):
            note(self.store, self.runs, f"{self.device}: {error}")
        elif isinstance(error, Exception):
            note(
                self.store, self.runs, f"{self.device}: failed\n{''.join(traceback.format_exception(error))}"
            )

    def around(self, on_epoch: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """`on_epoch`, and a line in the logs every few seconds and after the last epoch."""

        def told(progress: Progress) -> None:
            on_epoch(progress)
            last = progress.epoch == progress.runs[0].recipe.epochs
            if last or time.monotonic() >= self._next:
                self._next = time.monotonic() + SECONDS_BETWEEN_LINES
                for run in (run for run in progress.runs if run in self.runs):
                    note(self.store, [run], self._line(run, progress))

        return told

    def _line(self, run: Run, progress: Progress) -> str:
        now = {name: values[-1] for name, values in progress.curves[run].items()}
        done = f"{self.device}: {progress.epoch} of {run.recipe.epochs} epochs"
        done += f", train loss {now['train_loss']:.4f}"
        if not math.isnan(now["test_loss"]):  # this epoch has a point in the curves
            done += f", test loss {now['test_loss']:.4f}, accuracy {now['test_accuracy']:.2f} %"
        return f"{done}, {time.monotonic() - self._began:.1f} s"
