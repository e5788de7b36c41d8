"""Which weights belong to the same units, read from the forward pass: what may be permuted, or removed.

A unit is a channel of a convolution or a neuron of a linear layer. Its weights lie along one axis of several
tensors: the rows of the layer that makes it, its batch-norm, the columns of each layer that reads it. An
addition ties the units of both sides, so all channels along a chain of shortcuts are one group. The pixels'
channels and the classes have a fixed order and are in no group.

Permuting the units of a group along all of its axes leaves the network's function as it is.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lthpaper import networks
from lthpaper.errors import InputError, require

BATCH_NORMS = ("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")
POOLS = ("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d")
REDUCTIONS = ("mean", "sum", "amax")
RESHAPES = ("view", "_unsafe_view", "_reshape_alias", "squeeze", "unsqueeze", "alias", "detach", "clone")
IMAGES = 2  # so that a reshape which mixes images with channels is seen
FIXED = 0  # the group of what has an order of its own: the image's channels, the classes


@dataclass(frozen=True)
class Axis:
    """Where a group's units lie in a parameter or buffer: `block` entries that follow each other are one unit
    (more than one where an image was flattened). reads: these weights take the units in, all others make them
    or act on each alone."""

    name: str
    axis: int
    block: int = 1
    reads: bool = False


@dataclass(frozen=True)
class Group:
    """Units that have to be permuted together, and all that belongs to them."""

    size: int
    axes: tuple[Axis, ...]


def of(network: nn.Module, shape: tuple[int, ...]) -> tuple[Group, ...]:
    """The groups of a network's units, in the order of its forward pass. shape: of one image, (C, H, W).

    It understands convolutions (whole or depthwise) and linear layers, batch-norm, what acts on every number
    alone, additions, pooling over the image, flattening. Raises InputError for a network that does more.
    """
    # A frozen network in evaluation mode may take fused kernels, which hide what they do.
    network = copy.deepcopy(network).eval().requires_grad_()
    like = next(network.parameters())
    images = torch.zeros(IMAGES, *shape, dtype=like.dtype, device=like.device)
    try:
        with torch.enable_grad(), _Follower(network, images) as seen:
            seen.fix(network(images))
    except InputError:
        raise
    except Exception as error:  # whatever a network's own code raises
        raise InputError(
            f"The network's units cannot be followed: its forward pass over images of shape {shape} fails "
            f"({error}). Give the shape (channels, height, width) of its images."
        ) from error
    return seen.groups()


def of_task(shape: Mapping[str, Any]) -> tuple[Group, ...]:
    """The groups of a task's network. shape: Task.shape. Raises InputError as `of`."""
    return _of_task(tuple(sorted(shape.items())), networks.architecture(**shape))


@lru_cache(maxsize=64)
def _of_task(shape: tuple[tuple[str, Any], ...], architecture: str) -> tuple[Group, ...]:
    """architecture: of a function that is given again, another one."""
    known = dict(shape)
    image = (known["in_channels"], known["size"], known["size"])
    return of(networks.build_seeded(0, **known), image)


def taken(
    weights: Mapping[str, Tensor], groups: Sequence[Group], orders: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The tensors with unit i of each group being what was unit order[i]: a permutation, or a choice.

    orders: int64, one for each group. weights: parameters, buffers or masks by name, all or some.
    """
    found = dict(weights)
    for group, order in zip(groups, orders, strict=True):
        for at in group.axes:
            if at.name in found:
                found[at.name] = found[at.name].index_select(at.axis, entries(order, at.block))
    return found


def entries(order: Tensor, block: int) -> Tensor:
    """Places along an axis of these units, each of `block` entries."""
    return (order[:, None] * block + torch.arange(block)).flatten()


class _Follower(TorchDispatchMode):
    """Follows every operation: to which group the second axis of each tensor belongs.

    Tensors are known by storage, so that views and operations in place share what they should.
    """

    def __init__(self, network: nn.Module, images: Tensor):
        super().__init__()
        named = networks.tensors(network).items()
        self._names = {_storage(tensor): (name, tensor) for name, tensor in named}
        self._sizes: list[int] = [images.shape[1]]
        self._joined: list[int] = [FIXED]  # group -> a group that it is one with; itself if it is the first
        self._axes: dict[tuple[str, int], int] = {}  # (name, axis) -> group
        self._reading: set[tuple[str, int]] = set()
        self._labels: dict[int, int] = {_storage(images): FIXED}
        self._alive: list[Tensor] = [images]  # a freed storage's identity would be given out again

    def fix(self, output: Any) -> None:
        """The output's units keep their order."""
        require(
            isinstance(output, Tensor) and self._label(output) is not None,
            "The network's units cannot be followed: its forward pass must return one tensor that depends on "
            "the images.",
        )
        self._join(FIXED, self._label(output), "the output", sizes=False)

    def groups(self) -> tuple[Group, ...]:
        found: dict[int, list[Axis]] = {}
        named = dict(self._names.values())
        for (name, axis), group in self._axes.items():
            first, length = self._first(group), named[name].shape[axis]
            if first != self._first(FIXED):
                at = Axis(name, axis, length // self._sizes[first], (name, axis) in self._reading)
                found.setdefault(first, []).append(at)
        return tuple(Group(self._sizes[group], tuple(axes)) for group, axes in found.items())

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: for that, torch would import its compiler, which takes two seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(self._label(tensor) is not None for tensor in tensors):
            group = self._group(func, args, tensors, result)
            made = result if isinstance(result, Tensor) else next(iter(result))
            self._labels[_storage(made)] = group
            self._alive.append(made)
        return result

    def _group(self, func: Any, args: tuple, tensors: list[Tensor], result: Any) -> int:
        """Of the result of one operation that reads labelled tensors."""
        name = func.overloadpacket.__name__
        given = self._label(args[0]) if isinstance(args[0], Tensor) else None
        if name == "convolution":
            return self._convolution(args[0], args[1], args[2], bool(args[6]), args[8])
        if name in ("addmm", "mm", "linear"):
            return self._linear(name, *args)
        if given is not None and name in BATCH_NORMS:
            for tensor in args[1:5]:
                self._own(tensor, 0, given, name)
            return given
        if given is not None and (
            name in POOLS
            or (name in REDUCTIONS and self._over_the_image(args))
            or (name in RESHAPES and self._keeps_units(args[0], result))
        ):
            return given
        if torch.Tag.pointwise in func.tags or name == "copy_":
            return self._pointwise(name, tensors)
        raise _refused(f"it uses {name}")

    def _convolution(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, groups: int
    ) -> int:
        group = self._label(x)
        if group is None or transposed or x.shape[0] != IMAGES:
            raise _refused("a convolution is transposed, or its images are mixed")
        if groups == 1:
            self._own(weight, 1, group, "a convolution", reads=True)
            made = self._new(weight.shape[0])
        elif groups == x.shape[1]:  # depthwise: each channel makes its own
            made = group
        else:
            raise _refused(f"a convolution has {groups} groups")
        for tensor in (weight, bias):
            if tensor is not None:
                self._own(tensor, 0, made, "a convolution")
        return made

    def _linear(self, name: str, *args: Any) -> int:
        bias, x, weight = (args[0], args[1], args[2]) if name == "addmm" else (None, args[0], args[1])
        if name == "linear":
            bias = args[2] if len(args) > 2 else None
        group = self._label(x)
        known = self._names.get(_storage(weight))
        if group is None or known is None or x.ndim != 2 or x.shape[0] != IMAGES:
            raise _refused("a matrix product is not that of one vector per image and a weight")
        turned = (weight.shape, weight.stride()) == (known[1].t().shape, known[1].t().stride())
        inputs = 1 if turned or name == "linear" else 0  # of a weight (in, out) the first axis
        self._own(known[1], inputs, group, "a linear layer", reads=True)
        made = self._new(known[1].shape[1 - inputs])
        self._own(known[1], 1 - inputs, made, "a linear layer")
        if bias is not None:
            self._own(bias, 0, made, "a linear layer")
        return made

    def _pointwise(self, name: str, tensors: list[Tensor]) -> int:
        wide = [tensor for tensor in tensors if tensor.numel() > 1]
        labels = [self._label(tensor) for tensor in wide]
        same = len({(tensor.ndim, tensor.shape[:2]) for tensor in wide}) == 1
        if not (same and None not in labels):
            raise _refused(f"{name} joins channels with something else")
        for label in labels[1:]:
            self._join(labels[0], label, name)
        return labels[0]  # type: ignore[return-value]

    def _over_the_image(self, args: tuple) -> bool:
        dims = args[1] if len(args) > 1 else None
        return bool(dims) and all(d % args[0].ndim >= 2 for d in (dims if isinstance(dims, list) else [dims]))

    def _keeps_units(self, before: Tensor, after: Any) -> bool:
        size = self._sizes[self._first(self._label(before) or FIXED)]
        return bool(
            after.ndim >= 2
            and after.shape[0] == IMAGES == before.shape[0]
            and after.shape[1] % size == 0
            and (after.ndim == 2 or after.shape[1] == before.shape[1])
        )

    def _own(self, tensor: Tensor, axis: int, group: int, what: str, reads: bool = False) -> None:
        """This axis of a parameter or buffer has the units of a group."""
        known = self._names.get(_storage(tensor))
        if known is None:
            raise _refused(f"{what} takes weights that the network works out")
        name, whole = known
        if whole.shape[axis] % self._sizes[self._first(group)]:
            raise _refused(f"{name} does not have whole channels")
        if (name, axis) in self._axes:
            self._join(self._axes[name, axis], group, name)
        self._axes[name, axis] = group
        if reads:
            self._reading.add((name, axis))

    def _label(self, tensor: Tensor) -> int | None:
        return self._labels.get(_storage(tensor))

    def _new(self, size: int) -> int:
        self._sizes.append(size)
        self._joined.append(len(self._joined))
        return len(self._joined) - 1

    def _first(self, group: int) -> int:
        while self._joined[group] != group:
            group = self._joined[group]
        return group

    def _join(self, one: int | None, other: int | None, what: str, sizes: bool = True) -> None:
        a, b = sorted(self._first(group or FIXED) for group in (one, other))
        if sizes and self._sizes[a] != self._sizes[b]:
            raise _refused(f"{what} joins {self._sizes[a]} channels with {self._sizes[b]}")
        self._joined[b] = a


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _refused(what: str) -> InputError:
    return InputError(
        f"The network's units cannot be followed: {what}. Known are convolutions, linear layers, "
        "batch-norm, activations, additions, pooling and flattening, as in ResNets, VGGs and MLPs."
    )
