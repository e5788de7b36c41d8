"""Random images of a data set's shape, for timing: speed does not depend on what images show."""

import torch

from lthpaper.data import Card, DataSet, Images


def random_data(card: Card, train: int, test: int) -> DataSet:
    """A data set of uniform noise with random labels. train, test: numbers of images."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, high: int = 256, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
        return torch.randint(0, high, shape, generator=generator, dtype=dtype)

    side = (card.size, card.size, card.channels)
    images = Images(
        draw(train, *side),
        draw(train, high=card.num_classes, dtype=torch.int64),
        draw(test, *side),
        draw(test, high=card.num_classes, dtype=torch.int64),
        tuple(map(str, range(card.num_classes))),
        "random",
    )
    return DataSet("random", card, images, "")
