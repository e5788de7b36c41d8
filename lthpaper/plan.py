"""A plan: what is left to train for a list of runs, in which order, and what it will cost."""

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lthpaper import data
from lthpaper.data import Card, DataSet, Images
from lthpaper.provenance import device_name
from lthpaper.runs import Fresh, Rewind, Run, ancestors
from lthpaper.store import Store
from lthpaper.training import Pack, one_thread, pack_limits, shape_key, start

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
        spent = 0.0
        for runs in self.shapes.values():
            spent += calibrate(runs[0], torch.device(device)) * sum(run.cost for run in runs)
        return max(spent / worker_count(device, workers), self._longest_chain(torch.device(device)))

    def _longest_chain(self, device: torch.device) -> float:
        """Seconds of the longest chain of ancestors: no number of workers does it faster."""
        ends: dict[Run, float] = {}
        todo = set(self.todo)
        for run in self.runs:
            own = calibrate(run, device) * run.cost if run in todo else 0.0
            ends[run] = own + max((ends[parent] for parent in run.parents), default=0.0)
        return max(ends.values(), default=0.0)


def plan(runs: Iterable[Run], store: Store, keep: Keep | None = None) -> Plan:
    """What `runs` and their ancestors still need. keep: snapshots asked for, beside those that
    rewound runs start from. A run in the store without a snapshot that is needed is trained again."""
    graph = tuple(ancestors(runs))
    needed: dict[Run, set[int]] = {run: set(epochs) for run, epochs in (keep or {}).items()}
    for run in graph:
        if isinstance(run.init, Rewind) and run.init.epoch != run.init.to.recipe.epochs:
            needed.setdefault(run.init.to, set()).add(run.init.epoch)
    todo: set[Run] = set()
    for run in graph:
        if run not in store or not needed.get(run, set()) <= store.snapshots(run) | {run.recipe.epochs}:
            todo.add(run)
    return Plan(
        graph,
        tuple(run for run in graph if run in todo),
        {run: frozenset(epochs) for run, epochs in needed.items() if epochs},
    )


def worker_count(device: torch.device | str, workers: int | None = None) -> int:
    """One process a core on a CPU, one on a GPU, unless told otherwise."""
    if workers is not None:
        return workers
    return len(os.sched_getaffinity(0)) if torch.device(device).type == "cpu" else 1


CALIBRATION = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lthpaper" / "speed.json"


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
        known = _read_cache() | {key: _time_steps(run, card, device)}
        CALIBRATION.parent.mkdir(parents=True, exist_ok=True)
        draft = CALIBRATION.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(known, indent=1))
        draft.replace(CALIBRATION)
    per_step, per_evaluation = known[key]
    return per_step * math.ceil(run.task.images / run.recipe.batch_size) + per_evaluation * card.test


def _read_cache() -> dict[str, tuple[float, float]]:
    try:
        return json.loads(CALIBRATION.read_text())
    except (OSError, ValueError):  # not there yet, or written half: it is only a cache
        return {}


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
    k = min(pack_limits(size, device)[1], 8)
    runs = [Run(run.task, run.recipe, Fresh(i), seed=i) for i in range(k)]
    with one_thread(device):
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
