"""Networks by name. A network is an ordinary nn.Module; a new family is one new file here.

A file registers factories: `@register("resnet20")` on a function that returns an nn.Module and takes
any of `num_classes`, `in_channels`, `width` (factor on every channel count) and `size` (height and width
of the images, pixels). A name with a colon, `package.module:function`, is a factory of your own, called
with those of the four that it names.
"""

import bisect
import contextlib
import functools
import hashlib
import importlib.util
import inspect
import math
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from lthpaper.errors import InputError, failed, imported, require
from lthpaper.registry import LOCAL, Registry
from lthpaper.torchvision_compat import make_importable

THIRD_PARTY = ("torch", "torchvision")  # their releases are in a result's provenance
# part of such a network's architecture: once they were not pruned, and the same run would have another mask
ATTENTION = "the input projections of an attention are prunable"
CPU = torch.device("cpu")
_local: dict[str, Callable[..., nn.Module]] = {}

NETWORKS: Registry[Callable[..., nn.Module]] = Registry(
    "network", "lthpaper.networks", "package.module:function"
)
register = NETWORKS.register


def factory(name: str) -> Callable[..., nn.Module]:
    """The function behind a name or a dotted path. Raises InputError if there is none."""
    if ":" not in name:
        return NETWORKS[name]
    module, _, attribute = name.partition(":")
    if importlib.util.find_spec("torchvision"):  # whoever imports it there: it may need our help
        make_importable()
    if module == LOCAL:
        require(attribute in _local, f"Network {name!r} was a function of another process; give it again.")
        return _local[attribute]
    found = imported(name, "Network", "function")
    require(
        callable(found) and not isinstance(found, nn.Module),
        f"Network {name!r} is of type {type(found).__name__}; name a function that builds an nn.Module.",
    )
    return found


def local(make: Callable[..., nn.Module]) -> str:
    """A name for a function that cannot be imported, one written in a notebook for instance.

    The name is good in this process only. Giving another function of the same name replaces the first.
    """
    name = re.sub(r"\W+", "_", getattr(make, "__qualname__", type(make).__name__))
    _local[name] = make
    architecture.cache_clear()
    count_parameters.cache_clear()
    small_dense_width.cache_clear()
    return f"{LOCAL}:{name}"


@lru_cache(maxsize=256)
def architecture(name: str, **shape: Any) -> str:
    """A hash of what a factory builds and of the code that says so: modules, shapes of parameters, and the
    source of the factory and of every module class and its bases but torch's and torchvision's. A custom
    network may be edited between two runs of the same name, in its forward or its initialisation; this tells
    (a changed comment counts as a change: too much is trained rather than too little). A function or a
    constant elsewhere that they use is not seen."""
    network = skeleton(name, **shape)
    parts = [_plain(repr(network))]
    parts += [f"{n} {tuple(t.shape)}" for n, t in tensors(network).items()]
    if any(isinstance(m, nn.MultiheadAttention) for m in network.modules()):
        parts.append(ATTENTION)
    written = {kind for m in network.modules() for kind in type(m).__mro__}
    make: Any = factory(name)
    while isinstance(make, functools.partial):
        parts.append(_plain(f"{make.args} {sorted(make.keywords.items())}"))
        make = make.func
    if not hasattr(make, "__qualname__"):  # an object that is called: its class has the source
        parts.append(_plain(repr(make)))
        make = type(make)
    things: set[Any] = {make, *written}
    for thing in sorted(things, key=lambda t: (t.__module__, t.__qualname__)):
        if thing.__module__.split(".")[0] not in (*THIRD_PARTY, *sys.stdlib_module_names):
            with contextlib.suppress(OSError, TypeError):  # typed at a prompt: there is no source to read
                parts.append(inspect.getsource(thing))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _plain(said: str) -> str:
    """Without addresses in memory, which differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", said)


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {n: t.detach() for n, t in (*network.named_parameters(), *network.named_buffers())}


class NotBuilt(InputError):
    """A factory failed."""


def build(
    name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32
) -> nn.Module:
    """A network with freshly drawn weights, from the global generator as nn.Module constructors do.

    Reproducible draws: `build_seeded`. Raises InputError for an unknown name, a width that is not
    positive, a width asked of a factory that takes none, or a factory that needs other arguments.
    """
    if not (math.isfinite(width) and width > 0):
        raise InputError(f"width is {width}; it must be a number above 0.")
    make = factory(name)
    try:
        taken = inspect.signature(make).parameters
    except ValueError as error:  # some functions written in C do not say
        raise InputError(
            f"Network {name!r} does not say which arguments it takes; give a function written in Python."
        ) from error
    wanted = {"num_classes": num_classes, "in_channels": in_channels, "width": width, "size": size}
    if width != 1.0 and "width" not in taken:
        raise InputError(
            f"Network {name!r} has no argument 'width', so no small-dense (SDT) relative can be built; "
            "give its factory a 'width' or leave SDT out."
        )
    usual = taken["width"].default if "width" in taken else 1
    if isinstance(usual, int | float) and usual != 1:
        raise InputError(
            f"Network {name!r} has an argument 'width' that is {usual} by default. Here width is a factor on "
            "every channel count, 1 for the network itself: let that argument mean this, or rename it."
        )
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    missing = [
        n for n, p in taken.items() if p.default is p.empty and p.kind not in optional and n not in wanted
    ]
    if missing:
        raise InputError(
            f"Network {name!r} needs the argument {', '.join(missing)}; a factory is given only "
            f"{', '.join(wanted)}: give everything else a default."
        )
    given = {k: v for k, v in wanted.items() if k in taken}
    if "num_classes" not in taken and any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        given["num_classes"] = num_classes  # torchvision's factories take it so
    try:
        network = make(**given)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a custom factory may raise anything
        raise NotBuilt(f"Network {name!r} cannot be built: {failed('its factory', error)}") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"Network {name!r} returned {type(network).__name__}, not an nn.Module.")
    if isinstance(network, torch.jit.ScriptModule | nn.DataParallel):
        raise InputError(
            f"Network {name!r} is scripted or wrapped ({type(network).__name__}): return the module itself."
        )
    _check_parameters(name, dict(network.named_parameters()))
    return network


def _check_parameters(name: str, parameters: Mapping[str, nn.Parameter]) -> None:
    """Raise InputError for parameters that would not be trained as the network means it."""

    def refuse(found: Iterable[str], sentence: str) -> None:
        if names := ", ".join(list(found)[:3]):
            raise InputError(f"Network {name!r} has {sentence.format(names)}")

    refuse(
        (n for n, p in parameters.items() if is_lazy(p)),
        "lazy layers, whose weights have no size before the first image ({}): give their sizes. Its factory "
        "may take `size` and `in_channels`, those of the images.",
    )
    refuse(
        (n for n, p in parameters.items() if p.is_complex()),
        "complex parameters ({}), and only real ones are trained: keep real and imaginary parts on a last "
        "axis of two, and let the forward see it through torch.view_as_complex.",
    )
    refuse(
        (n for n, p in parameters.items() if p._backward_hooks or p._post_accumulate_grad_hooks),
        "hooks on the gradients of its parameters ({}), which would never be called: leave them out. To "
        "freeze a parameter, give it requires_grad_(False).",
    )


def build_seeded(
    seed: int, name: str, num_classes: int, width: float = 1.0, in_channels: int = 3, size: int = 32
) -> nn.Module:
    """`build` on the CPU with the draw fixed by `seed`: the same bits every time.

    Global state is left alone, a GPU's generators included: torch.manual_seed would reseed those too. Weights
    are float32 whatever torch's default is: draws of another dtype are other numbers.
    """
    usual = torch.get_default_dtype()
    with seeded(seed), CPU:
        torch.set_default_dtype(torch.float32)
        try:
            return build(name, num_classes, width, in_channels, size)
        finally:
            torch.set_default_dtype(usual)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """The global generators of torch, Python and NumPy, and the device's own, start from `seed` within, and
    are as before after it: what a network draws must not depend on what was drawn before."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # what others draw by
    gpus = []
    if device.type == "cuda":
        gpus = [torch.cuda.current_device() if device.index is None else device.index]
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def loaded(weights: Mapping[str, Tensor], name: str, **shape: Any) -> nn.Module:
    """The network with these parameters and buffers, by the names that `tensors` gives them: a weight that
    layers share once, and buffers that a state_dict leaves out too. Raises InputError if they do not fit."""
    network = build_seeded(0, name, **shape)
    own = tensors(network)
    fits = own.keys() & weights.keys()
    others = (own.keys() ^ weights.keys()) | {n for n in fits if own[n].shape != weights[n].shape}
    require(
        not others,
        f"These weights do not fit the network {name!r}: {', '.join(sorted(others)[:3])} "
        "is on one side only or has another shape. Name the network that they were trained with.",
    )
    for n, tensor in own.items():
        tensor.copy_(weights[n])
    return network


def skeleton(
    name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32
) -> nn.Module:
    """The network for counting, without memory behind its weights (meta device) where that works.

    A factory that reads values while it builds cannot be on the meta device; it is built for real.
    """
    try:
        with seeded(0), torch.device("meta"), _NothingDrawn():
            return build(name, num_classes, width, in_channels, size)
    except NotBuilt:
        return build_seeded(0, name, num_classes, width, in_channels, size)


class _NothingDrawn(TorchFunctionMode):
    """Leaves tensors without memory as they are: torch would import its compiler, seconds, to fill them."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = kwargs or {}
        if func in (torch.Tensor.normal_, nn.init.normal_, torch.Tensor.erfinv_):  # erfinv_: truncated normal
            filled = given["tensor"] if "tensor" in given else args[0]
            if filled.is_meta:
                return filled
        return func(*args, **given)


@lru_cache(maxsize=4096)
def count_parameters(
    name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32
) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in skeleton(name, num_classes, width, in_channels, size).parameters())


@lru_cache(maxsize=1024)
def small_dense_width(
    name: str, parameters: int, num_classes: int = 10, in_channels: int = 3, size: int = 32
) -> float:
    """Width of the small-dense network θ_SD whose parameter count is nearest to `parameters` (Table 1).

    Widths are multiples of 1/1024 up to 1; below the narrowest network's count that network is the
    nearest. The count must not fall as the width rises, so that bisection finds the two neighbours.
    Raises InputError if even the full network has fewer parameters.
    """

    def count(step: int) -> int:
        return count_parameters(name, num_classes, step / 1024, in_channels, size)

    whole = 1024
    require(
        parameters <= count(whole),
        f"A small-dense {name} with {parameters} parameters was asked for, but the full network has only "
        f"{count(whole)}.",
    )
    above = bisect.bisect_right(range(2, whole), parameters, key=count) + 2  # the first with more
    nearest = min((above - 1, above), key=lambda step: abs(count(step) - parameters))
    while nearest > 1 and count(nearest - 1) == count(nearest):  # the narrowest width of that count
        nearest -= 1
    return nearest / 1024


def scaled(channels: int, width: float) -> int:
    """A channel count times the width, rounded, at least 1: what `width` does in every network here."""
    return max(1, round(width * channels))


def he_fan_out(network: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / fan_out) (He et al. 2015), as the authors' CIFAR code does."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def small_classifier(layer: nn.Linear) -> None:
    """Draw a classifier from N(0, 0.01²) with zero bias: the authors' ResNet-32 and VGG-16 have it so."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
