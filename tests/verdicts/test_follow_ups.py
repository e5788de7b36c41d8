"""What later work states, on hand-made results: supported, contradicted, undecided, not run."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hand_made import DENSE, GRID, S4, S8, S11, SMALL, minus, results, rows

from lthpaper.figures import FIGURES, claims_board
from lthpaper.runs.at_initialisation import MADE
from lthpaper.runs.controls import MASKS
from lthpaper.verdicts import claims
from lthpaper.verdicts.claims.outcome import CONTRADICTED, SUPPORTED
from lthpaper.verdicts.evidence import NOT_RUN, UNDECIDED


def judged(number, *parts, **more):
    return claims.FOLLOW_UPS[number].judge(results(*parts, of=SMALL, **more))


def each(name, less, sparsities=(S8,), masks=MASKS):
    """A setting of both masks, so many points below the dense network at every learning rate."""
    return [row for m in masks for s in sparsities for row in rows(f"{name}-{m}", minus(DENSE, less), s)]


def at_start(less, less_shuffled, erk):
    """Every rule at initialisation, its mask shuffled, and random-erk, at three sparsities."""
    made = []
    for s in (S4, S8, S11):
        for name in MADE:
            made += rows(f"LT-{name}", minus(DENSE, less), s)
            made += rows(f"LT-shuffled-{name}", minus(DENSE, less_shuffled), s)
        made += rows("random-erk", minus(DENSE, erk), s)
    return made


def test_random_layer_shares_do_as_well_as_rules_at_initialisation():
    assert judged("F1", at_start(2, 2, 2)).status == SUPPORTED
    assert judged("F1", at_start(2, 2, 3)).status == CONTRADICTED
    assert len(judged("F1", at_start(2, 2, 2)).parts) == 3 * 4  # early masks have seen training


def test_shuffling_a_mask_made_at_initialisation_costs_nothing():
    assert judged("F2", at_start(2, 2.2, 2)).status == SUPPORTED
    assert judged("F2", at_start(2, 3, 2)).status == CONTRADICTED


def test_shuffling_a_trained_mask_hurts():
    assert judged("F3", each("LT", 1), each("LT-shuffled", 2)).status == SUPPORTED
    assert judged("F3", each("LT", 1), each("LT-shuffled", 1.2)).status == CONTRADICTED
    one = judged("F3", each("LT", 1), each("LT-shuffled", 2, masks=("IMP",)))
    assert (one.status, len(one.parts)) == (SUPPORTED, 1)


def test_a_random_mask_is_as_good_as_dense():
    dense = rows("pretraining", DENSE)
    assert judged("F4", dense, rows("random-erk", minus(DENSE, 0.2), S8)).status == SUPPORTED
    narrow = judged("F4", dense, rows("random-erk", minus(DENSE, 2), S8))
    assert (narrow.status, narrow.by_means) == (UNDECIDED, UNDECIDED)
    assert "leaves it open" in narrow.sentence


def test_signs_matter_and_magnitudes_do_not():
    lt = each("LT", 1)
    assert judged("F5", lt, each("LT@RRsigns", 3), each("RR@LTsigns", 1.2)).status == SUPPORTED
    assert judged("F5", lt, each("LT@RRsigns", 1.2), each("RR@LTsigns", 1.2)).status == CONTRADICTED
    assert judged("F5", lt, each("LT@RRsigns", 3), each("RR@LTsigns", 3)).status == CONTRADICTED


def test_a_carried_mask_closes_the_gap():
    lt, rr = each("LT", 1), each("RR", 4)
    assert judged("F6", lt, rr, each("RR-permuted", 1.2)).status == SUPPORTED
    assert judged("F6", lt, rr, each("RR-permuted", 2.5)).status == CONTRADICTED  # better, not nearly as good
    assert judged("F6", lt, rr).status == NOT_RUN


@pytest.mark.parametrize(
    ("stable_rates", "matching_rates", "status"),
    [((0.005,), (0.005,), SUPPORTED), ((0.005, 0.1), (0.005,), CONTRADICTED), ((), (0.005,), CONTRADICTED)],
)
def test_stability_predicts_where_a_subnetwork_matches(stable_rates, matching_rates, status):
    rates = (0.005, 0.1)
    barriers = pd.DataFrame(
        [
            {"lr": lr, "seed": seed, "k": k, "test": 0.5 if lr in stable_rates or k else 20.0}
            for lr in rates
            for seed in range(3)
            for k in (0, 8)
        ]
    )
    lt = {lr: DENSE[lr] - (0.1 if lr in matching_rates else 5) for lr in rates}
    dense = {lr: DENSE[lr] for lr in rates}
    found = judged("F7", rows("pretraining", dense), rows("LT-IMP", lt, S8), barriers=barriers)
    assert found.status == status
    assert len(found.parts) == len(rates)
    assert "the subnetwork's own stability, which was not measured" in found.sentence


def test_norms_hide_part_of_a_ticket_at_small_rates_alone():
    at = {lr: 2.0 if lr < 0.03 else 0.0 for lr in GRID}
    lt = [r for m in MASKS for r in rows(f"LT-{m}", {lr: DENSE[lr] - at[lr] for lr in GRID}, S8)]
    assert judged("F8", lt, each("LT@RRnorms", 0)).status == SUPPORTED
    assert judged("F8", each("LT", 0), each("LT@RRnorms", 0.5)).status == CONTRADICTED
    assert judged("F8", each("LT", 2), each("LT@RRnorms", 0)).status == CONTRADICTED  # at large rates too


def test_each_is_compared_where_both_were_planned():
    """Pretraining at a rate that the control never saw is no match for it."""
    dense = rows("pretraining", DENSE | {0.5: 99.0})
    assert judged("F4", dense, rows("random-erk", minus(DENSE, 0.2), S8)).status == SUPPORTED


@pytest.mark.parametrize("number", claims.FOLLOW_UPS)
def test_nothing_run_is_not_run_and_one_seed_settles_nothing(number):
    assert judged(number).status == NOT_RUN
    one = [r for r in (*each("LT", 1), *each("LT-shuffled", 2), *each("LT@RRnorms", 0)) if r["seed"] == 0]
    assert judged(number, one).status in (NOT_RUN, UNDECIDED)


def test_the_board_shows_later_claims_under_a_heading_of_their_own():
    found = claims.judge(results(each("LT", 1), each("LT-shuffled", 2), of=SMALL), claims.FOLLOW_UPS)
    fig = FIGURES["claims"].plot(claims_board.joined(found), SMALL)
    said = [t.get_text() for t in fig.axes[0].texts]
    assert any("follow-ups" in text for text in said)
    assert set(claims.FOLLOW_UPS) <= set(said)
    plt.close(fig)
