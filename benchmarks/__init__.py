"""Compare the speed of the ordinary training loop and ours, side by side in one run on this machine.

Contenders of a group take turns, round after round, and the ordinary loop is in every group: a ratio
compares blocks of the same round, so that a machine that slows down slows both. Medians over rounds.
`docs/performance.md` says what is compared and why.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pandas as pd
import torch
from tqdm.auto import tqdm

from benchmarks import around
from benchmarks.contender import ENGINE, FLOOR, ON_DEVICE, ORDINARY, PACK, Contender, Running
from benchmarks.floor import floor
from benchmarks.report import COLUMNS, report, write
from benchmarks.sizes import SIZES, Size, named, precisions
from lthpaper.runs.run import Run
from lthpaper.sweep.plan import worker_count
from lthpaper.training.autotune import choose, pack_limits
from lthpaper.training.forms import Form

__all__ = ["COLUMNS", "SIZES", "Effort", "report", "run_bench", "write"]

PACKS = (1, 2, 4, 8, 16)
ON_A_GPU = 5120  # images of an epoch: as many steps that what begins and ends one does not count
GROUP = 5  # contenders alive at once beside the ordinary loop: all of them together would fill the memory


@dataclass(frozen=True)
class Effort:
    """Measurement budget and coverage."""

    rounds: int  # of the first group: the ordinary loop and the engine
    rounds_of_packs: int
    seconds: float  # of a block
    images: int  # of an epoch, at most
    packs: tuple[int, ...]
    forms: tuple[Form, ...]  # of the packs
    precisions: tuple[str, ...]
    growth: tuple[int, ...]  # runs in a sweep
    workers: tuple[int, ...] = (0, 2)  # of the DataLoader
    photographs: int = 0  # decoded in an epoch of the comparison with torchvision's ImageFolder


FULL = Effort(
    *(7, 3, 0.5, 384, PACKS, (Form(), Form(channels_last=True)), ("fp32", "bf16"), (1, 4, 16, 64)),
    photographs=640,
)
QUICK = Effort(3, 3, 0.3, 256, (), (), ("fp32", "bf16"), (1, 8))


def run_bench(
    sizes: Sequence[str] = ("digits", "cifar"),
    device: str = "cpu",
    quick: bool = False,
    effort: Effort | None = None,
) -> pd.DataFrame:
    """One row per contender, in the columns COLUMNS.

    images_per_s: network-images a second, training steps only (median over rounds; spread_low,
    spread_high: the slowest and fastest round); ratio: to the faster ordinary loop of the same round;
    memory_mb: peak of all its processes, on the GPU where it trains there. Raises InputError for an
    unknown size.
    """
    chosen = [named(size) for size in sizes]
    on_a_gpu = torch.device(device).type == "cuda"
    if effort is None:
        effort = replace(QUICK if quick else FULL, precisions=precisions(device))
        if on_a_gpu:
            workers = tuple(sorted({0, 2, min(8, worker_count("cpu"))}))  # a GPU waits for them
            effort = replace(effort, packs=(), workers=workers)  # the choice of the engine tries them all
    rows: list[dict[str, object]] = []
    with tqdm(total=len(chosen) + 1, unit=" parts", desc="bench") as bar:
        for size, name in zip(chosen, sizes, strict=True):
            images = min(size.epoch, ON_A_GPU) if on_a_gpu else min(size.images, effort.images)
            timed = replace(size, images=images)
            rows += [{"size": name, **row} for row in _compare(timed, device, effort)]
            rows += [{"size": name, **row} for row in _tried(size, device, effort.precisions)]
            bar.update()
        if effort.photographs:
            from benchmarks import loading  # imports torchvision

            rows += loading.rows(device=device, images=effort.photographs, rounds=effort.rounds)
        rows += around.rows(device, effort.growth)
        bar.update()
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.attrs["device"] = device
    return table


def _tried(size: Size, device: str, precisions: Sequence[str]) -> Iterator[dict[str, object]]:
    """Rows of what the engine tried before it chose its form and pack: a few steps each; none on a CPU."""
    for precision in precisions:
        choice = choose(Run(size.task, size.recipe(precision)), torch.device(device))
        for what, (speed, used) in choice.tried.items():
            form, _, pack = what.rpartition(", ")
            about = {"contender": "tried", "pack": int(pack), "precision": precision, "form": form}
            yield about | {
                "images_per_s": speed,
                "network_epochs_per_hour": 3600 * speed / size.epoch,
                "memory_mb": used / 1e6,
            }


def _compare(size: Size, device: str, effort: Effort) -> Iterator[dict[str, object]]:
    """Rows of one size."""
    where = torch.device(device)
    ordinary = [Contender(ORDINARY, size, device, workers=n) for n in effort.workers]
    largest = {p: pack_limits(Run(size.task, size.recipe(p)), where)[1] for p in effort.precisions}
    ours = [
        Contender(ENGINE, size, device, pack, precision, None, worker_count(device))
        for precision, pack in largest.items()
    ]
    at_once = len(ours) if where.type == "cpu" else 1  # on a GPU a pack may fill the memory
    least = [Contender(FLOOR, size, device, 1, p, None, worker_count(device)) for p in effort.precisions]
    first = [*ordinary, Contender(ON_DEVICE, size, device), *ours[:at_once], *least]
    later = [([engine], effort.rounds) for engine in ours[at_once:]]
    packs = [
        Contender(PACK, size, device, pack, precision, form)
        for precision in effort.precisions
        for form in effort.forms
        for pack in effort.packs
    ]
    if len(packs) < GROUP:  # few enough to take turns with the rest
        first, packs = first + packs, []
    later += [(packs[i : i + GROUP], effort.rounds_of_packs) for i in range(0, len(packs), GROUP)]
    rates, memory, evaluation = _rounds(first, effort.rounds, effort.seconds)
    base = max(ordinary, key=lambda c: statistics.median(rates[c]))
    yield from (_row(c, rates[c], rates[base], memory[c]) for c in first if c.kind != FLOOR)
    floors = [floor(size, device, c.precision, max(rates[c])) for c in least]
    for group, rounds in later:
        rates, memory, more = _rounds([base, *group], rounds, effort.seconds)
        evaluation |= more
        yield from (_row(c, rates[c], rates[base], memory[c]) for c in group)
    for contender, found in evaluation.items():
        yield _row(contender, found, None, math.nan) | {"contender": "engine, evaluation"}
    yield from floors


Rates = dict[Contender, list[float]]


def _rounds(
    group: Sequence[Contender], rounds: int, seconds: float
) -> tuple[Rates, dict[Contender, float], Rates]:
    """Images a second by round, peak memory, and test images a second of the engine."""
    with ExitStack() as alive:
        running = [alive.enter_context(Running(contender)) for contender in group]
        for one in running:
            one.wait_ready()
        for one in running:
            one.warm_up(seconds)
        rates: Rates = {contender: [] for contender in group}
        for _ in range(rounds):
            for one in running:
                rates[one.contender].append(one.train())
        memory = {one.contender: one.memory_mb for one in running}
        engines = [one for one in running if one.contender.kind == ENGINE]
        tests = {one.contender: [one.evaluate() for _ in range(rounds)] for one in engines}
    return rates, memory, tests


def _row(c: Contender, rates: list[float], base: list[float] | None, memory_mb: float) -> dict[str, object]:
    speed = statistics.median(rates)
    ratios = [math.nan] if base is None else [own / other for own, other in zip(rates, base, strict=True)]
    return {
        "contender": c.name,
        "pack": c.pack,
        "precision": c.precision,
        "form": c.form_name,
        "processes": c.processes,
        "images_per_s": speed,
        "network_epochs_per_hour": 3600 * speed / c.size.epoch if base is not None else math.nan,
        "ratio": statistics.median(ratios),
        "spread_low": min(rates),
        "spread_high": max(rates),
        "memory_mb": memory_mb,
    }
