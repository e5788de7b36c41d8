"""What trains in a store, read from its locks, logs and checkpoints, from any terminal or notebook.

    lthpaper status                     # runs that are done, under way and failed
    lthpaper status fig1 --scale laptop # and the runs that these figures wait for, and how long

The processes that train hold the locks and write the logs, on this machine or on a cluster that shares the
store. This module writes nothing.
"""

import html
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lthpaper.runs.run import Run, ancestors
from lthpaper.store import checkpoints, locks, logs
from lthpaper.store.check import names
from lthpaper.store.entry import RESULT
from lthpaper.store.store import Store

LINE = re.compile(r"(\S+) (\S+) (\S+): (?:(\d+) of (\d+) epochs|(begins|failed))")
TAIL = 20_000  # bytes of a log that are read
WINDOW = 600.0  # seconds in which the speed is measured
SHORTEST = 5.0  # seconds: nothing is measured in fewer


@dataclass(frozen=True)
class UnderWay:
    """A run that some process has locked. epoch, epochs: from its log, 0 if it has no line yet."""

    name: str
    host: str = ""
    epoch: int = 0
    epochs: int = 0

    def __str__(self) -> str:
        said = f"epoch {self.epoch} of {self.epochs}" if self.epochs else "begins"
        return f"{self.name}: {said}{f' on {self.host}' if self.host else ''}"


@dataclass(frozen=True)
class Failure:
    """A run whose log ends in a failure: its last line, and the path of the log."""

    name: str
    what: str
    log: Path

    def __str__(self) -> str:
        return f"{self.name}: {self.what} ({self.log})"


@dataclass(frozen=True)
class Status:
    """done, waiting: numbers of runs; waiting and network_epochs are None unless runs were given.

    per_hour: network-epochs an hour over the last ten minutes, of all runs that train in this store.
    """

    folder: Path
    done: int
    under_way: tuple[UnderWay, ...]
    failed: tuple[Failure, ...]
    checkpoints: int
    per_hour: float
    waiting: int | None = None
    network_epochs: int | None = None

    @property
    def hours_left(self) -> float | None:
        """At the present speed; None if nothing trains or no runs were given."""
        if self.network_epochs is None or not self.per_hour:
            return None
        return self.network_epochs / self.per_hour

    @property
    def sentence(self) -> str:
        parts = [f"{self.done:,} run{'s' * (self.done != 1)} done", f"{len(self.under_way)} under way"]
        parts += [f"{self.waiting:,} waiting"] if self.waiting is not None else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        parts += [f"{self.checkpoints} checkpoint{'s' * (self.checkpoints > 1)}"] if self.checkpoints else []
        parts += [f"{self.per_hour:,.0f} network-epochs an hour"] if self.per_hour else []
        parts += [f"about {self.hours_left:.1f} h left"] if self.hours_left is not None else []
        return f"{self.folder}: {', '.join(parts)}."

    def __str__(self) -> str:
        lines = (*map(str, self.under_way), *(f"failed: {failure}" for failure in self.failed))
        return "\n".join((self.sentence, *(f"  {line}" for line in lines)))

    def _repr_html_(self) -> str:
        head, *lines = str(self).splitlines()
        return f"<b>{html.escape(head)}</b>" + "".join(f"<br>{html.escape(line)}" for line in lines)


def status(store: Store, runs: Iterable[Run] = ()) -> Status:
    """What a store holds and what trains in it. runs: the runs to wait for, with their ancestors.

    Without runs, everything in the store counts as done; with runs, only these and their ancestors do.
    """
    asked = {run.name: run for run in ancestors(runs)}
    there = {name for name in names(store.folder) if (store.folder / name / RESULT).exists()}
    if store.published is not None and asked:
        there |= {name for name, run in asked.items() if run in store}
    held = {path.stem for path in (store.folder / locks.FOLDER).glob("*.lock") if locks.is_held(path)}
    held = {name for name in held if not name.startswith("waiting-") and name not in there}
    tails = {path.stem: _tail(path) for path in (store.folder / logs.FOLDER).glob("*.log")}
    under_way = tuple(_under_way(name, tails.get(name, "")) for name in sorted(held))
    failed = (_failure(store, name, text) for name, text in tails.items() if name not in there | held)
    left = {name: run.cost for name, run in asked.items() if name not in there}
    trained = (max(0, u.epoch - asked[u.name].first_epoch) for u in under_way if u.name in left)
    return Status(
        store.folder,
        done=len(asked) - len(left) if asked else len(there),
        under_way=under_way,
        failed=tuple(failure for failure in failed if failure),
        checkpoints=len(list((store.folder / checkpoints.FOLDER).glob("*.safetensors"))),
        per_hour=_per_hour(tails.values()) if under_way else 0.0,
        waiting=len(set(left) - held) if asked else None,
        network_epochs=max(0, sum(left.values()) - sum(trained)) if asked else None,
    )


def _tail(path: Path) -> str:
    with suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors="replace")
    return ""


def _lines(text: str) -> Iterator[re.Match[str]]:
    return (match for line in text.splitlines() if (match := LINE.match(line)))


def _under_way(name: str, text: str) -> UnderWay:
    last = next(reversed(list(_lines(text))), None)
    if last is None:
        return UnderWay(name)
    return UnderWay(name, last[2], int(last[4] or 0), int(last[5] or 0))


def _failure(store: Store, name: str, text: str) -> Failure | None:
    """The failure in the last line of a log, None if there is none."""
    last = next(reversed(list(_lines(text))), None)
    if last is None or last[6] != "failed":
        return None
    return Failure(name, text.strip().rpartition("\n")[2], store.folder / logs.FOLDER / f"{name}.log")


def _per_hour(texts: Iterable[str]) -> float:
    """Network-epochs an hour that the logs report within WINDOW, of all runs together."""
    now, epochs, span = time.time(), 0, 0.0
    for text in texts:
        lines = [(_age(match[1], now), match[4]) for match in _lines(text)]
        span = max([span, *(age for age, _ in lines)])
        seen = [(age, int(epoch)) for age, epoch in lines if epoch]
        recent = [epoch for age, epoch in seen if age <= WINDOW]
        before = [epoch for age, epoch in seen if age > WINDOW]
        if recent:
            # a log's first line comes after one epoch, which in a rewound run is a later one
            epochs += max(0, recent[-1] - (before[-1] if before else recent[0] - 1))
    span = min(span, WINDOW)  # less where the first training began within it
    return 3600 * epochs / span if span >= SHORTEST else 0.0


def _age(stamp: str, now: float) -> float:
    with suppress(ValueError):
        return now - datetime.fromisoformat(stamp).astimezone(UTC).timestamp()
    return float("inf")
