"""How sure a few seeds make us that the best of several learning rates is better than another best."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lthpaper.verdicts.cells import pairs_of
from lthpaper.verdicts.luck import Paired, Rivals, contending
from lthpaper.verdicts.scatter import Cells
from lthpaper.verdicts.uncertainty import Cell, arrays, best_against_best, best_pair, beyond

FLAT = np.full(7, 90.0)
PEAK = np.array([50.0, 60.0, 70.0, 80.0, 90.0, 86.0, 75.0])
GAP = 0.5
REPEATS = 600


def cells(setting, means, spread, seeds, rng):
    draws = rng.normal(np.asarray(means)[:, None], spread, (len(means), seeds))
    return [Cell(setting, 10.0 ** (i - 3), tuple(row)) for i, row in enumerate(draws)]


def exact(setting, mean, spread, seeds=3, lr=0.1):
    """A cell with exactly this mean and standard deviation."""
    steps = np.arange(seeds) - (seeds - 1) / 2
    return Cell(setting, lr, tuple(mean + steps / steps.std(ddof=1) * spread))


def draws(means, spreads, seeds, rng, repeats=REPEATS):
    """Cells of many tables at once: arrays (repeats, cells)."""
    x = rng.normal(
        np.asarray(means)[:, None],
        np.broadcast_to(spreads, len(means))[:, None],
        (repeats, len(means), seeds),
    )
    return Cells.of(x)


def seed_by_seed(lt, dense, spreads, seeds, rng, noise=None):
    """Tables of pairs. noise: draws of mean 0 and standard deviation 1 of a shape; None: normal."""
    noise = noise or rng.standard_normal
    a, b = (
        np.asarray(m)[:, None] + np.broadcast_to(sd, 7)[:, None] * noise(size=(REPEATS, 7, seeds))
        for m, sd in zip((lt, dense), spreads, strict=True)
    )
    return Paired(Cells.of(a - b), Cells.of(a).beside(Cells.of(b)))


def calls(lt, rr, spreads, repeats=REPEATS, seeds=3):
    """(share called true, share called false) at confidence 0.95."""
    rng = np.random.default_rng(20210701)
    test = Rivals(draws(lt, spreads[0], seeds, rng, repeats), draws(rr, spreads[1], seeds, rng, repeats))
    return (test.yes(GAP) <= 0.05).mean(), (test.no(GAP) <= 0.05).mean()


def wild(at, spread=2.0, others=0.3):
    """One learning rate scatters much more than the rest."""
    return np.where(np.arange(7) == at, spread, others)


ABOUT_FIVE_PERCENT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPEATS)


def test_many_seeds_that_scatter_alike_are_judged_as_dunnett_does():
    rng = np.random.default_rng(1)
    x, control = rng.normal(0, 1, (5, 30)), rng.normal(-0.55, 1, 30)
    oracle = stats.dunnett(*x, control=control, alternative="greater").pvalue.min()
    ours = [Cell("LT", float(i), tuple(row)) for i, row in enumerate(x)]
    found = Rivals(arrays(ours), arrays([Cell("RR", 1.0, tuple(control))])).yes(0.0)
    assert 0.005 < oracle < 0.05
    assert oracle <= found <= 2 * oracle  # cautious: any cell may be a noisy one


def test_a_wild_learning_rate_is_no_difference():
    """Truth on the threshold, one cell scattering almost seven times as much as the others."""
    for n in (3, 10):
        assert calls(FLAT + GAP, PEAK, (wild(4), 0.3), seeds=n)[0] <= ABOUT_FIVE_PERCENT
        assert calls(FLAT + GAP, PEAK, (0.3, wild(4)), seeds=n)[0] <= ABOUT_FIVE_PERCENT


def test_a_wild_learning_rate_is_no_difference_seed_by_seed():
    rng = np.random.default_rng(20210701)
    for n in (3, 5, 10):
        gaps = seed_by_seed(FLAT - GAP, FLAT, (wild(4), 0.3), n, rng)
        assert (gaps.yes(-GAP) <= 0.05).mean() <= ABOUT_FIVE_PERCENT
        far = seed_by_seed(PEAK - GAP, FLAT, (wild(4), 0.3), n, rng)
        assert (far.no(-GAP) <= 0.05).mean() <= ABOUT_FIVE_PERCENT


def test_a_side_whose_cells_all_scatter_differently_is_no_difference():
    rival = 90 - np.array([8, 4, 1.5, 0.4, 0, 0.5, 2])
    called, _ = calls(FLAT + GAP, rival, (np.geomspace(0.15, 1.5, 7), 0.15), repeats=1000, seeds=5)
    assert called <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_one_wild_cell_makes_another_suspect():
    """Its few seeds may lie close together by luck."""
    close = exact("LT", 91.0, 0.2, lr=0.1)
    rivals = [exact("RR", 89.3, 0.2, lr=lr) for lr in (0.001, 0.01, 0.05, 0.1, 0.2)]

    def sure(*spreads):
        others = [exact("LT", 90.0, sd, lr=lr) for sd, lr in zip(spreads, (0.001, 0.01, 0.05), strict=True)]
        return best_against_best([close, *others], rivals, GAP, True).confidence

    assert sure(0.2, 0.2, 0.2) > sure(0.2, 2.0, 2.0)


def test_skewed_seeds_and_a_wild_learning_rate_are_no_difference_seed_by_seed():
    """Most seeds near the top and a few far below, so that three or five seldom show one of the few. Before
    the sides' skewness counted, in place of the differences', one table in eight was called."""
    rng = np.random.default_rng(20210701)
    for n in (3, 5):
        gaps = seed_by_seed(
            FLAT - GAP, FLAT, (wild(4), 0.3), n, rng, lambda size: 1 - rng.exponential(size=size)
        )
        assert (gaps.yes(-GAP) <= 0.05).mean() <= ABOUT_FIVE_PERCENT


def test_three_seeds_do_not_call_on_a_cell_that_scatters_more_than_its_side():
    calm = [exact("LT", 90.0, 0.2, lr=lr) for lr in (0.001, 0.01, 0.05, 0.2)]
    rivals = [exact("RR", 88.5, 0.2, lr=lr) for lr in (0.001, 0.01, 0.05, 0.1, 0.2)]
    sure = best_against_best([*calm, exact("LT", 91.0, 0.2)], rivals, GAP, True)
    unsure = best_against_best(
        [*calm[:3], exact("LT", 91.0, 1.0)], [exact("RR", 90.0, 0.2), *rivals], GAP, True
    )
    assert sure.confidence > 0.95 > unsure.confidence


def test_skewed_seeds_widen_what_a_wild_cell_is_trusted_with():
    straight, long_tail = (-1.0, -0.5, 0.0, 0.5, 1.0), (-1.6, 0.1, 0.4, 0.5, 0.6)
    calm = [exact("RR", 89.0, 0.1, seeds=5, lr=lr) for lr in (0.01, 0.05, 0.1)]

    def sure(noise):
        scaled = np.array(noise) / np.std(noise, ddof=1)
        ours = [Cell("LT", lr, tuple(90.4 + 0.1 * scaled)) for lr in (0.01, 0.05)]
        return best_against_best(
            [*ours, Cell("LT", 0.1, tuple(92 + 1.0 * scaled))], calm, 2.0, True
        ).confidence

    assert sure(long_tail) < sure(straight)


def test_equal_settings_are_called_a_clear_gap_at_most_five_times_in_a_hundred():
    assert calls(FLAT, FLAT, (1.0, 1.0))[0] <= ABOUT_FIVE_PERCENT


def test_a_gap_of_exactly_the_threshold_is_called_either_way_at_most_five_times_in_a_hundred():
    """The hardest case: one side flat, so that luck has seven chances, the other not."""
    for spreads in ((0.4, 0.4), (0.3, 0.6)):
        assert calls(FLAT + GAP, PEAK, spreads)[0] <= ABOUT_FIVE_PERCENT
        assert calls(PEAK + GAP, FLAT, spreads)[1] <= ABOUT_FIVE_PERCENT


def test_comparing_the_observed_bests_with_a_plain_t_would_be_fooled_by_luck():
    rng = np.random.default_rng(20210701)
    fooled = 0
    for _ in range(REPEATS):
        a, b = (
            max(cells(name, m, 0.4, 3, rng), key=lambda c: c.mean)
            for name, m in (("LT", FLAT + GAP), ("RR", PEAK))
        )
        fooled += (
            stats.ttest_ind(np.array(a.accuracies) - GAP, b.accuracies, alternative="greater").pvalue <= 0.05
        )
    assert fooled / REPEATS > 2 * 0.05


def test_a_difference_well_beyond_the_threshold_is_called():
    assert calls(PEAK + 2, PEAK, (0.2, 0.2), repeats=100, seeds=5)[0] > 0.95
    assert calls(PEAK - 1, PEAK, (0.2, 0.2), repeats=100, seeds=5)[1] > 0.95


def test_bounds_hold_the_threshold_exactly_where_the_call_is_undecided():
    rng = np.random.default_rng(3)
    for gap in np.linspace(-0.5, 1.5, 9):
        a, b = cells("LT", PEAK + gap, 0.2, 3, rng), cells("RR", PEAK, 0.2, 3, rng)
        for found in (best_against_best(a, b, GAP, True), best_pair(list(zip(a, b, strict=True)), GAP, True)):
            assert found.low <= found.difference <= found.high
            assert (found.confidence < 0.95) == (found.low < GAP < found.high)


def test_as_many_seeds_as_it_asks_for_settle_it_four_times_in_five():
    found = best_against_best([exact("LT", 91, 0.3)], [exact("RR", 90, 0.3)], GAP, strict=True)
    assert found.confidence < 0.95
    assert found.more_seeds > 0
    settled, _ = calls([91.0], [90.0], (0.3, 0.3), repeats=1000, seeds=3 + found.more_seeds)
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


def test_one_seed_says_nothing_of_its_side_s_spread_which_may_be_three_times_the_other_s():
    found = best_against_best([exact("LT", 95, 0.2)], [Cell("RR", 0.1, (90.0,))], GAP, strict=True)
    assert found.holds
    assert found.confidence is None
    beside = [Cell("RR", 0.1, (90.0,)), exact("RR", 90, 0.2, lr=0.2)]  # a cell that informs is enough
    assert best_against_best([exact("LT", 95, 0.2)], beside, GAP, strict=True).confidence > 0.95


def test_a_cell_of_one_seed_wins_nothing_beside_cells_of_several_since_it_may_be_the_wild_one():
    alone, several = Cell("LT", 0.1, (91.9,), numbers=(0,)), exact("LT", 90.2, 0.2, lr=0.01)
    rivals = [exact("RR", 90, 0.2, lr=lr) for lr in (0.01, 0.1)]
    won = best_against_best([alone, several], rivals, GAP, strict=True)
    assert won.holds
    assert won.confidence < 0.5
    assert best_against_best([exact("LT", 91.9, 0.2), several], rivals, GAP, strict=True).confidence > 0.95
    beaten = best_against_best(rivals, [alone, several], -1.0, strict=True)
    assert not beaten.holds
    assert beaten.confidence < 0.5
    pairs = pairs_of([alone, several], [replace(rivals[1], lr=alone.lr), replace(rivals[0], lr=several.lr)])
    paired = best_pair(pairs, GAP, strict=True)
    assert paired.holds
    assert paired.confidence < 0.5


def test_seeds_that_agree_on_a_hundred_test_images_may_do_so_by_chance():
    def confidence(grain):
        ours, theirs = (Cell(s, 0.1, (a,) * 3, grain=grain) for s, a in (("LT", 91.0), ("RR", 90.0)))
        return best_against_best([ours], [theirs], GAP, True).confidence

    assert confidence(0.01) > 0.999
    assert confidence(1.0) < 0.9


def test_runs_without_any_scatter_are_all_but_certain():
    for n, sure in ((2, 0.99), (3, 0.9999)):  # the fewer the seeds, the more the spread itself is an estimate
        ours, theirs = Cell("LT", 0.1, (91.0,) * n), Cell("RR", 0.1, (90.0,) * n)
        assert best_against_best([ours], [theirs], GAP, True).confidence > sure


def test_a_learning_rate_at_the_edge_of_divergence_does_not_blur_the_best():
    wild = Cell("LT", 0.5, (40.0, 80.0, 60.0))
    calm = [exact("LT", 92, 0.2, lr=lr) for lr in (0.01, 0.05)]
    rival = [exact("RR", 90, 0.2)]
    assert list(contending(arrays([*calm, wild]))) == [True, True, False]
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
