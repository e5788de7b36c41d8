"""How many seconds a pack takes on a device, and the file that keeps measured speeds.

`measure.py` measures them, `assumed_speeds.py` estimates them for devices on which nothing was measured.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lthpaper import cache, data
from lthpaper.errors import require
from lthpaper.runs import digest
from lthpaper.runs.recipe import is_tested
from lthpaper.runs.run import Run
from lthpaper.sweep import flops

FORMAT = 2  # of the file of speeds
PACKS, SECONDS = ("sizes", "step", "image"), ("first", "pack", "run")  # a Speed's fields in it


@dataclass(frozen=True)
class Speed:
    """Seconds of packs of one shape on one device.

    step, image: of an optimizer step and of a test image, for a whole pack of each size in `sizes`.
    """

    sizes: tuple[int, ...]
    step: tuple[float, ...]
    image: tuple[float, ...]
    first: float = 0.0  # extra for the first pack of the shape in a process, to build its program
    pack: float = 0.0  # before and after the epochs of any pack
    run: float = 0.0  # for each run of it: its start, its result on the disk
    source: str = "measured"  # or "scaled" from a shape that was measured, or "estimated"

    def epoch(self, run: Run, k: int) -> float:
        """One epoch of a pack of k runs like this one, with an epoch's share of the tests."""
        k = max(k, self.sizes[0])  # a smaller pack is padded with copies
        steps = math.ceil(run.task.images / run.recipe.batch_size)
        per_step, per_image = (_at(k, self.sizes, values) for values in (self.step, self.image))
        epochs = run.recipe.epochs
        tests = sum(is_tested(epoch + 1, epochs) for epoch in range(epochs)) / epochs
        return steps * per_step + tests * data.card(run.task.data).test * per_image

    def seconds(self, runs: Sequence[Run], first: bool = False) -> float:
        """A pack from its start to its results in the store. first: the process's first of the shape."""
        epochs = runs[0].cost * self.epoch(runs[0], len(runs))
        return epochs + self.pack + len(runs) * self.run + (self.first if first else 0.0)

    def like(self, operations: float, batch: float) -> "Speed":
        """The speed of a similar shape. operations (an image), batch (images a step): ratios to this one."""
        step = tuple(value * operations * batch for value in self.step)
        image = tuple(value * operations for value in self.image)
        return replace(self, step=step, image=image, source="scaled")


def _at(k: int, sizes: Sequence[int], values: Sequence[float]) -> float:
    """Interpolate linearly between measured sizes, and in proportion beyond the largest."""
    return values[-1] * k / sizes[-1] if k > sizes[-1] else float(np.interp(k, sizes, values))


@dataclass(frozen=True)
class Speeds:
    """The speed of every shape of a plan, on one kind of device.

    start: seconds until a new process can train; loading: seconds to load each data set, once a process.
    """

    device: str
    by_shape: Mapping[tuple, Speed]
    start: float = 0.0
    loading: Mapping[str, float] = field(default_factory=dict)

    def of(self, run: Run) -> Speed:
        return self.by_shape[speed_key(run)]

    def limits(self, run: Run) -> tuple[int, int]:
        """(smallest, largest) pack that was measured, or is assumed to fit."""
        sizes = self.of(run).sizes
        return sizes[0], sizes[-1]


def speed_key(run: Run) -> tuple:
    """Runs with equal keys train equally fast in packs of equal size."""
    return (run.task, run.recipe.batch_size, run.recipe.precision)


def by_shape(runs: Iterable[Run]) -> dict[tuple, Run]:
    """One run of each shape."""
    return {speed_key(run): run for run in reversed(list(runs))}


def from_file(known: Mapping[str, Any], runs: Iterable[Run], device: str, processes: int) -> Speeds:
    """Speeds of these shapes from a file's measurements; a missing one is scaled from the most similar.

    Raises KeyError if nothing was measured on the device.
    """
    like = [
        (entry, speed_of(entry))
        for entry in known.values()
        if "sizes" in entry and (entry["device"], entry["processes"]) == (device, processes)
    ]
    found = {}
    for run in runs:
        entry = known.get(entry_key(device, run, processes))
        if entry is not None:
            found[speed_key(run)] = speed_of(entry)
            continue
        if not like:
            raise KeyError(device)
        nearest, speed = min(like, key=lambda pair: _distance(pair[0], run))
        batch = min(run.recipe.batch_size, run.task.images) / nearest["batch_size"]  # a step has no more
        if any(_distance(nearest, run)) or batch != 1:
            speed = speed.like(flops.per_image(run.task)[0] / nearest["operations"], batch)
        found[speed_key(run)] = speed
    names = {"", *(key[0].data for key in found)}
    starts = {name: known.get(start_key(device, processes, name), {}).get("seconds", 0.0) for name in names}
    return Speeds(device, found, starts.pop(""), starts)


def _distance(entry: Mapping[str, Any], run: Run) -> tuple[float, ...]:
    """How much a run differs from a measured shape: in precision, data set, network, operations."""
    return (
        entry["precision"] != run.recipe.precision,
        entry["data"] != run.task.data,
        entry["network"] != run.task.network,
        abs(math.log(entry["operations"] / flops.per_image(run.task)[0])),
    )


# --- the file ---


def calibration_file() -> Path:
    """The file of measured speeds in the user's cache."""
    return cache.place("speed.json")


def entry_key(device: str, run: Run, processes: int) -> str:
    """Key of a shape's speed in the file."""
    return _key(device, processes, digest.describe(run.task), run.recipe.batch_size, run.recipe.precision)


def start_key(device: str, processes: int, data_set: str = "") -> str:
    """Key of the time that a process takes to start, or to load a data set."""
    return _key(device, processes, data_set)


def _key(device: str, *what: object) -> str:
    described = json.dumps([device, torch.__version__.partition("+")[0], *what], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Measurements by key; none if the file is missing or not valid, since it is only a cache."""
    document = cache.document(file)
    entries = document.get("speeds") if document.get("format") == FORMAT else None
    if not isinstance(entries, dict):
        return {}
    return {key: entry for key, entry in entries.items() if _sound(entry)}


def entry(device: str, processes: int, run: Run, speed: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement as JSON, with the description of its shape."""
    return {
        "device": device,
        "processes": processes,
        "network": run.task.network,
        "width": run.task.width,
        "data": run.task.data,
        "batch_size": run.recipe.batch_size,
        "precision": run.recipe.precision,
        "operations": flops.per_image(run.task)[0],
        **{name: speed[name] for name in PACKS + SECONDS},
    }


def speed_of(entry: Mapping[str, Any]) -> Speed:
    """A measurement from JSON."""
    fields: dict[str, Any] = {name: tuple(entry[name]) for name in PACKS}
    return Speed(**fields | {name: entry[name] for name in SECONDS})


def _sound(entry: object) -> bool:
    """Whether it is a valid measurement, of a start or of a shape."""
    if not isinstance(entry, dict) or not isinstance(entry.get("device"), str):
        return False
    if "seconds" in entry:
        return _is_time(entry["seconds"])
    packs: list[Any] = [entry.get(name) for name in PACKS]
    return (
        all(isinstance(values, list) and len(values) == len(packs[0]) > 0 for values in packs)
        and all(type(k) is int and k > 0 for k in packs[0])
        and all(_is_time(n) for values in packs[1:] for n in values)
        and all(_is_time(entry.get(name)) for name in SECONDS)
        and all(_is_time(entry.get(name)) and entry[name] > 0 for name in ("batch_size", "operations"))
        and all(isinstance(entry.get(name), str) for name in ("network", "data", "precision"))
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def given(file: str | Path) -> dict[str, dict[str, Any]]:
    """A file of speeds named by the user. Raises InputError if it is missing or holds none."""
    known = read(Path(file))
    fault = "holds no measured speeds" if Path(file).exists() else "does not exist"
    require(
        any("sizes" in entry for entry in known.values()),
        f"{file} {fault}; name the speed.json that `lthpaper plan` wrote on the device "
        f"(here it would be {calibration_file()}).",
    )
    return known


def write(known: Mapping[str, Any]) -> None:
    """Write these measurements, replacing all earlier ones."""
    cache.keep_document(calibration_file(), {"format": FORMAT, "speeds": known})
