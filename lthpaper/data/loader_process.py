"""What a loader process does: it decodes a few images and crops them for training or testing.

The generator of random crops is seeded for every image from the run's seed, the epoch and the position in the
epoch, so it does not matter which process decodes an image, or when. The transforms are torchvision's.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lthpaper.data import Card
from lthpaper.data.augment import crop_flip, derived_seed, padded
from lthpaper.data.decode import decode, photograph
from lthpaper.data.files import Encoded
from lthpaper.errors import InputError
from lthpaper.parent import end_with_parent
from lthpaper.torchvision_compat import torchvision


@dataclass(frozen=True)
class Piece:
    """Images of one batch, few enough for one process.

    seeds: (run's seed, epoch, position in the epoch) of each; shift (B, 2), flip (B,): for images of one
    size. Images that are tested on have none of the three, and part says which: "test" or "validation".
    """

    index: Tensor  # (B,) int64
    seeds: tuple[tuple[int, int, int], ...] = ()
    shift: Tensor | None = None
    flip: Tensor | None = None
    part: str = "test"


@dataclass(frozen=True)
class Pictures(Dataset[Tensor | str]):
    """The images of a data set by piece; it is pickled for the loader processes."""

    train: Encoded
    test: Encoded
    card: Card
    validation: Encoded | None = None

    def __len__(self) -> int:
        return len(self.train)

    def __getitem__(self, piece: Piece) -> Tensor | str:
        """(B, size, size, C) uint8; or a sentence that names an image that cannot be used."""
        try:
            return self.pixels(piece)
        except InputError as error:  # if raised, it would reach the parent as a traceback
            return str(error)

    def pixels(self, piece: Piece) -> Tensor:
        """(B, size, size, C) uint8. Raises InputError naming the image that cannot be used."""
        card, training = self.card, bool(piece.seeds)
        items = self.train if training else getattr(self, piece.part)
        encoded = [items[i] for i in piece.index.tolist()]
        if card.streams:
            return self._photographs(encoded, piece.seeds)
        whole = decode(encoded, len(encoded), card.size, card.channels)
        if not training:
            return whole
        assert piece.shift is not None
        assert piece.flip is not None
        here = torch.arange(len(encoded))[None]
        crops = crop_flip(padded(whole, card.pad), here, piece.shift[None], piece.flip[None], card.size)
        return crops[0].permute(0, 2, 3, 1)

    def _photographs(
        self, encoded: Sequence[tuple[str, bytes]], seeds: Sequence[tuple[int, int, int]]
    ) -> Tensor:
        card = self.card
        out = np.empty((len(encoded), card.size, card.size, card.channels), np.uint8)
        with torch.random.fork_rng(devices=[]):  # without loader processes, this is the caller's generator
            for i, (name, content) in enumerate(encoded):
                image = photograph(name, content, card.resize, card.channels)
                if seeds:
                    torch.default_generator.manual_seed(derived_seed("image", *seeds[i]))
                    image = self.training(image)
                else:
                    image = self.testing(image)
                out[i] = np.asarray(image).reshape(out.shape[1:])
        return torch.from_numpy(out)

    @cached_property
    def training(self) -> Callable[[Image.Image], Image.Image]:
        """The standard transforms of ImageNet's training images."""
        v2 = torchvision().transforms.v2  # seconds to import: only where there are photographs
        flip = [v2.RandomHorizontalFlip()] if self.card.flip else []
        return v2.Compose([v2.RandomResizedCrop(self.card.size), *flip])

    @cached_property
    def testing(self) -> Callable[[Image.Image], Image.Image]:
        """The middle of the image."""
        v2 = torchvision().transforms.v2
        return v2.Compose([v2.Resize(self.card.resize), v2.CenterCrop(self.card.size)])


def begin(number: int) -> None:
    """Run first in a loader process: it will end with its parent, however that ends."""
    warnings.filterwarnings("ignore", module="PIL")  # about photographs' EXIF, once a process
    end_with_parent()
