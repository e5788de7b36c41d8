"""A plan: what is left to train for a list of runs, in which order, and what it will cost."""

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lthpaper import data
from lthpaper.data import Card, DataSet, Images
from lthpaper.errors import require
from lthpaper.provenance import device_name
from lthpaper.runs import Fresh, Rewind, Run, ancestors
from lthpaper.store import Store
from lthpaper.training import Pack, check_trainable, pack_limits, repeatable, shape_key, start

Keep = Mapping[Run, frozenset[int]]


@dataclass(frozen=True)
class Plan:
    """runs: what was asked for and all ancestors, parents first. todo: those that the store lacks."""

    runs: tuple[Run, ...]
    todo: tuple[Run, ...]
    keep: dict[Run, frozenset[int]] = field(default_factory=dict)  # epochs whose weights are needed

    @property
    def network_epochs(self) -> int:
        """Cost of what is left: networks trained for one epoch."""
        return sum(run.cost for run in self.todo)

    @property
    def disk(self) -> int:
        """Bytes that what is left will take: float32 weights, packed masks, snapshots."""
        total = 0
        for run in self.todo:
            copies = 1 + len(self.keep.get(run, ()))
            total += 4 * run.task.parameters * copies + sum(run.task.prunable_weights.values()) // 8 + 20_000
        return total

    @property
    def shapes(self) -> dict[tuple, list[Run]]:
        """What is left by what can share a pack."""
        grouped: dict[tuple, list[Run]] = {}
        for run in self.todo:
            grouped.setdefault(shape_key(run), []).append(run)
        return grouped

    def seconds(self, device: torch.device | str = "cpu", workers: int | None = None) -> float:
        """Predicted seconds on this device: a few steps of every shape are timed, or remembered."""
        if not self.todo:
            return 0.0
        device = torch.device(device)
        own = {}
        for runs in self.shapes.values():
            per_epoch = calibrate(runs[0], device)
            own |= {run: per_epoch * run.cost for run in runs}
        return max(sum(own.values()) / worker_count(device, workers), self._longest_chain(own))

    def _longest_chain(self, seconds: Mapping[Run, float]) -> float:
        """Seconds of the longest chain of ancestors: no number of workers does it faster."""
        ends: dict[Run, float] = {}
        for run in self.runs:
            own = seconds.get(run, 0.0)
            ends[run] = own + max((ends[parent] for parent in run.parents), default=0.0)
        return max(ends.values(), default=0.0)


def plan(runs: Iterable[Run], store: Store, keep: Keep | None = None) -> Plan:
    """What `runs` and their ancestors still need. keep: snapshots asked for, beside those that
    rewound runs start from. A run in the store without weights that are needed is trained again: θT and
    its mask for its children, a snapshot for who rewinds to it.

    Raises InputError if a run has nothing to train, a snapshot lies outside its run's epochs, or the
    store holds half an entry.
    """
    asked = list(runs)
    graph = tuple(ancestors(asked))
    needed = {run: set(epochs) for run, epochs in (keep or {}).items()}
    wanted = {*asked, *needed}
    todo: set[Run] = set()
    for run in reversed(graph):  # children first: what a stored run came from is not needed for its sake
        check_trainable(run)
        if run in wanted and not _stored(run, needed.get(run, set()), store):
            todo.add(run)
            wanted |= set(run.parents)
            for parent in run.parents:  # a published result may come without them
                needed.setdefault(parent, set()).add(parent.recipe.epochs)
            if isinstance(run.init, Rewind):
                needed.setdefault(run.init.to, set()).add(run.init.epoch)
    order = tuple(run for run in graph if run in todo)
    kept = {run: frozenset(needed[run]) - {run.recipe.epochs} for run in order if run in needed}
    return Plan(graph, order, {run: epochs for run, epochs in kept.items() if epochs})


def _stored(run: Run, epochs: set[int], store: Store) -> bool:
    """Whether the store has a run, and its weights after these epochs."""
    wrong = sorted(e for e in epochs if not run.first_epoch <= e <= run.recipe.epochs)
    require(
        not wrong,
        f"The weights after epoch {', '.join(map(str, wrong))} of {run} are asked for; it trains from "
        f"epoch {run.first_epoch} to {run.recipe.epochs}.",
    )
    return store.holds(run, epochs)


def worker_count(device: torch.device | str, workers: int | None = None) -> int:
    """One process a core on a CPU, one on a GPU, unless told otherwise."""
    if workers is not None:
        require(
            type(workers) is int and workers >= 1,
            f"The number of workers is {workers!r}; it must be a whole number from 1.",
        )
        return workers
    if torch.device(device).type != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def calibration_file() -> Path:
    """Where measured speeds are remembered: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lthpaper" / "speed.json"


def calibrate(run: Run, device: torch.device) -> float:
    """Seconds of one network-epoch of a run's shape in a full pack on one worker; cached per device.

    Timed on random images of the data set's shape: two steps after a first, and one evaluation batch.
    """
    card = data.card(run.task.data)
    key = repr(
        (device_name(device), torch.__version__, run.task, run.recipe.batch_size, run.recipe.precision)
    )
    known = _read_cache()
    if key not in known:
        measured = _time_steps(run, card, device)
        known = _read_cache() | {key: measured}
        _write_cache(known)
    per_step, per_evaluation = known[key]
    return per_step * math.ceil(run.task.images / run.recipe.batch_size) + per_evaluation * card.test


def _read_cache() -> dict[str, tuple[float, float]]:
    try:
        known = json.loads(calibration_file().read_text())
    except (OSError, ValueError):  # not there yet, or written half: it is only a cache
        return {}
    return known if isinstance(known, dict) else {}


def _write_cache(known: Mapping[str, tuple[float, float]]) -> None:
    file = calibration_file()
    draft = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):  # a home that cannot be written: measured again the next time
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(known, indent=1))
        draft.replace(file)


def _time_steps(run: Run, card: Card, device: torch.device) -> tuple[float, float]:
    """(seconds a step and network, seconds a test image and network)."""
    size, generator = card.size, torch.Generator().manual_seed(0)
    steps, batch = 3, run.recipe.batch_size

    def random(*shape: int, high: int = 256, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=generator, dtype=dtype)

    n = steps * batch
    images = Images(
        random(n, size, size, card.channels),
        random(n, high=card.num_classes, dtype=torch.int64),
        random(250, size, size, card.channels),
        random(250, high=card.num_classes, dtype=torch.int64),
        tuple(map(str, range(card.num_classes))),
        "random",
    )
    k = min(pack_limits(run, device)[1], 8)
    recipe = run.recipe.with_(epochs=2, schedule="step", milestones=(), warmup_epochs=0.0)
    runs = [Run(run.task, recipe, Fresh(i), seed=i) for i in range(k)]
    with repeatable(device):
        pack = Pack(runs, [start(r, None) for r in runs], DataSet("random", card, images, ""), device)
        times = []
        for _ in range(2):
            began = time.perf_counter()
            float(pack.train_epoch().sum())  # waits for the device
            times.append(time.perf_counter() - began)
        began = time.perf_counter()
        float(pack.evaluate()[0].sum())
        evaluation = time.perf_counter() - began
    return min(times) / steps / k, evaluation / 250 / k
