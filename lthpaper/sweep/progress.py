"""How far an execution is, over all its workers: a bar for a person, now and then a line for a log."""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tqdm.auto import tqdm

from lthpaper.runs.run import Run, setting
from lthpaper.sweep.plan import Plan

SECONDS_BETWEEN_LINES = 60.0  # of a log
SECONDS_BETWEEN_LOOKS = 0.5  # of a person
PACKS_NAMED = 3  # in the bar; of a cluster's hundred it says the number


class Bar:
    """One view of all workers: what is done, trains, waits and failed; how fast; the time left; where.

    In a terminal and in a notebook a bar; where output goes to a file, a line at the beginning, one a minute
    and one at the end.
    """

    def __init__(self, todo: Plan, quiet: bool):
        self.quiet, self.watched = quiet, sys.stderr.isatty() or "ipykernel" in sys.modules
        self.runs, self.total, self.network_epochs = len(todo.todo), todo.network_epochs, 0
        self.began = self._next = time.monotonic()
        self.counts = {"done": 0, "training": 0, "waiting": self.runs, "failed": 0}
        self._skipped = 0  # network-epochs that checkpoints had done
        self._packs = ""
        self.bar = tqdm(
            total=self.total,
            unit=" network-epochs",
            disable=quiet or not self.watched,
            mininterval=SECONDS_BETWEEN_LOOKS,
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}%|{bar:20}| {desc}",
        )

    def __enter__(self) -> "Bar":
        self._show()
        return self

    def __exit__(self, *error: object) -> None:
        self._show(last=True)
        self.bar.close()

    def say(self, what: str) -> None:
        """A line of its own, above the bar."""
        if not self.quiet:
            tqdm.write(what, file=sys.stderr)

    def state(self, scheduler: Any, hosts: Mapping[int, str] | None = None) -> None:
        """What has become of the scheduler's runs; hosts: where each pack trains, by its number."""
        training = sum(map(len, scheduler.training.values()))
        done, failed = len(scheduler.done) + len(scheduler.found), len(scheduler.lost)
        waiting = self.runs - done - failed - training
        self.counts = {"done": done, "training": training, "waiting": waiting, "failed": failed}
        self._packs = _named(scheduler.training, hosts or {})
        self._show()

    def advance(self, network_epochs: int, trained: bool = True) -> None:
        """Count epochs done; fewer than none where a pack failed and its epochs are lost.

        trained: False for those that a checkpoint had done, which say nothing of the speed.
        """
        self.network_epochs += network_epochs
        if not trained:
            self._skipped += network_epochs
        self.bar.update(network_epochs)
        self._show()

    def leave_out(self, network_epochs: int) -> None:
        """What will not be trained after all."""
        self.total -= network_epochs
        self.bar.total = self.total
        self._show()

    @property
    def per_hour(self) -> float:
        """Network-epochs, since the beginning."""
        trained, seconds = self.network_epochs - self._skipped, time.monotonic() - self.began
        return max(0.0, 3600 * trained / seconds) if seconds > 0 else 0.0

    def __str__(self) -> str:
        done, *rest = (f"{count} {what}" for what, count in self.counts.items() if count or what == "done")
        parts = [
            f"{self.runs} runs: {done}",
            *rest,
            f"{self.network_epochs:,} of {self.total:,} network-epochs",
        ]
        if self.per_hour:
            parts.append(f"{self.per_hour:,.0f} an hour")
            if left := self.total - self.network_epochs:
                parts.append(f"{_clock(3600 * left / self.per_hour)} left")
        return ", ".join(parts)

    def _show(self, last: bool = False) -> None:
        if self.quiet:
            return
        now = time.monotonic()
        if not last and now < self._next:
            return
        self._next = now + (SECONDS_BETWEEN_LOOKS if self.watched else SECONDS_BETWEEN_LINES)
        packs = f"; {self._packs}" if self._packs and not last else ""
        if self.watched:
            self.bar.set_description_str(f"{self}{packs}")
        else:
            print(f"lthpaper: {self}{packs}", file=sys.stderr, flush=True)


def _named(training: Mapping[int, tuple[Run, ...]], hosts: Mapping[int, str]) -> str:
    """What trains, the first packs by name: "8× LT-IMP resnet8 lr 0.1 on node7"."""
    names = []
    for number, pack in list(training.items())[:PACKS_NAMED]:
        rates = sorted({run.recipe.lr for run in pack})
        lr = f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g}–{rates[-1]:g}"
        kinds = _kinds(pack)
        where = f" on {hosts[number]}" if number in hosts else ""
        names.append(f"{len(pack)}× {kinds} {pack[0].task.network} lr {lr}{where}")
    if len(training) > PACKS_NAMED:
        names.append(f"{len(training) - PACKS_NAMED} packs more")
    return " | ".join(names)


def _kinds(pack: Iterable[Run]) -> str:
    kinds = sorted({setting(run) for run in pack})
    return kinds[0] if len(kinds) == 1 else f"{kinds[0]} …"


def _clock(seconds: float) -> str:
    """1:02:03, or 2:03 of minutes."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
