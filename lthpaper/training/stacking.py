"""Packs: K networks of one architecture as one program.

Parameters are stacked along a leading axis, (K, *shape). Inside the program an image-shaped activation
is (B, K·C, H, W), so that a convolution of the pack is one grouped convolution. Vectors and tokens are
(K, B, ...), so that a linear layer is one batched product. Networks never mix: what one computes does not
depend on who shares its pack. A network that cannot be stacked runs one by one behind the same call.
"""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from lthpaper import networks
from lthpaper.training.stacked_forms import form_of
from lthpaper.training.stacked_layers import Context, NotStackable, State
from lthpaper.training.stacked_tokens import DRAWING

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")  # of a layer
STREAMS = 16  # of networks in parallel; a larger pack shares them. torch has 32 in all


@dataclass(frozen=True)
class Value:
    """What an earlier step of a program computed."""

    number: int


@dataclass(frozen=True)
class Step:
    """One operation of a program. args, kwargs: constants and Values. done_with: read for the last time."""

    do: Callable[..., Any]  # of the context and the arguments
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    done_with: tuple[int, ...]


@dataclass
class Program:
    """A traced network as a list of steps over packs.

    draws: whether a forward pass draws (dropout).
    """

    network: nn.Module
    channels_last: bool = False  # the layout of images inside the program
    steps: list[Step] = field(init=False)
    draws: bool = field(init=False)

    def __post_init__(self) -> None:
        graph = _traced(self.network)
        modules = dict(self.network.named_modules())
        images: set[fx.Node] = set()
        forms = {}
        for node in graph.nodes:
            forms[node], is_image = form_of(node, modules, images)
            if is_image:
                images.add(node)
        self.draws = any(map(_draws, modules.values())) or any(map(_draws_there, graph.nodes))
        numbers = {node: i for i, node in enumerate(graph.nodes)}
        used: set[fx.Node] = set()
        steps = []
        for node in reversed(graph.nodes):
            done_with = [n for n in {node, *node.all_input_nodes} if n not in used]
            used.update(done_with)
            values: Any = lambda n: Value(numbers[n])  # noqa: E731  # fx knows no Value
            args, kwargs = fx.map_arg((node.args, node.kwargs), values)
            free = tuple(numbers[n] for n in done_with)
            steps.append(Step(forms[node], tuple(args), dict(kwargs), free))
        self.steps = steps[::-1]

    def __call__(self, state: State, x: Tensor, training: bool, seeds: Sequence[int] | None = None) -> Tensor:
        """x: (K, B, C, H, W) -> logits (K, B, classes). seeds: one per network, for what it draws (dropout):
        the same as it would draw alone."""
        k = x.shape[0]
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        x = x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=layout)  # (B, K·C, H, W)
        drawn = (seeds or [0] * k) if training and self.draws else []
        generators = [torch.Generator(x.device).manual_seed(seed) for seed in drawn]
        context = Context(k, state, training, x, layout, generators)
        values: dict[int, Any] = {}
        for number, step in enumerate(self.steps):
            args = [_filled(a, values) for a in step.args]
            kwargs = {n: _filled(a, values) for n, a in step.kwargs.items()}
            values[number] = out = step.do(context, *args, **kwargs)
            for read in step.done_with:  # kept, they would hold a quarter more memory until backward
                del values[read]
        if not isinstance(out, Tensor) or out.ndim != 3 or out.shape[0] != k:
            raise NotStackable("its output is not one vector of logits an image")
        return out


class _Tracer(fx.Tracer):
    """A trace that fails where a graph would lose what the network's own code does.

    Buffers are symbolic, so that no branch on one is decided, and no change of one made, while tracing.
    """

    proxy_buffer_attributes = True

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if not torch.is_grad_enabled():
            raise NotStackable("its forward switches gradients off")
        return super().create_node(*args, **kwargs)


def _traced(network: nn.Module) -> fx.Graph:
    """The graph of a network's forward. Raises NotStackable if there is none that says all it does."""
    if any(getattr(m, hooks) for m in network.modules() for hooks in HOOKS):
        raise NotStackable("its layers have hooks")
    next_draws = []
    try:
        for training in (True, False):  # what draws in the one may not draw in the other
            with networks.seeded(0), torch.enable_grad():
                graph = _Tracer().trace(copy.deepcopy(network).train(training))  # which it may change
                next_draws.append(_draw())
    except Exception as error:  # whatever a network's own code raises on a symbolic input
        raise NotStackable(f"its forward cannot be traced ({error})") from error
    with networks.seeded(0):
        if set(next_draws) != {_draw()}:  # numbers, not tensors: the graph would hold these for ever
            raise NotStackable("its forward draws at random")
    return graph


def _draw() -> tuple[float, float, float]:
    """The next number of each global generator."""
    return float(torch.rand(())), random.random(), float(np.random.random())  # noqa: NPY002


def _filled(argument: Any, values: dict[int, Any]) -> Any:
    """An argument with values in the places of Values, which may be in lists, tuples and slices."""
    if isinstance(argument, Value):
        return values[argument.number]
    if isinstance(argument, list | tuple):
        return type(argument)(_filled(a, values) for a in argument)
    if isinstance(argument, slice):
        return slice(*(_filled(a, values) for a in (argument.start, argument.stop, argument.step)))
    return argument


def _draws(module: nn.Module) -> bool:
    return (isinstance(module, nn.Dropout) and module.p > 0) or (
        isinstance(module, nn.MultiheadAttention) and module.dropout > 0
    )


def _draws_there(node: fx.Node) -> bool:
    """Whether a function of the network's own forward draws: one whose probability is not 0."""
    if node.target not in DRAWING:
        return False
    place, name, usual = (1, "p", 0.5) if node.target is F.dropout else (4, "dropout_p", 0.0)
    given = node.args[place] if len(node.args) > place else node.kwargs.get(name, usual)
    return bool(given != 0)


@dataclass
class Separately:
    """A program over packs of one, network after network: their activations may stay in a GPU's cache."""

    program: Callable[..., Tensor]

    @property
    def draws(self) -> bool:
        return draws(self.program)

    def __call__(self, state: State, x: Tensor, training: bool, seeds: Sequence[int] | None = None) -> Tensor:
        """As a Program's."""
        # split and not sliced: the gradient of a slice is a tensor of all K networks, K times
        pieces = {name: tensor.split(1) for name, tensor in state.items()}
        each = [{name: piece[i] for name, piece in pieces.items()} for i in range(x.shape[0])]
        seeded = [None if seeds is None else seeds[i : i + 1] for i in range(x.shape[0])]
        return torch.cat(
            self._all(lambda i: self.program(each[i], x[i : i + 1], training, seeded[i]), len(each), x.device)
        )

    def _all(self, logits: Callable[[int], Tensor], k: int, device: torch.device) -> list[Tensor]:
        return [logits(i) for i in range(k)]


@dataclass
class InParallel(Separately):
    """The same on CUDA streams, one per network: kernels too small to fill a GPU run beside other networks'.

    Nothing is done for the backward pass: autograd runs each operation on the stream of its forward one,
    and the stream that split the weights waits for all their gradients. No tensor is recorded for another
    stream either: freed memory goes to its own stream again, which waits for the current one before.
    """

    def _all(self, logits: Callable[[int], Tensor], k: int, device: torch.device) -> list[Tensor]:
        current, streams = torch.cuda.current_stream(device), _streams(device)[:k]
        for stream in streams:  # all of them before any network: torch's pool may give the current one again
            stream.wait_stream(current)
        found = []
        for i in range(k):
            with torch.cuda.stream(streams[i % len(streams)]):
                found.append(logits(i))
        for stream in streams:
            current.wait_stream(stream)
        return found


@cache
def _streams(device: torch.device) -> list[torch.cuda.Stream]:
    """Made once: for each, cuBLAS keeps a workspace a thread, 8 MiB (on an H100 32)."""
    return [torch.cuda.Stream(device) for _ in range(STREAMS)]


@dataclass
class OneByOne:
    """The same call for a network that cannot be stacked: K calls of the module itself."""

    network: nn.Module
    draws = True  # for all that is known

    @cached_property
    def names(self) -> dict[str, str]:
        """Every tensor's name in every module that has it -> the one that it is kept under. A layer may stand
        in several places, and layers may share weights."""
        kept = {id(t): n for n, t in (*self.network.named_parameters(), *self.network.named_buffers())}
        return {
            f"{prefix}.{name}".lstrip("."): kept[id(tensor)]
            for prefix, module in self.network.named_modules()
            for name, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }

    def __call__(self, state: State, x: Tensor, training: bool, seeds: Sequence[int] | None = None) -> Tensor:
        """x: (K, B, ...) -> logits (K, B, classes). seeds: one per network, for what it draws (dropout)."""
        self.network.train(training)
        logits = []
        for i in range(x.shape[0]):
            # copies, from addresses of their own: a network's bits do not depend on its slot, and a forward
            # may write into its images
            given, images = {kept: tensor[i].clone() for kept, tensor in state.items()}, x[i].clone()
            own = {name: given[kept] for name, kept in self.names.items()}
            with networks.seeded(seeds[i] if seeds else 0, x.device):
                # by all their names: torch would leave its tensors in a layer that stands in several places
                found = torch.func.functional_call(self.network, own, (images,), tie_weights=False)
            with torch.no_grad():  # what it changed, or assigned anew: torch puts that into `own`
                anew = {kept: own[n] for n, kept in self.names.items() if own[n] is not given[kept]}
                for kept, tensor in (given | anew).items():
                    state[kept][i].copy_(tensor)
            if not isinstance(found, Tensor):
                raise TypeError(
                    f"it returns a {type(found).__name__}; its forward must return a tensor of logits "
                    "(images, classes) and nothing else, in training too"
                )
            # squeeze() takes away the images' axis of a last test batch of one image
            logits.append(found if training or found.ndim != 1 else found[None])
        return torch.stack(logits)


def draws(forward: Any) -> bool:
    """Whether a forward pass draws, so that it is not the same operations every time."""
    return getattr(forward, "draws", False)


def program(
    network: nn.Module, example: Tensor, channels_last: bool = False
) -> tuple[Program | OneByOne, str]:
    """The pack form of a network, and why it is the slow one ("" if it is not).

    example: a batch (B, C, H, W); the pack form must agree with the network itself on it, both in
    training and in evaluation, or it is not used. Raises what the network raises on its own.
    """
    own = networks.tensors(network) | {n: _not_zero(p) for n, p in network.named_parameters()}
    # two networks that differ: a pack form that mixes equal ones computes the same
    state = stack([own, {n: 1.1 * t if t.is_floating_point() else t for n, t in own.items()}])
    inputs = torch.stack([example, example.flip(-1)])
    alone = OneByOne(network)
    try:  # float64: a batch-norm over four vectors can take float32's rounding to any size
        exact = {n: t.double() if t.is_floating_point() else t for n, t in state.items()}
        expected, tolerance = _trials(alone, exact, inputs.double()), 1e-6
        state, inputs = exact, inputs.double()
    except Exception:  # a network may insist on float32
        expected, tolerance = _trials(alone, state, inputs), 1e-3
    try:
        packed = Program(network, channels_last)
        for found, right in zip(_trials(packed, state, inputs), expected, strict=True):
            if not torch.allclose(found, right, rtol=tolerance, atol=tolerance / 10, equal_nan=True):
                raise NotStackable("its pack form computes something else")
    except NotStackable as why:
        return alone, str(why)
    except Exception as error:  # tied weights, an argument of an operation that is not known here, ...
        if isinstance(error, KeyError) and error.args[0] in (same := _shared(network)):
            return alone, f"its layers share a weight, {same[error.args[0]]} and {error.args[0]}"
        return alone, f"its pack form fails ({type(error).__name__}: {error})"
    return packed, ""


def _shared(network: nn.Module) -> dict[str, str]:
    """Second name of a parameter that several layers share -> its first, by which the state has it."""
    first = {id(p): name for name, p in network.named_parameters()}
    every = network.named_parameters(remove_duplicate=False)
    return {name: first[id(p)] for name, p in every if first[id(p)] != name}


def _not_zero(tensor: Tensor) -> Tensor:
    """The tensor, or small numbers if it is zero throughout: a head that begins at zero, or a last norm of
    each block, would hide whatever a pack form does before it."""
    if tensor.any():
        return tensor
    return 0.1 * torch.rand(tensor.shape, generator=torch.Generator().manual_seed(0), dtype=tensor.dtype)


@torch.no_grad()
def _trials(forward: Program | OneByOne, state: State, inputs: Tensor) -> list[Tensor]:
    """Logits in training, then in evaluation with the batch-norm statistics that the training left."""
    own = {name: value.clone() for name, value in state.items()}
    return [forward(own, inputs, training) for training in (True, False)]


def stack(states: list[State]) -> dict[str, Tensor]:
    """K states of shape (*shape) -> one of (K, *shape), in fresh memory."""
    return {name: torch.stack([s[name].detach() for s in states]) for name in states[0]}
