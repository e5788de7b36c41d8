"""What surrounds the training steps: from the command to the first step, loading data, growing sweeps."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.sizes import SIZES, Size
from lthpaper import data, locations
from lthpaper.errors import InputError
from lthpaper.runs.settings import pretraining
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import CURVES, Checkpoint
from lthpaper.training.start import start

FIRST_STEP = """
import time
import lthpaper.sweep.execute, lthpaper.figures
print(time.monotonic())
from lthpaper import data
images = data.load("digits")
print(time.monotonic())
import torch
from benchmarks.around import first_step
first_step(images, torch.device({device!r}))
print(time.monotonic())
"""


def first_step(images: data.DataSet, device: object) -> None:
    """One optimizer step of the engine at digits size, with all its preparation."""
    size = SIZES["digits"]
    few = replace(
        images,
        images=replace(
            images.images,
            train=images.images.train[: size.batch],
            train_labels=images.images.train_labels[: size.batch],
        ),
    )
    run = pretraining(size.task, size.recipe("fp32"))
    with repeatable(device):
        float(Pack([run, run], [start(run, None)] * 2, few, device).train_epoch()[0])


def start_up(device: str) -> dict[str, float]:
    """Seconds in a fresh process, each from its beginning: imports done, digits loaded, first step done."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", FIRST_STEP.format(device=device)],
        cwd=Path(__file__).parents[1],  # where both packages are found
        capture_output=True,
        text=True,
        check=True,
    )
    stamps = [float(line) - began for line in ran.stdout.split()]
    return dict(zip(("imports done", "digits loaded", "first step done"), stamps, strict=True))


def loading(name: str) -> float | None:
    """Seconds to load a data set into memory; None if it is unavailable."""
    began = time.perf_counter()
    try:
        data._load.__wrapped__(name, locations.data_folder().resolve(), 0, 0)  # as if for the first time
    except InputError:
        return None
    return time.perf_counter() - began


def checkpoint(size: Size, pack: int) -> float:
    """Seconds to keep the checkpoints of a pack of a size, their sync to the disk included; the median."""
    runs = [pretraining(size.task, size.recipe("fp32"), seed) for seed in range(pack)]
    starts = [start(run, None) for run in runs]
    curves: dict[str, list[float]] = {name: [] for name in CURVES}
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoints(folder)
        for step in range(5):
            began = time.perf_counter()
            for run, begin in zip(runs, starts, strict=True):
                weights, velocity = ({n: t.clone() for n, t in begin.weights.items()} for _ in range(2))
                kept.save(run, Checkpoint(0, step, 0.0, "", weights, velocity, curves, {}, 0.0, ()), "")
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def growth(count: int, device: str, epochs: int = 2, on: str = "") -> float:
    """Seconds of a whole sweep of `count` dense digits runs, workers and store included."""
    size = SIZES["digits"]
    recipe = size.recipe("fp32").with_(epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        runs = [pretraining(size.task, recipe, seed) for seed in range(count)]
        began = time.perf_counter()
        execute(runs, Store(Path(folder)), device=device, quiet=True, on=on)
        return time.perf_counter() - began


def on_ray(counts: Sequence[int] = (1, 2), runs: int = 32, epochs: int = 10) -> list[dict[str, object]]:
    """Rows of a sweep on Ray clusters with `counts` cores, without their start; none if Ray is not installed.

    ratio: to the first of them.
    """
    from lthpaper.sweep.ray_node import ray

    try:
        module = ray()
    except InputError:
        return []
    found: list[dict[str, object]] = []
    for count in counts:
        module.init(address="local", num_cpus=count, log_to_driver=False, logging_level="ERROR")
        try:
            growth(4 * count, "cpu", on="ray")  # the processes are there then
            seconds = growth(runs, "cpu", epochs, on="ray")
        finally:
            module.shutdown()
        row = {
            "size": "digits",
            "contender": f"sweep of {runs} runs, {epochs} epochs each, on Ray, workers: {count}",
            "network_epochs_per_hour": 3600 * epochs * runs / seconds,
            "seconds": seconds,
        }
        found.append(row | {"ratio": (found[0]["seconds"] if found else seconds) / seconds})
    return found


def rows(device: str, counts: Sequence[int]) -> list[dict[str, object]]:
    """Rows with `seconds`; a sweep's images are those of its training steps."""
    found: list[dict[str, object]] = [
        {"size": "digits", "contender": f"from command to {what}", "seconds": seconds}
        for what, seconds in start_up(device).items()
    ]
    for name, size in (("digits", "digits"), ("cifar10", "cifar")):
        if (seconds := loading(name)) is not None:
            found.append({"size": size, "contender": f"loading {name}", "seconds": seconds})
    for name, pack in (("digits", 8), ("cifar", 1), ("vgg", 1)):
        size = SIZES[name]
        what = f"checkpoint of {size.task.network}, a pack of {pack}"
        found.append({"size": name, "contender": what, "seconds": checkpoint(size, pack)})
    for count in counts:
        seconds = growth(count, device)
        found.append(
            {
                "size": "digits",
                "contender": f"sweep of {count} run{'s' if count > 1 else ''}, 2 epochs each",
                "images_per_s": 2 * count * SIZES["digits"].images / seconds,
                "network_epochs_per_hour": 3600 * 2 * count / seconds,
                "seconds": seconds,
            }
        )
    if device == "cpu" and len(counts) > 2:  # starting two clusters takes half a minute
        found += on_ray()
    return found
