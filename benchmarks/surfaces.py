"""Loss surfaces side by side: loss-landscapes and ours, the same points, the same images, in one run.

Their line and our packs take turns, round after round; a ratio compares blocks of the same round, so
that a machine that slows down slows both. Medians over rounds. Their package uses torch's own threads,
as it does when a user calls it; ours one thread per core.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.sizes import precisions
from lthpaper import data, networks
from lthpaper.errors import require
from lthpaper.figures.publish import markdown
from lthpaper.measures.planes import Plane, Sample, moving_weights
from lthpaper.measures.surfaces import Evaluator, losses, sample
from lthpaper.runs.task import Task
from lthpaper.training.result import Weights

COLUMNS = [
    *("size", "network", "images", "contender", "precision", "seconds_a_point", "hours_51x51", "ratio"),
    *("spread_low", "spread_high", "largest_difference", "points"),
]
REACH = 0.5  # of a filter-normalised direction: from the weights half-way to noise of their size


def bench_surface(
    sizes: Sequence[str] = ("digits", "cifar"), quick: bool = False, device: str = "cpu"
) -> pd.DataFrame:
    """One row per size and contender, in the columns COLUMNS.

    seconds_a_point: median over rounds (spread_low, spread_high: the fastest and slowest); ratio: their
    seconds over the contender's, of the same round; largest_difference: of a loss from theirs, in nats.
    "cifar" is ResNet-20 at 32×32 with 500 images of noise, "digits" ResNet-8 at 8×8 with 1,497 digits.
    Raises InputError for another size.
    """
    for size in sizes:
        require(size in SIZES, f"The size is {size!r}; it must be one of {', '.join(sorted(SIZES))}.")
    return pd.DataFrame([row for size in sizes for row in _rows(size, quick, device)], columns=COLUMNS)


def _digits() -> tuple[Task, Sample, int]:
    found = data.load("digits")
    test = data.DataSet(found.name, found.card, _as_training(found.images), found.fingerprint)
    return Task("resnet8", "digits"), sample(test, len(found.images.test)), 32


def _as_training(images: data.Images) -> data.Images:
    """The test images, of which there are more, in the place that `sample` looks in."""
    return data.Images(
        images.test, images.test_labels, images.test, images.test_labels, images.classes, images.origin
    )


def _cifar() -> tuple[Task, Sample, int]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(500, 3, 32, 32, dtype=torch.float64, generator=generator)
    return Task("resnet20", "cifar10"), Sample(pixels, torch.arange(500) % 10, "noise"), 8


SIZES: dict[str, Callable[[], tuple[Task, Sample, int]]] = {"digits": _digits, "cifar": _cifar}


def _rows(size: str, quick: bool, device: str) -> list[dict[str, object]]:
    task, images, steps = SIZES[size]()
    if quick:
        steps //= 4
    where = torch.device(device)
    plane = _plane(task, images)
    points = np.column_stack([REACH * np.arange(1, steps + 1) / steps, np.zeros(steps)])
    contenders = {("loss-landscapes", "fp32"): _theirs(task, plane, images, steps, where)} | {
        ("lthpaper", p): _ours(Evaluator(task, plane, images, where, p), points) for p in precisions(device)
    }
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in contenders}
    found = {name: run() for name, run in contenders.items()}  # the first call also compiles kernels
    for _ in range(2 if quick else 7):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()  # returns numbers, so the device has finished
            seconds[name].append((time.perf_counter() - began) / steps)
    base = next(iter(contenders))
    return [
        {
            "size": size,
            "network": task.network,
            "images": len(images.labels),
            "contender": name,
            "precision": precision,
            "seconds_a_point": statistics.median(own),
            "hours_51x51": statistics.median(own) * 51**2 / 3600,
            "ratio": statistics.median(b / o for b, o in zip(seconds[base], own, strict=True)),
            "spread_low": min(own),
            "spread_high": max(own),
            "largest_difference": float(np.abs(found[name, precision] - found[base]).max()),
            "points": steps,
        }
        for (name, precision), own in seconds.items()
    ]


def _plane(task: Task, images: Sample) -> Plane:
    """A drawn network with the batch-norm statistics of the images, and two random directions."""
    network = networks.build_seeded(0, **task.shape)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain mean over what it sees
    with torch.no_grad():
        network.train()(images.images.float())
    weights: Weights = {n: t.detach() for n, t in network.state_dict().items()}
    names = moving_weights(weights, [name for name, _ in network.named_parameters()])
    return random_plane(weights, names, torch.Generator().manual_seed(0))


def random_plane(weights: Weights, names: Sequence[str], generator: torch.Generator) -> Plane:
    """The plane through `weights` along two Gaussian directions, filter-normalised (Li et al. 2018, §4).

    Every filter of a direction (one index of its first axis) has the norm of the filter that it moves.
    """

    def direction(weight: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(weight.shape, dtype=torch.float64, generator=generator).flatten(1)
        norms = weight.double().flatten(1).norm(dim=1, keepdim=True)
        return (drawn / drawn.norm(dim=1, keepdim=True) * norms).view(weight.shape)

    u, v = ({n: direction(weights[n]) for n in names} for _ in range(2))
    return Plane(weights, u, v, np.zeros((1, 2)), np.zeros(1), np.zeros(1), (np.nan, np.nan))


def _ours(evaluate: Evaluator, points: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: losses(evaluate, points, quiet=True)


def _theirs(
    task: Task, plane: Plane, images: Sample, steps: int, device: torch.device
) -> Callable[[], np.ndarray]:
    import loss_landscapes
    from loss_landscapes.metrics.sl_metrics import Loss

    metric = Loss(F.cross_entropy, images.images.float().to(device), images.labels.to(device))
    first, last = (networks.loaded(plane.at(x, 0), **task.shape).to(device).eval() for x in (0.0, REACH))
    return lambda: loss_landscapes.linear_interpolation(first, last, metric, steps, deepcopy_model=True)


def report(df: pd.DataFrame) -> str:
    """Markdown: seconds a grid point, hours a 51×51 surface, and the ratio to loss-landscapes."""
    shown = (
        df.set_index("size")
        .drop(columns="network")
        .round({"seconds_a_point": 4, "hours_51x51": 3, "ratio": 2, "spread_low": 4, "spread_high": 4})
    )
    return "### loss surfaces\n" + markdown(shown)


def write(df: pd.DataFrame, folder: Path) -> None:
    """surfaces.json and surfaces.md in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    df.to_json(folder / "surfaces.json", orient="records", indent=1)
    (folder / "surfaces.md").write_text(report(df))
