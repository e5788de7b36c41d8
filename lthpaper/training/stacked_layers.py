"""What each layer and function of a network does to a pack of K networks at once (see `packing`)."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = Mapping[str, Tensor]  # parameters and buffers by name, each (K, *shape)
Module = Callable[["Context", nn.Module, str, Tensor], Tensor]


@dataclass(frozen=True)
class Context:
    """One forward pass: the pack's state, whether batch-norm uses and updates batch statistics, the input."""

    k: int
    state: State
    training: bool
    x: Tensor


class NotStackable(Exception):
    """A network has an operation that this module has no pack form for."""


def _images(x: Tensor, kind: str) -> None:
    if x.ndim != 4:
        raise NotStackable(f"{kind} over vectors")


# On a CPU, what a vector instruction does at the end of an array, or a matrix product from an address that is
# not a multiple of 64 bytes, rounds otherwise than in the middle. A network's bits would then depend on its
# slot, so arrays are filled up with zeros, and every network lies as if in the middle.


def _short_of(n: int, multiple: int, x: Tensor) -> int:
    return -n % multiple if x.device.type == "cpu" else 0


def _products(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (K, B, F), weight (K, O, F), bias (K, O) -> (K, B, O)."""
    outputs, inputs = (_short_of(n, 16, x) for n in weight.shape[1:])
    x, weight = F.pad(x, (0, inputs)).contiguous(), F.pad(weight, (0, inputs, 0, outputs))
    out = F.pad(torch.bmm(x, weight.transpose(1, 2)), (0, -outputs))
    return out if bias is None else out + bias.unsqueeze(1).to(out.dtype)


def _conv(c: Context, m: nn.Conv2d, name: str, x: Tensor) -> Tensor:
    _images(x, "a convolution")
    weight, bias = c.state[f"{name}.weight"], c.state.get(f"{name}.bias")
    if x.shape[2:] == m.kernel_size == (1, 1) and m.groups == 1 and m.padding in ((0, 0), "valid", "same"):
        vectors = x.flatten(1).unflatten(1, (c.k, -1)).transpose(0, 1)  # (K, B, C)
        return _products(vectors, weight.flatten(2), bias).transpose(0, 1).flatten(1)[..., None, None]
    bias = None if bias is None else bias.flatten()
    return F.conv2d(x, weight.flatten(0, 1), bias, m.stride, m.padding, m.dilation, c.k * m.groups)


def _linear(c: Context, m: nn.Linear, name: str, x: Tensor) -> Tensor:
    if x.ndim != 3:
        raise NotStackable("a linear layer over images")
    return _products(x, c.state[f"{name}.weight"], c.state.get(f"{name}.bias"))


def _batch_norm(c: Context, m: nn.BatchNorm2d, name: str, x: Tensor) -> Tensor:
    stacked = {key: c.state.get(f"{name}.{key}") for key in ("running_mean", "running_var", "weight", "bias")}
    flat = {key: None if value is None else value.view(-1) for key, value in stacked.items()}
    vectors = x.ndim == 3
    wide = x.transpose(0, 1).flatten(1) if vectors else x  # (B, K·C, ...)
    dots = not vectors and x.shape[2:] == (1, 1)  # of which no layout is certain
    wide = wide.flatten(1).contiguous() if dots else wide
    options = {"training": c.training or m.running_mean is None, "momentum": m.momentum, "eps": m.eps}
    missing = _short_of(wide.shape[1], 64 // wide.element_size(), wide) if c.k > 1 else 0  # alone: one slot
    if missing:
        filled = {key: None if value is None else F.pad(value, (0, missing)) for key, value in flat.items()}
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


def _apart(c: Context, m: nn.Module, name: str, x: Tensor, norm: Callable[..., Tensor]) -> Tensor:
    """A norm over one image's own values, network by network within the pack, so that a network's bits never
    depend on its slot. It is little of a step; the convolutions and products around it stay one.

    norm: of a network's activations, weight and bias.
    """
    # unbind and split, not slices: the gradient of a slice is a tensor of all K networks, K times
    weights, biases = (
        [None] * c.k if (t := c.state.get(f"{name}.{key}")) is None else t.unbind()
        for key in ("weight", "bias")
    )
    if x.ndim == 3:
        return torch.stack([norm(one, w, b) for one, w, b in zip(x.unbind(), weights, biases, strict=True)])
    layout = (
        torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    )
    each = [one.contiguous(memory_format=layout) for one in x.split(x.shape[1] // c.k, 1)]
    return torch.cat([norm(one, w, b) for one, w, b in zip(each, weights, biases, strict=True)], 1)


def _group_norm(c: Context, m: nn.GroupNorm, name: str, x: Tensor) -> Tensor:
    return _apart(c, m, name, x, lambda one, w, b: F.group_norm(one, m.num_groups, w, b, m.eps))


def _layer_norm(c: Context, m: nn.LayerNorm, name: str, x: Tensor) -> Tensor:
    return _apart(c, m, name, x, lambda one, w, b: F.layer_norm(one, m.normalized_shape, w, b, m.eps))


def flatten(k: int, x: Tensor, start: int = 1, end: int = -1) -> Tensor:
    if start != 1 or end not in (-1, 3):
        raise NotStackable("a flatten that keeps some of the image's axes")
    return x if x.ndim == 3 else x.flatten(2).unflatten(1, (k, -1)).flatten(2).transpose(0, 1)


def _plain(c: Context, m: nn.Module, name: str, x: Tensor) -> Tensor:
    return m(x)


def _pool(c: Context, m: nn.Module, name: str, x: Tensor) -> Tensor:
    _images(x, "pooling")
    return m(x)


MODULES: dict[type, Module] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: lambda c, m, name, x: flatten(c.k, x, m.start_dim, m.end_dim),
}
MODULES |= dict.fromkeys((nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Tanh, nn.Hardswish, nn.Identity), _plain)
MODULES |= dict.fromkeys((nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Hardsigmoid), _plain)
MODULES |= dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d), _pool)

ELEMENTWISE = {
    F.relu,
    torch.relu,
    torch.add,
    operator.add,
    operator.iadd,
    operator.mul,
    torch.tanh,
    F.gelu,
    F.silu,
}
ELEMENTWISE_METHODS = {"relu", "relu_", "add", "add_", "tanh", "contiguous"}
POOLS = {F.avg_pool2d, F.max_pool2d, F.adaptive_avg_pool2d}


def mean(k: int, x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    dims = tuple(sorted(d % 4 for d in ((dim,) if isinstance(dim, int) else dim)))
    if x.ndim != 4 or dims != (2, 3):
        raise NotStackable("a mean over other axes than height and width")
    out = x.mean((2, 3), keepdim=keepdim)
    return out if keepdim else out.unflatten(1, (k, -1)).transpose(0, 1)


def take_input(c: Context, *default: Any) -> Tensor:
    return c.x


def give_output(c: Context, logits: Any) -> Any:
    return logits
