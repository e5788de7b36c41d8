"""In which form a run trains: how many networks a pack may hold, and whether they are stacked."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from lthpaper import data, networks
from lthpaper.errors import InputError, require
from lthpaper.packing import OneByOne, Program, program, stack
from lthpaper.runs import Run, Task


def pack_limits(run: Run, device: torch.device) -> tuple[int, int]:
    """(smallest, largest) pack for runs of this shape.

    On a CPU small images gain from packing and large ones lose (docs/performance.md); and a
    convolution of one network takes another path than one of several, with other rounding. So that a
    run's bits do not depend on its pack, small images always train in packs of two or more (a lone run
    beside a copy of itself), large ones always alone.
    """
    if device.type != "cpu":
        return 1, 64
    return (2, 8) if data.card(run.task.data).size <= 16 else (1, 1)


@lru_cache(maxsize=16)
def _pack_form(task: Task, factory: Callable, channels_last: bool) -> tuple[Program | OneByOne, str]:
    """factory: so that a redefined network is looked at again."""
    shape = task.shape
    network = networks.build_seeded(0, **shape)
    example = torch.randn(
        4, shape["in_channels"], shape["size"], shape["size"], generator=torch.Generator().manual_seed(0)
    )
    try:
        form = program(network, example, channels_last)
        logits = form[0](stack([tensors(network)]), example[None], False)[0]
    except Exception as error:  # whatever the network's own code raises
        raise InputError(
            f"Network {task.network!r} fails on a batch {tuple(example.shape)} of the images of {task.data}: "
            f"{type(error).__name__}: {error}."
        ) from error
    require(
        tuple(logits.shape) == (4, shape["num_classes"]),
        f"Network {task.network!r} gives {tuple(logits.shape)} on four images of {task.data}; "
        f"expected logits {(4, shape['num_classes'])}.",
    )
    return form


def pack_form(task: Task, channels_last: bool) -> tuple[Program | OneByOne, str]:
    """The task's network as a pack, and why it is the slow form ("" if it is not).

    Decided on one seeded draw and seeded noise, never on the weights of a pack's runs, so that the form
    does not depend on who shares the pack. Raises InputError if the network fails on the images.
    """
    return _pack_form(task, networks.factory(task.network), channels_last)


def why_not_stacked(task: Task) -> str:
    """Why networks of this task train one by one and not as packs; "" if they are stacked."""
    return pack_form(task, True)[1]


def tensors(network: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {n: t.detach() for n, t in (*network.named_parameters(), *network.named_buffers())}
