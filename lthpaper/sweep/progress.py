"""Show an execution's progress over all workers: a bar for a person, one line per minute for a log."""

import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tqdm.auto import tqdm

from lthpaper.runs.run import Run, setting
from lthpaper.sweep.plan import Plan

SECONDS_BETWEEN_LINES = 60.0  # in a log
SECONDS_BETWEEN_LOOKS = 0.5  # updates of the bar
BAR = 10  # columns of the bar itself
WIDGET = "{percentage:3.0f}%{bar}{desc}"  # a notebook's bar is drawn beside the text, not in it
NOTEBOOK_COLUMNS = 120
PACKS_NAMED = 3  # in the bar; the others are counted


class Bar:
    """One view of all workers: the time left, the runs done, training, waiting and failed, the speed.

    In a terminal or notebook it is a bar with as much text as fits, the time left first. If output goes to a
    file, it is a line at the beginning, one per minute and one at the end. Epochs from checkpoints are
    counted separately.
    """

    def __init__(self, todo: Plan, quiet: bool):
        self.quiet, self.watched = quiet, sys.stderr.isatty() or "ipykernel" in sys.modules
        self.runs, self.total, self.network_epochs = len(todo.todo), todo.network_epochs, 0
        self._planned = self.total
        self.began = self._next = time.monotonic()
        self.counts = {"done": 0, "training": 0, "waiting": self.runs, "failed": 0}
        self._skipped = 0  # network-epochs that checkpoints had done
        self._packs, self._filled = "", 1.0
        self.bar = tqdm(
            total=self.total,
            disable=quiet or not self.watched,
            mininterval=SECONDS_BETWEEN_LOOKS,
            dynamic_ncols=True,
            bar_format=WIDGET if _shows_widgets() else f"{{percentage:3.0f}}%|{{bar:{BAR}}}| {{desc}}",
        )

    def __enter__(self) -> "Bar":
        self._show()
        return self

    def __exit__(self, *error: object) -> None:
        self._show(last=True)
        self.bar.close()

    def say(self, what: str) -> None:
        """Print a line above the bar."""
        if not self.quiet:
            tqdm.write(what, file=sys.stderr)

    def state(self, scheduler: Any, hosts: Mapping[int, str] | None = None) -> None:
        """Show the state of the scheduler's runs, less what will not be trained here after all. hosts: where
        each pack trains, by its number."""
        self.total = self.bar.total = self._planned - scheduler.left_out
        training = sum(map(len, scheduler.training.values()))
        done, failed = len(scheduler.done) + len(scheduler.found), len(scheduler.lost)
        waiting = self.runs - done - failed - training
        self.counts = {"done": done, "training": training, "waiting": waiting, "failed": failed}
        self._packs, self._filled = _named(scheduler.training, hosts or {}), scheduler.filled
        self._show()

    def advance(self, network_epochs: int, trained: bool = True) -> None:
        """Count epochs as done; a negative number if a pack failed and its epochs are lost.

        trained: False for epochs from a checkpoint, which must not count towards the speed.
        """
        self.network_epochs += network_epochs
        if not trained:
            self._skipped += network_epochs
        self.bar.update(network_epochs)
        self._show()

    @property
    def trained(self) -> int:
        """Network-epochs done here, without those of checkpoints."""
        return self.network_epochs - self._skipped

    @property
    def per_hour(self) -> float:
        """Network-epochs an hour since the beginning."""
        seconds = time.monotonic() - self.began
        return max(0.0, 3600 * self.trained / seconds) if seconds > 0 else 0.0

    @property
    def left(self) -> str:
        """The time left at the speed since the beginning; "" as long as that is unknown."""
        rest = self.total - self.network_epochs
        return f"{_clock(3600 * rest / self.per_hour)} left" if self.per_hour and rest else ""

    @property
    def _parts(self) -> list[str]:
        """The parts of the text, the most important first."""
        done, *rest = (f"{count} {what}" for what, count in self.counts.items() if count or what == "done")
        epochs = f"{self.network_epochs:,} of {self.total:,} network-epochs"
        resumed = f" ({self._skipped:,} resumed)" if self._skipped else ""
        speed = f"{self.per_hour:,.0f} an hour" if self.per_hour else ""
        full = f"packs {self._filled:.0%} full" if self._filled < 1 else ""
        parts = (
            self.left,
            f"{self.runs} run{'s' * (self.runs != 1)}: {done}",
            *rest,
            epochs + resumed,
            speed,
            full,
        )
        return [part for part in parts if part]

    def __str__(self) -> str:
        return ", ".join(self._parts)

    def fitted(self, columns: int) -> str:
        """As many of the parts as fit, and the packs that train if there is room."""
        said = ""
        for part in [*self._parts, *([f"training {self._packs}"] if self._packs else [])]:
            longer = f"{said}, {part}" if said else part
            if len(longer) > columns:
                break
            said = longer
        return said

    def _show(self, last: bool = False) -> None:
        if self.quiet:
            return
        now = time.monotonic()
        if not last and now < self._next:
            return
        self._next = now + (SECONDS_BETWEEN_LOOKS if self.watched else SECONDS_BETWEEN_LINES)
        packs = f"; {self._packs}" if self._packs and not last else ""
        if self.watched:
            room = NOTEBOOK_COLUMNS if _shows_widgets() else shutil.get_terminal_size().columns
            self.bar.set_description_str(self.fitted(room - BAR - len("100%||  ")))
        else:
            print(f"lthpaper: {self}{packs}", file=sys.stderr, flush=True)


def _shows_widgets() -> bool:
    """Whether tqdm.auto uses a notebook's widgets."""
    return any("notebook" in kind.__module__ for kind in tqdm.__mro__)


def _named(training: Mapping[int, tuple[Run, ...]], hosts: Mapping[int, str]) -> str:
    """The packs that train, the first ones by name: "8× LT-IMP resnet8 lr 0.1 on node7"."""
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
    """Seconds as 1:02:03, or as 2:03 below an hour."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
