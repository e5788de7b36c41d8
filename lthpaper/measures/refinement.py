"""Refined loss surfaces: a coarse grid, then finer ones where the loss bends. The rest is interpolated.

From every fourth row and column to every second one to all: the points in between are predicted by a cubic
spline through the coarser grid. One is computed where the linear and the cubic prediction differ, and around
every computed point that its prediction missed.
"""

from collections.abc import Callable

import numpy as np

FLOOR = 0.01  # nats, the least level that the figures draw: an error is a share of the loss plus this
STRIDE = 4  # of the coarsest grid; a grid with fewer than four points a side at this stride is computed whole
BENDS = 2.0  # times the aim: a point whose linear and cubic predictions differ by more is computed
MISSED = 0.5  # times the aim: a prediction further from a computed loss has its neighbours computed


def refined(
    compute: Callable[[np.ndarray], np.ndarray], rows: int, columns: int, error: float
) -> tuple[np.ndarray, np.ndarray]:
    """A surface and which of its points were computed, (rows, columns) each.

    compute: which points, (rows, columns) bool -> losses (rows, columns), read only at these. error: aimed at
    in every other point, as a share of its loss + FLOOR; docs/landscapes.md says how well that is met. If a
    computed loss is not finite, all points are computed.
    """
    shape, done = (rows, columns), np.zeros((rows, columns), dtype=bool)
    stride = STRIDE if min(shape) > 3 * STRIDE else 1
    logs = np.full(shape, np.nan)  # log(loss + FLOOR); computed or predicted on the grid of this stride
    loss = np.full(shape, np.nan)

    def take(wanted: np.ndarray) -> None:
        loss[wanted] = compute(wanted)[wanted]
        logs[wanted] = np.log(loss[wanted] + FLOOR)
        done[wanted] = True

    known = _every(stride, rows, columns)
    take(known)
    while stride > 1 and np.isfinite(loss[done]).all():
        cubic, linear = (_between(logs, stride, degree) for degree in (3, 1))
        stride //= 2
        aim = error / stride  # smaller on a coarse grid, since finer ones are predicted from it
        new = _every(stride, rows, columns) & ~known
        logs[new] = cubic[new]
        wanted = new & (np.abs(cubic - linear) > BENDS * aim)
        while wanted.any():
            take(wanted)
            missed = wanted & ~(np.abs(logs - cubic) <= MISSED * aim)
            wanted = new & ~done & _near(missed, stride)
        known |= new
    if not np.isfinite(loss[done]).all():
        take(~done)
    return np.where(done, loss, np.maximum(np.exp(logs) - FLOOR, 0.0)), done


def _lines(stride: int, n: int) -> np.ndarray:
    """Every stride-th of n lines, and the last."""
    return np.unique(np.append(np.arange(0, n, stride), n - 1))


def _every(stride: int, rows: int, columns: int) -> np.ndarray:
    grid = np.zeros((rows, columns), dtype=bool)
    grid[np.ix_(_lines(stride, rows), _lines(stride, columns))] = True
    return grid


def _between(values: np.ndarray, stride: int, degree: int) -> np.ndarray:
    """A spline through every stride-th point, at all points."""
    from scipy.interpolate import RectBivariateSpline  # here, since the import takes long

    rows, columns = (_lines(stride, n) for n in values.shape)
    spline = RectBivariateSpline(rows, columns, values[np.ix_(rows, columns)], kx=degree, ky=degree)
    return spline(*(np.arange(n) for n in values.shape))


def _near(points: np.ndarray, distance: int) -> np.ndarray:
    """Which points have one of `points` at most so many rows and columns away."""
    from scipy.ndimage import maximum_filter

    return maximum_filter(points, size=2 * distance + 1, mode="constant")
