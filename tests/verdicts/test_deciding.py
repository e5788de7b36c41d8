"""Seeds until decided: what looking repeatedly costs, and which cells get more seeds."""

import numpy as np
import pandas as pd
import pytest
from test_tickets import JACKPOT_TABLE, rows, table, with_

from lthpaper.errors import InputError
from lthpaper.verdicts.deciding import Contest, Contests, contested, level_of_a_look, looks, too_close
from lthpaper.verdicts.luck import Rivals
from lthpaper.verdicts.scatter import Cells
from lthpaper.verdicts.tickets import verdict


def test_five_evenly_spaced_looks_ask_for_pococks_level():
    assert level_of_a_look((10,), 0.95) == 0.95
    assert level_of_a_look((20, 40, 60, 80, 100), 0.95) == pytest.approx(0.98308, abs=2e-4)  # z = 2.122
    assert 0.95 < level_of_a_look((3, 5), 0.95) < level_of_a_look((3, 5, 8), 0.95) < 0.99


def test_the_last_look_is_at_the_most_seeds():
    assert looks(20) == (2, 3, 4, 6, 8, 11, 15, 20)
    assert looks(10) == (2, 3, 4, 6, 8, 10)
    assert looks(2) == (2,)
    for most in (1, 10.0):
        with pytest.raises(InputError, match="most seeds"):
            looks(most)


def open_cells(results, level=0.98):
    return contested(results, None, ["IMP"], level)


def test_a_decided_verdict_gets_no_more_seeds():
    assert open_cells(table(**JACKPOT_TABLE)) == frozenset()


WIDE = (-0.5, 0.0, 0.5)


def test_seeds_go_to_what_an_open_condition_rests_on_alone():
    close = {0.01: 85.0, 0.1: 91.9}  # RR: ③ is open, ② is not
    results = pd.concat([with_(JACKPOT_TABLE, rr=None), pd.DataFrame(rows("RR-IMP", close, around=WIDE))])
    assert open_cells(results) == {("LT-IMP", 0.1), ("RR-IMP", 0.1)}


def test_a_learning_rate_that_is_not_yet_beaten_gets_seeds_too():
    close = {0.01: 91.5, 0.1: 91.7}
    results = pd.concat([with_(JACKPOT_TABLE, rr=None), pd.DataFrame(rows("RR-IMP", close, around=WIDE))])
    assert ("RR-IMP", 0.01) in open_cells(results)


def test_an_open_comparison_with_shuffled_masks_gets_seeds_although_the_ticket_is_decided():
    def beside(means):
        shuffled = pd.DataFrame(rows("LT-shuffled-IMP", means, around=WIDE))
        return pd.concat([table(**JACKPOT_TABLE), shuffled])

    assert open_cells(beside({0.01: 85.0, 0.1: 91.9})) == {("LT-IMP", 0.1), ("LT-shuffled-IMP", 0.1)}
    assert open_cells(beside({0.01: 80.0, 0.1: 85.0})) == frozenset()


def test_where_it_is_none_by_the_means_the_surest_condition_gets_the_seeds():
    results = [with_(JACKPOT_TABLE, rr=None, sdt=None)]
    results += [pd.DataFrame(rows("SDT", {0.01: 84.0, 0.1: 92.6}, around=WIDE))]
    results += [pd.DataFrame(rows("RR-IMP", {0.01: 84.0, 0.1: 93.2}, around=WIDE))]  # fails more surely
    found = open_cells(pd.concat(results))
    assert {setting for setting, _ in found} == {"LT-IMP", "RR-IMP"}


def test_a_chosen_cell_of_one_seed_is_no_error():
    results = table(**JACKPOT_TABLE).assign(validation_accuracy=lambda t: t["accuracy"])
    chosen = (results["setting"] == "LT-IMP") & (results["lr"] == 0.1)
    assert isinstance(open_cells(results[~chosen | (results["seed"] == 0)]), frozenset)


ON_THRESHOLD = {0.01: 85.0, 0.1: 92.4}  # of RR: ③ asks for more than half a point


def many_seeds(n):
    """JACKPOT_TABLE with n seeds, and RR that makes ③ hold by exactly its threshold."""
    around = tuple(0.5 * (-1) ** i for i in range(n))
    means = JACKPOT_TABLE | {"rr": ON_THRESHOLD}
    settings = zip(("pretraining", "LT-IMP", "RR-IMP", "SDT"), means.values(), strict=True)
    return pd.DataFrame([row for setting, m in settings for row in rows(setting, m, around=around)])


def test_a_check_on_its_threshold_is_given_up_and_said_to_be_too_close_to_call():
    few, many = many_seeds(2), many_seeds(16)
    assert contested(few, None, ["IMP"], 0.98, most=20)
    assert contested(many, None, ["IMP"], 0.98, most=20) == frozenset()
    assert contested(many, None, ["IMP"], 0.98, most=200)
    said = too_close(verdict(many, level=0.98), 20)
    assert said.startswith(
        "resnet20 on cifar10, s = 0.832, IMP: too close to call within 20 seeds. ③ is between +0."
    )
    assert said.endswith("points, its threshold +0.50.")
    assert too_close(verdict(table(**JACKPOT_TABLE)), 20) == ""  # decided


def contest(difference, seeds=5, holds=True):
    """One learning rate a side, sd 1 point, ours better than theirs by so much."""
    cells = [Cells(*(np.array([x]) for x in (mean, 1.0, seeds, 0.0))) for mean in (difference, 0.0)]
    return Contest(Rivals(*cells), 0.0, holds, 0.95, 0.95)


def test_hope_grows_with_the_difference_and_shrinks_as_the_seeds_run_out():
    yes, no = zip(*(contest(d).chances(0.25) for d in (-2.0, -0.5, 0.0, 0.5, 2.0)), strict=True)
    assert list(yes) == sorted(yes)
    assert list(no) == sorted(no, reverse=True)
    assert yes == pytest.approx(no[::-1])
    even = [sum(contest(0.0).chances(part)) for part in (0.25, 0.5, 0.75, 0.9)]
    assert even == sorted(even, reverse=True)
    assert even[-1] < 0.01


def test_no_hope_is_left_with_the_most_seeds():
    of = {n: contest(3.0) for n in (2, 3, 4, 5)}
    assert Contests(of, {}, seeds=5, most=20).hope == 1.0
    assert Contests(of, {}, seeds=20, most=20).hope == 0.0
    of[3] = contest(0.0)
    assert 0 < Contests(of, {}, seeds=10, most=20).hope < 0.2
    assert Contests({n: of[n] for n in (2, 4, 5)}, {3: "not run"}, seeds=10, most=20).hope < 0.01
    assert Contests({n: of[n] for n in (2, 4, 5)}, {3: "yes"}, seeds=10, most=20).hope == 1.0


def test_a_quick_verdict_lacks_bounds_and_probabilities_alone():
    results = with_(JACKPOT_TABLE, rr=ON_THRESHOLD)
    quick, full = verdict(results, quick=True), verdict(results)
    assert quick.kind_ours == full.kind_ours
    assert [c.confidence for c in quick.conditions] == [c.confidence for c in full.conditions]
    assert [c.more_seeds for c in quick.conditions] == [c.more_seeds for c in full.conditions]
    assert quick.probabilities is None
    assert all(c.low is None for c in quick.conditions[1:])


def test_what_has_not_run_asks_for_no_seeds_elsewhere():
    assert open_cells(with_(JACKPOT_TABLE, sdt=None)) == frozenset()
