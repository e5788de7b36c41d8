"""Images that are decoded batch by batch, by processes of their own, while the network trains.

For what does not fit into memory, and for photographs of any size. A batch is the same for the same run,
epoch and step, whatever the number of loader processes, and an epoch can begin at any step.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lthpaper import locations
from lthpaper.data import Card
from lthpaper.data.augment import derived_seed, draws, normalised
from lthpaper.data.files import Encoded, Files
from lthpaper.data.loader_process import Pictures, Piece, begin
from lthpaper.errors import InputError
from lthpaper.runs.run import Run
from lthpaper.training.feed import Feed

LOADERS = "LTHPAPER_LOADERS"
PIECE = 32  # images that one process decodes at once: a whole batch would let the others wait
AHEAD = 4  # pieces that each process may be ahead
EVALUATION_BATCH = 100
MIXED = 2048  # images, stored in groups, that are shuffled among each other


def loaders() -> int:
    """Number of loader processes: LTHPAPER_LOADERS, else one per core, shared with the other processes of a
    team on this machine. 0: none, images are decoded by the training process.

    Raises InputError if the variable is not a whole number.
    """
    told = os.environ.get(LOADERS)
    if told is None:
        return max(1, locations.cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if not told.isdecimal():
        raise InputError(f"{LOADERS} is {told!r}; it must be a whole number of processes from 0.")
    return int(told)


def order(items: Encoded, seed: int, epoch: int) -> Tensor:
    """The order of an epoch of photographs, (N,) int64: any order is as likely as any other.

    Images stored in groups that are only read together (parquet) are not: the groups come in random order,
    and images are shuffled among groups of some two thousand images that follow each other.
    """
    if items.groups is None:
        return draws(seed, epoch, len(items), 0, False)[0]
    generator = torch.Generator().manual_seed(derived_seed("groups", seed, epoch))
    _, group, count = np.unique(items.groups, return_inverse=True, return_counts=True)
    shuffled = torch.randperm(len(count), generator=generator).numpy()
    window = np.empty_like(shuffled)  # of each group
    window[shuffled] = (np.cumsum(count[shuffled]) - 1) // MIXED
    anyhow = torch.randperm(len(items), generator=generator)
    return anyhow[torch.from_numpy(np.argsort(window[group[anyhow.numpy()]], kind="stable"))]


def test_pixels(items: Encoded, index: Sequence[int], card: Card) -> Tensor:
    """Some images as a test sees them, (B, size, size, C) uint8, decoded here. Raises InputError."""
    return Pictures(items, items, card).pixels(Piece(torch.tensor(index, dtype=torch.int64)))


test_pixels.__test__ = False  # type: ignore[attr-defined]  # the name is about test images


class StreamedFeed(Feed):
    """Decoded and cropped by loader processes, normalised on the device.

    The processes live from the first batch to `close`, or until this object is gone. processes: how many
    (None: `loaders()`; 0: images are decoded by this process).
    """

    def __init__(self, runs, data, device, dtype, part=None, processes: int | None = None):
        super().__init__(runs, data, device, dtype, part)
        self.files: Files = data.images
        self.labels = self.files.train_labels
        self._work = _Work()
        self._turn = 0
        count = loaders() if processes is None else processes
        pictures = Pictures(self.files.train, self.files.test, data.card, self.files.validation)
        # classes of the calling script are found in the processes by importing it
        self._of_script = _of_script(pictures)
        self._loader: DataLoader[Any] | None = DataLoader(
            pictures,
            batch_size=None,  # a piece is a batch already
            sampler=self._work,
            num_workers=count,
            multiprocessing_context=processes_context() if count else None,
            prefetch_factor=AHEAD if count else None,
            persistent_workers=count > 0,
            pin_memory=device.type == "cuda",
            worker_init_fn=begin,
            generator=torch.Generator().manual_seed(0),  # never used, and the global one is left alone
        )

    @property
    def images(self) -> int:
        return len(self.labels)

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        card = self.data.card
        drawn = [
            None if card.streams else draws(r.seed, epoch, self.images, card.pad, card.flip)
            for r in self.runs
        ]
        orders = [  # images of one size have the order that they have in memory
            order(self.files.train, run.seed, epoch) if own is None else own[0]
            for run, own in zip(self.runs, drawn, strict=True)
        ]
        batches = []
        for step in range(first_step, self.steps):
            places = self.places(step)
            batches.append((places, [o[places] for o in orders]))

        streamed = self._stream(_training(self.runs, epoch, batches, drawn))
        for places, indices in batches:
            each = -(-len(places) // PIECE)
            pixels = self._joined(streamed, each * len(self.runs)).unflatten(0, (len(self.runs), len(places)))
            labels = torch.stack([self.labels[index] for index in indices])
            yield self._ready(pixels), labels.to(self.device)

    def test_batches(
        self, first: int = 0, every: int = 1, part: str = "test"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        labels = getattr(self.files, f"{part}_labels")
        shares = torch.arange(len(labels)).split(EVALUATION_BATCH)[first::every]
        pieces = (Piece(index, part=part) for share in shares for index in share.split(PIECE))
        streamed = self._stream(pieces)
        for share in shares:
            pixels = self._joined(streamed, -(-len(share) // PIECE))
            yield self._ready(pixels), labels[share].to(self.device)

    def _joined(self, streamed: Iterator[Tensor], pieces: int) -> Tensor:
        """The next pieces on the device, (B, size, size, C) uint8."""
        card = self.data.card
        nothing = torch.empty(0, card.size, card.size, card.channels, dtype=torch.uint8, device=self.device)
        return torch.cat(
            [nothing, *(next(streamed).to(self.device, non_blocking=True) for _ in range(pieces))]
        )

    def _ready(self, pixels: Tensor) -> Tensor:
        return normalised(pixels.movedim(-1, -3), self.mean, self.std, self.dtype)

    def _stream(self, pieces: Iterator[Piece]) -> Iterator[Tensor]:
        """Pixels of each piece in order. Raises InputError naming an image that cannot be used."""
        self._turn += 1
        mine = self._turn
        self._work.pieces = pieces
        if self._loader is None:
            raise RuntimeError("this feed is closed")
        try:
            with nullcontext() if self._of_script else _without_script():
                decoded = iter(self._loader)
            for found in decoded:
                if isinstance(found, str):
                    raise InputError(found)
                yield found
                if self._turn != mine:
                    raise RuntimeError("another epoch of this feed has begun")
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise InputError(
                "A process that decodes images was killed, or memory or shared memory (/dev/shm) "
                f"ran out. Run the same command again, with fewer of them ({LOADERS}) if memory was short."
            ) from error

    def close(self) -> None:
        """End the loader processes."""
        iterator, self._loader = getattr(self._loader, "_iterator", None), None
        if iterator is not None:
            iterator._shutdown_workers()  # what its __del__ does, when nobody holds an epoch of it any more


class _Work:
    """The pieces to be decoded next, as the loader asks for them."""

    def __init__(self) -> None:
        self.pieces: Iterator[Piece] = iter(())

    def __iter__(self) -> Iterator[Piece]:
        return self.pieces


def _training(
    runs: Sequence[Run],
    epoch: int,
    batches: Sequence[tuple[Tensor, Sequence[Tensor]]],
    drawn: Sequence[tuple[Tensor, Tensor, Tensor] | None],
) -> Iterator[Piece]:
    """Pieces of batches, run after run. batches: places in the epoch, and each run's images at them.

    No method of the feed: held by the loader, it would keep the feed, and its processes, for ever.
    """
    for places, indices in batches:
        if not len(places):  # a process of a team may have no part of the last batch
            continue
        for run, index, own in zip(runs, indices, drawn, strict=True):
            for at, images in zip(places.split(PIECE), index.split(PIECE), strict=True):
                seeds = tuple((run.seed, epoch, place) for place in at.tolist())
                yield Piece(images, seeds, *(() if own is None else (own[1][at], own[2][at])))


def _of_script(thing: object) -> bool:
    """Whether it, or images that it holds, are of a class of the calling script."""
    held = getattr(thing, "__dict__", {}).values()
    mine = type(thing).__module__ == "__main__"
    return mine or any(_of_script(images) for images in held if isinstance(images, Encoded))


@contextmanager
def _without_script() -> Iterator[None]:
    """Hide the calling script while processes start: multiprocessing would import it in each of them, and
    without a guard it would train again there and wait for this process for ever."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def processes_context() -> multiprocessing.context.BaseContext:
    """How loader processes start: from a clean process that has imported what they need, where there is such
    a thing. A fork of the training process, with its threads and its GPU, can hang."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lthpaper.data.loader_process", "lthpaper.torchvision_ready"])
    return context
