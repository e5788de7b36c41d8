"""The fourteen claims on hand-made results: supported, contradicted, undecided, not run."""

import math
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hand_made import (
    AT_LARGE,
    AT_SMALL,
    BARE,
    DENSE,
    RESIDUAL,
    S4,
    S8,
    S11,
    SMALL,
    experiment,
    minus,
    results,
    rows,
)

from lthpaper.figures import FIGURES, claims_board, claims_picture
from lthpaper.paper import CLAIMS
from lthpaper.paper.follow_ups import FOLLOW_UPS
from lthpaper.report.findings import findings
from lthpaper.runs.experiments import rewinding_epochs
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import imp_sparsity
from lthpaper.store.store import Store
from lthpaper.store.table import table as tidy
from lthpaper.verdicts import claims, paper_beside_ours
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.claims.outcome import CONTRADICTED, STATUSES, SUPPORTED, Outcome
from lthpaper.verdicts.claims.results import Results
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES
from lthpaper.verdicts.observations import observations, prefer
from lthpaper.verdicts.relations import (
    ABOVE,
    BELOW,
    LIKE,
    NOT_ABOVE,
    NOT_BELOW,
    Part,
    chosen,
    relate,
    relate_chosen,
)
from lthpaper.verdicts.uncertainty import Cell


def status(number, found):
    return claims.TESTS[number].judge(found).status


# --- relations ---


def one(name, *values):
    return Side(name, (Cell(name, 0.1, values),) if values else (), (), ())


HIGH, LOW = one("high", 90.9, 91.0, 91.1), one("low", 89.9, 90.0, 90.1)


@pytest.mark.parametrize(
    ("ours", "relation", "theirs", "margin", "holds"),
    [
        (HIGH, ABOVE, LOW, 0.5, YES),
        (LOW, ABOVE, HIGH, 0.5, NO),
        (HIGH, ABOVE, LOW, 1.5, NO),
        (LOW, NOT_BELOW, HIGH, -1.5, YES),
        (LOW, NOT_BELOW, HIGH, -0.5, NO),
        (LOW, BELOW, HIGH, -0.5, YES),
        (LOW, BELOW, HIGH, -1.5, NO),
        (LOW, NOT_ABOVE, HIGH, 0.5, YES),
        (HIGH, NOT_ABOVE, LOW, 0.5, NO),
        (HIGH, LIKE, LOW, 0.5, NO),
        (LOW, LIKE, HIGH, 0.5, NO),
        (HIGH, LIKE, LOW, 1.5, YES),
    ],
)
def test_a_relation_of_steady_seeds_is_settled_as_its_means_say(ours, relation, theirs, margin, holds):
    part = relate(ours, relation, theirs, margin, {})
    assert part.by_means == part.settled() == holds
    assert part.value == pytest.approx(1.0 if ours is HIGH else -1.0)
    assert part.low < part.value < part.high


def test_a_relation_on_its_edge_is_as_the_paper_writes_it_and_undecided_by_the_seeds():
    a, b = one("a", 90.4, 90.5, 90.6), one("b", 89.9, 90.0, 90.1)
    assert [relate(a, r, b, 0.5, {}).by_means for r in (ABOVE, NOT_ABOVE, LIKE)] == [NO, YES, YES]
    assert [relate(b, r, a, -0.5, {}).by_means for r in (NOT_BELOW, BELOW)] == [YES, NO]
    assert relate(a, ABOVE, b, 0.5, {}).settled() == UNDECIDED


def test_one_seed_never_settles_a_relation():
    part = relate(one("a", 99.0), ABOVE, one("b", 1.0), 0.5, {})
    assert (part.by_means, part.settled(), part.confidence) == (YES, UNDECIDED, None)


def test_what_was_not_run_is_said_to_be_not_run():
    part = relate(HIGH, ABOVE, one("absent"), 0.5, {})
    assert part.by_means == part.settled() == NOT_RUN
    assert "absent not run" in part.sentence


@pytest.mark.parametrize(
    ("relation", "holds"), [(ABOVE, NO), (NOT_BELOW, NO), (BELOW, YES), (NOT_ABOVE, YES), (LIKE, NO)]
)
def test_a_setting_that_diverged_at_every_learning_rate_is_below_any_other(relation, holds):
    gone = Side("gone", (), (("gone", 0.1),), ())
    assert relate(gone, relation, HIGH, 0.5, {}).settled() == holds
    if relation != LIKE:
        assert relate(HIGH, relation, gone, 0.5, {}).settled() == {YES: NO, NO: YES}[holds]
    assert relate(gone, relation, gone, 0.5, {}).settled() == UNDECIDED
    dense = replace(gone, name="pretraining", diverged=(("pretraining", 0.1),))
    assert relate(HIGH, relation, dense, 0.5, {}).by_means == UNDECIDED  # nothing to match, as in ④ and ⑤


def test_a_missing_learning_rate_that_could_overturn_the_answer_keeps_it_open():
    unfinished = Side("low", LOW.cells, (), (("low", 0.2),))
    assert relate(HIGH, ABOVE, unfinished, 0.5, {}).settled() == UNDECIDED
    assert relate(unfinished, BELOW, HIGH, -0.5, {}).settled() == UNDECIDED
    higher = Side("high", HIGH.cells, (), (("high", 0.2),))
    assert relate(higher, ABOVE, LOW, 0.5, {}).settled() == YES  # more could only help


def test_a_diverged_seed_settles_nothing_that_those_that_converged_would_overturn():
    torn = Cell("low", 0.2, (91.4, 91.5), (1, 2))
    lost = Side("low", LOW.cells, (("low", 0.2),), (), torn=(torn,), seeds=3)
    found = relate(HIGH, ABOVE, lost, 0.5, {})
    assert (found.by_means, found.settled(), found.open) == (YES, UNDECIDED, (("low", 0.2),))
    assert prefer(HIGH, lost, 0.5).ours == UNDECIDED
    assert prefer(lost, HIGH, 0.5).ours == UNDECIDED
    assert relate(lost, BELOW, HIGH, -0.5, {}).settled() == UNDECIDED
    assert relate(lost, NOT_BELOW, HIGH, -0.5, {}).settled() == UNDECIDED
    poor = replace(lost, torn=(replace(torn, accuracies=(80.0, 80.2)),))  # it could overturn nothing
    assert relate(HIGH, ABOVE, poor, 0.5, {}).settled() == YES
    assert prefer(HIGH, poor, 0.5).ours == "high"
    assert relate(HIGH, ABOVE, replace(lost, cells=()), 0.5, {}).settled() == UNDECIDED
    assert prefer(HIGH, replace(lost, cells=()), 0.5).ours == UNDECIDED


def test_one_seed_that_diverged_everywhere_settles_nothing():
    gone = Side("gone", (), (("gone", 0.1),), (), seeds=1)
    assert relate(HIGH, ABOVE, gone, 0.5, {}).by_means == YES
    assert relate(HIGH, ABOVE, gone, 0.5, {}).settled() == UNDECIDED
    assert (prefer(HIGH, gone, 0.5).answer, prefer(HIGH, gone, 0.5).ours) == ("high", UNDECIDED)


# --- what parts make together ---


def part(by_means, confidence=1.0):
    return Part(
        "a − b", "more than 0", by_means, "said.", {"network": "n", "data": "d"}, confidence=confidence
    )


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ((), NOT_RUN),
        ((part(NOT_RUN),), NOT_RUN),
        ((part(YES), part(YES)), SUPPORTED),
        ((part(YES), part(NO)), CONTRADICTED),
        ((part(NO), part(NOT_RUN)), CONTRADICTED),
        ((part(YES), part(NOT_RUN)), UNDECIDED),
        ((part(YES), part(YES, 0.9)), UNDECIDED),
        ((part(YES), part(YES, None)), UNDECIDED),
    ],
)
def test_a_claim_is_the_conjunction_of_its_parts(parts, wanted):
    outcome = Outcome(CLAIMS[0], parts)
    assert outcome.status == wanted
    assert outcome.sentence
    assert len(outcome.evidence) == len(parts)


def test_one_failure_among_many_needs_more_confidence_than_one_alone():
    assert Outcome(CLAIMS[0], (part(NO, 0.96),)).status == CONTRADICTED
    assert Outcome(CLAIMS[0], (part(NO, 0.96), part(YES), part(YES))).status == UNDECIDED
    assert Outcome(CLAIMS[0], (part(YES, 0.96), part(YES, 0.96), part(YES, 0.96))).status == SUPPORTED


# --- claims 1 to 4 ---

FEW = {"epochs": SMALL.insufficient_epochs}


FIVE = (-0.05, -0.025, 0.0, 0.025, 0.05)  # seeds: three leave a difference of a tenth of a point open


def preliminary(lt, rr, dense, lr, s, **more):
    more = {"around": FIVE} | more
    return [
        *rows("pretraining", {lr: dense}, **more),
        *rows("LT-IMP", {lr: lt}, s, **more),
        *rows("RR-IMP", {lr: rr}, s, **more),
    ]


def panels(lt, rr, dense, rates):
    """The same at both recipes, at the sparsities of Figure 1(a) and (b)."""
    return [
        row
        for lr in rates
        for s in (S4, S8)
        for more in ({}, FEW)
        for row in preliminary(lt, rr, dense, lr, s, **more)
    ]


def test_claim_1_small_rates_lt_above_rr_and_close_to_pretraining():
    rates = (0.005, 0.01)
    assert status(1, results(panels(90.0, 85.0, 90.5, rates))) == SUPPORTED
    assert status(1, results(panels(90.0, 89.8, 90.5, rates))) == CONTRADICTED
    assert status(1, results(panels(90.0, 85.0, 92.5, rates))) == CONTRADICTED
    assert status(1, results(panels(90.0, 85.0, 90.5, (0.005,)))) == UNDECIDED  # 0.01 is not run


def test_what_a_small_rate_is_follows_the_data_sets_recipe():
    grid = (0.2048, 0.4, 1.024)  # ImageNet's: batches of 1,024
    for number, rates in ((1, grid[:2]), (2, grid[2:])):
        of = scale("laptop", data="imagenet", network="resnet18", learning_rates=grid)
        parts = claims.TESTS[number].judge(results(of=of)).parts
        assert {part.about["lr"] for part in parts} == set(rates)


def test_claim_2_large_rates_lt_like_rr_and_not_close_to_pretraining():
    assert status(2, results(panels(90.0, 90.1, 92.5, (0.1,)))) == SUPPORTED
    assert status(2, results(panels(90.0, 88.0, 92.5, (0.1,)))) == CONTRADICTED
    assert status(2, results(panels(90.0, 90.1, 90.2, (0.1,)))) == CONTRADICTED


def test_claims_1_and_2_are_not_run_without_their_learning_rates():
    only = SMALL.with_(learning_rates=(0.1,))
    outcome = claims.TESTS[1].judge(results(panels(90.0, 85.0, 90.5, (0.1,)), of=only))
    assert outcome.status == NOT_RUN
    assert "no learning rate" in outcome.sentence


def test_claim_3_holds_for_the_paper_s_own_numbers_and_not_if_the_ticket_survives():
    few = preliminary(87.1, 80.3, 88.0, 0.005, S11, **FEW)
    assert status(3, results(few, preliminary(87.4, 82.9, 89.6, 0.005, S11))) == SUPPORTED
    assert status(3, results(few, preliminary(89.4, 82.9, 89.6, 0.005, S11))) == CONTRADICTED
    assert status(3, results(few)) == UNDECIDED
    said = claims.TESTS[3].judge(results(few, preliminary(87.4, 82.9, 89.6, 0.005, S11))).sentence
    assert "Close is within 1 here" in said
    assert 'later "similar": contradicted' in said


def test_claim_4_holds_for_the_paper_s_own_numbers():
    enough, few = rows("pretraining", {0.1: 92.3}), rows("pretraining", {0.005: 88.0}, **FEW)
    outcome = claims.TESTS[4].judge(results(enough, few))
    assert outcome.status == SUPPORTED
    assert outcome.ours.endswith("+4.3")
    assert outcome.paper == "+4.3 (92.3 against 88.0; 89.6 at equal rate)"
    assert status(4, results(rows("pretraining", {0.1: 88.2}), few)) == CONTRADICTED
    assert status(4, results(rows("pretraining", {0.1: 89.0}), few)) == CONTRADICTED  # above, not far above
    same = claims.TESTS[4].judge(results(rows("pretraining", {0.1: 92.3, 0.005: 89.6}), few))
    assert "At learning rate 0.005 on both sides, more epochs alone give +1.6" in same.sentence
    assert "160 epochs at 0.1" in same.evidence["measured"].iloc[0]
    assert "at 0.005" in same.evidence["measured"].iloc[0]
    assert status(4, results(enough)) == NOT_RUN


# --- claims 5 to 9, 11: every setting over the grid ---

TYPICAL = [
    experiment(AT_SMALL, minus(AT_SMALL, 2), minus(AT_SMALL, 4), **RESIDUAL),
    experiment(AT_LARGE, AT_LARGE, AT_LARGE, **BARE),
]
ONLY_ABOVE = SMALL.with_(rounds=(8, 11))


@pytest.mark.parametrize("number", [5, 7, 8, 9])
def test_what_the_paper_found_supports_its_patterns(number):
    outcome = claims.TESTS[number].judge(results(*TYPICAL, of=ONLY_ABOVE))
    assert outcome.status == outcome.by_means == SUPPORTED, outcome.sentence
    assert "resnet8" in outcome.tried_on or number == 9


def test_claims_5_and_6_judge_the_scale_s_own_sparsities_and_grid():
    """Figure 4 has a few runs at another sparsity, and Figure 1's learning rates may lie beside the grid."""
    sparser = [row for s in ("LT-IMP", "LT-OMP") for row in rows(s, {0.01: 90.0}, 0.945, **RESIDUAL)]
    slower = rows("LT-IMP", {0.003: 70.0}, S8, **RESIDUAL) + rows("pretraining", {0.003: 70.0}, **RESIDUAL)
    for number, extra in ((5, sparser), (6, sparser), (5, slower), (7, slower)):
        alone, more = (
            claims.TESTS[number].judge(results(*TYPICAL, *parts, of=ONLY_ABOVE)) for parts in ((), (extra,))
        )
        assert [part.sentence for part in more.parts] == [part.sentence for part in alone.parts]


def test_no_jackpot_needs_more_confidence_since_any_of_four_conditions_could_fail_by_luck():
    low = AT_SMALL | {0.01: 88.5}
    found = results(
        experiment(low, low, minus(AT_SMALL, 3), **RESIDUAL, around=(-0.9, 0.0, 0.9)), of=ONLY_ABOVE
    )
    verdict, part = found.verdicts[0], claims.TESTS[5].judge(found).parts[0]
    assert [c.holds for c in verdict.conditions] == [YES] * 4 + [NO]
    assert part.confidence == pytest.approx(1 - 4 * (1 - verdict[5].confidence))


def test_claim_5_is_contradicted_by_a_jackpot():
    jackpot = experiment(minus(DENSE, 0.1), minus(DENSE, 3), minus(DENSE, 4), **RESIDUAL)
    outcome = claims.TESTS[5].judge(results(jackpot, TYPICAL[1], of=ONLY_ABOVE))
    assert outcome.status == CONTRADICTED
    assert "Jackpot" in outcome.sentence
    assert "Jackpot" in outcome.ours


def test_claim_5_stays_undecided_while_a_condition_is_open():
    no_sdt = [row for row in experiment(DENSE, DENSE, minus(DENSE, 4)) if row["setting"] != "SDT"]
    assert status(5, results(no_sdt, TYPICAL[1], of=ONLY_ABOVE)) == UNDECIDED


def test_claim_5_counts_the_verdicts_that_were_judged_apart_from_those_that_have_not_run():
    no_sdt = [row for row in experiment(DENSE, DENSE, minus(DENSE, 4)) if row["setting"] != "SDT"]
    outcome = claims.TESTS[5].judge(results(no_sdt, TYPICAL[1], of=ONLY_ABOVE))
    states = [part.by_means for part in outcome.parts]
    missing = states.count(NOT_RUN)
    assert 0 < missing < len(states)
    judged, _, rest = outcome.ours.removeprefix("by the means ").partition("; ")
    assert rest == f"{missing} not run"
    assert sum(int(count) for count in re.findall(r"(\d+)×", judged)) == len(states) - missing
    assert claims.TESTS[5].judge(results(no_sdt, of=ONLY_ABOVE)).ours == ""  # nothing was judged


@pytest.mark.parametrize("number", [5, 6, 7])
def test_a_claim_says_how_many_seeds_its_numbers_rest_on(number):
    whole = [row for rows in TYPICAL for row in rows]
    seeds = len({row["seed"] for row in whole})
    assert claims.TESTS[number].judge(results(whole, of=ONLY_ABOVE)).n == f"{seeds}"
    fewer = [row for row in whole if row["network"] != "resnet8" or row["seed"] < seeds - 1]
    assert f"{seeds - 1}" in claims.TESTS[number].judge(results(fewer, of=ONLY_ABOVE)).n
    assert claims.TESTS[number].judge(results([], of=ONLY_ABOVE)).n == ""


def prized(network, *sparsities):
    """A secondary prize at these sparsities, none at the others."""
    made = rows("pretraining", DENSE, network=network)
    for s in (S8, S11):
        rr = minus(AT_SMALL, 4 if s in sparsities else 0)
        made += [r for r in experiment(AT_SMALL, rr, rr, network=network, sparsities=(s,)) if r["sparsity"]]
    return made


def test_claim_6_prizes_reach_further_in_the_larger_network():
    # resnet8 has 19,810 parameters, vgg-small 17,890
    def judged(small, large):
        found = results(prized("vgg-small", *small), prized("resnet8", *large), of=ONLY_ABOVE)
        return claims.TESTS[6].judge(found)

    assert judged((S8,), (S8, S11)).status == SUPPORTED
    assert (
        judged((S8,), (S8,)).status == CONTRADICTED
    )  # the same ceiling, below the sparsest: it does not grow
    top = judged((S8, S11), (S8, S11))
    assert top.status == top.by_means == UNDECIDED  # both reach the sparsest that was tried
    assert "Tried were" in " ".join(top.evidence["sentence"])
    assert judged((S8, S11), (S8,)).status == CONTRADICTED
    assert judged((), ()).status == CONTRADICTED  # no prize at all
    assert "vgg-small up to 0.832; resnet8 up to 0.914" in judged((S8,), (S8, S11)).ours


def test_claim_6_knows_nothing_of_a_sparsity_that_only_the_larger_network_was_tried_at():
    def rise(further):
        sparser = pd.DataFrame(prized("resnet8", S8, S11))
        sparser = sparser[sparser["sparsity"] > 0].replace({"sparsity": {S11: 0.945}}).to_dict("records")
        of_both = [prized("vgg-small", S8, S11), prized("resnet8", S8, S11), sparser * further]
        found = claims.TESTS[6].judge(results(*of_both, of=SMALL.with_(rounds=(8, 11, 13))))
        return {part.by_means for part in found.parts if part.label == "largest sparsity"}

    assert rise(False) == rise(True) == {UNDECIDED}  # vgg-small may have a prize there, too


def test_claim_6_with_one_network_does_not_try_growth_and_says_so():
    outcome = claims.TESTS[6].judge(results(prized("resnet8", S8), of=ONLY_ABOVE))
    assert "One network only" in outcome.sentence


def test_claim_7_is_contradicted_by_omp_as_good_as_imp_with_residual_connections():
    alike = experiment(AT_SMALL, AT_SMALL, minus(AT_SMALL, 4), **RESIDUAL)
    assert status(7, results(alike, TYPICAL[1], of=ONLY_ABOVE)) == CONTRADICTED


@pytest.mark.parametrize("number", [7, 8])
def test_a_contrast_needs_both_kinds_of_network(number):
    outcome = claims.TESTS[number].judge(results(TYPICAL[0], of=ONLY_ABOVE))
    assert outcome.status == UNDECIDED
    assert outcome.evidence["sentence"].str.contains("No network with no residual").any()


def test_claim_7_reads_the_pair_of_figures_4_and_5_too():
    s = imp_sparsity(13)
    bare = {"network": "resnet8-noskip"}
    pair = [*rows("LT-IMP", {0.01: 89.0}, s, **bare), *rows("LT-OMP", {0.01: 89.1}, s, **bare)]
    found = claims.TESTS[7].judge(results(TYPICAL[0], pair, of=ONLY_ABOVE))
    assert found.status == SUPPORTED
    assert "resnet8-noskip" in found.tried_on


def test_claim_8_is_contradicted_by_a_residual_network_that_prefers_large_rates():
    other = experiment(AT_LARGE, minus(AT_LARGE, 2), minus(AT_LARGE, 4), **RESIDUAL)
    assert status(8, results(other, TYPICAL[1], of=ONLY_ABOVE)) == CONTRADICTED


def test_claim_8_and_table_3_do_not_depend_on_where_pretraining_is_best():
    for dense in (
        {0.005: 93.0, 0.01: 92.0, 0.1: 90.0, 0.2: 88.0},
        {0.005: 84.0, 0.01: 88.0, 0.1: 92.0, 0.2: 93.0},
    ):
        found = results(
            experiment(AT_SMALL, AT_SMALL, AT_SMALL, dense=dense, **RESIDUAL), TYPICAL[1], of=ONLY_ABOVE
        )
        assert status(8, found) == SUPPORTED
        seen = observations(found.table)
        assert set(seen.loc[seen["network"] == "resnet8", "rate"]) == {"small"}


def test_claim_8_asks_nothing_of_a_grid_without_small_or_without_large_rates():
    only = {0.1: 90.0, 0.2: 88.0}
    found = experiment(only, only, minus(only, 3), dense=only, **RESIDUAL)
    assert status(8, results(found, of=ONLY_ABOVE)) == NOT_RUN


def test_claim_9_is_contradicted_where_large_rates_are_preferred_and_theta0_matters():
    matters = experiment(AT_LARGE, AT_LARGE, minus(AT_LARGE, 4), **BARE)
    assert status(9, results(TYPICAL[0], matters, of=ONLY_ABOVE)) == CONTRADICTED
    assert status(9, results(TYPICAL[0], of=ONLY_ABOVE)) == NOT_RUN  # small rates preferred: nothing said


def test_claims_and_table_3_agree_by_the_means():
    found = results(*TYPICAL, of=ONLY_ABOVE)
    seen = observations(found.table)
    for row in seen.itertuples():
        residual = row.network == "resnet8"
        assert (row.pruning == "IMP") == residual
        assert (row.rate == "small") == residual
        assert row.theta0 == ("LT" if residual else "alike")


def test_claim_11_is_not_run_on_small_data_and_tried_on_large():
    assert status(11, results(*TYPICAL, of=ONLY_ABOVE)) == NOT_RUN
    assert "No results on larger data" in claims.TESTS[11].judge(results(*TYPICAL, of=ONLY_ABOVE)).sentence
    large = ONLY_ABOVE.with_(experiments="resnet18-tiny/tiny-imagenet")
    about = {"network": "resnet18-tiny", "data": "tiny-imagenet"}
    omp = experiment(minus(AT_LARGE, 2), AT_LARGE, minus(AT_LARGE, 2), **about)
    imp = experiment(AT_LARGE, minus(AT_LARGE, 2), minus(AT_LARGE, 2), **about)
    assert status(11, results(omp, of=large)) == SUPPORTED
    assert status(11, results(imp, of=large)) == CONTRADICTED
    assert status(7, results(omp, of=large)) == NOT_RUN  # which is about small data


# --- claim 10 ---


TWO_RATES = SMALL.with_(grid=(0.01, 0.1), learning_rates=(0.01, 0.1))


def overlaps(theta0, redrawn, around=(-0.002, 0.0, 0.002), networks=("resnet8", "vgg-small")):
    """theta0, redrawn: learning rate -> mean R_p."""
    return pd.DataFrame(
        {"network": network, "data": "digits", "sparsity": S8, "lr": lr, "seed": seed, "pair": pair}
        | {"p": 0.1, "pooled": "within layers", "overlap": mean + off, "low": 0.08, "high": 0.12}
        for network in networks
        for pair, means in (("θ0, θT", theta0), ("θ0′, θT", redrawn))
        for lr, mean in means.items()
        for seed, off in enumerate(around)
    )


CHANCE = {0.01: 0.1, 0.1: 0.1}


def test_claim_10_theta0_is_remembered_at_small_rates_alone():
    def judged(*means, **more):
        return status(10, results(overlaps=overlaps(*means, **more), of=TWO_RATES))

    assert judged({0.01: 0.5, 0.1: 0.11}, CHANCE) == SUPPORTED
    assert judged({0.01: 0.1, 0.1: 0.11}, CHANCE) == CONTRADICTED
    assert judged({0.01: 0.5, 0.1: 0.4}, CHANCE) == CONTRADICTED
    assert judged({0.01: 0.5, 0.1: 0.11}, {0.01: 0.4, 0.1: 0.1}) == CONTRADICTED
    # No contrast by the means; whether there is truly none, seeds that agree exactly do not say.
    assert judged({0.01: 0.13, 0.1: 0.13}, CHANCE, around=(0.0, 0.0, 0.0)) == UNDECIDED
    assert judged({0.01: 0.13, 0.1: 0.14}, CHANCE) == CONTRADICTED  # it rises with the rate
    assert judged({0.01: 0.5, 0.1: 0.11}, CHANCE, around=(-0.3, 0.0, 0.3)) == UNDECIDED
    assert judged({0.01: math.nan}, {0.01: math.nan}) == UNDECIDED  # every small rate diverged
    untrained = overlaps({0.01: math.nan}, {0.01: math.nan}).assign(low=math.nan, high=math.nan)
    assert status(10, results(overlaps=untrained)) == NOT_RUN
    assert status(10, results()) == NOT_RUN


def test_claim_10_calls_one_seed_one_and_more_a_mean():
    def sentences(around):
        found = overlaps({0.01: 0.5, 0.1: 0.11}, CHANCE, around=around)
        return [part.sentence for part in claims.TESTS[10].judge(results(overlaps=found, of=TWO_RATES)).parts]

    assert all(said.endswith("holds in the one seed.") for said in sentences((0.0,)))
    assert all(said.endswith("holds in the mean of 2 seeds.") for said in sentences((-0.002, 0.002)))


def test_claim_10_is_open_until_each_network_and_learning_rate_has_its_overlaps():
    of = TWO_RATES
    whole = overlaps({0.01: 0.5, 0.1: 0.11}, CHANCE)
    assert status(10, results(overlaps=whole, of=of)) == SUPPORTED
    for lacking in (
        whole[whole["network"] == "resnet8"],
        whole[whole["lr"] == 0.01],
        whole[whole["pair"] == "θ0, θT"],
        whole.assign(overlap=whole["overlap"].where(whole["lr"] < 0.1)),  # diverged
        whole.assign(**{c: whole[c].where(whole["lr"] < 0.1) for c in ("overlap", "low", "high")}),
    ):
        assert status(10, results(overlaps=lacking, of=of)) == UNDECIDED
    small = of.with_(grid=(0.01,))
    assert status(10, results(overlaps=whole[whole["lr"] == 0.01], of=small)) == UNDECIDED
    more = of.with_(grid=(0.01, 0.1, 0.5))
    fails = overlaps({0.01: 0.5, 0.1: 0.11, 0.5: math.nan}, {**CHANCE, 0.5: math.nan})
    outcome = claims.TESTS[10].judge(results(overlaps=fails, of=more))
    assert outcome.status == SUPPORTED
    assert "diverged: resnet8 at 0.5" in outcome.sentence


# --- claims 12 to 14 ---

EARLY_EPOCHS = tuple(map(float, rewinding_epochs(SMALL)))  # three, as at every scale of some length


def test_claim_12_some_early_epoch_improves_each():
    def judged(early, late):
        wr = [
            row
            for label in ("IMP", "OMP")
            for t, mean in zip(EARLY_EPOCHS, (early, early, late), strict=True)
            for row in rows(f"WR-{label}", {0.1: mean}, S11, rewind=t)
        ]
        lt = [*rows("LT-IMP", {0.1: 90.0}, S11), *rows("LT-OMP", {0.1: 90.0}, S11)]
        return status(12, results(wr, lt, of=SMALL.with_(learning_rates=(0.1,))))

    assert judged(89.0, 91.0) == SUPPORTED
    assert judged(89.0, 88.0) == CONTRADICTED
    assert status(12, results()) == NOT_RUN


def test_claim_12_is_open_while_a_learning_rate_a_pruning_or_an_epoch_is_missing():
    def judged(wr_mean, lrs=(0.01, 0.1), labels=("IMP", "OMP"), epochs=EARLY_EPOCHS):
        wr = [
            row
            for label in labels
            for t in epochs
            for row in rows(f"WR-{label}", dict.fromkeys(lrs, wr_mean), S11, rewind=t)
        ]
        lt = [row for label in labels for row in rows(f"LT-{label}", dict.fromkeys(lrs, 90.0), S11)]
        return status(12, results(wr, lt, of=TWO_RATES))

    assert judged(91.0) == SUPPORTED
    assert judged(91.0, lrs=(0.1,)) == UNDECIDED
    assert judged(91.0, labels=("IMP",)) == UNDECIDED
    assert judged(91.0, epochs=EARLY_EPOCHS[:1]) == SUPPORTED  # some early epoch is enough
    assert judged(89.0) == CONTRADICTED
    assert judged(89.0, epochs=EARLY_EPOCHS[:1]) == UNDECIDED  # another might improve


def test_options_that_are_all_alike_improve_by_the_means_no_more_often_than_not():
    """The best of three equal options is above a fourth three times in four."""
    rng, improved, best = np.random.default_rng(12), [], []
    for _ in range(400):
        cells = [Cell(f"option {i}", 0.1, tuple(rng.normal(90, 1, 3))) for i in range(4)]
        options, other = Side("options", tuple(cells[:3]), (), ()), Side("other", (cells[3],), (), ())
        improved.append(chosen(options, other) > 0)
        best.append(max(c.mean for c in cells[:3]) > cells[3].mean)
    assert 0.42 < np.mean(improved) < 0.58
    assert np.mean(best) > 0.7


def test_an_answer_that_other_seeds_choose_is_not_called_where_all_options_are_alike():
    """Its confidence is its own: what the opposite answer lacks to certainty was up to 0.998."""
    rng, flips, sure = np.random.default_rng(12), 0, 0.0
    for _ in range(200):
        cells = [Cell(f"option {i}", 0.1, tuple(rng.normal(90, 1, 3))) for i in range(13)]
        options, other = Side("options", tuple(cells[:12]), (), ()), Side("other", (cells[12],), (), ())
        by_bests, part = relate(options, ABOVE, other, 0.0, {}), relate_chosen(options, other, {})
        if part.by_means != by_bests.by_means:
            flips, sure = flips + 1, max(sure, part.confidence)
            assert part.sentence.count("by the means") == 1  # of the two answers one is called so
    assert flips > 50
    assert sure < 0.9


def mixed(same, other):
    """LT-IMP from masks of 0.01 and of 0.1, at the other rate and at the same."""
    return [
        row
        for dense in (0.01, 0.1)
        for lr in (0.01, 0.1)
        for row in rows("LT-IMP", {lr: same if lr == dense else other}, S11, pretraining_lr=dense)
    ]


def test_claim_13_another_rate_in_the_subnetwork_improves():
    assert status(13, results(mixed(90.0, 91.0))) == SUPPORTED
    assert status(13, results(mixed(90.0, 89.0), of=TWO_RATES)) == CONTRADICTED
    assert status(13, results(mixed(90.0, 89.0))) == UNDECIDED  # two rates of the grid are missing
    masks_of_one = [row for row in mixed(90.0, 91.0) if row["pretraining_lr"] == 0.1]
    assert status(13, results(masks_of_one)) == UNDECIDED
    assert status(13, results(rows("LT-IMP", {0.1: 90.0}, S11))) == NOT_RUN  # nothing is mixed


def contours(**imp):
    """IMP's numbers for resnet8 as given, OMP's 1; without residual connections all 1."""
    return pd.DataFrame(
        {"setting": setting, "network": network, "data": "digits", "sparsity": 0.945, "lr": lr}
        | {"seed": seed}
        | {
            m: (imp.get(m, 1.0) if (setting, network) == ("LT-IMP", "resnet8") else 1.0) * (1 + off)
            for m in ("basin_relative", "roughness", "non_convexity")
        }
        for network in ("resnet8", "resnet8-noskip")
        for setting in ("LT-IMP", "LT-OMP")
        for lr in (0.01, 0.1)
        for seed, off in enumerate((-0.01, 0.0, 0.01))
    )


def test_claim_14_larger_basins_and_smoother_surfaces_with_residual_connections():
    better = {"basin_relative": 2.0, "roughness": 0.5, "non_convexity": 0.5}
    assert status(14, results(contours=contours(**better))) == SUPPORTED
    assert status(14, results(contours=contours(**better | {"basin_relative": 0.5}))) == CONTRADICTED
    assert status(14, results()) == NOT_RUN
    assert status(14, results(contours=contours(**better).assign(basin_relative=np.nan))) == UNDECIDED
    whole = contours(**better)
    for column, value in (("network", "resnet8"), ("lr", 0.1), ("setting", "LT-IMP")):
        lacking = whole[whole[column] == value]
        assert status(14, results(contours=lacking)) in (UNDECIDED, NOT_RUN)
    one_panel = (whole["setting"] == "LT-OMP") & (whole["lr"] == 0.1) & (whole["network"] == "resnet8")
    assert status(14, results(contours=whole[~one_panel])) == UNDECIDED


# --- all of them ---


def planned_only(of):
    """Every claim's runs, none of them trained."""
    return tidy(claims.trials(of), Store("a-store-that-is-not-there"))


@pytest.mark.parametrize("number", claims.TESTS)
def test_nothing_trained_is_not_run_and_no_error(number, smoke_table):
    for table in (smoke_table, smoke_table.iloc[:0]):
        outcome = claims.TESTS[number].judge(Results(scale("smoke"), table))
        assert outcome.status == outcome.by_means == NOT_RUN
        assert outcome.sentence.startswith("Not run.")


@pytest.mark.parametrize("number", claims.TESTS)
def test_whatever_is_missing_every_claim_has_a_status(number, smoke_table):
    random = np.random.default_rng(number)
    for share in (0.1, 0.5, 0.9):
        table = smoke_table.copy()
        ran = random.random(len(table)) < share
        table.loc[ran, "accuracy"] = random.uniform(80, 90, ran.sum())
        table.loc[ran, "fingerprint"] = "f"
        outcome = claims.TESTS[number].judge(Results(scale("smoke"), table))
        assert outcome.status in (UNDECIDED, NOT_RUN)  # one seed settles nothing
        table.loc[random.random(len(table)) < 0.2, "fingerprint"] = "f"  # these diverged
        diverged = claims.TESTS[number].judge(Results(scale("smoke"), table))
        assert diverged.status in STATUSES
        assert outcome.sentence
        assert diverged.sentence


@pytest.fixture(scope="module")
def smoke_table():
    return planned_only(scale("smoke"))


def test_the_scoreboard_has_the_paper_s_fourteen_claims_in_order(tmp_path):
    board = claims.scoreboard(scale("smoke"), Store(tmp_path / "none"))
    paper, later = (board[board["claim"].isin(list(of))] for of in (claims.TESTS, claims.FOLLOW_UPS))
    assert list(paper["claim"]) == [claim.id for claim in CLAIMS] == list(range(1, 15))
    assert list(later["claim"]) == [claim.id for claim in FOLLOW_UPS]
    assert list(later["paper"]) == [claim.artefact for claim in FOLLOW_UPS]  # where it is stated
    assert len(paper) + len(later) == len(board)
    assert set(board["status"]) == {NOT_RUN}
    assert not (tmp_path / "none").exists()  # it looked, and trained nothing


def test_claims_read_the_runs_of_figures_and_ask_for_no_others():
    small = scale("smoke")
    wanted = {trial.run.digest for trial in claims.trials(small)}
    drawn = {
        t.run.digest
        for name in ("fig1", "appendix-f", "fig4", "fig5", "fig6", "table4", "appendix-d")
        for t in FIGURES[name].trials(small)
    }
    assert wanted == drawn
    assert len(claims.trials(small)) == len({(t.setting, t.sparsity, t.run) for t in claims.trials(small)})


def test_every_comparison_can_be_read_from_the_table_again():
    judged = claims.judge(results(*TYPICAL, of=ONLY_ABOVE))
    found = claims_board.evidence_of(claims_board.joined(judged))
    expected = claims.evidence(judged).drop(columns="sentence")
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_the_board_is_drawn_with_a_symbol_a_status_whatever_it_says():
    spec = FIGURES["claims"]
    found = claims_board.joined(claims.judge(results(*TYPICAL, of=ONLY_ABOVE)))
    fig = spec.plot(found, ONLY_ABOVE)
    said = [t.get_text() for t in fig.axes[0].texts]
    symbols = [claims_picture.LOOKS[state][0] for state in claims_picture.board_of(found)["status"]]
    assert sorted(t for t in said if t in set(symbols)) == sorted(symbols)
    assert {"1", "14"} <= set(said)
    assert len({symbol for symbol, *_ in claims_picture.LOOKS.values()}) == len(STATUSES)
    tabulated = spec.tabulate(found, ONLY_ABOVE)
    assert list(tabulated.index) == list(range(1, 15))
    plt.close(fig)


# --- the text's numbers beside ours ---


def test_the_text_s_numbers_stand_beside_ours_with_the_difference_where_all_is_the_paper_s():
    of = scale("paper")
    about = {"network": "resnet20", "data": "cifar10", "epochs": 160}
    table = results(
        rows("pretraining", {0.005: 89.0, 0.1: 92.8}, **about),
        rows("LT-IMP", {0.005: 88.9, 0.1: 91.0}, S11, **about),
        rows("RR-IMP", {0.005: 82.0, 0.1: 90.0}, S11, **about),
        of=of,
    ).table
    found = paper_beside_ours.beside(table, of, "§2.1").set_index(["setting", "lr", "epochs"])
    assert found.loc[("pretraining", 0.1, "160"), "difference"] == pytest.approx(0.5)
    assert found.loc[("LT-IMP", 0.005, "78"), "n"] == 0
    related = paper_beside_ours.relations(table, of, "§3.1")
    ours = related[related["network"] == "resnet20"].set_index(["what", "lr"])
    assert ours.loc[("LT-IMP − pretraining", "best"), "ours"] == pytest.approx(-1.8)
    assert ours.loc[("LT-IMP − pretraining", "best"), "difference"] == pytest.approx(-1.3)
    assert ours.loc[("LT-IMP − pretraining", "best"), "holds"] == "yes"
    assert ours.loc[("LT − pretraining", "0.005"), "holds"] == "yes"
    assert ours.loc[("LT − RR", "best"), "ours"] == pytest.approx(1.0)
    assert set(related.loc[related["network"] == "vgg16", "holds"]) == {"not run"}


def test_a_number_of_the_text_is_compared_with_no_mean_of_survivors():
    about = {"network": "resnet20", "data": "cifar10", "epochs": 160}
    of, made = scale("paper"), rows("LT-IMP", {0.005: 90.0}, S11, **about)
    made[1]["accuracy"] = math.nan
    found = paper_beside_ours.beside(results(made, of=of).table, of, "§2.1").set_index(
        ["setting", "lr", "epochs"]
    )
    cell = found.loc[("LT-IMP", 0.005, "160")]
    assert math.isnan(cell["ours"])
    assert math.isnan(cell["difference"])
    assert cell["n"] == 3


def test_a_smaller_experiment_stands_in_by_its_residual_connections_and_has_no_difference():
    table = results(*TYPICAL).table
    related = paper_beside_ours.relations(table, SMALL, "§3.1")
    stand_in = dict(zip(related["network"], related["our network"], strict=True))
    assert stand_in["resnet20"] == "resnet8 on digits"
    assert stand_in["vgg16"] == stand_in["mobilenet-v1"] == "vgg-small on digits"
    assert related["difference"].isna().all()
    assert not related["same"].any()


def test_the_text_s_numbers_name_their_network_and_ours():
    found = paper_beside_ours.beside(results(*TYPICAL).table, SMALL, "Fig. ")
    assert set(found["network"]) == {"resnet20", "resnet32", "resnet32-noskip"}
    named = dict(zip(found["network"], found["our network"], strict=True))
    assert named["resnet32-noskip"] == "vgg-small on digits"


def bounds(table, of=SMALL):
    found = paper_beside_ours.relations(table, of)
    return found[found["what"] == "largest sparsity with a prize"].set_index("network")


def test_a_bound_on_a_sparsity_above_all_that_were_tried_is_not_tried_and_never_no():
    up_to_s8 = bounds(results(prized("resnet8", S8), of=ONLY_ABOVE).table)
    assert up_to_s8.loc["resnet20", "holds"] == "no"  # 0.914 was tried, and has none
    assert up_to_s8.loc["resnet32", "holds"] == "not tried"  # 0.945 was not
    table = results(prized("resnet8", S8, S11)).table
    assert bounds(table).loc["resnet20", "holds"] == "yes"
    for sparsity in (S8, S11):
        less = table[table["sparsity"] <= sparsity + 1e-9]
        assert bounds(less).loc["resnet32", "holds"] == "not tried"
    assert bounds(table[table["sparsity"] <= S8 + 1e-9]).loc["resnet20", "holds"] == "not tried"


def test_a_diverged_seed_makes_no_prize_of_those_that_survive():
    table = results(prized("resnet8", S8, S11)).table
    assert bounds(table).loc["resnet20", "ours"] == pytest.approx(S11)
    lt = table["setting"].isin(["LT-IMP", "LT-OMP"]) & (table["seed"] == 0)
    diverged = table.assign(accuracy=table["accuracy"].mask(lt))
    assert bounds(diverged).loc["resnet20", "ours"] == 0
    untrained = diverged.assign(fingerprint=table["fingerprint"].mask(lt, ""))
    assert bounds(untrained).loc["resnet20", "ours"] == pytest.approx(S11)  # two seeds are there


def test_a_seed_that_is_not_trained_yet_takes_no_learning_rate_out_of_the_best():
    about = {"network": "resnet20", "data": "cifar10", "epochs": 160}
    table = results(
        rows("pretraining", {0.01: 90.0, 0.1: 92.0}, **about), rows("LT-IMP", {0.01: 91.0}, S11, **about)
    ).table
    one = (table["setting"] == "pretraining") & (table["lr"] == 0.1) & (table["seed"] == 2)
    unfinished = table.assign(
        accuracy=table["accuracy"].mask(one), fingerprint=table["fingerprint"].mask(one, "")
    )
    diverged = table.assign(accuracy=table["accuracy"].mask(one))
    for rest, ours, n in ((unfinished, -0.975, 2), (diverged, 1.0, 3)):
        found = paper_beside_ours.relations(rest, scale("paper"), "§3.1").set_index(["network", "what", "lr"])
        of_best = found.loc[("resnet20", "LT-IMP − pretraining", "best")]
        assert (of_best["ours"], of_best["n"]) == (pytest.approx(ours), n)


def test_a_claim_of_the_board_unfolds_to_its_comparisons():
    outcomes = claims.judge(results(*TYPICAL, of=ONLY_ABOVE))
    board, nothing = claims_board.joined(outcomes), results(*TYPICAL).table.iloc[:0]
    said = findings("claims", FIGURES["claims"], ONLY_ABOVE, board, nothing, nothing)
    for outcome, finding in zip(outcomes, said, strict=True):
        assert finding.head.startswith(f"Claim {outcome.claim.id},")
        assert len(finding.details) == sum(part.by_means != NOT_RUN for part in outcome.parts)
        assert all(part.sentence in str(finding) for part in outcome.parts if part.by_means != NOT_RUN)


def test_numbers_of_nothing_are_not_run(smoke_table):
    for table in (smoke_table, smoke_table.iloc[:0]):
        assert set(paper_beside_ours.relations(table, scale("smoke"))["holds"]) == {"not run"}
        assert set(paper_beside_ours.beside(table, scale("smoke"))["n"]) == {0}


def test_what_the_text_states_can_be_looked_up():
    assert paper_beside_ours.stated("pretraining", 78) == 88.0
    assert paper_beside_ours.stated("LT-OMP", lr=0.1, network="resnet32-noskip", sparsity=0.945) == 90.7
    with pytest.raises(KeyError):
        paper_beside_ours.stated("LT-OMP")
