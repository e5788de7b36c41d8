"""R_p, how far two sets of weights agree on which weights are large (§3.1, Figure 6; defined in Appendix G).

R_p(θ, θ′) is the fraction of the top p·100 % largest-magnitude positions of θ that are also in the top
p·100 % of θ′, over the positions that a mask leaves. There are two ways to pool the layers:

`overlap` ranks all positions together. Its null is *not* p: He's initialisation gives narrow layers
larger weights, so that even two independent draws θ0, θ0′ agree that the large positions lie in those
layers, and R_p exceeds p without any weight being remembered.

`overlap_within_layers` takes the top p·100 % of each layer and sums the counts. Whatever the layers'
scales, independent weights give p, and the exact distribution is that of a sum of hypergeometric
counts (`chance_band`). Figure 6 and claim 10 read this one.
"""

from collections.abc import Iterable

import numpy as np
import scipy
import torch
from torch import Tensor

from lthpaper.errors import InputError, require
from lthpaper.training.result import Weights


def overlap(a: Weights, b: Weights, mask: Weights | None = None, p: float = 0.1) -> float:
    """R_p with the positions of all layers ranked together; NaN if a surviving weight is not finite.

    a, b: name -> weights; mask: name -> bool, True where a weight survives (None: every weight of a).
    Of n surviving positions, top_count(n, p) are the top; ties go to the earlier layer and position.
    Raises InputError if p is not in (0, 1], the shapes differ, or no weight survives.
    """
    pairs = _surviving(a, b, mask, p)
    left, right = (torch.cat([pair[side] for pair in pairs.values()]) for side in (0, 1))
    return _share([_common(left, right, p)])


def overlap_within_layers(a: Weights, b: Weights, mask: Weights | None = None, p: float = 0.1) -> float:
    """R_p with the top of each layer taken by itself and the counts summed: what Figure 6 shows.

    Arguments and errors as in `overlap`.
    """
    return _share([_common(*pair, p) for pair in _surviving(a, b, mask, p).values()])


def overlap_by_layer(a: Weights, b: Weights, mask: Weights | None = None, p: float = 0.1) -> dict[str, float]:
    """R_p of each layer; a layer without survivors is left out. Arguments and errors as in `overlap`."""
    return {name: _share([_common(*pair, p)]) for name, pair in _surviving(a, b, mask, p).items()}


def top_count(n: int, p: float) -> int:
    """How many of n positions are the top p·100 %: round(p·n), at least 1."""
    return max(1, round(p * n))


def chance_band(n: int | Iterable[int], p: float, level: float = 0.95) -> tuple[float, float]:
    """The band that holds R_p of independent weights with probability `level` or more.

    n: surviving positions; of one layer, or one number per layer for `overlap_within_layers`. Exact: the
    number of common positions is hypergeometric (n positions, k marked, k drawn), over layers a sum of
    such. Each tail outside the band has at most (1 - level) / 2. Raises InputError on p, level or n.
    """
    _check_p(p)
    require(0 < level < 1, f"level is {level}; it must be in (0, 1): 0.95 is a 95 % band.")
    sizes = [size for size in n if size] if isinstance(n, Iterable) else [n]
    require(bool(sizes) and min(sizes) >= 1, f"A band needs layers with weights, at least one; n is {n}.")
    start, density = 0, np.ones(1)
    for size in sizes:
        first, of_layer = _common_by_chance(size, top_count(size, p))
        start, density = start + first, np.convolve(density, of_layer)
    tail = (1 - level) / 2
    low = np.searchsorted(np.cumsum(density), tail, side="right")  # P(count < low) <= tail
    high = len(density) - 1 - np.searchsorted(np.cumsum(density[::-1]), tail, side="right")
    top = sum(top_count(size, p) for size in sizes)
    return float(start + low) / top, float(start + high) / top


def _common_by_chance(n: int, k: int) -> tuple[int, np.ndarray]:
    """(first count, probabilities from there on) of common positions between two random tops of k of n."""
    mean = k * k / n
    reach = 12 * np.sqrt(mean) + 30  # more than 12 standard deviations: what lies beyond is below 1e-16
    counts = np.arange(max(0, 2 * k - n, int(mean - reach)), min(k, int(mean + reach)) + 1)
    return int(counts[0]), scipy.stats.hypergeom.pmf(counts, n, k, k)


def _check_p(p: float) -> None:
    require(0 < p <= 1, f"p is {p}; it must be in (0, 1]: 0.1 compares the largest 10 %.")


def _surviving(a: Weights, b: Weights, mask: Weights | None, p: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> |a|, |b| at the surviving positions, float64 (survivors,), in the order of the layers."""
    _check_p(p)
    names = list(a if mask is None else mask)
    pairs = {}
    for name in names:
        if name not in a or name not in b:
            raise InputError(f"R_p compares {name}, which is missing from one of the two sets of weights.")
        keep = torch.ones_like(a[name], dtype=torch.bool) if mask is None else mask[name].bool()
        shapes = [tuple(t.shape) for t in (a[name], b[name], keep)]
        require(
            len(set(shapes)) == 1,
            f"R_p compares weights position by position, but {name} has the shapes {shapes[0]}, "
            f"{shapes[1]} and, in the mask, {shapes[2]}; they must be of one network.",
        )
        if keep.any():
            left, right = (t.detach().cpu().double()[keep.cpu()].abs() for t in (a[name], b[name]))
            pairs[name] = (left, right)
    require(bool(pairs), "R_p needs at least one surviving weight; the mask leaves none.")
    return pairs


def _common(left: Tensor, right: Tensor, p: float) -> tuple[float, int]:
    """(positions in the top of both, positions in one top); the first is NaN for weights not finite."""
    k = top_count(len(left), p)
    if not (torch.isfinite(left).all() and torch.isfinite(right).all()):
        return float("nan"), k
    top = torch.zeros_like(left, dtype=torch.bool)
    top[torch.argsort(left, descending=True, stable=True)[:k]] = True
    return int(top[torch.argsort(right, descending=True, stable=True)[:k]].sum()), k


def _share(counts: list[tuple[float, int]]) -> float:
    return sum(common for common, _ in counts) / sum(k for _, k in counts)
