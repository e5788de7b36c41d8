"""How sure a few seeds make us that the best of several learning rates is better than another best."""

import math

import numpy as np
import pytest
from scipy import stats

from lthpaper.verdicts.uncertainty import Cell, best_against_best, best_pair, beyond, contenders, smallest

FLAT = np.full(7, 90.0)
PEAK = np.array([50.0, 60.0, 70.0, 80.0, 90.0, 86.0, 75.0])
GAP = 0.5
REPEATS = 200


def cells(setting, means, spread, seeds, rng):
    draws = rng.normal(np.asarray(means)[:, None], spread, (len(means), seeds))
    return [Cell(setting, 10.0 ** (i - 3), tuple(row)) for i, row in enumerate(draws)]


def exact(setting, mean, spread, seeds=3, lr=0.1):
    """A cell with exactly this mean and standard deviation."""
    steps = np.arange(seeds) - (seeds - 1) / 2
    return Cell(setting, lr, tuple(mean + steps / steps.std(ddof=1) * spread))


def calls(lt, rr, spreads, repeats=REPEATS, seeds=3, judge=best_against_best):
    """(share called true, share called false) at confidence 0.95."""
    rng = np.random.default_rng(20210701)
    called = {True: 0, False: 0}
    for _ in range(repeats):
        a, b = cells("LT", lt, spreads[0], seeds, rng), cells("RR", rr, spreads[1], seeds, rng)
        found = judge(a, b, GAP, strict=True)
        called[found.holds] += found.confidence >= 0.95
    return called[True] / repeats, called[False] / repeats


def pairwise(a, b, margin, strict):
    return best_pair(list(zip(a, b, strict=True)), margin, strict)


ABOUT_FIVE_PERCENT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPEATS)


def test_the_smallest_of_one_p_value_is_itself_and_of_several_is_dunnetts():
    one = np.array([0.03])
    assert smallest(one, np.array([True]), np.array([0.5])) == pytest.approx(0.03, abs=1e-6)
    free = np.full(7, 0.01)
    assert smallest(free, free > 0, np.zeros(7)) == pytest.approx(1 - 0.99**7, abs=1e-9)
    rng = np.random.default_rng(1)
    samples, control = [rng.normal(0.6, 1, 400) for _ in range(5)], rng.normal(0, 1, 400)
    oracle = stats.dunnett(*samples, control=control, alternative="greater").pvalue.min()
    pooled = math.sqrt(np.mean([np.var(x, ddof=1) for x in (*samples, control)]) * 2 / 400)
    p = stats.norm.sf([(x.mean() - control.mean()) / pooled for x in samples])
    assert smallest(p, p >= 0, np.full(5, 0.5)) == pytest.approx(oracle, rel=0.05)


def test_equal_settings_are_called_a_clear_gap_at_most_five_times_in_a_hundred():
    assert calls(FLAT, FLAT, (1.0, 1.0))[0] <= ABOUT_FIVE_PERCENT


def test_a_gap_of_exactly_the_threshold_is_called_either_way_at_most_five_times_in_a_hundred():
    """The hardest case: one side flat, so that luck has seven chances, the other not."""
    for spreads in ((0.4, 0.4), (0.3, 0.6)):
        assert calls(FLAT + GAP, PEAK, spreads)[0] <= ABOUT_FIVE_PERCENT
        assert calls(PEAK + GAP, FLAT, spreads)[1] <= ABOUT_FIVE_PERCENT
    assert calls(FLAT + GAP, FLAT, (0.4, 0.4), judge=pairwise)[0] <= ABOUT_FIVE_PERCENT


def test_comparing_the_observed_bests_with_a_plain_t_would_be_fooled_by_luck():
    def plain(a, b, margin, strict):
        best = [max(side, key=lambda c: c.mean) for side in (a, b)]
        return best_against_best(best[:1], best[1:], margin, strict)

    assert calls(FLAT + GAP, PEAK, (0.4, 0.4), judge=plain)[0] > 2 * 0.05


def test_a_difference_well_beyond_the_threshold_is_called():
    assert calls(PEAK + 2, PEAK, (0.2, 0.2), repeats=100)[0] > 0.95
    assert calls(PEAK - 1, PEAK, (0.2, 0.2), repeats=100)[1] > 0.95


def test_bounds_hold_the_threshold_exactly_where_the_call_is_undecided():
    rng = np.random.default_rng(3)
    for gap in np.linspace(-0.5, 1.5, 21):
        a, b = cells("LT", PEAK + gap, 0.2, 3, rng), cells("RR", PEAK, 0.2, 3, rng)
        for found in (best_against_best(a, b, GAP, True), pairwise(a, b, GAP, True)):
            assert found.low <= found.difference <= found.high
            assert (found.confidence < 0.95) == (found.low < GAP < found.high)


def test_as_many_seeds_as_it_asks_for_settle_it_four_times_in_five():
    found = best_against_best([exact("LT", 91, 0.3)], [exact("RR", 90, 0.3)], GAP, strict=True)
    assert found.confidence < 0.95
    assert found.more_seeds > 0
    settled, _ = calls([91.0], [90.0], (0.3, 0.3), seeds=3 + found.more_seeds)
    assert 0.7 <= settled <= 0.92


def test_no_number_of_seeds_settles_a_difference_on_the_threshold():
    found = best_against_best([exact("LT", 90.5, 0.3)], [exact("RR", 90, 0.3)], GAP, strict=False)
    assert found.confidence < 0.95
    assert found.more_seeds is None


def test_one_seed_has_no_confidence():
    found = best_against_best([Cell("LT", 0.1, (99.0,))], [Cell("RR", 0.1, (50.0,))], GAP, strict=True)
    assert found.holds
    assert found.confidence is None
    assert found.more_seeds is None


def test_one_seed_beside_three_borrows_their_spread():
    found = best_against_best([exact("LT", 95, 0.2)], [Cell("RR", 0.1, (90.0,))], GAP, strict=True)
    assert found.confidence > 0.95


def test_runs_without_any_scatter_are_all_but_certain():
    found = best_against_best([Cell("LT", 0.1, (91.0, 91.0))], [Cell("RR", 0.1, (90.0, 90.0))], GAP, True)
    assert found.confidence > 0.999  # two seeds a cell: the spread itself is an estimate


def test_a_learning_rate_at_the_edge_of_divergence_does_not_blur_the_best():
    wild = Cell("LT", 0.5, (40.0, 80.0, 60.0))
    calm = [exact("LT", 92, 0.2, lr=lr) for lr in (0.01, 0.05)]
    rival = [exact("RR", 90, 0.2)]
    assert contenders([*calm, wild]) == calm
    with_wild = best_against_best([*calm, wild], rival, GAP, True)
    without = best_against_best(calm, rival, GAP, True)
    assert with_wild.confidence == pytest.approx(without.confidence, abs=1e-4)


def test_differences_of_accuracies_are_compared_as_decimals():
    assert 64.1 - 63.6 != 0.5  # in floats
    for low, high in ((63.6, 64.1), (91.8, 92.3)):
        assert not beyond(high - low, 0.5, strict=True)
        assert beyond(low - high, -0.5, strict=False)
        assert beyond(high - low + 0.001, 0.5, strict=True)
        assert not beyond(low - high - 0.001, -0.5, strict=False)
