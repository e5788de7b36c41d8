"""The simulation of whole checks judges as the package does, and counts what is trained."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import simulated_checks as simulated
from lthpaper.verdicts.deciding import contested
from lthpaper.verdicts.tickets import verdict


def have(lt=3, rr=3, sdt=3, dense=3):
    return np.array([[n] * len(simulated.GRID) for n in (lt, rr, sdt, dense)])


def test_a_seed_everywhere_costs_eleven_trainings_a_learning_rate():
    assert simulated.cost(have(1, 1, 1, 1)) == 7 * 11
    assert simulated.cost(have(1, 1, 2, 3)) == 7 * 14
    assert simulated.cost(have(1, 2, 1, 1)) == 7 * (2 * 10 + 1)  # RR's mask needs a chain


@pytest.mark.parametrize("place", range(5))
def test_simulated_checks_are_called_and_continued_as_the_package_does(place):
    _, truth = list(simulated.by_distance(5))[place]
    seeds = have()
    seeds[:, 3:6] = 6
    names = enumerate(simulated.SIDES)
    table = simulated.table(
        truth, {(name, lr): seeds[i, j] for i, name in names for j, lr in enumerate(simulated.GRID)}
    )
    for level in (0.8, 0.98):
        found = simulated.contests_of(truth, seeds, level, 20)
        judged = verdict(table, simulated.LIMITS, "IMP", level=level, quick=True)
        assert simulated.kind_of(found) == judged.kind_ours
        if judged.kind_ours in simulated.KINDS or found.hope < simulated.HOPELESS:
            assert not contested(table, simulated.LIMITS, ["IMP"], level)
            continue
        wanted = simulated.needed(found)
        places = {(simulated.SIDES[i], simulated.GRID[j]) for i, j in zip(*np.nonzero(wanted), strict=True)}
        assert places == contested(table, simulated.LIMITS, ["IMP"], level)


def test_classes_of_distance_have_equally_many_checks():
    names = [name for name, _ in simulated.by_distance(10)]
    assert sorted(names.count(name) for name in set(names)) == [2] * 5


def test_a_check_far_from_its_thresholds_is_decided_and_one_on_a_threshold_given_up():
    truth = next(simulated.truths(1))
    lt = truth.curves[0]
    until = simulated.until_decided()
    clear = np.stack([lt, lt - 5, lt - 5, lt])
    noise = np.random.default_rng(0).normal(0, 0.3, truth.seeds.shape)
    found = simulated.outcome(simulated.Truth(clear, truth.scatter, clear[..., None] + noise), until)
    assert found["decided"]
    assert not found["wrong"]
    assert found["seeds"] <= 6
    even = np.stack([lt, lt - 0.5, lt - 5, lt])
    found = simulated.outcome(simulated.Truth(even, truth.scatter, even[..., None] + noise), until)
    assert not found["decided"]
    assert found["trainings"] < simulated.cost(have(20, 20, 20, 20)) / 3


def test_a_saving_compares_with_the_fewest_seeds_that_decide_as_large_a_share():
    fixed = pd.DataFrame({"decided": [0.0, 40, 40, 60], "trainings": [231.0, 385, 770, 1540]})

    def saving(decided, trainings=100.0):
        return simulated._saving(pd.Series({"decided": decided, "trainings": trainings}), fixed)

    assert saving(40) == pytest.approx(3.85)
    assert saving(50) == pytest.approx(11.55)
    assert saving(61) == np.inf
    assert np.isnan(saving(0))


def test_the_bars_of_the_calibration_count_checks_and_not_predictions():
    """Six copies of a check's one prediction say no more than one, and no share lies beyond 0 and 1."""
    rng = np.random.default_rng(3)
    once = pd.DataFrame({"check": range(60), "predicted": rng.uniform(0, 1, 60)})
    once["true"] = rng.random(60) < once["predicted"]
    bars = [simulated.calibration(t)[["low", "high"]] for t in (once, pd.concat([once] * 6))]
    assert bars[0].to_numpy().tolist() == bars[1].to_numpy().tolist()
    assert (bars[0]["low"] >= 0).all()
    assert (bars[0]["high"] <= 1).all()
    assert (bars[0]["high"] > bars[0]["low"]).any()


def test_the_calibrations_picture_says_what_its_bars_are_and_of_how_many_checks(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda fig, *_, **__: said.append(inside(fig)))
    table = pd.DataFrame({"check": [0, 1, 2, 3], "predicted": [0.1, 0.9] * 2, "true": [False, True] * 2})
    simulated.draw(simulated.calibration(table), 4, str(tmp_path / "picture.png"))
    assert said == [("4 simulated checks, n = 3 and 5 seeds\nbars: 95 %, bootstrap over checks", True)]


def inside(fig) -> tuple[str, bool]:
    """The title, and whether it lies within the picture."""
    fig.canvas.draw()
    title = fig.axes[0].title
    box = title.get_window_extent()
    return title.get_text(), bool(box.x0 >= fig.bbox.x0 and box.x1 <= fig.bbox.x1)
