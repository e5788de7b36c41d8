"""In which form a pack computes: stacked, one by one, on parallel streams; its layout; compiled, recorded."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from lthpaper import networks
from lthpaper.errors import InputError, require
from lthpaper.runs.run import Run
from lthpaper.runs.task import Task
from lthpaper.training.stacking import InParallel, OneByOne, Program, Separately, program, stack


@dataclass(frozen=True)
class Form:
    """How a pack computes. Every form computes the same up to rounding.

    stacked: one program over all networks (grouped convolutions); else the networks one after the other.
    channels_last: the layout of images inside the program. compiled: by torch.compile, which fuses
    batch-norm, ReLU and additions. graphed: steps are recorded once as CUDA graphs and replayed. parallel:
    networks that are not stacked compute on CUDA streams of their own.
    """

    stacked: bool = True
    channels_last: bool = False
    compiled: bool = False
    graphed: bool = False
    parallel: bool = False

    def __str__(self) -> str:
        apart = "on parallel streams" if self.parallel else "one by one"
        words = (
            "stacked" if self.stacked else apart,
            "channels-last" if self.channels_last else "plain",
        )
        also = [word for word in ("compiled", "graphed") if getattr(self, word)]
        return ", ".join((*words, *also))


def usual_form(device: torch.device) -> Form:
    """The form where nothing was measured; always on a CPU, so results never depend on timing."""
    return Form(channels_last=device.type == "cpu")


@lru_cache(maxsize=16)
def _pack_form(task: Task, factory: Callable, channels_last: bool) -> tuple[Program | OneByOne, str]:
    """factory: so that a redefined network is looked at again."""
    network, tried = (networks.build_seeded(0, **task.shape) for _ in range(2))  # a forward may change it
    alone, example = OneByOne(tried), _example(task)
    start = {n: t.clone() for n, t in networks.tensors(network).items()}
    try:
        once, again = (alone(stack([start]), example[None], True, [0])[0] for _ in range(2))
        made = dict(tried.named_parameters()).keys() - start.keys()
        require(
            not made,
            f"Network {task.network!r} makes {', '.join(sorted(made)[:3])} in its first forward, too late to "
            "be trained. Make all layers before. Its factory may take `size` and `in_channels`, those of the "
            "images.",
        )
        form = program(network, example, channels_last)
        logits = form[0](stack([start]), example[None], False)[0]
    except InputError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise InputError(
            f"Network {task.network!r} fails on a batch {tuple(example.shape)} of the images of {task.data}: "
            f"{type(error).__name__}: {error}.{_grey(task, network, example)}"
        ) from error
    require(
        tuple(logits.shape) == (4, task.shape["num_classes"]),
        f"Network {task.network!r} gives {tuple(logits.shape)} on four images of {task.data}; "
        f"expected logits {(4, task.shape['num_classes'])}.",
    )
    require(
        torch.allclose(once, again, equal_nan=True),
        f"Network {task.network!r} gives other logits the second time, with the same weights, images and "
        "seed, so a training would depend on what was computed before. What it remembers from one forward to "
        "the next must be in buffers (register_buffer), what it draws must be from a global generator.",
    )
    return form


def _example(task: Task) -> torch.Tensor:
    """Four images of seeded noise, of the data's shape."""
    channels, size = task.shape["in_channels"], task.shape["size"]
    return torch.randn(4, channels, size, size, generator=torch.Generator().manual_seed(0))


def _grey(task: Task, network: torch.nn.Module, example: torch.Tensor) -> str:
    """A hint where a network takes colour images, and the data's are of one channel, or of others."""
    channels = example.shape[1]
    if channels == 3 or "in_channels" in inspect.signature(networks.factory(task.network)).parameters:
        return ""
    try:
        network(example[:, :1].expand(-1, 3, -1, -1))
    except Exception:  # its channels are not what is wrong
        return ""
    return (
        f" The images have {channels} channel{'s' * (channels != 1)}, and its factory takes no in_channels: "
        "write a function that does, builds this network and gives it a first layer for that many."
    )


def pack_form(task: Task, channels_last: bool) -> tuple[Program | OneByOne, str]:
    """The task's network as a pack, and why it is the slow form ("" if it is not).

    Decided on one seeded draw and seeded noise, never on the weights of a pack's runs, so that the form
    does not depend on who shares the pack. Raises InputError if the network fails on the images.
    """
    return _pack_form(task, networks.factory(task.network), channels_last)


@torch.no_grad()
def check_last_batch(run: Run, images: int) -> None:
    """Raises InputError if the last batch of an epoch of so many images is one image, and the network fails
    on one in training: batch-norm takes no variance of a single vector."""
    size = run.recipe.micro_batch or run.recipe.batch_size
    if (images % size or size) != 1:
        return
    shape = run.task.shape
    network = networks.build_seeded(0, **shape)
    image = torch.zeros(1, 1, shape["in_channels"], shape["size"], shape["size"])
    try:
        logits = OneByOne(network)(stack([networks.tensors(network)]), image, True)
        require(logits.shape[:2] == (1, 1), f"it gives logits {(*logits.shape[1:],)}, not (1, classes)")
    except Exception as error:  # whatever the network's own code raises
        raise InputError(
            f"Network {run.task.network!r} fails on a batch of one image, the last of {images:,} in batches "
            f"of {size}: {error}. Choose a batch size or a number of training images that leaves more."
        ) from error


def forward_of(task: Task, form: Form) -> tuple[Callable, torch.nn.Module, str]:
    """The forward pass of packs in this form, the network's skeleton, and why it is not stacked (or "")."""
    program, why = pack_form(task, form.channels_last)
    if not isinstance(program, Program):
        return program, program.network, why
    # what draws has other seeds at every step, and would be compiled anew for each
    forward = by_compiler(program, dynamic=False) if form.compiled and not program.draws else program
    if not form.stacked:
        separately = InParallel if form.parallel else Separately
        return separately(forward), program.network, "one by one is faster on this device"
    return forward, program.network, ""


def by_compiler(function: Callable, dynamic: bool | None = None) -> Callable:
    """By torch.compile. dynamic=False: anew for each size of a pack and of a batch, more often than torch
    allows by itself."""
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # off on purpose: float32 is float32
    torch._dynamo.config.recompile_limit = max(256, torch._dynamo.config.recompile_limit)
    return torch.compile(function, dynamic=dynamic)


def why_not_stacked(task: Task) -> str:
    """Why networks of this task train one by one and not as packs; "" if they are stacked."""
    return pack_form(task, True)[1]


def gives_probabilities(task: Task) -> bool:
    """Whether the outputs of four images are probabilities, so that a softmax has been applied to logits."""
    network = networks.build_seeded(0, **task.shape)
    state = stack([networks.tensors(network)])
    out = OneByOne(network)(state, _example(task)[None], False)[0].detach()
    return bool((out >= 0).all()) and torch.allclose(out.sum(1), torch.ones(len(out)), atol=1e-4)


def unreached(task: Task) -> list[str]:
    """Trainable parameters that got no gradient from four images, neither in training nor in evaluation."""
    network = networks.build_seeded(0, **task.shape)
    state = stack([networks.tensors(network)])
    left = [n for n, p in network.named_parameters() if p.requires_grad]
    for training in (True, False):
        logits = OneByOne(network)(
            {n: t.requires_grad_(n in left) for n, t in state.items()}, _example(task)[None], training
        )
        if left and logits.requires_grad:
            found = torch.autograd.grad(logits.sum(), [state[n] for n in left], allow_unused=True)
            left = [n for n, gradient in zip(left, found, strict=True) if gradient is None]
    return left
