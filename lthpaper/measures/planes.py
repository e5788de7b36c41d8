"""Planes through trained weights, on which loss surfaces are computed (Li et al. 2018, §4 and §7.2).

A plane is θT + x·u + y·v. What moves is convolution and linear weights alone: biases, batch-norm
parameters and running statistics stay at θT's everywhere on the plane, pruned weights stay zero.
So the snapshot of a trajectory, projected onto the plane, has θT's batch-norm too; `off_plane` says how
far the snapshot's own weights lie from that point.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lthpaper.errors import InputError, require
from lthpaper.runs.masks import Mask
from lthpaper.training.result import Weights


@dataclass(frozen=True)
class Sample:
    """The images that losses are means over. images: (N, C, H, W) float64, normalised; labels: (N,)."""

    images: Tensor
    labels: Tensor
    fingerprint: str  # of the data set, and what was chosen from it


@dataclass(frozen=True)
class Plane:
    """θT + x·u + y·v. origin: θT, every parameter and buffer; u, v: float64, the weights that move.

    coordinates: (snapshots, 2), of the snapshots' projections; distance, off_plane: (snapshots,), how far
    a snapshot lies from θT and from its own projection, Euclidean, in the units of the weights that move.
    explained: share of the trajectory's variance along u and v.
    """

    origin: Weights
    u: Weights
    v: Weights
    coordinates: np.ndarray
    distance: np.ndarray
    off_plane: np.ndarray
    explained: tuple[float, float]

    @property
    def names(self) -> tuple[str, ...]:
        """The weights that move."""
        return tuple(self.u)

    def at(self, x: float, y: float) -> Weights:
        """The plane's weights at one point, in the origin's types."""
        moved = {
            n: (self.origin[n].double() + x * self.u[n] + y * self.v[n]).to(self.origin[n].dtype)
            for n in self.names
        }
        return {n: moved.get(n, w) for n, w in self.origin.items()}


def moving_weights(weights: Weights, parameters: Sequence[str]) -> tuple[str, ...]:
    """The parameters that directions move: weights of convolutions and linear layers (two axes or more).

    A bias and a batch-norm parameter have one axis.
    """
    return tuple(name for name in parameters if weights[name].ndim >= 2)


def trajectory_plane(snapshots: Sequence[Weights], names: Sequence[str], mask: Mask | None = None) -> Plane:
    """The plane through the last snapshot, θT, along the trajectory's two leading principal components.

    The components are those of all snapshots (θ0 to θT; Li et al. leave θT's zero row out), exact: from
    the snapshots' Gram matrix in float64. u and v are orthonormal; the start lies at x < 0, and the
    snapshot furthest from the x axis at y > 0. mask: pruned weights do not move. Raises InputError for
    fewer than three snapshots, weights that are not finite, or a trajectory on one line.
    """
    require(
        len(snapshots) >= 3,
        f"A trajectory's plane needs three snapshots or more, and {len(snapshots)} are there: keep them at "
        "the start, every few epochs and the end.",
    )
    origin = snapshots[-1]
    differences = [
        {n: _masked(s[n].double() - origin[n].double(), mask, n) for n in names} for s in snapshots
    ]
    gram = np.array([[_dot(a, b) for b in differences] for a in differences])
    require(
        bool(np.isfinite(gram).all()),
        "The trajectory has weights that are not finite: the run diverged, and has no plane.",
    )
    centred = gram - gram.mean(0) - gram.mean(1, keepdims=True) + gram.mean()
    values, vectors = np.linalg.eigh(centred)
    require(
        values[-2] > 1e-10 * values[-1] > 0,
        "The snapshots lie on one line, so they span no plane; keep more of them.",
    )
    # an eigenvector's entries sum to zero, so that differences from θT serve as well as from the mean
    u, v = (
        {
            n: sum(c * d[n] for c, d in zip(vectors[:, -i] / np.sqrt(values[-i]), differences, strict=True))
            for n in names
        }
        for i in (1, 2)
    )
    places = np.array([[_dot(d, u), _dot(d, v)] for d in differences])
    furthest = places[np.abs(places[:, 1]).argmax(), 1]
    signs = np.where([places[0, 0] > 0, furthest < 0], -1.0, 1.0)
    u, v = ({n: sign * t for n, t in w.items()} for sign, w in zip(signs, (u, v), strict=True))
    lengths = np.diagonal(gram)
    off = np.sqrt(np.maximum(lengths - (places**2).sum(1), 0))
    shares = values[::-1] / values.clip(0).sum()
    explained = (float(shares[0]), float(shares[1]))
    return Plane(dict(origin), u, v, places * signs, np.sqrt(lengths), off, explained)


def filter_lengths(plane: Plane) -> tuple[float, float]:
    """How far one unit of u, and one of v, moves a filter, in norms of that filter: the median over filters.

    A filter is one index of the first axis of a weight that moves; one that is pruned whole is left out. The
    median, since weight decay leaves a few filters almost nothing, and these move by many of their norms.
    Scaling a filter's weights by a constant changes neither number, nor the function where batch-norm follows
    (Li et al. 2018, §4). On a plane of filter-normalised directions, as theirs, both are 1.
    """
    whole, u, v = (  # (filters,), float64
        torch.cat([w[n].cpu().double().flatten(1).norm(dim=1) for n in plane.names])
        for w in (plane.origin, plane.u, plane.v)
    )
    there = whole > 0
    one_u, one_v = (float((moved[there] / whole[there]).median()) for moved in (u, v))
    return one_u, one_v


def _masked(tensor: Tensor, mask: Mask | None, name: str) -> Tensor:
    if mask is None or name not in mask:
        return tensor
    if mask[name].shape != tensor.shape:
        raise InputError(f"The mask of {name} has the shape {tuple(mask[name].shape)}, the weights another.")
    return tensor.where(mask[name].to(tensor.device), 0)


def _dot(a: Weights, b: Weights) -> float:
    return float(sum(torch.dot(a[n].flatten(), b[n].flatten()) for n in a))
