"""Networks by name. A network is an ordinary nn.Module; a new family is one new file here.

A file registers factories: `@register("resnet20")` on a function
`(num_classes: int, in_channels: int, width: float) -> nn.Module`. A name with a colon,
`package.module:function`, is a factory of your own, called with those of the three that it takes.
"""

import importlib
import inspect
import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import nn

from lthpaper.errors import InputError
from lthpaper.registry import Registry

NETWORKS: Registry[Callable[..., nn.Module]] = Registry("network", "lthpaper.networks")
register = NETWORKS.register


def factory(name: str) -> Callable[..., nn.Module]:
    """The function behind a name or a dotted path. Raises InputError if there is none."""
    if ":" not in name:
        return NETWORKS[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"Network {name!r} cannot be imported ({error}); "
            "it must be package.module:function, importable from here."
        ) from error
    if not callable(found):
        raise InputError(f"Network {name!r} is not a function that returns an nn.Module.")
    return found


def build(name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """A network with freshly drawn weights, from the global generator as nn.Module constructors do.

    Reproducible draws: `initial_weights`. Raises InputError for an unknown name, a width that is not
    positive, or a width asked of a factory that takes none.
    """
    if not (math.isfinite(width) and width > 0):
        raise InputError(f"width is {width}; it must be a number above 0.")
    make = factory(name)
    taken = inspect.signature(make).parameters
    wanted = {"num_classes": num_classes, "in_channels": in_channels, "width": width}
    if width != 1.0 and "width" not in taken:
        raise InputError(
            f"Network {name!r} has no argument 'width', so no small-dense (SDT) relative can be built; "
            "give its factory a 'width' or leave SDT out."
        )
    network = make(**{k: v for k, v in wanted.items() if k in taken})
    if not isinstance(network, nn.Module):
        raise InputError(f"Network {name!r} returned {type(network).__name__}, not an nn.Module.")
    return network


def build_seeded(
    seed: int, name: str, num_classes: int, width: float = 1.0, in_channels: int = 3
) -> nn.Module:
    """`build` with the draw fixed by `seed`: the same bits every time, global state left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(name, num_classes, width, in_channels)


def skeleton(name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3) -> nn.Module:
    """The network without memory behind its weights (meta device): for counting."""
    with torch.device("meta"):
        return build(name, num_classes, width, in_channels)


@lru_cache(maxsize=4096)
def count_parameters(name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in skeleton(name, num_classes, width, in_channels).parameters())


@lru_cache(maxsize=1024)
def small_dense_width(name: str, parameters: int, num_classes: int = 10, in_channels: int = 3) -> float:
    """Width of the small-dense network θ_SD whose parameter count is nearest to `parameters` (Table 1).

    Widths are multiples of 1/1024 up to 1. The count rises with the width, so bisection finds the
    two neighbours. Raises InputError if even the full network has fewer parameters.
    """

    def count(step: int) -> int:
        return count_parameters(name, num_classes, step / 1024, in_channels)

    low, high = 1, 1024
    if parameters > count(high):
        raise InputError(
            f"A small-dense {name} with {parameters} parameters was asked for, "
            f"but the full network has only {count(high)}."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= parameters else (low, middle)
    nearest = min((low, high), key=lambda step: abs(count(step) - parameters))
    while nearest > 1 and count(nearest - 1) == count(nearest):  # the narrowest width of that count
        nearest -= 1
    return nearest / 1024
