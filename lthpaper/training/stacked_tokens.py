"""What layers and functions do to the vectors and tokens of a pack, (K, *shape): whatever is not an image.

shape is that of one network's own tensor, so an operation on its axis i is one on axis i + 1 here.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lthpaper.training.stacked_layers import (
    CURVES,
    EXACT,
    LINE,
    Context,
    Module,
    NotStackable,
    batch_norm,
    products,
    short_of,
)


def alone(function: Callable[..., Tensor], *tensors: Tensor | None, **how: Any) -> Tensor:
    """A function of every network's own tensors, one network after the other, where a result rounds by its
    place in memory: the same bits in any slot. Tensors (K, *shape), the result too."""
    count = next(len(t) for t in tensors if t is not None)
    each = zip(*([None] * count if t is None else _own(t) for t in tensors), strict=True)
    results = [function(*own, **how) for own in each]
    short = short_of(results[0].numel(), LINE, results[0])
    if not short:
        return torch.stack(results)
    filled = torch.stack([F.pad(result.flatten(), (0, short)) for result in results])
    return F.pad(filled, (0, -short)).unflatten(1, results[0].shape)


def _own(x: Tensor) -> Sequence[Tensor]:
    """Every network's tensor, from an address that is a multiple of 64 bytes, its gradient too."""
    short = short_of(x[0].numel(), LINE, x)
    if not short:
        return x.unbind()
    return [F.pad(one, (0, -short)).view(x.shape[1:]) for one in F.pad(x.flatten(1), (0, short)).unbind()]


def linear(c: Context, m: nn.Module, name: str, x: Tensor) -> Tensor:
    """x (K, ..., F) -> (K, ..., O)."""
    return _mapped(x, c.state[f"{name}.weight"], c.state.get(f"{name}.bias"))


def _mapped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.ndim == 3:
        return products(x, weight, bias)
    return products(x.flatten(1, -2), weight, bias).unflatten(1, x.shape[1:-1])


def _batch_norm(c: Context, m: Any, name: str, x: Tensor) -> Tensor:
    if x.ndim != 3:
        raise NotStackable("batch-norm over sequences")
    return batch_norm(c, m, name, x)


def layer_norm(c: Context, m: nn.LayerNorm, name: str, x: Tensor) -> Tensor:
    weight, bias = c.state.get(f"{name}.weight"), c.state.get(f"{name}.bias")
    return alone(lambda x, w, b: F.layer_norm(x, m.normalized_shape, w, b, m.eps), x, weight, bias)


def _group_norm(c: Context, m: nn.GroupNorm, name: str, x: Tensor) -> Tensor:
    weight, bias = c.state.get(f"{name}.weight"), c.state.get(f"{name}.bias")
    return alone(lambda x, w, b: F.group_norm(x, m.num_groups, w, b, m.eps), x, weight, bias)


def dropout(c: Context, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each network draws from its own generator what it would draw alone, in the order of the pass.

    training: whatever was true as the network was traced; what counts is whether the pack trains.
    """
    if not c.training or p == 0:
        return x
    kept = []
    for one, generator in zip(x.unbind(), c.generators, strict=True):
        # torch draws in the order of memory, in which images of a network alone are (B, C, H, W)
        place = (
            torch.empty(one.shape, dtype=x.dtype, device=x.device) if x.ndim == 5 else torch.empty_like(one)
        )
        kept.append(place.bernoulli_(1 - p, generator=generator))
    return x * torch.stack(kept).div_(1 - p if p < 1 else 1)


def attention(
    c: Context,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """F.scaled_dot_product_attention of (K, ..., T, F). dropout_p: as in `dropout`."""
    if attn_mask is not None:
        raise NotStackable("attention with a mask")
    if c.training and dropout_p:
        if is_causal:
            raise NotStackable("causal attention with dropout")
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        shares = alone(lambda q, k: (q * factor @ k.transpose(-2, -1)).softmax(-1), query, key)
        return alone(torch.matmul, dropout(c, shares, dropout_p), value)
    how: dict[str, Any] = {"is_causal": is_causal, "scale": scale}
    if query.device.type == "cpu":
        return alone(F.scaled_dot_product_attention, query, key, value, **how)
    q, k, v = (t.flatten(0, 1) for t in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, **how).unflatten(0, query.shape[:2])


def self_attention(
    c: Context, m: nn.MultiheadAttention, name: str, x: Tensor, *others: Tensor, need_weights: bool = True
) -> tuple[Tensor, None]:
    """nn.MultiheadAttention of x (K, B, T, F) to itself. It gives no weights: who reads them is refused."""
    plain = m.batch_first and m.in_proj_weight is not None and m.bias_k is None and not m.add_zero_attn
    if not plain or x.ndim != 4 or any(other is not x for other in others):
        raise NotStackable("an attention that is not batch_first, or not of tokens to themselves")
    both = _mapped(x, c.state[f"{name}.in_proj_weight"], c.state.get(f"{name}.in_proj_bias"))
    heads = both.unflatten(-1, (3, m.num_heads, m.head_dim)).permute(3, 0, 1, 4, 2, 5)  # (3, K, B, h, T, d)
    query, key, value = heads.unbind()
    mixed = attention(c, query, key, value, dropout_p=m.dropout)
    out = c.state[f"{name}.out_proj.weight"], c.state.get(f"{name}.out_proj.bias")
    mixed = mixed.permute(0, 3, 1, 2, 4).flatten(3)  # (K, T, B, F), as torch lays it out
    return _mapped(mixed, *out).transpose(1, 2), None


def encoder_layer(c: Context, m: nn.TransformerEncoderLayer, name: str, x: Tensor) -> Tensor:
    """x (K, B, T, F), as in Attention Is All You Need or with the norms first."""

    def attended(x: Tensor) -> Tensor:
        return dropout(c, self_attention(c, m.self_attn, f"{name}.self_attn", x)[0], m.dropout1.p)

    def fed(x: Tensor) -> Tensor:
        inner = alone(m.activation, linear(c, m.linear1, f"{name}.linear1", x))
        outer = linear(c, m.linear2, f"{name}.linear2", dropout(c, inner, m.dropout.p))
        return dropout(c, outer, m.dropout2.p)

    norm1 = partial(layer_norm, c, m.norm1, f"{name}.norm1")
    norm2 = partial(layer_norm, c, m.norm2, f"{name}.norm2")
    if m.norm_first:
        x = x + attended(norm1(x))
        return x + fed(norm2(x))
    x = norm1(x + attended(x))
    return norm2(x + fed(x))


def encoder(c: Context, m: nn.TransformerEncoder, name: str, x: Tensor) -> Tensor:
    for i, layer in enumerate(m.layers):
        x = TOKENS[type(layer)](c, layer, f"{name}.layers.{i}", x)
    return x if m.norm is None else TOKENS[type(m.norm)](c, m.norm, f"{name}.norm", x)


TOKENS: dict[type, Module] = {
    nn.Linear: linear,
    nn.BatchNorm1d: _batch_norm,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: _group_norm,
    nn.Dropout: lambda c, m, name, x: dropout(c, x, m.p),
    nn.Flatten: lambda c, m, name, x: flatten(x, m.start_dim, m.end_dim),
    nn.MultiheadAttention: self_attention,
    nn.TransformerEncoderLayer: encoder_layer,
    nn.TransformerEncoder: encoder,
    **dict.fromkeys(EXACT, lambda c, m, name, x: m(x)),
    **dict.fromkeys((*CURVES, nn.Softmax), lambda c, m, name, x: alone(m, x)),
}


def _axis(i: int) -> int:
    return i if i < 0 else i + 1


def _numbers(given: tuple[Any, ...]) -> tuple[int, ...]:
    """reshape(2, 3) and reshape((2, 3)) are one."""
    return tuple(given[0]) if len(given) == 1 and not isinstance(given[0], int) else given


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    return x.flatten(_axis(start_dim), _axis(end_dim))


def _expand(x: Tensor, *sizes: Any) -> Tensor:
    wanted = _numbers(sizes)
    missing = len(wanted) + 1 - x.ndim
    return x[(slice(None), *[None] * missing)].expand(len(x), *wanted)


def item(x: Any, index: Any) -> Any:
    """x[index]; x: a tensor, or a tuple of tensors or sizes."""
    if not isinstance(x, Tensor):
        return x[index]
    return x[(slice(None), *(index if isinstance(index, tuple) else (index,)))]


def _size(x: Tensor, dim: int | None = None) -> Any:
    return x.shape[1:] if dim is None else x.shape[1:][dim]


SHAPES: dict[str, Callable[..., Any]] = {  # by the name that a method and a function of torch share
    "flatten": flatten,
    "transpose": lambda x, dim0, dim1: x.transpose(_axis(dim0), _axis(dim1)),
    "permute": lambda x, *dims: x.permute(0, *(d % (x.ndim - 1) + 1 for d in _numbers(dims))),
    "reshape": lambda x, *shape: x.reshape(len(x), *_numbers(shape)),
    "view": lambda x, *shape: x.reshape(len(x), *_numbers(shape)),
    "unflatten": lambda x, dim, sizes: x.unflatten(_axis(dim), sizes),
    "unsqueeze": lambda x, dim: x.unsqueeze(_axis(dim)),
    "squeeze": lambda x, dim: x.squeeze(_axis(dim)),
    "expand": _expand,
    "unbind": lambda x, dim=0: x.unbind(_axis(dim)),
    "chunk": lambda x, chunks, dim=0: x.chunk(chunks, _axis(dim)),
    "split": lambda x, size, dim=0: x.split(size, _axis(dim)),
    "cat": lambda tensors, dim=0: torch.cat(tensors, _axis(dim)),
    "size": _size,
    "contiguous": lambda x: x.contiguous(),
}
DRAWING: dict[Any, Callable[..., Tensor]] = {F.dropout: dropout, F.scaled_dot_product_attention: attention}
ROUNDED = {"gelu", "silu", "tanh", "sigmoid", "softmax", "mean", "matmul", "normalize"}  # each network alone
ROUNDED_FUNCTIONS = {operator.matmul}
EQUAL_EVERYWHERE = {"relu", "relu_", "add", "add_", "sub", "mul", "div", "neg"}  # rounded alike in any slot
EQUAL_FUNCTIONS = {operator.add, operator.iadd, operator.sub, operator.mul, operator.truediv, operator.neg}

OF_SIZES = {operator.floordiv, operator.mod}  # of numbers alone


def aligned(args: Sequence[Any]) -> list[Any]:
    """Tensors (K, *shape) of one number of axes, as one network's shapes are aligned at their ends."""
    most = max((a.ndim for a in args if isinstance(a, Tensor)), default=0)
    return [
        a[(slice(None), *[None] * (most - a.ndim))] if isinstance(a, Tensor) and a.ndim < most else a
        for a in args
    ]
