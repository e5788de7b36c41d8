"""Conditions ① to ⑤ on hand-made tables: which ticket is it, and how sure are the seeds?"""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthpaper.errors import InputError
from lthpaper.paper import Thresholds
from lthpaper.verdicts.conditions import unfulfilled
from lthpaper.verdicts.evidence import NO, UNDECIDED
from lthpaper.verdicts.tickets import EITHER, JACKPOT, NONE, SECONDARY, verdict, verdicts

STEADY = (-0.1, 0.0, 0.1)  # three seeds around a mean
SETTINGS = ("pretraining", "LT-IMP", "RR-IMP", "SDT")
KINDS = (NONE, UNDECIDED, SECONDARY, EITHER, JACKPOT)  # in rising order


def rows(setting, means, around=STEADY, sparsity=0.832, **more):
    """means: learning rate -> mean accuracy."""
    common = {"network": "resnet20", "data": "cifar10", "epochs": 160, "setting": setting} | more
    s = 0.0 if setting == "pretraining" else sparsity
    return [
        {"lr": lr, "seed": seed, "accuracy": mean + off, "sparsity": s} | common
        for lr, mean in means.items()
        for seed, off in enumerate(around)
    ]


def table(pretraining=None, lt=None, rr=None, sdt=None, **more):
    """A setting that is not given was not run."""
    sides = zip(SETTINGS, (pretraining, lt, rr, sdt), strict=True)
    return pd.DataFrame([row for s, means in sides if means for row in rows(s, means, **more)])


DENSE = {0.01: 88.0, 0.1: 93.0}
JACKPOT_TABLE = {
    "pretraining": DENSE,
    "lt": {0.01: 88.0, 0.1: 92.9},
    "rr": {0.01: 85.0, 0.1: 90.0},
    "sdt": {0.01: 84.0, 0.1: 89.0},
}
SECONDARY_TABLE = JACKPOT_TABLE | {"lt": {0.01: 88.0, 0.1: 91.5}}


def with_(base, **changes):
    return table(**(base | changes))


POSSIBLE = [c for c in itertools.product((True, False), repeat=5) if c[3] or not c[4]]  # ⑤ implies ④


@pytest.mark.parametrize(
    "wanted", POSSIBLE, ids=lambda w: "".join("12345"[i] if h else "-" for i, h in enumerate(w))
)
def test_every_possible_combination_of_conditions_gives_its_kind(wanted):
    first, second, third, fourth, fifth = wanted
    lt = {0.01: 88.0 if fourth else 86.0, 0.1: 92.9 if fifth else 91.5}
    rr = {0.01: 80.0, 0.1: max(lt.values()) - (2 if third else 0)}
    sdt = {0.01: 80.0, 0.1: max(lt.values()) - (2 if second else 0)}
    found = verdict(table(DENSE, lt, rr, sdt, sparsity=0.832 if first else 0.488))
    assert [c.holds for c in found.conditions] == ["yes" if w else "no" for w in wanted]
    kind = (JACKPOT if fifth else SECONDARY) if all(wanted[:4]) else NONE
    assert found.kind == found.kind_ours == kind  # the seeds lie so close that nothing is undecided
    assert [c.holds_ours for c in found.conditions] == [c.holds for c in found.conditions]


def test_shuffled_masks_are_held_against_the_ticket_beside_its_kind():
    beaten = rows("LT-shuffled-IMP", {0.01: 86.0, 0.1: 91.0})
    as_good = rows("LT-shuffled-IMP", {0.01: 86.0, 0.1: 92.9})
    alone = verdict(table(**JACKPOT_TABLE))
    for shuffled, holds in ((beaten, "yes"), (as_good, "no")):
        results = pd.concat([table(**JACKPOT_TABLE), pd.DataFrame(shuffled)])
        found = verdict(results)
        assert (found.shuffled.symbol, found.shuffled.holds, found.shuffled.holds_ours) == (
            "③m",
            holds,
            holds,
        )
        assert found.shuffled.against == ("LT-shuffled-IMP", 0.1)
        assert (found.kind, found.conditions) == (alone.kind, alone.conditions)
        assert [c.symbol for c in found.judged] == ["①", "②", "③", "③m", "④", "⑤"]
        assert str(found).splitlines()[4].strip().startswith("③m LT-IMP at learning rate 0.1 (92.90)")
        judged = verdicts(results)
        assert judged["pruning"].tolist() == ["IMP"]  # a shuffled mask is no ticket's
        assert judged.loc[0, ["holds_3m", "ours_3m"]].tolist() == [holds, holds]
        assert judged.loc[0, "difference_3m"] == found.shuffled.difference
    assert alone.shuffled is None
    assert len(alone.judged) == 5
    assert verdicts(table(**JACKPOT_TABLE)).loc[0, ["holds_3m", "ours_3m"]].tolist() == ["not run", "not run"]


accuracies = st.dictionaries(
    st.sampled_from([0.001, 0.01, 0.1, 1.0]),
    st.lists(st.integers(8000, 9500).map(lambda a: a / 100), min_size=3, max_size=3),
    min_size=4,
    max_size=4,
)


def drawn(pretraining, lt, rr, sdt):
    sides = zip(SETTINGS, (pretraining, lt, rr, sdt), strict=True)
    return pd.DataFrame(
        row for s, cells in sides for lr, seeds in cells.items() for row in rows(s, {lr: 0.0}, around=seeds)
    )


tables = st.builds(drawn, accuracies, accuracies, accuracies, accuracies)
limits = Thresholds(similar=1.0, gap=1.0)


@settings(max_examples=25, deadline=None)
@given(tables)
def test_similar_to_the_best_pretraining_implies_similar_to_pretraining_at_that_rate(results):
    found = verdict(results, limits)
    assert not (found[5].holds == "yes" and found[4].holds == "no")
    assert not (found[5].holds_ours == "yes" and found[4].holds_ours != "yes")
    assert not (found[4].holds_ours == "no" and found[5].holds_ours != "no")
    assert set(found[5].lrs) <= set(found[4].lrs)


@settings(max_examples=25, deadline=None)
@given(tables, st.lists(st.integers(0, 300), min_size=12, max_size=12))
def test_raising_any_accuracies_of_lt_never_loses_a_ticket(results, raises):
    raised = results.copy()
    raised.loc[raised["setting"] == "LT-IMP", "accuracy"] += np.array(raises) / 100
    before, after = verdict(results, limits), verdict(raised, limits)
    assert KINDS.index(after.kind) >= KINDS.index(before.kind)
    for a, b in zip(before.conditions, after.conditions, strict=True):
        assert not (a.holds == "yes" and b.holds == "no")


@settings(max_examples=25, deadline=None)
@given(tables, st.integers(0, 500))
def test_raising_all_of_lt_alike_never_loses_a_ticket_that_the_seeds_bear_out(results, points):
    raised = results.copy()
    raised.loc[raised["setting"] == "LT-IMP", "accuracy"] += points / 100
    before, after = verdict(results, limits), verdict(raised, limits)
    assert KINDS.index(after.kind_ours) >= KINDS.index(before.kind_ours)


def test_half_a_point_below_is_similar_and_half_a_point_above_is_no_clear_gap():
    edge = table({0.1: 92.3}, {0.1: 91.8}, {0.1: 91.3}, {0.1: 91.3}, around=(0.0,))
    found = verdict(edge)
    assert [found[n].holds for n in (2, 3, 4, 5)] == ["no", "no", "yes", "yes"]
    assert found[4].difference == -0.5
    assert found[3].difference == 0.5
    finer = table({0.1: 92.31}, {0.1: 91.8}, {0.1: 91.29}, {0.1: 91.29}, around=(0.0,))
    assert [verdict(finer)[n].holds for n in (2, 3, 4, 5)] == ["yes", "yes", "no", "no"]


def test_no_seeds_settle_a_difference_on_the_threshold():
    found = verdict(with_(JACKPOT_TABLE, rr={0.1: 92.4, 0.01: 80.0}))
    assert found[3].holds == "no"
    assert found[3].holds_ours == "undecided"
    assert found[3].more_seeds is None
    assert found.kind_ours == "undecided"


def test_a_sparsity_of_sixty_percent_is_trivial_and_above_it_is_not():
    assert verdict(with_(JACKPOT_TABLE, sparsity=0.6))[1].holds == "no"
    assert verdict(with_(JACKPOT_TABLE, sparsity=0.61))[1].holds == "yes"


def test_epochs_that_nobody_called_sufficient_are_assumed_to_be_and_that_is_said():
    results = table(**JACKPOT_TABLE)
    assumed, stated = verdict(results), verdict(results, sufficient_epochs=160)
    assert "T = 160 epochs (assumed sufficient" in assumed[1].sentence
    assert "T = 160 epochs assumed sufficient" in assumed.reason
    assert "160 epochs (needed: 160)" in stated[1].sentence
    assert "assumed" not in stated.reason
    assert (assumed.kind, stated.kind) == (JACKPOT, JACKPOT)
    assert verdict(results, sufficient_epochs=161).kind == NONE


def test_similarity_depends_on_the_data_set():
    lt = {0.01: 80.0, 0.1: 91.8}
    kinds = {
        data: verdict(with_(JACKPOT_TABLE, lt=lt, rr={0.1: 89.0}, data=data)).kind
        for data in ("cifar10", "cifar100", "tiny-imagenet", "imagenet")
    }
    assert kinds == dict.fromkeys(kinds, NONE) | {"imagenet": JACKPOT}
    assert verdict(with_(JACKPOT_TABLE, lt=lt), Thresholds(similar=1.2)).kind == JACKPOT


def test_each_learning_rate_may_serve_another_condition():
    found = verdict(table(**SECONDARY_TABLE))
    assert found.kind == SECONDARY
    assert found[3].lrs == (0.1,)
    assert found[4].lrs == found.lrs == (0.01,)
    assert found[5].lrs == ()


def test_lt_has_to_beat_rr_at_every_learning_rate():
    assert verdict(with_(JACKPOT_TABLE, rr={0.01: 92.8, 0.1: 70.0}))[3].holds == "no"


@pytest.mark.parametrize(
    ("absent", "open_"), [("sdt", {2}), ("rr", {3}), ("pretraining", {4, 5}), ("lt", {2, 3, 4, 5})]
)
def test_without_a_setting_its_conditions_are_not_run_and_the_ticket_is_undecided(absent, open_):
    found = verdict(with_(JACKPOT_TABLE, **{absent: None}))
    assert {c.number for c in found.conditions if c.holds == "not run"} == open_
    assert found.kind == found.kind_ours == "undecided"
    assert "cannot be judged" in found.reason
    assert all("not in the table" in found[n].sentence for n in open_)


def test_a_condition_that_fails_decides_without_the_missing_one():
    assert verdict(with_(JACKPOT_TABLE, sdt=None, rr={0.1: 93.0, 0.01: 85.0})).kind == NONE


def test_one_seed_leaves_our_reading_undecided_and_the_papers_given():
    found = verdict(with_(JACKPOT_TABLE, around=(0.0,)))
    assert found.kind == JACKPOT
    assert found.kind_ours == "undecided"
    assert all(found[n].confidence is None and found[n].holds_ours == "undecided" for n in (2, 3, 4, 5))


def test_scattered_seeds_leave_undecided_and_say_how_many_more_would_settle():
    found = verdict(with_(JACKPOT_TABLE, around=(-1.5, 0.0, 1.5)))
    assert found.kind == JACKPOT
    assert found.kind_ours == "undecided"
    assert found[3].holds_ours == "undecided"
    assert found[3].more_seeds >= 1
    assert f"about {found[3].more_seeds} more seed" in found[3].sentence


def test_a_ticket_with_the_fifth_condition_open_is_still_a_ticket():
    lt = {0.01: 89.5, 0.1: 92.45}
    found = verdict(with_(JACKPOT_TABLE, lt=lt, rr={0.1: 89.0, 0.01: 85.0}))
    assert found[5].holds_ours == "undecided"
    assert found.kind == SECONDARY
    assert found.kind_ours == EITHER


def diverged(results, setting, lr, seeds=(0, 1, 2)):
    broken = results.copy()
    hit = (broken["setting"] == setting) & (broken["lr"] == lr) & broken["seed"].isin(seeds)
    assert hit.any()
    broken.loc[hit, "accuracy"] = math.nan
    return broken


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_learning_rate_with_a_diverged_seed_is_out_for_its_setting(seeds):
    found = verdict(diverged(table(**JACKPOT_TABLE), "LT-IMP", 0.1, seeds))
    assert found[5].best == ("LT-IMP", 0.01)
    assert found[5].holds == "no"
    assert found.diverged == (("LT-IMP", 0.1),)


def test_a_diverged_pretraining_is_not_easy_to_match():
    lone = with_(JACKPOT_TABLE, lt={0.01: 80.0, 0.1: 80.0})
    assert verdict(diverged(lone, "pretraining", 0.01, (0, 1)))[4].holds == "no"
    gone = diverged(diverged(table(**JACKPOT_TABLE), "pretraining", 0.01), "pretraining", 0.1)
    found = verdict(gone)
    assert [found[n].holds for n in (4, 5)] == ["undecided", "undecided"]
    assert found.kind == "undecided"


def test_at_one_learning_rate_the_seeds_that_both_have_are_compared():
    """Pretraining may have more seeds than the subnetwork, and these may be lucky."""
    results = table(**JACKPOT_TABLE, around=(-0.2, 0.0, 0.2))
    more = rows("pretraining", {0.1: 94.0}, around=(0.0,) * 6)
    more = [row | {"seed": row["seed"] + 3} for row in more]
    fourth = verdict(pd.concat([results, pd.DataFrame(more)]))[4]
    alone = verdict(results[results["lr"] == 0.1])[4]
    assert verdict(pd.concat([results, pd.DataFrame(more)]))[5].holds == "no"
    assert fourth.holds == alone.holds == "yes"
    at_large = verdict(pd.concat([results, pd.DataFrame(more)]).query("lr == 0.1"))[4]
    assert (at_large.difference, at_large.low, at_large.high) == (alone.difference, alone.low, alone.high)
    assert at_large.difference == pytest.approx(-0.1)
    assert (
        "pretraining at the same learning rate over the 3 seeds that both have (93.00)" in at_large.sentence
    )
    assert "that both have" not in alone.sentence
    assert at_large.low < at_large.difference < at_large.high


def test_where_everything_diverged_the_condition_is_plain():
    results = table(**JACKPOT_TABLE)
    no_rr = diverged(diverged(results, "RR-IMP", 0.1), "RR-IMP", 0.01)
    assert verdict(no_rr)[3].holds == verdict(no_rr)[3].holds_ours == "yes"
    assert verdict(no_rr).kind == JACKPOT
    no_lt = diverged(diverged(results, "LT-IMP", 0.1), "LT-IMP", 0.01)
    assert [verdict(no_lt)[n].holds for n in (2, 3, 4, 5)] == ["no"] * 4


def test_where_nothing_converged_there_is_nothing_to_compare():
    results = table(**JACKPOT_TABLE)
    results["accuracy"] = np.nan
    found = verdict(results)
    assert {c.holds for c in found.conditions} == {c.holds_ours for c in found.conditions} == {"undecided"}
    assert found.kind == found.kind_ours == "undecided"
    assert "LT-IMP and RR-IMP diverged at every learning rate: nothing to compare" in found[3].sentence
    assert found[1].sentence == "① undecided: pretraining diverged at every learning rate."


def test_a_sparsity_too_small_is_named_before_a_training_too_short():
    losses = {"loss_left": 0.5, "loss_falling": True}
    found = verdict(table(**JACKPOT_TABLE, sparsity=0.36).assign(**losses))
    assert "① fails (s = 0.360 is not above 0.6, and pretraining has not converged" in found.reason
    assert "and pretraining has not converged" in found[1].sentence


def test_a_diverged_seed_does_not_decide_against_those_that_converged():
    results = with_(JACKPOT_TABLE, rr={0.01: 85.0, 0.1: 92.8})
    found = verdict(diverged(results, "RR-IMP", 0.1, (2,)))
    assert found.kind == JACKPOT  # by the means: the rate is out for RR
    assert (found[3].holds, found[3].holds_ours) == ("yes", "undecided")
    assert found[3].open == (("RR-IMP", 0.1),)
    assert "some seeds of RR-IMP at 0.1 (92.75) diverged" in found[3].sentence
    assert "the rate is out for the setting: RR-IMP (0.1)" in found.reason
    far = verdict(diverged(table(**JACKPOT_TABLE), "RR-IMP", 0.1, (2,)))  # at 90 it could overturn nothing
    assert far[3].holds_ours == "yes"
    lost = verdict(diverged(table(**JACKPOT_TABLE), "LT-IMP", 0.1, (0,)))  # LT's own: ⑤ fails without it
    assert (lost[5].holds, lost[5].holds_ours) == ("no", "undecided")
    assert verdict(diverged(table(**JACKPOT_TABLE), "LT-IMP", 0.1, (0, 1, 2)))[5].holds_ours == "no"


def test_one_seed_that_diverged_everywhere_supports_nothing():
    lone = table(**JACKPOT_TABLE, around=(0.0,))
    found = verdict(diverged(diverged(lone, "LT-IMP", 0.1, (0,)), "LT-IMP", 0.01, (0,)))
    assert (found.kind, found.kind_ours) == (NONE, "undecided")


def test_the_seeds_are_said_to_support_only_what_they_do():
    close = (-0.6, 0.0, 0.6)
    failing = table({0.1: 92.6}, {0.1: 92.0}, {0.1: 95.0}, {0.1: 91.6}, around=close)
    found = verdict(failing)
    assert [c.symbol for c in found.conditions if c.holds == "no"] == ["②", "③", "④", "⑤"]
    assert found.kind == found.kind_ours == NONE
    assert "The seeds support that ③④⑤ fail." in found.reason


def test_what_is_not_trained_yet_is_missing_not_diverged():
    results = table(**JACKPOT_TABLE).assign(fingerprint="abc")
    waiting = (results["setting"] == "pretraining") & (results["lr"] == 0.1)
    results.loc[waiting, ["accuracy", "fingerprint"]] = [math.nan, ""]
    found = verdict(results)
    assert found.diverged == ()
    assert found[5].holds == "yes"  # above all pretraining there is, so far
    assert found[5].holds_ours == "undecided"
    assert "until pretraining has run at 0.1" in found[5].sentence
    assert found[4].holds_ours == "yes"  # no further learning rate can take that back


def test_a_missing_lt_could_only_overturn_a_no():
    found = verdict(with_(SECONDARY_TABLE, lt={0.01: 88.0}, rr={0.01: 80.0, 0.1: 85.0}))
    assert found[3].holds_ours == "yes"
    assert found[5].holds == "no"
    assert found[5].holds_ours == "undecided"


def omp(lt, rr):
    return pd.DataFrame(rows("LT-OMP", lt) + rows("RR-OMP", rr))


def test_imp_and_omp_are_judged_apart_or_together():
    both = pd.concat([table(**SECONDARY_TABLE), omp({0.01: 80.0, 0.1: 92.9}, {0.01: 80.0, 0.1: 90.0})])
    assert verdict(both, pruning="IMP").kind == SECONDARY
    assert verdict(both, pruning="OMP").kind == JACKPOT
    together = verdict(both, pruning=None)
    assert together.kind == JACKPOT
    assert together[5].best == ("LT-OMP", 0.1)
    assert together[3].against in (("RR-IMP", 0.1), ("RR-OMP", 0.1))


def test_together_lt_has_to_beat_rr_under_either_mask():
    both = pd.concat([table(**JACKPOT_TABLE), omp({0.1: 90.0}, {0.1: 92.8})])
    assert verdict(both, pruning="IMP")[3].holds == "yes"
    assert verdict(both, pruning=None)[3].holds == "no"


def test_a_mask_without_rr_is_left_out_of_both_together():
    both = pd.concat([table(**JACKPOT_TABLE), pd.DataFrame(rows("LT-OMP", {0.1: 93.0}))])
    assert verdict(both, pruning=None)[5].best == ("LT-IMP", 0.1)


def test_rewinding_stands_in_the_place_of_lt():
    results = pd.concat([table(**SECONDARY_TABLE), pd.DataFrame(rows("WR-IMP", {0.01: 88.0, 0.1: 92.9}))])
    assert verdict(results).kind == SECONDARY
    found = verdict(results, subnetwork="WR")
    assert found.kind == JACKPOT
    assert found[5].best == ("WR-IMP", 0.1)
    assert found[3].against == ("RR-IMP", 0.1)


def test_masks_of_another_learning_rate_are_left_out():
    results = table(**SECONDARY_TABLE).assign(pretraining_lr=math.nan)
    mixed = pd.DataFrame(rows("LT-IMP", {0.1: 94.0}, pretraining_lr=0.01))
    assert verdict(pd.concat([results, mixed])).kind == SECONDARY


def test_one_row_an_experiment():
    results = pd.concat(
        [
            table(**JACKPOT_TABLE, sparsity=0.914),
            pd.DataFrame(rows("LT-OMP", {0.1: 92.9}, sparsity=1 - 0.8**11)),  # the same sparsity
            pd.DataFrame(rows("LT-IMP", {0.1: 80.0}, sparsity=0.945)),
            table(**SECONDARY_TABLE, sparsity=0.914, epochs=78),
            table(**JACKPOT_TABLE, network="vgg16"),
        ]
    )
    found = verdicts(results)
    keys = [
        (v.network, v.epochs, round(v.sparsity, 3), v.pruning, v.kind) for v in found.itertuples(index=False)
    ]
    assert keys == [
        ("resnet20", 78, 0.914, "IMP", NONE),  # T is not sufficient
        ("resnet20", 160, 0.914, "IMP", JACKPOT),
        ("resnet20", 160, 0.914, "OMP", "undecided"),  # no RR-OMP
        ("resnet20", 160, 0.945, "IMP", NONE),
        ("vgg16", 160, 0.832, "IMP", JACKPOT),
    ]
    assert found["holds_1"].tolist() == ["no", "yes", "yes", "yes", "yes"]
    assert found["difference_5"].iloc[1] == pytest.approx(-0.1)
    # no length was stated: the longest of the network is assumed to be sufficient, and shorter ones are not
    said = [v[1].sentence for v in found["verdict"]]
    assert ["assumed" in sentence for sentence in said] == [False, True, True, True, True]
    assert "78 epochs (needed: 160)" in said[0]
    assert verdicts(results, sufficient_epochs=78)["kind"].iloc[0] == SECONDARY
    assert found["verdict"].iloc[1].kind == found["kind"].iloc[1]


def test_probabilities_do_not_depend_on_the_signs_that_a_processors_linear_algebra_chooses(monkeypatch):
    table = with_(JACKPOT_TABLE, around=(-1.0, 0.0, 1.2))
    found = verdict(table).probabilities
    assert 0 < found.jackpot < 1
    usual = np.linalg.eigh

    def flipped(matrix):
        values, vectors = usual(matrix)
        return values, vectors * (-1) ** np.arange(len(values))

    monkeypatch.setattr(np.linalg, "eigh", flipped)
    again = verdict(table).probabilities
    assert (again.jackpot, again.secondary) == pytest.approx((found.jackpot, found.secondary), abs=1e-3)


def test_probabilities_are_clear_where_the_seeds_are_and_say_how_undecided_a_verdict_is():
    for base, kind in ((JACKPOT_TABLE, "p_jackpot"), (SECONDARY_TABLE, "p_secondary")):
        found = verdicts(table(**base)).iloc[0]
        assert found[kind] > 0.99
        assert found[["p_jackpot", "p_secondary", "p_none"]].sum() == pytest.approx(1)
        doubtful = verdicts(with_(base, around=(-1.5, 0.0, 1.5))).iloc[0]
        assert doubtful["kind_ours"] == "undecided"
        assert 0.2 < doubtful[kind] < 0.9
        assert f"P(Jackpot) {doubtful['p_jackpot']:.2f}" in doubtful["reason"]
    assert verdict(with_(JACKPOT_TABLE, sparsity=0.5)).probabilities.none == 1  # ① fails
    assert verdict(with_(JACKPOT_TABLE, sdt=None)).probabilities is None
    assert verdict(with_(JACKPOT_TABLE, around=(0.0,))).probabilities is None  # one seed
    results = table(**JACKPOT_TABLE)
    assert verdict(results[(results["setting"] != "LT-IMP") | (results["seed"] == 0)]).probabilities is None
    assert verdict(table(**SECONDARY_TABLE)) == verdict(table(**SECONDARY_TABLE))


def test_two_masks_that_fail_surely_do_so_together_though_their_seeds_go_with_pretraining_s():
    """Two of three correlations near 1 and the third 0 would be impossible: draws above 100 % came of it."""
    around = (-2.0, -1.4, -0.7, -0.2, 0.3, 0.9, 1.3, 1.8)
    dense = {0.01: 91.0, 0.03: 92.0, 0.1: 93.0, 0.3: 92.0}
    lt, far = ({lr: mean - less for lr, mean in dense.items()} for less in (1.0, 8.0))
    of_omp = rows("LT-OMP", lt, around) + rows("RR-OMP", far, around)
    both = pd.concat([table(dense, lt, far, far, around=around), pd.DataFrame(of_omp)])
    assert min(verdict(both, pruning=p).probabilities.none for p in ("IMP", "OMP", None)) > 0.99


def test_a_stores_accuracies_are_percent_even_where_all_are_at_chance_among_two_hundred_classes():
    chance = table(**{setting: {0.1: 0.5} for setting in JACKPOT_TABLE})
    with pytest.raises(InputError, match="Multiply fractions by 100"):
        verdict(chance)
    assert verdict(chance.assign(digest=[f"{i:016x}" for i in range(len(chance))])).kind == NONE


def losses(results, left, falling, setting="pretraining"):
    """The training losses of a setting, by learning rate; 0.01 of the first one for others."""
    known = results.assign(loss_left=0.01, loss_falling=0.0)
    for lr in left:
        at = (known["setting"] == setting) & (known["lr"] == lr)
        known.loc[at, ["loss_left", "loss_falling"]] = left[lr], falling
    return known


def test_pretraining_that_has_not_converged_where_the_ticket_rests_on_it_is_no_sufficient_training():
    results = table(**SECONDARY_TABLE)  # ④ holds at 0.01 alone
    assert verdict(losses(results, {}, 0.0)).kind == SECONDARY
    found = verdict(losses(results, {0.01: 0.5}, 0.1))
    assert (found[1].holds, found.kind, found.kind_ours) == ("no", NONE, NONE)
    assert "pretraining has not converged at 0.01, where ④ holds: 50%" in found.reason
    assert found.probabilities.none == 1
    assert "it is best" in verdict(losses(results, {0.1: 0.5}, 0.1)).reason
    assert verdict(losses(results, {0.01: 0.5}, 0.01)).kind == SECONDARY  # it no longer falls
    alike = losses(with_(SECONDARY_TABLE, pretraining={0.01: 93.05, 0.1: 93.0}), {0.01: 0.5}, 0.1)
    found = verdict(alike)  # 0.1, which has converged, may truly be the best
    assert (found[1].holds, found[1].holds_ours, found[1].confidence) == ("no", "undecided", None)
    assert verdict(losses(results, {0.01: 0.2}, 0.1)).kind == SECONDARY  # little is left
    assert verdict(losses(results, {0.01: 0.5}, 0.1, "LT-IMP")).kind == SECONDARY  # ① is pretraining's


def test_a_best_at_the_grid_s_edge_is_flagged_unless_its_neighbour_diverged():
    inside = {0.001: 80.0, 0.01: 91.0, 0.1: 90.0}
    results = table(inside, inside, inside, inside)
    assert verdict(results).edges == ()
    shifted = table(inside, {0.001: 80.0, 0.01: 90.0, 0.1: 91.0}, inside, inside)
    assert verdict(shifted).edges == (("LT-IMP", 0.1),)
    assert "The best of LT-IMP (0.1) lies at the grid's edge" in verdict(shifted).reason
    beyond = pd.concat([shifted, diverged(table(lt={1.0: 90.0}), "LT-IMP", 1.0)])
    assert verdict(beyond).edges == ()


def test_a_ticket_whose_conditions_hold_at_disjoint_rates_says_so():
    assert "③ holds at 0.1 and ④ at 0.01: no one learning rate" in verdict(table(**SECONDARY_TABLE)).reason
    assert "no one learning rate" not in verdict(table(**JACKPOT_TABLE)).reason


def test_none_needs_more_confidence_since_any_of_three_conditions_could_fail_by_luck():
    rr = {0.01: 85.0, 0.1: 91.85}  # ③ at about 0.96
    spread = (-0.2, 0.0, 0.2)
    for off in np.linspace(0, 0.6, 13):
        found = verdict(with_(SECONDARY_TABLE, rr=rr | {0.1: 91.5 + off}, around=spread))
        if found[3].holds == "no" and 0.95 <= found[3].confidence < 1 - 0.05 / 3:
            assert found[3].holds_ours == "no"
            assert found.kind_ours == "undecided"
            assert "one of several conditions may fail by luck" in found.reason
            break
    else:
        pytest.fail("no such confidence was met")


def test_an_empty_table_has_no_verdicts():
    assert verdicts(table(**JACKPOT_TABLE).iloc[:0]).empty


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.drop(columns="seed"), "no column seed"),
        (lambda t: t.assign(seed=t["seed"].where(t.index > 0)), "seed is empty in 1 row;"),
        (lambda t: t.assign(lr=t["lr"].where(t.index > 1)), "lr is empty in 2 rows;"),
        (lambda t: pd.concat([t, t.assign(network="vgg16")]), "several values of network"),
        (lambda t: pd.concat([t, t.assign(epochs=78)]), "several values of epochs"),
        (
            lambda t: pd.concat([t, pd.DataFrame(rows("SDT", {0.1: 80.0}, sparsity=0.5))]),
            "several sparsities",
        ),
        (lambda t: pd.concat([t, t]), "several runs of seed 0"),
        (lambda t: t.assign(accuracy=t["accuracy"] / 100), "percent"),
        (lambda t: t.assign(accuracy=-1.0), "percent"),
        (lambda t: t[t["setting"] == "pretraining"], "pretraining only"),
    ],
)
def test_a_table_that_is_not_one_experiment_is_refused(spoilt, said):
    with pytest.raises(InputError, match=said):
        verdict(spoilt(table(**JACKPOT_TABLE)))


def test_the_same_run_named_by_two_figures_counts_once():
    results = table(**JACKPOT_TABLE)
    results["digest"] = [f"{i:016x}" for i in range(len(results))]
    assert verdict(pd.concat([results, results])) == verdict(results)


def test_unknown_subnetworks_and_levels_are_refused():
    with pytest.raises(InputError, match="subnetwork"):
        verdict(table(**JACKPOT_TABLE), subnetwork="XX")
    with pytest.raises(InputError, match="level"):
        verdict(table(**JACKPOT_TABLE), level=95)


def test_a_confidence_is_a_probability_even_where_conditions_just_fail():
    """Any of several failures could be luck, and the correction for that ends at 0."""
    just = {lr: a - 0.55 for lr, a in DENSE.items()}  # ② and ④ ask for at most 0.5 below
    others = {"RR-IMP": {lr: a - 0.45 for lr, a in just.items()}, "SDT": just}  # ③ asks for 0.5 above
    wide = rows("pretraining", DENSE, (-3.0, 0.0, 3.0)) + rows("LT-IMP", just, (3.0, 0.0, -3.0))
    near = pd.DataFrame(wide + [r for s, means in others.items() for r in rows(s, means, (0.0, 3.0, -3.0))])
    judged = verdict(near).conditions
    assert [c.holds for c in judged if c.number in (2, 3)] == [NO, NO]
    assert unfulfilled(judged) == 0.0
