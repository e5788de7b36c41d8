"""A refined surface has computed losses where it bends, and interpolated ones that are nearly as good."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.refinement import ERRORS, table
from lthpaper.measures.refinement import FLOOR, refined
from lthpaper.measures.surfaces import surface

AXIS = np.linspace(-1, 1, 41)
GX, GY = np.meshgrid(AXIS, AXIS[:33])
BASIN = np.log1p(8 * (GX**2 + 3 * GY**2)) + 0.02  # a bowl that saturates far out, as a loss does


class Counted:
    """Gives a surface's losses at the points that are asked for, and nonsense elsewhere."""

    def __init__(self, loss: np.ndarray):
        self.loss, self.asked = loss, np.zeros(loss.shape, dtype=int)

    def __call__(self, wanted: np.ndarray) -> np.ndarray:
        self.asked += wanted
        return np.where(wanted, self.loss, -1e9)


def error_of(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    return np.abs(found - exact) / (exact + FLOOR)


def test_a_smooth_surface_takes_few_points_and_has_the_error_asked_for():
    shares = []
    for error in (0.003, 0.01, 0.05):
        compute = Counted(BASIN)
        loss, computed = refined(compute, *BASIN.shape, error)
        assert np.array_equal(compute.asked, computed)  # none twice
        assert np.array_equal(loss[computed], BASIN[computed])
        assert np.isfinite(loss).all()
        assert (error_of(loss, BASIN) <= error).mean() > 0.99
        assert error_of(loss, BASIN).max() < 3 * error
        shares.append(computed.mean())
    assert 1 / 16 < shares[2] < shares[1] < shares[0] < 0.5


def test_a_ridge_is_computed_along_its_length_and_the_plain_beside_it_is_not():
    ridge = 1 + 5 * np.exp(-((GX / 0.04) ** 2))  # on three columns
    loss, computed = refined(Counted(ridge), *ridge.shape, 0.01)
    assert error_of(loss, ridge).max() < 0.02
    assert computed[:, np.abs(AXIS) < 0.1].all()
    assert computed[:, np.abs(AXIS) > 0.6].mean() < 0.3


def test_small_grids_rough_ones_and_losses_that_are_not_finite_are_computed_whole():
    noise = np.random.default_rng(0).uniform(0.1, 5, (20, 20))
    for exact in (BASIN[:12], BASIN[:, :5], BASIN[:2, :2], noise):
        loss, computed = refined(Counted(exact), *exact.shape, 0.01)
        assert np.array_equal(loss, exact)
        assert computed.all()
    for value in (np.nan, np.inf):
        for place in ((0, 0), (20, 2)):  # on the coarse grid, and not
            broken = np.where(GX**2 + 3 * GY**2 < 0.02, 0.0, BASIN)
            broken[place] = value
            loss, computed = refined(Counted(broken), *broken.shape, 0.01)
            assert np.array_equal(loss[computed], broken[computed], equal_nan=True)
            assert not computed[place] or computed.all()


class Bowl:
    """In an evaluator's place."""

    device, pack, not_stacked = torch.device("cpu"), 4, ""

    def __init__(self, most: int = 10**9):
        self.calls, self.most = 0, most

    def __call__(self, points: np.ndarray) -> np.ndarray:
        if self.calls + len(points) > self.most:
            raise KeyboardInterrupt
        self.calls += len(points)
        return np.log1p(20 * (points[:, 0] ** 2 + 3 * points[:, 1] ** 2))


def test_a_surface_with_an_error_goes_on_where_it_was_stopped(tmp_path: Path):
    options = {"workers": 1, "quiet": True}
    whole = surface(Bowl(), AXIS, AXIS[:33], **options)
    assert whole.computed.all()
    straight = surface(Bowl(), AXIS, AXIS[:33], error=0.01, **options)
    assert 0.05 < straight.computed.mean() < 0.5
    assert np.array_equal(straight.loss[straight.computed], whole.loss[straight.computed])
    kept = {"file": tmp_path / "surface.npz", "key": "a", "error": 0.01, **options}
    first, second = Bowl(most=200), Bowl()
    with pytest.raises(KeyboardInterrupt):
        surface(first, AXIS, AXIS[:33], **kept)
    resumed = surface(second, AXIS, AXIS[:33], **kept)
    assert np.array_equal(resumed.loss, straight.loss)
    assert first.calls + second.calls == straight.computed.sum()


def test_the_bench_counts_what_refinement_computes_and_misses():
    broken = np.where(BASIN > 2, np.nan, BASIN)
    found = table([BASIN, BASIN + 1, broken])
    assert list(found.index) == list(ERRORS)
    assert (found["surfaces"] == 2).all()
    assert found["computed"].is_monotonic_decreasing
    assert (found["computed"] <= found["most_computed"]).all()
    assert (found["within"] > 0.97).all()
