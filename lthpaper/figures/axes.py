"""Axes of accuracy (log error), learning rate and sparsity: their scales, limits and ticks."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lthpaper.figures.style import as_written

ACCURACY = "test accuracy\n(%, log error)"  # the label of an axis as `accuracy_axis` makes it
ACCURACIES = (
    *(0, 10, 20, 30, 40, 50, 60, 70, 75, *range(80, 96), 95.5, 96, 96.5, 97, 97.5, 98, 98.5),
    *(99, 99.5, 99.7, 99.9),
)
STEPS = (5, 2, 1, 0.5)  # even ones, where too few of these are in sight
LEAST_TICKS = 3  # fewer do not show a scale
LABELLED = 5  # sparsities of an axis, at most
LEAST_ERROR = 0.05  # percent; what is nearer to 100 is drawn there


def accuracy_axis(ax: Axes, low: float, high: float, ticks: int = 6) -> None:
    """y from `low` to `high` percent on a logarithmic scale of the error (100 − accuracy).

    A rate that learns nothing and differences of half a point near the best are both to be seen.
    """
    ax.set_yscale("function", functions=(_from_accuracy, _to_accuracy))
    bottom, top = _from_accuracy(np.array([low, min(high, 100 - LEAST_ERROR)]))
    room = max(top - bottom, 0.02)
    bottom, top = bottom - 0.06 * room, top + 0.1 * room
    ax.set_ylim(*_to_accuracy(np.array([bottom, top])))
    for accuracies in (ACCURACIES, *(np.arange(0, 100, step) for step in STEPS)):
        inside = [a for a in accuracies if bottom <= _from_accuracy(np.array(a, float)) <= top]
        shown = _far_apart(inside, (top - bottom) / ticks)
        if len(shown) >= LEAST_TICKS:
            break
    ax.set_yticks(shown, [f"{accuracy:g}" for accuracy in shown])
    ax.minorticks_off()


def _from_accuracy(accuracy: np.ndarray) -> np.ndarray:
    return -np.log10(np.maximum(100 - np.asarray(accuracy, float), LEAST_ERROR))


def _to_accuracy(place: np.ndarray) -> np.ndarray:
    return 100 - 10 ** -np.asarray(place, float)


def _far_apart(accuracies: Sequence[float], least: float) -> list[float]:
    """Those that stand `least` apart on the axis, from the top down; round ones before others."""
    chosen: list[float] = []
    for accuracy in sorted(accuracies, key=lambda a: (a % 10 != 0, a % 5 != 0, a % 1 != 0, -a)):
        places = [
            abs(float(_from_accuracy(np.array(accuracy)) - _from_accuracy(np.array(c)))) for c in chosen
        ]
        if all(place >= 0.75 * least for place in places):
            chosen.append(accuracy)
    return sorted(chosen)


SIDE_BY_SIDE = 0.25  # inches between the middles of two learning rates' labels
UPRIGHT = 0.07  # inches, of two labels that are turned upright
MARGIN = 1.45  # factor from the outer learning rates to the ends of the axis
BESIDE = 0.012  # of the axis, between two settings at a learning rate: six stay clear of the double rate
ROOM = 0.08  # of the span of rates, at either end, where settings stand beside each other


def rate_axis(ax: Axes, lrs: Iterable[float], room: float = 0.0) -> None:
    """A logarithmic x axis with one tick and label per learning rate. Where labels would touch, they stand
    upright; rates that are too close even for that share a label, powers of ten first.

    room: at either end, in parts of the span of rates; ROOM keeps the marks of `beside` off the spines.
    """
    lrs = sorted(set(lrs))
    ax.set_xscale("log")
    low, high = _ends(lrs, room)
    ax.set_xlim(low, high)
    inches = ax.get_position().width * ax.figure.figure.get_size_inches()[0]
    inch = math.log(high / low) / inches  # of the axis
    decades = [lr for lr in lrs if abs(math.log10(lr) - round(math.log10(lr))) < 1e-9]
    labelled: list[float] = []
    for lr in sorted(lrs, key=lambda lr: (lr not in decades, -lr)):
        if all(abs(math.log(lr / other)) >= UPRIGHT * inch for other in labelled):
            labelled.append(lr)
    touching = any(math.log(b / a) < SIDE_BY_SIDE * inch for a, b in pairwise(lrs))
    names = [f"{lr:g}" for lr in sorted(labelled)]
    ax.set_xticks(sorted(labelled), names, rotation=90 if touching else 0)
    ax.set_xticks([lr for lr in lrs if lr not in labelled], [], minor=True)


def beside(lrs: Iterable[float]) -> float:
    """The factor between the x of two settings that stand beside each other at a learning rate, on a
    `rate_axis` with ROOM."""
    low, high = _ends(lrs, ROOM)
    return float((high / low) ** BESIDE)


def _ends(lrs: Iterable[float], room: float) -> tuple[float, float]:
    """Of the axis of learning rates."""
    low, high = min(lrs := set(lrs)), max(lrs)
    margin = max(MARGIN, (high / low) ** room)
    return low / margin, high * margin


def places_axis(ax: Axes, count: int) -> None:
    """x from the first of so many places, each 1 wide, to the last, with lines between them."""
    for between in range(1, count):
        ax.axvline(between - 0.5, color="#BBBBBB", linewidth=0.5)
    ax.set_xlim(-0.5, count - 0.5)
    ax.grid(axis="x", visible=False)


def sparsity_axis(ax: Axes, sparsities: pd.Series, first: Iterable[float] = ()) -> None:
    """x is 1/density on a logarithmic axis, so IMP rounds are evenly spaced; at most five are labelled: the
    least and those of `first`, else evenly spaced ones."""
    shown = sorted(s for s in sparsities.unique() if s > 0)
    asked = [s for s in shown if s == shown[0] or any(math.isclose(s, other) for other in first)]
    every = shown[:: -max(1, -(-len(shown) // LABELLED))][::-1]
    ticks = asked if len(shown) > LABELLED and 2 < len(asked) <= LABELLED else every
    ax.set_xscale("log")
    ax.set_xticks([1 / (1 - s) for s in ticks], [as_written(s) for s in ticks])
    ax.minorticks_off()
