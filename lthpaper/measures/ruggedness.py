"""Basin, roughness and non-convexity of a loss surface: tests "a larger basin" and "smoother" (claim 14).

A surface is a grid of losses, (rows of y, columns of x), equally spaced. Losses that are not finite lie
outside every basin, and what touches them is left out of roughness and non-convexity.
"""

from functools import partial

import numpy as np

FLAT = 1e-3  # nats: losses that differ by less over a window are one plateau, neither rough nor concave
STEPS = 8  # between two grid points, in which the share of a basin is counted


def basin_share(loss: np.ndarray, within: float = 0.5) -> float:
    """Share of the surface's area whose loss is at most the minimum + `within` nats, in [0, 1].

    Between grid points the loss is interpolated linearly along both axes, in steps.
    """
    filled = np.where(np.isfinite(loss), loss, np.inf)
    if not np.isfinite(filled).any():
        return float("nan")
    top = filled.min() + within
    for axis, n in enumerate(filled.shape):
        centres = (np.arange((n - 1) * STEPS) + 0.5) / STEPS
        filled = np.apply_along_axis(partial(_interpolated, centres), axis, filled)
    return float((filled <= top).mean())


def _interpolated(places: np.ndarray, line: np.ndarray) -> np.ndarray:
    return np.interp(places, np.arange(len(line)), line)


def basin_area(loss: np.ndarray, x: np.ndarray, y: np.ndarray, within: float = 0.5) -> float:
    """`basin_share` times the area of the grid, in squared units of x and y: comparable between windows
    of different size, where the share is not."""
    return basin_share(loss, within) * float((x[-1] - x[0]) * (y[-1] - y[0]))


def roughness(loss: np.ndarray) -> float:
    """How far the surface is from smooth at the scale of the grid, in [0, 1]; 0 for every quadratic bowl.

    Over each 5×5 window the quadratic polynomial in x and y that fits best is subtracted; what is left,
    as a share of the window's standard deviation (√(1 − R²)), is averaged over all windows. Steepness
    and the loss's scale cancel; a window that varies by less than FLAT counts as 0. NaN without a finite
    5×5 window.
    """
    windows = _windows(loss, 5).reshape(-1, 25)
    windows = windows[np.isfinite(windows).all(1)]
    if not len(windows):
        return float("nan")
    j, i = (a.ravel() / 2.0 for a in np.mgrid[-2:3, -2:3])
    design = np.stack([np.ones(25), i, j, i * i, i * j, j * j], 1)
    spread = np.ptp(windows, axis=1)
    level = (windows - windows.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)[:, None]
    rest = level - level @ (design @ np.linalg.pinv(design))  # the projection, (25, 25), is symmetric
    share = np.sqrt((rest**2).sum(1) / np.maximum((level**2).sum(1), 1e-300))
    return float(np.where(spread < FLAT, 0.0, share).mean())


def non_convexity(loss: np.ndarray) -> float:
    """Share of the interior grid points where the discrete Hessian's smallest eigenvalue is negative.

    Second differences over one grid step in x, in y and across; the share does not depend on the units
    of x and y, nor on the loss's scale but for FLAT: an eigenvalue above −FLAT nats a squared step counts
    as zero. NaN without a finite 3×3 window.
    """
    w = _windows(loss, 3)
    w = w[np.isfinite(w).all((2, 3))]  # (points, 3, 3)
    if not len(w):
        return float("nan")
    xx = w[:, 1, 2] - 2 * w[:, 1, 1] + w[:, 1, 0]
    yy = w[:, 2, 1] - 2 * w[:, 1, 1] + w[:, 0, 1]
    xy = (w[:, 2, 2] - w[:, 2, 0] - w[:, 0, 2] + w[:, 0, 0]) / 4
    smallest = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    tolerance = FLAT + 1e-6 * np.abs(w).max((1, 2))  # float32's rounding of a large loss is no curvature
    return float((smallest < -tolerance).mean())


def _windows(loss: np.ndarray, side: int) -> np.ndarray:
    """(rows, columns) -> (rows − side + 1, columns − side + 1, side, side), none if the grid is smaller."""
    if min(loss.shape) < side:
        return np.empty((0, 0, side, side))
    return np.lib.stride_tricks.sliding_window_view(np.asarray(loss, dtype=float), (side, side))
