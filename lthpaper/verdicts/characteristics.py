"""The characteristics of a network and its data that the patterns of §3.1 and the guideline of §3.2 use.

Residual connections are counted in the network's forward pass. The rest the text leaves in words; the
rules are ours: where CIFAR-10 is small and Tiny-ImageNet is not, where ResNet-20 is not redundant and
ResNet-32 is, and where 0.01 is a small learning rate and 0.1 a large one, the border lies between.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lthpaper import data, networks
from lthpaper.errors import InputError
from lthpaper.networks.structure import residual_connections
from lthpaper.paper import CIFAR, LARGE_RATES, SMALL_RATES, TABLE2, TABLE2_DATA, recipe_of

_IMAGES = {column.data: column.train for column in TABLE2_DATA}
_CLASSES = {column.data: column.classes for column in TABLE2_DATA}
_COUNTS = {row.network: row.count for row in TABLE2 if "cifar10" in row.data}

LARGE_FROM = round(math.sqrt(_IMAGES["cifar10"] * _IMAGES["tiny-imagenet"]))  # training images
LARGE_RATE_FROM = math.sqrt(max(SMALL_RATES) * min(LARGE_RATES))


def _per_image_and_class(parameters: int, images: int, classes: int) -> float:
    return parameters / (images * classes)


def _on_cifar10(network: str) -> float:
    return _per_image_and_class(_COUNTS[network], _IMAGES["cifar10"], _CLASSES["cifar10"])


NOT_REDUNDANT, REDUNDANT = _on_cifar10("resnet20"), _on_cifar10("resnet32")
REDUNDANT_FROM = math.sqrt(NOT_REDUNDANT * REDUNDANT)


@dataclass(frozen=True)
class Characteristics:
    """What the patterns depend on. images: of one training epoch."""

    network: str
    data: str
    parameters: int
    residual_connections: int
    images: int
    classes: int

    @property
    def residual(self) -> bool:
        return self.residual_connections > 0

    @property
    def large_data(self) -> bool:
        """The text's "medium and large-scale": nearer to Tiny-ImageNet than to CIFAR in images."""
        return self.images >= LARGE_FROM

    @property
    def redundancy(self) -> float:
        """Parameters per training image and class; 0.54 for ResNet-20 on CIFAR-10, 3.7 for ResNet-32."""
        return _per_image_and_class(self.parameters, self.images, self.classes)

    @property
    def redundant(self) -> bool:
        return self.redundancy >= REDUNDANT_FROM


def characteristics(network: str, data_set: str, train_images: int = 0) -> Characteristics:
    """Of a network with a head for the data set. train_images: 0 means all of them.

    Raises InputError for an unknown name or a network whose forward pass fails.
    """
    card = data.card(data_set)
    shape = {"num_classes": card.num_classes, "in_channels": card.channels, "size": card.size}
    return Characteristics(
        network,
        data_set,
        networks.count_parameters(network, **shape),
        residual_count(network, **shape),
        train_images or card.train,
        card.num_classes,
    )


def residual_count(
    name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32
) -> int:
    """Residual connections of a network described as for `networks.build`. Raises InputError if its forward
    pass fails."""
    shape = {"num_classes": num_classes, "width": width, "in_channels": in_channels, "size": size}
    how = (name, num_classes, width, in_channels, size)
    return _residual_count(how, networks.architecture(name, **shape))


@lru_cache(maxsize=256)
def _residual_count(how: tuple[Any, ...], architecture: str) -> int:
    """architecture: of a function that is given again, another one."""
    *_, channels, size = how
    image = (channels, size, size)
    try:
        return residual_connections(networks.skeleton(*how), image)
    except InputError:  # a forward pass that reads values needs some
        return residual_connections(networks.build_seeded(0, *how), image)


def border(data_set: str = "") -> float:
    """Learning rates from here on are large: halfway from 0.01 to 0.1 in factors, at the text's batch of 64;
    in proportion for a data set whose recipe has larger ones (ImageNet: 1024, so 0.51)."""
    return LARGE_RATE_FROM * recipe_of(data_set).batch_size / CIFAR.batch_size


def small_rates(rates: Iterable[float], data_set: str = "") -> tuple[float, ...]:
    """Those nearer to 0.01 than to 0.1, in factors."""
    return tuple(sorted(lr for lr in rates if lr < border(data_set)))


def large_rates(rates: Iterable[float], data_set: str = "") -> tuple[float, ...]:
    """Those nearer to 0.1 than to 0.01, in factors."""
    return tuple(sorted(lr for lr in rates if lr >= border(data_set)))
