"""Measure how long shapes take to train on this device, under the conditions of a real sweep.

`speeds` reads what was measured before and measures the rest.

It measures in as many processes at once as will train, since they slow each other down, and at the smallest,
a middle and the largest pack, since half-full packs cost more a network. Besides the steps it times what
surrounds them: the start of a process, the first pack of a shape, the evaluation, the writing of results.
On a CPU it goes over all shapes several times: a shared machine is slow for seconds at a time. On a busy
one the minute, which is of wall-clock time, may be over early: the first shape is then measured at its
smallest pack alone, larger packs are taken in proportion, other shapes are scaled from it, and it says so.
"""

import json
import math
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lthpaper import data
from lthpaper.data.noise import random_data
from lthpaper.errors import InputError
from lthpaper.provenance import device_name
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Run, from_json, to_json
from lthpaper.runs.settings import lt_omp
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.sweep import flops
from lthpaper.sweep.processes import InThisProcess, Workers
from lthpaper.sweep.speeds import (
    PACKS,
    SECONDS,
    Speed,
    Speeds,
    by_shape,
    calibration_file,
    entry,
    entry_key,
    from_file,
    read,
    speed_key,
    start_key,
    write,
)
from lthpaper.training.autotune import choose, pack_limits
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import Trained, curves_of
from lthpaper.training.start import start

MINUTE = 60.0  # seconds in which a plan's shapes are measured; the rest are scaled from similar ones
BLOCK = 0.1  # seconds for which a speed is timed at least
ROUNDS = {"cpu": 5, "cuda": 1}  # over all shapes, as far as the minute goes; a GPU's speed hardly wavers
PIXELS = {"cpu": 2**20, "cuda": 2**23}  # of a timed step at most; a whole batch of photographs may not fit


def speeds(runs: Iterable[Run], device: torch.device | str, processes: int = 1) -> Speeds:
    """Speeds on this device with this many processes at once, measured before or now, in about a minute.

    A shape for which the minute is too short is scaled from the most similar one, and measured by a later
    call.
    """
    shapes = by_shape(runs)
    name = device_name(device)
    known = read(calibration_file())
    missing = [run for key, run in shapes.items() if entry_key(name, run, processes) not in known]
    if missing or start_key(name, processes) not in known:
        long = "about a minute" if torch.device(device).type == "cpu" else "some minutes"
        print(f"lthpaper: Measuring how fast this machine trains, {long} …", file=sys.stderr, flush=True)
        measured = measure(sorted(missing, key=_importance(runs)), device, processes)
        left = sum(entry_key(name, run, processes) not in measured for run in missing)
        if left:
            print(
                f"lthpaper: The time for measuring is over: {len(missing) - left} of {len(missing)} kinds of "
                "training were measured, the others are scaled from similar ones. The next plan measures "
                "more of them.",
                file=sys.stderr,
                flush=True,
            )
        known = read(calibration_file()) | measured
        write(known)
    return from_file(known, shapes.values(), name, processes)


def _importance(runs: Iterable[Run]) -> Callable[[Run], float]:
    """A sort key that puts the most work first: shapes that are left after the minute matter least."""
    total: dict[tuple, float] = {}
    for run in runs:
        images = run.cost * run.task.images
        total[speed_key(run)] = total.get(speed_key(run), 0.0) - images * flops.per_image(run.task)[0]
    return lambda run: total[speed_key(run)]


def measure(runs: Sequence[Run], device: torch.device | str, processes: int) -> dict[str, dict[str, Any]]:
    """Measure these shapes, most important first, in all processes at once; entries of the file of speeds."""
    name = device_name(device)
    with tempfile.TemporaryDirectory() as folder:
        document = {"runs": [to_json(run) for run in runs], "device": str(device), "folder": folder}
        document["data"] = sorted({run.task.data for run in runs})
        jobs = [document | {"number": n, "is_new": processes > 1} for n in range(processes)]
        with Workers(processes) if processes > 1 else InThisProcess() as workers:
            for number, job in enumerate(jobs):
                workers.submit(number, job, _measure_here)
            left = processes
            while left:
                for _, error in workers.done():
                    if error is not None:
                        raise error
                    left -= 1
        found = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    about = {"device": name, "processes": processes}
    start_up = statistics.mean(each["start"] for each in found)
    entries = {start_key(name, processes): about | {"seconds": start_up}}
    for data_set in found[0]["loading"]:
        seconds = statistics.mean(each["loading"][data_set] for each in found)
        entries[start_key(name, processes, data_set)] = about | {"seconds": seconds}
    for run, *rounds in zip(runs, *(each["speeds"] for each in found), strict=False):  # measured by all
        measured = [speed for each in rounds for speed in each]
        few = min(len(m["sizes"]) for m in measured)  # a process may have had less time than another
        mean = {what: np.mean([m[what][:few] for m in measured], axis=0).tolist() for what in PACKS}
        mean |= {what: float(np.mean([m[what] for m in measured])) for what in SECONDS}
        mean["sizes"] = measured[0]["sizes"][:few]
        entries[entry_key(name, run, processes)] = entry(name, processes, run, mean)
    return entries


def _measure_here(
    job: Mapping[str, Any], *told: Callable, clock: Callable[[], float] = time.monotonic
) -> None:
    """Measure in one process, and write a file."""
    began, folder, device = clock(), Path(job["folder"]), torch.device(job["device"])

    def is_over() -> bool:
        return clock() - began >= MINUTE

    born = time.process_time() if job["is_new"] else 0.0  # the time of its imports
    with repeatable(device):
        first = Run(Task("resnet8", "digits"), Recipe(epochs=2, milestones=()))
        cold, warm = (_seconds(lambda: _train_little(first, device, folder), device) for _ in range(2))
        loading = {name: _time_loading(name, device) for name in job["data"]}
        speeds: list[list[Speed]] = []  # of each shape, in each round
        for number in range(ROUNDS.get(device.type, 1)):
            for shape, document in enumerate(job["runs"]):
                if speeds and is_over():
                    break
                speed = _time_shape(from_json(document), device, folder, is_over)
                if not number:
                    speeds.append([speed])
                elif speed.sizes == speeds[shape][0].sizes:  # not cut short; its program is built
                    speeds[shape].append(replace(speed, first=speeds[shape][0].first))
    found = {
        "start": born + max(0.0, cold - warm),
        "loading": loading,
        "speeds": [[{n: getattr(s, n) for n in (*PACKS, *SECONDS)} for s in each] for each in speeds],
    }
    (folder / f"{job['number']}.json").write_text(json.dumps(found))


def _time_loading(name: str, device: torch.device) -> float:
    """Seconds to load a data set for the first time; 0 if it is not here."""
    with suppress(InputError):
        return _seconds(lambda: data.load(name), device)
    return 0.0


def _time_shape(run: Run, device: torch.device, folder: Path, is_over: Callable[[], bool]) -> Speed:
    """Measure the speed of a run's shape in this process; larger packs are left out when time is over."""
    smallest, largest = pack_limits(run, device)
    sizes = sorted({smallest, round(math.sqrt(smallest * largest)), largest})
    part = timed_images(run, device)
    recipe = run.recipe.with_(
        epochs=2, schedule="step", milestones=(), warmup_epochs=0.0, batch_size=part, micro_batch=0
    )
    runs = [Run(run.task, recipe, Fresh(i), seed=i) for i in range(largest)]
    cold, warm = (_seconds(lambda: _pack(runs[:smallest], device).evaluate(), device) for _ in range(2))
    timed: list[tuple[float, float]] = []  # of a step, of a test image
    for k in sizes:
        if timed and is_over():
            break
        timed.append(_time_epoch(runs[:k], device, is_over))
    step, image = zip(*timed, strict=True)
    result = _seconds(lambda: _train_little(runs[0], device, folder), device)
    if not is_over():
        result = min(result, _seconds(lambda: _train_little(runs[0], device, folder), device))
    result -= warm + step[0]
    whole = tuple(seconds * run.recipe.batch_size / part for seconds in step)
    return Speed(tuple(sizes[: len(timed)]), whole, image, max(0.0, cold - warm), warm, max(0.0, result))


def timed_images(run: Run, device: torch.device) -> int:
    """Images of a timed step: a batch, or the part of it that PIXELS allows; time is then scaled up."""
    most = max(1, PIXELS.get(device.type, PIXELS["cuda"]) // data.card(run.task.data).size ** 2)
    return min(run.recipe.micro_batch or run.recipe.batch_size, most)


def _pack(runs: Sequence[Run], device: torch.device, steps: int = 1, tests: int = 1) -> Pack:
    """A pack that is ready to train, on random images."""
    first, starts = runs[0], [start(run, None) for run in runs]
    images = random_data(data.card(first.task.data), steps * first.recipe.batch_size, tests)
    return Pack(runs, starts, images, device, choose(first, device).form)


def _time_epoch(
    runs: Sequence[Run], device: torch.device, is_over: Callable[[], bool]
) -> tuple[float, float]:
    """(seconds a step, seconds a test image) of a pack, over as many of each as BLOCK holds; when the time is
    over, of a step and some test images alone."""
    run = runs[0]
    whole = math.ceil(run.task.images / run.recipe.batch_size), data.card(run.task.data).test
    steps, tests = 1, min(whole[1], 20)
    for _ in range(2):
        pack = _pack(runs, device, steps, tests)
        per_step = _mean_seconds(partial(_train_epoch, pack), device) / steps
        per_image = _mean_seconds(partial(_evaluate, pack), device) / tests
        fits = (min(int(BLOCK / per_step), whole[0]), min(int(BLOCK / per_image), whole[1]))
        if is_over() or (fits[0] <= steps and fits[1] <= tests):
            break
        steps, tests = max(steps, fits[0]), max(tests, fits[1])
    return per_step, per_image


def _train_epoch(pack: Pack) -> None:
    float(pack.train_epoch().sum())  # `float` waits for the device


def _evaluate(pack: Pack) -> None:
    float(pack.evaluate()[0].sum())


def _train_little(run: Run, device: torch.device, folder: Path) -> None:
    """Train a run for one step, write its result to a store, and read it to start a pruned run."""
    pack = _pack([run], device)
    pack.train_epoch()
    curves = {name: [0.0] for name in curves_of(run)}
    store = Store(folder / uuid.uuid4().hex)
    store.put(Trained(run, pack.weights(0), None, curves, {}, 0.0, 1, ""), "", {})
    start(lt_omp(run, 0.5), store.weights)


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    """Seconds that an action takes; on a CPU, processor time, so that other programs do not count."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    began = clock()
    action()
    return clock() - began


def _mean_seconds(action: Callable[[], object], device: torch.device) -> float:
    """Mean seconds of an action, after a first call, repeated for BLOCK seconds."""
    action()
    times = [_seconds(action, device)]
    while sum(times) < BLOCK:
        times.append(_seconds(action, device))
    return statistics.mean(times)
