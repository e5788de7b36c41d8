"""Masks over the prunable weights: which weights count, and exact global magnitude pruning (Table 1).

A mask is a dict from parameter name to a bool tensor of that parameter's shape, True where a weight
is kept, in the order of the network's parameters. Every count here is exact to the weight.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor, nn

from lthpaper.errors import InputError, require

Mask = dict[str, Tensor]
Packed = dict[str, tuple[tuple[int, ...], bytes]]  # of each tensor: its shape, and eight weights a byte
PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")  # of an attention's input


def layers(network: nn.Module) -> tuple[str, ...]:
    """Names of the weights of every convolution, linear layer and attention, in the network's order.

    Of `nn.MultiheadAttention` these are its input projections, in one matrix or three, and its output
    projection, a linear layer of its own.
    """
    found = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            own: tuple[str, ...] = ("weight",)
        elif isinstance(module, nn.MultiheadAttention):
            own = tuple(n for n in PROJECTIONS if getattr(module, n) is not None)
        else:
            continue
        found += [f"{name}.{n}" if name else n for n in own]
    return tuple(found)


def prunable(network: nn.Module, patterns: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the prunable parameters, in the network's order.

    Without patterns: all `layers` but the first and the last (never a bias or a batch-norm), and but those
    that share a weight with either. The authors' code has the same rule, but leaves out the 1×1 shortcuts of
    its ResNet-32; here shortcuts are prunable in every network (ours). With patterns (shell style,
    `blocks.*.weight`): those that match one. A weight that several layers share has the name of the first.
    Raises InputError if nothing is left to prune, or a weight is no parameter.
    """
    there = layers(network)
    named = dict(network.named_parameters(remove_duplicate=False))
    if patterns:
        chosen = [n for n in there if any(fnmatchcase(n, p) for p in patterns)]
        require(bool(chosen), _unmatched(patterns, there))
    else:
        ends = {id(named[n]) for n in (*there[:1], *there[-1:]) if n in named}
        chosen = [n for n in there[1:-1] if n not in named or id(named[n]) not in ends]
        require(
            bool(chosen),
            f"The network has {len(there)} convolution or linear layer{'s' * (len(there) != 1)}; without the "
            "first and the last nothing is left to prune. Name the prunable weights by patterns (--prunable, "
            "prunable=).",
        )
    computed = [n for n in chosen if n not in named]
    require(
        not computed,
        f"No mask can hold {', '.join(computed)}: it is no parameter but computed from others (by "
        "spectral_norm, weight_norm, …). Build the layer without that, or choose other weights by patterns.",
    )
    own = {id(p): n for n, p in network.named_parameters()}
    return tuple(dict.fromkeys(own[id(named[n])] for n in chosen))


def check_patterns(network: nn.Module, patterns: tuple[str, ...]) -> None:
    """Raises InputError if a pattern matches no weight that can be pruned, and names it."""
    there = layers(network)
    missed = tuple(p for p in patterns if not any(fnmatchcase(n, p) for n in there))
    require(not missed, _unmatched(missed, there))


def _unmatched(patterns: tuple[str, ...], there: tuple[str, ...]) -> str:
    return (
        f"No convolution or linear weight matches {', '.join(p or repr(p) for p in patterns)}; "
        f"the network has {', '.join(there) or 'none'}."
    )


def kept(mask: Mapping[str, Tensor]) -> int:
    """How many weights the mask keeps."""
    return sum(int(m.sum()) for m in mask.values())


def packed(mask: Mask) -> Packed:
    """A mask as bits: of each tensor its shape and ⌈n / 8⌉ bytes, the first weight in the highest bit."""
    return {name: (tuple(m.shape), np.packbits(m.numpy().reshape(-1)).tobytes()) for name, m in mask.items()}


def is_packed(shape: Sequence[object], content: bytes) -> bool:
    """Whether these bytes are a tensor of this shape, as `packed` has it; both may come from a stranger."""
    axes = [n for n in shape if type(n) is int and 0 <= n < 2**31]
    return len(axes) == len(shape) and len(content) == -(-math.prod(axes) // 8)


def unpacked(bits: Packed) -> Mask:
    """Bool tensors of the mask that `packed` packed. Raises ValueError where shape and bytes do not fit."""
    found = {}
    for name, (shape, content) in bits.items():
        if not is_packed(shape, content):
            raise ValueError(f"{len(content)} bytes for the shape {str(shape)[:80]}")
        flat = np.unpackbits(np.frombuffer(content, np.uint8), count=math.prod(shape)).astype(bool)
        found[name] = torch.from_numpy(flat).view(tuple(shape))
    return found


def dense_mask(weights: Mapping[str, Tensor], names: tuple[str, ...]) -> Mask:
    """The mask that keeps everything."""
    return {name: torch.ones_like(weights[name], dtype=torch.bool) for name in names}


def global_magnitude(weights: Mapping[str, Tensor], mask: Mapping[str, Tensor], count: int) -> Mask:
    """Remove the `count` smallest |weights| among those that `mask` keeps, over all layers at once.

    Of equal weights the first goes, by layer name and then position, so that equal inputs give equal
    masks everywhere, in whatever order a file held the layers; a NaN counts as largest. Raises ValueError
    if fewer than `count` weights are left.
    """
    return remove_lowest(magnitudes(weights, mask), mask, count)


def magnitudes(weights: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """|θ| of these weights, in float64 on the CPU."""
    return {name: weights[name].detach().cpu().double().abs() for name in names}


def remove_lowest(scores: Mapping[str, Tensor], mask: Mapping[str, Tensor], count: int) -> Mask:
    """Remove the `count` weights with the lowest scores; ties, NaN and errors as in `global_magnitude`."""
    names = sorted(mask)
    alive = torch.cat([mask[n].reshape(-1).cpu() for n in names])
    values = torch.cat([scores[n].detach().reshape(-1).cpu() for n in names])
    candidates = alive.nonzero().squeeze(1)
    if not 0 <= count <= len(candidates):
        raise ValueError(f"cannot prune {count} of {len(candidates)} weights")
    order = torch.argsort(values[candidates], stable=True)
    alive[candidates[order[:count]]] = False
    pieces = alive.split([mask[n].numel() for n in names])
    pruned = dict(zip(names, pieces, strict=True))
    return {n: pruned[n].view(mask[n].shape) for n in mask}


def down_to(sparsity: float, scores: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> Mask:
    """Remove the lowest scores until round(s·n) of the n prunable weights are gone. Raises InputError if
    these are all."""
    total = sum(m.numel() for m in mask.values())
    require(
        round(sparsity * total) < total,
        f"A sparsity of {sparsity:g} leaves none of the {total} prunable weights. Take a smaller one, or "
        "more prunable weights.",
    )
    already = total - kept(mask)  # of a subnetwork it goes on from its mask
    return remove_lowest(scores, mask, max(0, round(sparsity * total) - already))


def apportioned(total: int, shares: Mapping[str, float], most: Mapping[str, int]) -> dict[str, int]:
    """How many weights each layer keeps so that it is `total` in all, exactly.

    Densities are in proportion to `shares` (above 0); a layer whose density would be above 1 keeps all its
    `most[name]` weights, and the others share the rest. What rounding down leaves goes to the largest
    remainders, of equal ones to the first name. Raises ValueError if there are fewer than `total` weights.
    """
    if not 0 <= total <= sum(most.values()):
        raise ValueError(f"cannot keep {total} of {sum(most.values())} weights")
    full: set[str] = set()
    while True:
        open_ = [n for n in most if n not in full]
        left = total - sum(most[n] for n in full)
        weight = math.fsum(shares[n] * most[n] for n in open_)
        factor = left / weight if weight else 0.0
        over = {n for n in open_ if factor * shares[n] > 1}
        if not over:
            break
        full |= over
    exact = {n: float(most[n]) if n in full else factor * shares[n] * most[n] for n in most}
    counts = {n: math.floor(exact[n]) for n in most}
    for n in sorted(most, key=lambda n: (counts[n] - exact[n], n)):
        if sum(counts.values()) < total and counts[n] < most[n]:
            counts[n] += 1
    return counts


def check_sparsity(value: float) -> None:
    """Raises InputError if a sparsity is not in [0, 1)."""
    if not (isinstance(value, int | float) and 0 <= value < 1):
        raise InputError(f"The sparsity is {value!r}; it must be in [0, 1): 0.9 removes 90 % of the weights.")
