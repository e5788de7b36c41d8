"""What layers do to the images of a pack of K networks at once, (B, K·C, H, W) (see stacking.py)."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = Mapping[str, Tensor]  # parameters and buffers by name, each (K, *shape)
VECTOR = 16  # floats of AVX-512
LINE = 16  # float32 numbers in 64 bytes, from a multiple of which every network's tensor begins on a CPU
Module = Callable[..., Any]  # of the context, the layer, its name, its input


@dataclass(frozen=True)
class Context:
    """One forward pass of a pack.

    training: batch-norm uses and updates batch statistics, dropout drops. x: the input. layout: of images.
    generators: one per network, for what the pass draws; none if nothing is drawn.
    """

    k: int
    state: State
    training: bool
    x: Tensor
    layout: torch.memory_format = torch.contiguous_format
    generators: Sequence[torch.Generator] = ()


class NotStackable(Exception):
    """A network has an operation that this module has no pack form for."""


def stacked(k: int, x: Tensor) -> Tensor:
    """An image (B, K·C, H, W) as (K, B, C, H, W), in the same memory."""
    return x.unflatten(1, (k, -1)).transpose(0, 1)


def image(c: Context, x: Tensor) -> Tensor:
    """(K, B, C, H, W) -> (B, K·C, H, W)."""
    if x.ndim != 5:
        raise NotStackable("a layer for images over vectors")
    return x.transpose(0, 1).flatten(1, 2).contiguous(memory_format=c.layout)


# On a CPU, what a vector instruction does at the end of an array, or a matrix product from an address that is
# not a multiple of 64 bytes, rounds otherwise than in the middle. A network's bits would then depend on its
# slot, so arrays are filled up with zeros, and every network lies as if in the middle.


def short_of(n: int, multiple: int, x: Tensor) -> int:
    """How many zeros fill n numbers of a tensor up to a multiple; none on a GPU."""
    return -n % multiple if x.device.type == "cpu" else 0


def products(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (K, B, F), weight (K, O, F), bias (K, O) -> (K, B, O)."""
    outputs, inputs = (short_of(n, LINE, x) for n in weight.shape[1:])
    if inputs or outputs:
        x, weight = F.pad(x, (0, inputs)), F.pad(weight, (0, inputs, 0, outputs))
    out = torch.bmm(x.contiguous(), weight.transpose(1, 2))
    out = F.pad(out, (0, -outputs)) if outputs else out
    return out if bias is None else out + bias.unsqueeze(1).to(out.dtype)


def _conv(c: Context, m: nn.Conv2d, name: str, x: Tensor) -> Tensor:
    weight, bias = c.state[f"{name}.weight"], c.state.get(f"{name}.bias")
    if x.shape[2:] == m.kernel_size == (1, 1) and m.groups == 1 and m.padding in ((0, 0), "valid", "same"):
        vectors = x.flatten(1).unflatten(1, (c.k, -1)).transpose(0, 1)  # (K, B, C)
        return products(vectors, weight.flatten(2), bias).transpose(0, 1).flatten(1)[..., None, None]
    weight, bias = weight.flatten(0, 1), None if bias is None else bias.flatten()
    groups = c.k * m.groups
    if x.shape[1] == groups == 3 and x.device.type == "cpu":
        # Three grey images: oneDNN without AVX-512 takes them for one of three colours, and adds up the
        # weights' gradient in another order. Beside a fourth, of zeros, they are what they are in any pack.
        more = weight.shape[0] // 3
        weight = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, more))
        bias = None if bias is None else F.pad(bias, (0, more))
        out = F.conv2d(F.pad(x, (0, 0, 0, 0, 0, 1)), weight, bias, m.stride, m.padding, m.dilation, 4)
        return F.pad(out, (0, 0, 0, 0, 0, -more))  # not a slice: its gradient would have another layout
    if m.kernel_size == (1, 1) != m.stride and groups == 1 and x.shape[1] < VECTOR and x.device.type == "cpu":
        # oneDNN writes this weight's gradient beyond its end, as if the channels filled a vector (its #6035)
        x, weight = (F.pad(t, (0, 0, 0, 0, 0, VECTOR - t.shape[1])) for t in (x, weight))
    return F.conv2d(x, weight, bias, m.stride, m.padding, m.dilation, groups)


def batch_norm(c: Context, m: nn.BatchNorm2d, name: str, x: Tensor) -> Tensor:
    stacked = {key: c.state.get(f"{name}.{key}") for key in ("running_mean", "running_var", "weight", "bias")}
    flat: dict[str, Any] = {key: None if value is None else value.view(-1) for key, value in stacked.items()}
    vectors = x.ndim == 3
    wide = x.transpose(0, 1).flatten(1) if vectors else x  # (B, K·C, ...)
    dots = not vectors and x.shape[2:] == (1, 1)  # of which no layout is certain
    wide = wide.flatten(1).contiguous() if dots else wide
    options: dict[str, Any] = {"training": c.training or m.running_mean is None}
    options |= {"momentum": m.momentum, "eps": m.eps}
    missing = short_of(wide.shape[1], 64 // wide.element_size(), wide) if c.k > 1 else 0  # alone: one slot
    if missing:
        filled: dict[str, Any] = {
            key: None if value is None else F.pad(value, (0, missing)) for key, value in flat.items()
        }
        last = (0, 0) * (wide.ndim - 2)
        out = F.batch_norm(F.pad(wide, (*last, 0, missing)), **filled, **options)
        out = F.pad(out, (*last, 0, -missing))  # not a slice: its gradient would have another layout
        for key in ("running_mean", "running_var"):
            if flat[key] is not None and c.training:
                flat[key].copy_(filled[key][:-missing])
    else:
        out = F.batch_norm(wide, **flat, **options)
    if vectors:
        return out.unflatten(1, (c.k, -1)).transpose(0, 1)
    return out[..., None, None] if dots else out


def _apart(c: Context, name: str, x: Tensor, own: Callable[..., Tensor]) -> Tensor:
    """A layer that rounds by an element's place in memory, applied network by network, so that a network's
    bits never depend on its slot. It is little of a step; the convolutions and products around it stay one.

    own: of a network's activations, weight and bias.
    """
    # unbind and split, not slices: the gradient of a slice is a tensor of all K networks, K times
    weights, biases = (
        [None] * c.k if (t := c.state.get(f"{name}.{key}")) is None else t.unbind()
        for key in ("weight", "bias")
    )
    layout = (
        torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    )
    each = [one.contiguous(memory_format=layout) for one in x.split(x.shape[1] // c.k, 1)]
    return torch.cat([own(one, w, b) for one, w, b in zip(each, weights, biases, strict=True)], 1)


def _group_norm(c: Context, m: nn.GroupNorm, name: str, x: Tensor) -> Tensor:
    return _apart(c, name, x, lambda one, w, b: F.group_norm(one, m.num_groups, w, b, m.eps))


def _layer_norm(c: Context, m: nn.LayerNorm, name: str, x: Tensor) -> Tensor:
    return _apart(c, name, x, lambda one, w, b: F.layer_norm(one, m.normalized_shape, w, b, m.eps))


def _plain(c: Context, m: nn.Module, name: str, x: Tensor) -> Tensor:
    """What rounds nothing, or everything alike."""
    return m(x)


def _curved(c: Context, m: nn.Module, name: str, x: Tensor) -> Tensor:
    return _apart(c, name, x, lambda one, w, b: m(one))


EXACT = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.Hardsigmoid, nn.Identity)
CURVES = (nn.GELU, nn.SiLU, nn.Tanh, nn.ELU, nn.Sigmoid)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
IMAGES_ONLY: dict[type, Module] = {
    nn.Conv2d: _conv,
    nn.BatchNorm2d: batch_norm,
    **dict.fromkeys(POOLS, _plain),
}
IMAGES: dict[type, Module] = {
    **IMAGES_ONLY,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    **dict.fromkeys(EXACT, _plain),
    **dict.fromkeys(CURVES, _curved),
}

POOL_FUNCTIONS = {F.avg_pool2d, F.max_pool2d, F.adaptive_avg_pool2d}
ELEMENTWISE = {F.relu, torch.relu, torch.add, operator.add, operator.iadd, operator.mul}
ELEMENTWISE_METHODS = {"relu", "relu_", "add", "add_", "contiguous"}
