"""Predict how long a plan takes on any number of devices: the real scheduler on a simulated clock."""

import heapq
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lthpaper.errors import InputError, require
from lthpaper.runs.run import Run
from lthpaper.sweep import assumed_speeds, measure
from lthpaper.sweep.plan import Plan, process_count, worker_count
from lthpaper.sweep.scheduler import Scheduler
from lthpaper.sweep.speeds import Speeds, by_shape, from_file, given, speed_key
from lthpaper.training.autotune import pack_limits

Limits = Callable[[Run], tuple[int, int]]


@dataclass(frozen=True)
class Prediction:
    """What a simulation predicts. Times in seconds; sources: where the speeds come from (Speed.source)."""

    devices: int
    makespan: float = 0.0
    busy: float = 0.0  # of all devices together
    # the longest chain of runs, each in the smallest pack: more devices are no help
    critical_path: float = 0.0
    packs: int = 0
    sources: frozenset[str] = frozenset()
    filled: float = 1.0  # of the slots of the packs, if each were as large as can be, what runs take

    @property
    def device_hours(self) -> float:
        """Hours for which the devices are held, busy or not, until the last one is done."""
        return self.devices * self.makespan / 3600

    @property
    def utilisation(self) -> float:
        """Share of that time in which they train."""
        return self.busy / (self.devices * self.makespan) if self.makespan else 0.0


def simulate(todo: Plan, speeds: Speeds, count: int, limits: Limits | None = None) -> Prediction:
    """Simulate the plan on `count` devices with these speeds; packs begin and end as in `sweep.execute`.

    limits: (smallest, largest) pack of a run's shape; None: the sizes that were measured.
    """
    scheduler = Scheduler(todo, limits or speeds.limits)
    idle = [_Process(speeds) for _ in range(count)]
    running: list[tuple[float, int, _Process]] = []  # by the time at which a pack ends
    now, busy = 0.0, 0.0
    if count > 1:  # the command loads the images before it starts other processes
        now = sum(speeds.loading.get(name, 0.0) for name in {run.task.data for run in todo.todo})
    while True:
        while idle and (begun := scheduler.begin(len(idle))) is not None:
            number, pack = begun
            process = idle.pop()
            seconds = process.seconds(pack)
            busy += seconds
            heapq.heappush(running, (now + seconds, number, process))
        if not running:
            break
        now, number, process = heapq.heappop(running)
        scheduler.ended(number)
        idle.append(process)
    used = {speed_key(run) for run in todo.todo}
    sources = frozenset(speeds.by_shape[key].source for key in used)
    path = _critical_path(todo, speeds)
    return Prediction(count, now, busy, path, scheduler.packs, sources, scheduler.filled)


@dataclass
class _Process:
    """What a process has done and need not do again."""

    speeds: Speeds
    seen: set[Any] = field(default_factory=set)

    def seconds(self, pack: tuple[Run, ...]) -> float:
        """From the start of a pack to its results."""
        key, data = speed_key(pack[0]), pack[0].task.data
        seconds = self.speeds.of(pack[0]).seconds(pack, first=key not in self.seen)
        if not self.seen:
            seconds += self.speeds.start
        if data not in self.seen:
            seconds += self.speeds.loading.get(data, 0.0)
        self.seen |= {key, data}
        return seconds


def _critical_path(todo: Plan, speeds: Speeds) -> float:
    """Seconds of the longest chain of runs."""
    ends: dict[Run, float] = {}
    for run in todo.todo:  # parents first
        begin = max((ends[parent] for parent in run.parents if parent in ends), default=0.0)
        ends[run] = begin + speeds.of(run).seconds([run])
    return max(ends.values(), default=0.0)


# --- on which devices ---


def here(todo: Plan, device: torch.device | str = "cpu", workers: int | None = None) -> Prediction:
    """Predict the plan on this machine, as `execute` would train it."""
    count, chosen = process_count(todo, device, workers), torch.device(device)
    if not todo.todo:
        return Prediction(count)
    speeds = measure.speeds(todo.todo, device, count)
    return simulate(todo, speeds, count, lambda run: pack_limits(run, chosen))


def on(todo: Plan, devices: str, speed: str | Path = "") -> list[Prediction]:
    """Predict the plan on devices like "8xh100" or "2xcpu"; an optimistic and a pessimistic one if estimated.

    speed: a file of speeds measured on such a device. Raises InputError for devices whose speed is unknown.
    """
    count, kind = parse(devices)
    if speed:
        given(speed)  # refused where nothing is left to train, too
    require(
        bool(speed) or kind in ("cpu", *assumed_speeds.DEVICES),
        f"The speed of {kind!r} is unknown; known are cpu (measured here) and "
        f"{', '.join(assumed_speeds.DEVICES)} (estimated). For another, name a file of speeds measured on it "
        "with --speed: `lthpaper plan` writes one there.",
    )
    if not todo.todo:
        return [Prediction(count)]
    if speed:
        return [simulate(todo, _from_file(todo, speed, kind), count)]
    if kind == "cpu":
        return [simulate(todo, measure.speeds(todo.todo, "cpu", min(count, worker_count("cpu"))), count)]
    device = assumed_speeds.DEVICES[kind]
    return [simulate(todo, assumed_speeds.estimated(todo.todo, device, p), count) for p in (False, True)]


def parse(devices: str) -> tuple[int, str]:
    """ "8xh100" -> (8, "h100"); "h100" is one. Raises InputError for anything else."""
    match = re.fullmatch(r"(?:(\d{1,5})\s*[x×])?\s*([a-z][\w -]*)", devices.strip().lower())
    if match is None or int(match[1] or 1) < 1:
        raise InputError(
            f"{devices!r} does not name devices; write a number, x and a kind, for example 8xh100 or 2xcpu."
        )
    return int(match[1] or 1), match[2].strip()


def _from_file(todo: Plan, file: str | Path, kind: str) -> Speeds:
    """Speeds of a device of this kind, from a file."""
    known = given(file)
    measured = [(entry["device"], entry["processes"]) for entry in known.values() if "sizes" in entry]
    fitting = [pair for pair in measured if kind in pair[0].lower()] or measured * (kind == "cpu")
    if not fitting:
        names = ", ".join(sorted({name for name, _ in measured}))
        raise InputError(f"{file} holds speeds of {names}, not of {kind}; name a device of the file.")
    name, processes = max(fitting, key=lambda pair: (measured.count(pair), pair[1]))
    return from_file(known, by_shape(todo.todo).values(), name, processes)


def duration(seconds: float) -> str:
    """Seconds as text: s, min or h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def table(predictions: list[Prediction], price: float = 0.0) -> dict[str, str]:
    """Predictions as text by name; a range if speeds are estimated. price: dollars a device-hour."""
    require(0 <= price < math.inf, f"The price is {price}; it must be a number from 0.")

    def span(of: Callable[[Prediction], Any], write: Callable[[Any], str] = str) -> str:
        return " to ".join(dict.fromkeys(write(of(p)) for p in predictions))

    rows = {
        "time": span(lambda p: p.makespan, duration),
        "device-hours": span(lambda p: p.device_hours, lambda v: f"{v:,.2f}"),
        "utilisation": span(lambda p: p.utilisation, lambda v: f"{v:.0%}"),
        "shortest time, on any number of devices": span(lambda p: p.critical_path, duration),
        "packs": span(lambda p: f"{p.packs}, {p.filled:.0%} full"),
    }
    if price:
        rows["cost"] = span(lambda p: p.device_hours * price, lambda v: f"${v:,.{0 if v >= 100 else 2}f}")
    sources = {source for p in predictions for source in p.sources}
    if sources:
        rows["speeds"] = where_from(sources)
    return rows


def where_from(sources: Iterable[str]) -> str:
    """Where speeds come from, as text: "measured, scaled"."""
    return ", ".join(f"{s}: NOT MEASURED" if s == "estimated" else s for s in sorted(sources))
