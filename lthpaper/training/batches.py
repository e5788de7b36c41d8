"""Where a pack's batches come from: normalised images on the device, one batch after the other.

What a batch holds depends on a run's seed, the epoch and the step alone, so that a training can begin in the
middle of an epoch, and it is the same wherever the images lie: on the device, if half of its free memory
is enough for them; else in the host's memory; else, and always for photographs of any size, in files
(`streaming`).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from lthpaper import memory
from lthpaper.data import DataSet, Images
from lthpaper.data.augment import crop_flip, draws, normalised, padded
from lthpaper.runs.run import Run
from lthpaper.training.feed import Feed, Part
from lthpaper.training.forms import by_compiler

EVALUATION_BATCH = 500


class ResidentFeed(Feed):
    """All images on the device, as uint8; cropped, flipped and normalised there.

    compiled: by torch.compile, as two kernels instead of about fifteen, with the same bits.
    """

    def __init__(self, runs, data, device, dtype, part=None, compiled=False):
        super().__init__(runs, data, device, dtype, part)
        images = data.images
        self.compiled = by_compiler(_looked_up) if compiled else None
        pixels = torch.arange(256, dtype=torch.uint8, device=device).expand(data.card.channels, 1, 256)
        self.values = normalised(pixels, self.mean, self.std, dtype).flatten(1)
        self.train = padded(images.train, data.card.pad).to(device)
        self.train_labels = images.train_labels.to(device)
        self.held = {"test": (images.test.to(device), images.test_labels.to(device))}
        if images.validation is not None:
            held = images.validation.to(device), images.validation_labels.to(device)
            self.held["validation"] = held

    @property
    def images(self) -> int:
        return len(self.train)

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        card = self.data.card
        drawn = [draws(run.seed, epoch, self.images, card.pad, card.flip) for run in self.runs]
        order, shift, flip = (torch.stack(part).to(self.device) for part in zip(*drawn, strict=True))
        for step in range(first_step, self.steps):
            mine = self._here(step)
            index, shifted, flipped = order[:, mine], shift[:, mine], flip[:, mine]
            if self.compiled:
                yield self.compiled(
                    self.train, self.train_labels, self.values, index, shifted, flipped, card.size
                )
            else:
                pixels = crop_flip(self.train, index, shifted, flipped, card.size)
                yield normalised(pixels, self.mean, self.std, self.dtype), self.train_labels[index]

    def _here(self, step: int) -> slice | Tensor:
        """`places` on the device; of a whole batch a slice, which copies nothing."""
        if self.part is not None:
            return self.places(step).to(self.device)
        first = step * self.batch_size
        return slice(first, first + self.batch_length(step))

    def test_batches(
        self, first: int = 0, every: int = 1, part: str = "test"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.held[part]
        for begin in range(first * EVALUATION_BATCH, len(images), every * EVALUATION_BATCH):
            batch = slice(begin, begin + EVALUATION_BATCH)
            pixels = images[batch].permute(0, 3, 1, 2)
            yield normalised(pixels, self.mean, self.std, self.dtype), labels[batch]


def _looked_up(
    images: Tensor, labels: Tensor, values: Tensor, index: Tensor, shift: Tensor, flip: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Crops (K, B, C, size, size) of padded images, and their labels (K, B).

    values: what a pixel becomes, (C, 256). Nothing is computed that a compiler could round otherwise.
    """
    channels = torch.arange(len(values), device=values.device)[:, None, None]
    return values[channels, crop_flip(images, index, shift, flip, size).long()], labels[index]


class HostFeed(Feed):
    """All images in the host's memory; each batch is cropped and flipped there, one ahead, and sent over as
    uint8. The bits are those of `ResidentFeed`: the same pixels are normalised in the same layout."""

    def __init__(self, runs, data, device, dtype, part=None) -> None:
        super().__init__(runs, data, device, dtype, part)
        self.all: Images = data.images

    @property
    def images(self) -> int:
        return len(self.all.train)

    def batches(self, epoch: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        card = self.data.card
        drawn = [draws(run.seed, epoch, self.images, card.pad, card.flip) for run in self.runs]
        order, shift, flip = (torch.stack(part) for part in zip(*drawn, strict=True))

        def made(step: int) -> tuple[Tensor, Tensor]:
            mine = self.places(step)
            index = order[:, mine]  # (K, B)
            here = torch.arange(index.numel()).view_as(index)
            few = padded(self.all.train[index.flatten()], card.pad)
            pixels = crop_flip(few, here, shift[:, mine], flip[:, mine], card.size)
            return pixels, self.all.train_labels[index]

        yield from self._sent(made, range(first_step, self.steps))

    def test_batches(
        self, first: int = 0, every: int = 1, part: str = "test"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = getattr(self.all, part), getattr(self.all, f"{part}_labels")

        def made(begin: int) -> tuple[Tensor, Tensor]:
            batch = slice(begin, begin + EVALUATION_BATCH)
            return images[batch].permute(0, 3, 1, 2), labels[batch]

        begins = range(first * EVALUATION_BATCH, len(images), every * EVALUATION_BATCH)
        yield from self._sent(made, begins)

    def _sent(
        self, made: Callable[[int], tuple[Tensor, Tensor]], names: Sequence[int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """made(name) for each name, on the device and normalised."""
        with ThreadPoolExecutor(1) as ahead:
            coming = [ahead.submit(made, name) for name in names[:1]]
            for following in (*names[1:], None):
                pixels, labels = coming.pop().result()
                if following is not None:
                    coming.append(ahead.submit(made, following))
                if self.device.type == "cuda":
                    pixels, labels = pixels.pin_memory(), labels.pin_memory()
                pixels = pixels.to(self.device, non_blocking=True)
                yield (
                    normalised(pixels, self.mean, self.std, self.dtype),
                    labels.to(self.device, non_blocking=True),
                )


def placed(data: DataSet, device: torch.device) -> tuple[str, str]:
    """Where the images of a data set are for a training ("resident", "host", "streamed"), and why, with the
    numbers.

    Images of one size are on the device if they need no more than half of its free memory, or than
    LTHPAPER_RESIDENT_BYTES.
    """
    if not isinstance(data.images, Images):
        why = "photographs of any size" if data.card.streams else "more than the host's memory is to hold"
        images = len(data.images.train) + len(data.images.test)
        return "streamed", f"{data.name}: {images:,} images, {why}: streamed from files"
    needed = _resident_bytes(data)
    limit = memory.limit(memory.RESIDENT, device)
    place = "resident" if needed <= limit else "host"
    where = "resident" if place == "resident" else "in the host's memory"
    return place, (
        f"{data.name}: {memory.gb(needed)} of images, {memory.gb(limit)} allowed "
        f"({memory.why(memory.RESIDENT, device)}): {where}"
    )


def _resident_bytes(data: DataSet) -> int:
    """What `ResidentFeed` takes: padded training images, test and validation images, labels."""
    card, images = data.card, data.images
    assert isinstance(images, Images)
    train = len(images.train) * (card.size + 2 * card.pad) ** 2 * card.channels
    held = 0 if images.validation is None else images.validation.numel() + 8 * len(images.validation)
    labels = 8 * (len(images.train) + len(images.test))
    return train + images.test.numel() + labels + held


def feed(
    runs: Sequence[Run],
    data: DataSet,
    device: torch.device,
    dtype: torch.dtype,
    part: Part | None = None,
    compiled: bool = False,
) -> Feed:
    """The feed for a pack. part: the positions of a batch that this process trains on; all, if None.

    compiled: by torch.compile, where the images are on the device.
    """
    place, why = placed(data, device)
    made: Feed
    if place == "streamed":
        from lthpaper.training.streaming import StreamedFeed  # starts processes, reads files

        made = StreamedFeed(runs, data, device, dtype, part)
    elif place == "resident":
        made = ResidentFeed(runs, data, device, dtype, part, compiled)
    else:
        made = HostFeed(runs, data, device, dtype, part)
    made.why = why
    return made
