"""Photographs a second: ours, and torchvision's ImageFolder with a DataLoader, in turns in one run.

Both decode the same files with as many processes, take random resized crops of 224 and flips, and end with a
normalised float32 batch on the device. Ours has threads and allocator as `lthpaper run` sets them. Processes
are started, and a first epoch is over, before the clock runs.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from lthpaper.data import DataSet, folders, own
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.task import Task
from lthpaper.torchvision_compat import torchvision
from lthpaper.training.pack import repeatable
from lthpaper.training.streaming import StreamedFeed, loaders, processes_context

OURS, THEIRS = "streamed", "ImageFolder + DataLoader"
BATCH = 64


def rows(
    photographs: Path | None = None,
    device: str = "cpu",
    images: int = 640,
    rounds: int = 5,
    counts: tuple[int, ...] | None = None,
) -> Iterator[dict[str, object]]:
    """Rows of the bench's table, two for each number of processes (None: one per core).

    photographs: a folder of class folders, whose images are repeated to `images` (None: pictures of
    500×375 are drawn). Raises InputError if it is no such folder.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = _repeated(photographs or _drawn(Path(scratch, "drawn")), Path(scratch, "set"), images)
        for count in counts or (loaders(),):
            speeds = _turns(folder, torch.device(device), count, rounds)
            for name, found in speeds.items():
                ratios = [own / other for own, other in zip(found, speeds[THEIRS], strict=True)]
                yield {
                    "size": "photographs",
                    "contender": f"{name}, {count} processes",
                    "pack": 1,
                    "processes": count,
                    "images_per_s": statistics.median(found),
                    "ratio": statistics.median(ratios),
                    "spread_low": min(found),
                    "spread_high": max(found),
                    "network_epochs_per_hour": math.nan,
                    "memory_mb": math.nan,
                }


def _drawn(folder: Path, count: int = 40) -> Path:
    """Smooth pictures that are stored in about as many bytes as photographs of their size."""
    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        (folder / part / "drawn").mkdir(parents=True)
    for i in range(count):
        rough = Image.fromarray(draw.integers(0, 256, (94, 125, 3), dtype=np.uint8))
        rough.resize((500, 375), Image.Resampling.BICUBIC).save(folder / "train" / "drawn" / f"{i}.jpg")
    (folder / "val" / "drawn" / "0.jpg").symlink_to(folder / "train" / "drawn" / "0.jpg")
    return folder


def _repeated(source: Path, target: Path, images: int) -> Path:
    """Class folders of links to the training images of `source`, over and over."""
    found = folders.files(source)
    for part in ("train", "val"):
        for i in range(images if part == "train" else 1):
            path = Path(found.train.path(i % len(found.train)))
            folder = target / part / "all"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i:06}{path.suffix}").symlink_to(path.resolve())
    return target


def _turns(folder: Path, device: torch.device, count: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each round."""
    with ExitStack() as stack:
        epochs = {
            THEIRS: stack.enter_context(_theirs(folder, device, count)),
            OURS: stack.enter_context(_ours(folder, device, count)),
        }
        for number in epochs.values():
            number(0)
        speeds: dict[str, list[float]] = {name: [] for name in epochs}
        for i in range(rounds):
            for name, epoch in epochs.items():
                began = time.perf_counter()
                images = epoch(1 + i)
                speeds[name].append(images / (time.perf_counter() - began))
    return speeds


Epoch = Callable[[int], int]  # the number of an epoch -> images that it had


@contextmanager
def _ours(folder: Path, device: torch.device, count: int) -> Iterator[Epoch]:
    files = folders.files(folder)
    run = Run(Task("resnet8", "digits"), Recipe(batch_size=BATCH))
    images = DataSet("set", own.card_of(files), files, "")
    feed = StreamedFeed([run], images, device, torch.float32, processes=count)

    def train(epoch: int) -> int:
        with repeatable(device):
            return _consumed(x[0] for x, _ in feed.batches(epoch, 0))

    try:
        yield train
    finally:
        feed.close()


@contextmanager
def _theirs(folder: Path, device: torch.device, count: int) -> Iterator[Epoch]:
    vision = torchvision()
    transforms, card = vision.transforms, own.PHOTOGRAPHS
    steps = [
        transforms.RandomResizedCrop(card.size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
    steps += [transforms.Normalize(card.mean, card.std)]
    loader = DataLoader(
        vision.datasets.ImageFolder(str(folder / "train"), transforms.Compose(steps)),
        BATCH,
        shuffle=True,
        num_workers=count,
        persistent_workers=count > 0,
        pin_memory=device.type == "cuda",
        multiprocessing_context=processes_context() if count else None,
    )
    yield lambda epoch: _consumed(x.to(device, non_blocking=True) for x, _ in loader)


def _consumed(batches: Iterator[Tensor]) -> int:
    """How many images there were; waits until the device has them."""
    total = 0
    for batch in batches:
        total += len(batch)
        last = batch
    float(last.flatten()[0])
    return total
