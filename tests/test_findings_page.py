"""docs/findings.md says what the published results give: tables to the digit, conclusions as predicates."""

import importlib.util
import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from lthpaper.figures import FIGURES
from lthpaper.measures import contours
from lthpaper.runs import at_initialisation as masks_of
from lthpaper.runs import controls as runs_of
from lthpaper.runs import experiments
from lthpaper.runs.run import setting
from lthpaper.runs.scales import scale
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.verdicts import at_initialisation, claims, controls, tickets
from lthpaper.verdicts.evidence import NO, UNDECIDED, YES

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("computed", ROOT / "docs" / "computed.py")
computed = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(computed)
PUBLISHED = Store(ROOT / "no-store", ROOT / "results")
LAPTOP = scale("laptop")
TEXT = computed.PAGE.read_text()
ON_DIGITS = TEXT.partition("\n## The paper's claims at laptop scale")[2].partition("\n## ")[0]
IMP = " ".join(TEXT.partition("### IMP, begun")[2].partition("\n## ")[0].split())
BARE = " ".join(TEXT.partition("### Without shortcuts")[2].partition("\n## ")[0].split())
SUMMARY = " ".join(TEXT.partition("## In short")[2].partition("\n## ")[0].split())
README = " ".join((ROOT / "README.md").read_text().split())


@cache
def results():
    return table(runs_of.of_scale(LAPTOP), PUBLISHED)


def cells(ours, against, lrs, masks=("IMP", "OMP")):
    """Rows of the differences of these settings, one a mask and learning rate."""
    found = controls.differences(results(), compared=[(ours, against, "")])
    return found[found["lr"].isin(lrs) & found["mask"].isin(masks)]


def test_every_computed_part_of_the_page_is_what_the_published_results_give():
    assert [m[2] for m in computed.PART.finditer(TEXT)] == list(computed.PARTS)
    assert computed.written(TEXT, PUBLISHED, LAPTOP) == TEXT, "run python docs/computed.py"


def test_a_number_changed_by_hand_is_seen_and_a_part_without_results_says_so(tmp_path):
    (part,) = (m[0] for m in computed.PART.finditer(TEXT) if m[2] == "rates")
    assert "IMP 0.005 | +2.5 (" in part
    edited = part.replace("IMP 0.005 | +2.5 (", "IMP 0.005 | +3.5 (")
    assert computed.written(edited, PUBLISHED, LAPTOP) == part
    nothing = computed.written(TEXT, Store(tmp_path / "none"), scale("smoke"))
    assert nothing.count("Not published yet.") == len(computed.PARTS) - 1
    assert nothing.count("| – | not run |") == 8
    with pytest.raises(KeyError):
        computed.written("<!-- computed: nothing -->\n<!-- end -->", PUBLISHED, LAPTOP)


def test_differences_of_the_papers_claims_are_those_of_the_scoreboard():
    """Every "+2.5 (+1.9 … +3.1)" of a claim's line is a comparison in the published scoreboard's table."""
    number = r"([+−]?[\d.]+)"
    judged = pd.read_csv(ROOT / "docs" / "gallery" / "claims.csv", dtype={"claim": str})
    seen = 0
    for claim, line in re.findall(r"^\| (\d+)\. (.*)$", ON_DIGITS, re.MULTILINE):
        known = judged.loc[judged["claim"] == claim, ["value", "low", "high"]].to_numpy(float)
        for said in re.findall(rf"{number} \({number} … {number}\)", line):
            digits = len(said[0].partition(".")[2])
            wanted = [float(text.replace("−", "-")) for text in said]
            assert any([round(x, digits) for x in row] == wanted for row in known), (claim, said)
            seen += 1
    assert seen > 12


def scoreboard_and_lines():
    """Each of the paper's claims: its rows in the published scoreboard's table, the cells of its line."""
    judged = pd.read_csv(ROOT / "docs" / "gallery" / "claims.csv", dtype={"claim": str})
    for claim, line in re.findall(r"^\| (\d+)\. (.*) \|$", ON_DIGITS, re.MULTILINE):
        yield claim, judged[judged["claim"] == claim], line.split(" | ")


def test_each_state_is_the_scoreboards_and_the_means_are_named_where_they_say_another():
    seen = []
    for claim, rows, cells_of_line in scoreboard_and_lines():
        status, means = rows[["status", "by the means"]].iloc[0]
        wanted = status if means == status else f"{status}, by the means {means}"
        assert re.split(r":| as stated", cells_of_line[-1])[0] == wanted, claim
        seen.append(claim)
    assert seen == [str(n) for n in range(1, 15)]


def test_claim_5_names_the_one_verdict_that_is_certain_among_those_judged():
    ((rows, said),) = ((rows, line[1]) for claim, rows, line in scoreboard_and_lines() if claim == "5")
    assert len(rows) == (rows["means"] != "not run").sum() == 8
    (sure,) = rows[(rows["means"] == "no") & (rows["confidence"] >= 1 - 0.05 / 8)].to_dict("records")
    assert (sure["network"], sure["measured"], round(sure["sparsity"], 3)) == (
        "vgg-small",
        "ticket, IMP",
        0.832,
    )
    assert "one is certain among eight verdicts: IMP on vgg-small at s = 0.832" in said
    assert f"(confidence {sure['confidence']:.4f}, needed {1 - 0.05 / 8:.4f})" in said


def test_the_page_counts_the_verdicts_that_rest_on_a_best_rate_at_the_grids_edge():
    found = claims.gather(LAPTOP, PUBLISHED).verdicts
    at_edge = [any(name != f"LT-{v.pruning}" for name, _ in v.edges) for v in found]
    assert (sum(at_edge), len(at_edge)) == (5, 8)
    assert "In five of the eight verdicts behind claim 5 a setting that LT is compared with" in TEXT


def test_the_summary_says_what_the_tables_say():
    states = [line.split("|")[-2].strip() for line in re.findall(r"^\| \d+\. .*$", ON_DIGITS, re.MULTILINE)]
    counts = [
        sum(s.startswith(state) for s in states)
        for state in ("supported", "contradicted", "undecided", "not")
    ]
    assert counts == [1, 7, 5, 1]
    assert "one is supported, seven are contradicted, five are undecided and one has not run" in SUMMARY
    plain, equal = (
        cells(ours, "RR-", [0.005], ["OMP"])["difference"].item() for ours in ("LT-", "LT@RRnorms-")
    )
    assert f"by {plain:.1f} points as they are and by {equal:.1f} at equal norms" in SUMMARY


def test_pretraining_ends_at_the_losses_that_the_page_names():
    dense = results()[results()["setting"] == "pretraining"].groupby("lr")[["train_loss", "loss_left"]].mean()
    assert dense["train_loss"].loc[[0.005, 0.01]].round(2).tolist() == [0.17, 0.03]
    assert (dense["train_loss"].loc[0.05:] < 0.005).all()
    assert dense["loss_left"].loc[0.001] == pytest.approx(0.70, abs=0.005)


def test_norms_hide_part_of_the_gap_at_0_005():
    """Larger at equal norms, whichever of the two starts is rescaled, for OMP's mask and for IMP's."""
    plain = cells("LT-", "RR-", [0.005])["difference"].to_numpy()
    assert (cells("LT@RRnorms-", "RR-", [0.005])["difference"].to_numpy() > plain).all()
    assert (cells("LT-", "RR@LTnorms-", [0.005])["difference"].to_numpy() > plain).all()


def test_lt_at_its_own_norms_is_worse_than_at_rrs_at_0_005():
    assert (cells("LT-", "LT@RRnorms-", [0.005])["high"] < 0).all()


def test_norms_do_little_at_0_1_where_imps_ticket_still_leads():
    for ours, against in (
        ("LT-", "RR-"),
        ("LT@RRnorms-", "RR-"),
        ("LT-", "RR@LTnorms-"),
        ("LT-", "LT@RRnorms-"),
    ):
        assert (cells(ours, against, [0.1])["difference"].abs() <= 1).all()
    norms = cells("LT-", "LT@RRnorms-", [0.1]).set_index("mask")[["difference", "low", "high"]].round(1)
    assert norms.loc["IMP"].tolist() == [-0.3, -0.5, -0.1]
    assert norms.loc["OMP"].tolist() == [0.4, 0.0, 0.8]
    assert cells("LT-", "LT@RRnorms-", [0.1], ["OMP"])["low"].item() < 0
    led = cells("LT@RRnorms-", "RR-", [0.1], ["IMP"])[["difference", "low", "high"]].round(1)
    assert led.to_numpy().tolist() == [[1.0, 0.5, 1.4]]


def test_doubling_the_rate_does_about_what_rescaling_does():
    found = controls.at_higher_rates(results(), 2)
    rescaled = found[found["against"].str.startswith("LT@RRnorms")]
    assert set(rescaled["lr"]) == {0.005, 0.05}
    assert (rescaled["low"] <= 0).all()
    assert (rescaled["high"] >= 0).all()


def test_rr_is_nowhere_clearly_better_than_a_shuffled_mask():
    found = cells("RR-", "LT-shuffled-", LAPTOP.grid)
    assert len(found) == 2 * len(LAPTOP.grid)
    assert not (found["low"] > 0).any()


def places(start, lr):
    """Rows of what the places of masks of θ0 are worth from a start, one a rule and sparsity."""
    found = at_initialisation.places(table(masks_of.of_scale(LAPTOP), PUBLISHED))
    names = [f"{start}-{name}" for name in masks_of.AT_THETA0]
    return found[found["ours"].isin(names) & (found["lr"] == lr)]


def test_nearly_all_that_places_of_theta_0_cost_at_0_005_is_norms():
    plain, matched = places("LT", 0.005), places("LT@RRnorms", 0.005)
    assert len(plain) == len(matched) == 12
    assert (plain["difference"] < 0).all()
    assert (matched["difference"].to_numpy() > plain["difference"].to_numpy()).all()
    assert matched["difference"].min() > -1.6
    assert ((matched["low"] <= 0) & (matched["high"] >= 0)).sum() == 9


def paired(a, b, unit=1.0):
    """ "+3.5 (+2.9 … +4.2)" of two series by seed, in points; in percent with a unit."""
    d = (a - b).dropna() * unit
    assert len(d) == 10
    half = stats.t.ppf(0.975, 9) * d.std() / 10**0.5
    numbers = [f"{x:+.{1 if unit == 1 else 0}f}" for x in (d.mean(), d.mean() - half, d.mean() + half)]
    return f"{numbers[0]} ({numbers[1]} … {numbers[2]})".replace("-", "−")


def test_statements_beside_the_fourteen_claims_are_as_the_page_says():
    said = " ".join(TEXT.partition("## What the text states")[2].split())
    lt = table(experiments.trials("fig1", LAPTOP), PUBLISHED).query("setting == 'LT-IMP'")
    for _, rows in lt.groupby("sparsity"):
        by = {at: found.set_index("seed")["accuracy"] for at, found in rows.groupby(["epochs", "lr"])}
        assert paired(by[160, 0.1], by[78, 0.005]) in said
    with_, without = (
        contours.numbers(contours.measure(experiments.trials(figure, LAPTOP), PUBLISHED, LAPTOP))
        for figure in ("fig4", "fig5")
    )
    of = [
        {at: rows.set_index("seed") for at, rows in found.groupby(["setting", "lr"])}
        for found in (with_, without)
    ]
    for name in ("LT-IMP", "LT-OMP"):
        for found in of:
            small, large = (found[name, lr]["basin_relative"] for lr in (0.01, 0.1))
            assert paired(small, large, 200 / (small.mean() + large.mean())) in said
        for lr in (0.01, 0.1):
            a, b = (found[name, lr]["roughness"] for found in of)
            assert paired(b, a, 200 / (a.mean() + b.mean())) in said
    prizes = FIGURES["appendix-f"].trials(LAPTOP)
    judged = tickets.verdicts(table(prizes, PUBLISHED))["verdict"]
    (prize,) = (v for v in judged if v.kind == tickets.SECONDARY)
    about = (prize.network, prize.pruning, round(prize.sparsity, 3), prize.lrs)
    assert about == ("vgg-small", "OMP", 0.914, (0.1,))


PHOTOGRAPHS = scale("desktop", experiments="resnet20/cifar10-16", controls="LT@RRnorms")


@cache
def photographs():
    """ResNet-20 on CIFAR-10 at 16×16: OMP's verdict, by the paper's settings alone."""
    trials = FIGURES["fig3"].trials(PHOTOGRAPHS.with_(controls=()))
    (judged,) = (v for v in tickets.verdicts(table(trials, PUBLISHED))["verdict"] if v.pruning == "OMP")
    return judged


def condition(number):
    (found,) = (c for c in photographs().conditions if c.number == number)
    return found


def test_on_photographs_the_ticket_is_a_secondary_prize_by_the_means_and_the_seeds_leave_it_open():
    assert (photographs().kind, photographs().kind_ours) == (tickets.SECONDARY, UNDECIDED)
    assert {n for n in (1, 2, 3, 4, 5) if condition(n).holds_ours == UNDECIDED} == {3, 5}
    likely = photographs().probabilities
    said = f"P(secondary prize) is {likely.secondary:.1f}, P(none) {likely.none:.1f}"
    assert f"{said}, P(Jackpot) {likely.jackpot:.1f}." in README
    shares = f"are {likely.secondary:.1f} for a secondary prize, {likely.none:.1f} for none"
    assert f"the probabilities {shares} and {likely.jackpot:.1f} for a Jackpot." in " ".join(TEXT.split())
    assert condition(2).confidence == pytest.approx(0.979, abs=0.0005)
    assert condition(2).difference == pytest.approx(5.17, abs=0.005)


def test_on_photographs_the_ticket_is_similar_to_pretraining_at_0_01_for_certain():
    assert condition(4).holds == condition(4).holds_ours == YES
    assert condition(4).lrs == (0.005, 0.01, 0.05)
    assert condition(4).confidence == pytest.approx(0.989, abs=0.0005)


def test_on_photographs_the_ticket_is_0_8_points_below_the_best_pretraining_by_the_means_alone():
    assert (condition(5).holds, condition(5).holds_ours) == (NO, UNDECIDED)
    assert condition(5).difference == pytest.approx(-0.84, abs=0.005)
    assert (condition(5).best, condition(5).against) == (("LT-OMP", 0.05), ("pretraining", 0.2))
    assert condition(5).confidence == pytest.approx(0.576, abs=0.005)


def test_on_photographs_the_best_lt_leads_the_best_rr_by_the_means_alone():
    assert (condition(3).holds, condition(3).holds_ours) == (YES, UNDECIDED)
    assert (condition(3).best, condition(3).against) == (("LT-OMP", 0.05), ("RR-OMP", 0.2))
    assert condition(3).difference == pytest.approx(0.63, abs=0.005)
    assert condition(3).confidence == pytest.approx(0.38, abs=0.005)


def test_on_photographs_lt_leads_rr_by_half_a_point_and_norms_seem_to_hide_part_of_it_at_0_01():
    compared = [("LT-", "RR-", ""), ("LT@RRnorms-", "RR-", ""), ("LT-", "LT@RRnorms-", "")]
    results = table(FIGURES["fig3"].trials(PHOTOGRAPHS), PUBLISHED)
    found = controls.differences(results, compared=compared).set_index(["ours", "against", "lr"])
    assert all(found.loc[("LT-OMP", "RR-OMP", lr), "low"] > 0.5 for lr in (0.05, 0.1))
    largest = found.loc[("LT-OMP", "RR-OMP", 0.2), ["difference", "low", "high"]]
    assert list(largest.round(1)) == [-0.3, -1.4, 0.8]
    least = found.loc[("LT-OMP", "RR-OMP", 0.005)]
    assert least["low"] < 0 < least["difference"] < found.loc[("LT-OMP", "RR-OMP", 0.01), "difference"]
    plain, matched = (found.loc[(lt, "RR-OMP", 0.01)] for lt in ("LT-OMP", "LT@RRnorms-OMP"))
    assert matched["difference"] == pytest.approx(2.7, abs=0.05)
    assert plain["difference"] == pytest.approx(1.8, abs=0.05)
    hidden = found.loc[("LT-OMP", "LT@RRnorms-OMP", 0.01), ["difference", "low", "high"]]
    assert list(hidden.round(1)) == [-0.9, -1.9, 0.1]


def test_on_photographs_imps_subnetwork_is_no_ticket_so_far_by_the_means():
    trials = FIGURES["fig3"].trials(PHOTOGRAPHS.with_(controls=()))
    (judged,) = (v for v in tickets.verdicts(table(trials, PUBLISHED))["verdict"] if v.pruning == "IMP")
    assert (judged.kind, judged.kind_ours) == (tickets.NONE, UNDECIDED)
    (third,) = (c for c in judged.conditions if c.number == 3)
    assert (third.holds, third.best, third.against) == (NO, ("LT-IMP", 0.1), ("RR-IMP", 0.1))
    assert third.difference == pytest.approx(-0.07, abs=0.005)
    assert "at 0.1, is as good as the random draw's best, also at 0.1 (64.1 and 64.2), so ③ fails" in IMP


def of_photographs(name, lr, seed, epochs=160, network="resnet20"):
    """The published results of a setting, sparsest last."""
    runs = [r for r in PUBLISHED.tables.scales["desktop"].runs.values() if r.task.network == network]
    wanted = (name, lr, seed, epochs)
    found = [r for r in runs if (setting(r), r.recipe.lr, r.seed, r.recipe.epochs) == wanted]
    return sorted((PUBLISHED.get(r) for r in found if mask_lr(r) == lr), key=lambda result: result.sparsity)


def mask_lr(run):
    """The learning rate that a run's mask comes from, of a dense run its own."""
    return getattr(getattr(run.mask, "after", run), "recipe", run.recipe).lr


def gaps(lr, seed, of="LT-IMP", against="RR-IMP"):
    """Sparsity -> accuracy of one less the other, where both have run; pretraining pairs with each."""
    theirs = {round(r.sparsity, 3): r.accuracy for r in of_photographs(against, lr, seed)}
    ours = {round(r.sparsity, 3): r.accuracy for r in of_photographs(of, lr, seed)}
    return {s: x - theirs.get(s, theirs.get(0.0)) for s, x in ours.items() if s in theirs or 0.0 in theirs}


def losses(*of):
    return [f"{result.curves['train_loss'][-1]:.2f}" for result in of]


def test_on_photographs_pruning_costs_imp_nothing_at_small_rates_and_something_at_0_1():
    small = [gaps(lr, seed, against="pretraining") for lr in (0.005, 0.01) for seed in (0, 1, 2)]
    later = [gap for of_seed in small for s, gap in of_seed.items() if s > 0.3]
    assert len(later) > 40
    assert min(later) > 0
    assert "From s = 0.36 on it ends above the dense network at the same rate in every seed" in SUMMARY
    at_0_01 = {
        seed: (of_photographs("pretraining", 0.01, seed), of_photographs("LT-IMP", 0.01, seed))
        for seed in (0, 1, 2)
    }
    ahead = [r.accuracy - dense.accuracy for (dense,), rounds in at_0_01.values() for r in rounds[5:7]]
    assert f"it is {min(ahead):.1f} to {max(ahead):.1f} points above the dense network of its seed" in IMP
    assert {losses(dense)[0] for (dense,), _ in at_0_01.values()} == {"0.26", "0.27"}
    assert {loss for _, rounds in at_0_01.values() for loss in losses(*rounds[5:7])} == {"0.06", "0.07"}
    last = [at_0_01[seed][1][10].accuracy - at_0_01[seed][0][0].accuracy for seed in (1, 2)]
    assert "At s = 0.914 it is still {:.1f} and {:.1f} above".format(*last) in IMP
    large = [gaps(0.1, seed, against="pretraining") for seed in (0, 1, 2)]
    assert min(of_seed[0.59] for of_seed in large) > 0
    below = [-large[seed][0.914] for seed in (1, 2)]
    assert "At 0.1 it keeps up at s = 0.59 in all three seeds" in IMP
    assert "and ends {:.1f} and {:.1f} below at s = 0.914".format(*below) in IMP
    dense, rounds = (
        [of_photographs(name, 0.1, seed) for seed in (1, 2)] for name in ("pretraining", "LT-IMP")
    )
    of_loss = losses(dense[0][0], dense[1][0], rounds[0][-1], rounds[1][-1])
    assert "from {} and {} to {} and {}".format(*of_loss) in IMP
    for of_seed in rounds:
        falls = [float(b) - float(a) for a, b in zip(losses(*of_seed), losses(*of_seed)[1:], strict=False)]
        assert min(falls) >= 0


def test_on_photographs_theta_0_matters_to_imp_at_small_rates_and_not_at_0_1():
    small = [gap for lr in (0.005, 0.01) for seed in (1, 2) for gap in gaps(lr, seed).values()]
    led = f"leads RR-IMP by {min(small):.1f} to {max(small):.1f} points"
    assert f"{led} in every seed" in SUMMARY
    first, second = ([f"{gap:.1f}" for gap in gaps(0.01, seed).values()] for seed in (1, 2))
    assert (
        "{}, {} and {} points below the ticket at s = 0.59, 0.832 and 0.914 in seed 1".format(*first) in IMP
    )
    assert "and {}, {} and {} below in seed 2".format(*second) in IMP
    rr, lt = ([of_photographs(name, 0.01, seed)[-1] for seed in (1, 2)] for name in ("RR-IMP", "LT-IMP"))
    assert "its training loss is {} and {} where the ticket's is {}".format(*losses(*rr, lt[0])) in IMP
    assert losses(lt[0]) == losses(lt[1])
    first, second = ([f"{gap:.1f}" for gap in gaps(0.005, seed).values()] for seed in (1, 2))
    assert "At 0.005 it ends {}, {} and {} below the ticket in seed 1".format(*first) in IMP
    assert "in seed 1, and {}, {} and {} below in seed 2. At 0.1".format(*second) in IMP
    signed = [f"{gap:+.1f}".replace("-", "−") for seed in (1, 2) for gap in gaps(0.1, seed).values()]
    assert "LT less RR is {}, {} and {} in seed 1, and {}, {} and {} in seed 2".format(*signed) in IMP
    ((lt,), (imp,)) = (of_photographs(name, 0.01, 1)[-1:] for name in ("LT-OMP", "LT-IMP"))
    assert f"trails LT-IMP by {imp.accuracy - lt.accuracy:.1f} (seed 1)" in IMP


def under_masks_of(mask_rate, lr, name="LT-IMP", seeds=(1, 2)):
    """Accuracies of Table 4 on photographs: IMP's mask at s = 0.914 from one rate, trained at another."""
    runs = PUBLISHED.tables.scales["desktop"].runs.values()
    found = {
        r.seed: PUBLISHED.get(r)
        for r in runs
        if (setting(r), r.recipe.lr, r.recipe.epochs) == (name, lr, 160)
        and mask_lr(r) == mask_rate
        and round(r.mask.sparsity, 3) == 0.914
    }
    return [found[seed] for seed in seeds if seed in found]


def less(ours, theirs):
    return [a.accuracy - b.accuracy for a, b in zip(ours, theirs, strict=True)]


def test_on_photographs_a_mask_from_0_01_serves_0_1_with_its_theta_0():
    mixed, own, small = (under_masks_of(*rates) for rates in ((0.01, 0.1), (0.1, 0.1), (0.01, 0.01)))
    dense = [of_photographs("pretraining", 0.1, seed)[0] for seed in (0, 1, 2)]
    every = under_masks_of(0.01, 0.1, seeds=(0, 1, 2))
    ends = "ends at {:.1f}, {:.1f} and {:.1f} % in seeds 0, 1 and 2".format(*(r.accuracy for r in every))
    all_three = "({:.1f}, {:.1f} and {:.1f})".format(*(r.accuracy for r in dense))
    assert f"{ends}, as good as the dense network at 0.1 {all_three}" in IMP
    assert min(less(every, dense)) > -0.5
    said = (
        "In seeds 1 and 2 that is {:.1f} and {:.1f} points above the ticket whose mask comes from 0.1".format(
            *less(mixed, own)
        )
    )
    assert said in IMP
    (loss,) = set(losses(*mixed))
    assert "loss of {} instead of {} and {}, and".format(loss, *losses(*own)) in IMP
    assert (
        "and {:.1f} and {:.1f} above the same mask trained at 0.01 (claim 13)".format(*less(mixed, small))
        in IMP
    )
    slower = less(under_masks_of(0.01, 0.005), [of_photographs("LT-IMP", 0.005, seed)[-1] for seed in (1, 2)])
    assert "At 0.005, too, it ends {:.1f} and {:.1f} points above 0.005's own ticket".format(*slower) in IMP


def test_on_photographs_theta_0_matters_under_the_mask_from_0_01_at_both_rates():
    leads = {
        (mask, lr): less(*(under_masks_of(mask, lr, name, (0, 1, 2)) for name in ("LT-IMP", "RR-IMP")))
        for mask in (0.01, 0.1)
        for lr in PHOTOGRAPHS.grid
    }
    mean = {
        cell: f"{sum(of_seeds) / len(of_seeds):.1f}".replace("-", "−") for cell, of_seeds in leads.items()
    }
    both = {
        cell: " and ".join(f"{gap:+.1f}".replace("-", "−") for gap in of_seeds)
        for cell, of_seeds in leads.items()
    }
    all_rates = "{}, {}, {}, {} and {}"
    under_small, under_large = (
        all_rates.format(*(mean[mask, lr] for lr in PHOTOGRAPHS.grid)) for mask in (0.01, 0.1)
    )
    assert f"Under the mask from 0.01 LT leads RR by {under_small} points at the five rates" in IMP
    first, second, third = leads[0.01, 0.1]
    assert f"(at 0.1 by {first:.1f}, {second:.1f} and {third:.1f} in seeds 0, 1 and 2)" in IMP
    assert (
        f"from 0.1 it leads by {under_large} (at 0.01 by {both[0.1, 0.01]}, at 0.1 by {both[0.1, 0.1]})"
        in IMP
    )
    said = "leads a random draw under the same mask by {:.1f} to {:.1f} points"
    assert said.format(min(leads[0.01, 0.1]), max(leads[0.01, 0.1])) in SUMMARY


def test_on_photographs_a_mask_from_0_1_does_not_serve_0_01():
    mixed, own = under_masks_of(0.1, 0.01), under_masks_of(0.01, 0.01)
    dense = [of_photographs("pretraining", 0.01, seed)[0] for seed in (1, 2)]
    behind = [-gap for gap in (*less(mixed, own), *less(mixed, dense))]
    said = (
        "ends {:.1f} and {:.1f} points below 0.01's own, and {:.1f} and {:.1f} below the dense network there"
    )
    assert said.format(*behind) in IMP


def test_on_digits_the_mask_from_0_1_is_the_better_one():
    mixed = table(FIGURES["table4"].trials(LAPTOP), PUBLISHED)
    mixed = mixed[mixed["sparsity"] > 0].groupby(["setting", "pretraining_lr", "lr"])["accuracy"].mean()
    better = mixed["LT-IMP"][0.1] - mixed["LT-IMP"][0.01]
    assert (better > 0).all()
    assert f"at every rate, by {better[0.01]:.1f} points at 0.01 and {better[0.1]:.1f} at 0.1" in IMP
    lead = mixed["LT-IMP"] - mixed["RR-IMP"]
    at = (f"by {lead[0.1, lr]:.1f} against {lead[0.01, lr]:.1f} at {lr:g}" for lr in (0.01, 0.1))
    assert f"LT leads RR by more under it: {', '.join(at)}." in IMP


def test_on_photographs_a_network_without_shortcuts_prefers_the_large_rate_by_more():
    ends = {
        (network, name, lr): [of_photographs(name, lr, seed, network=network)[-1] for seed in (1, 2)]
        for network in ("resnet20", "resnet20-noskip")
        for name in ("pretraining", "LT-OMP")
        for lr in (0.01, 0.1)
    }
    gains = {
        n: less(ends[n, "LT-OMP", 0.1], ends[n, "LT-OMP", 0.01]) for n in ("resnet20", "resnet20-noskip")
    }
    said = "ends {:.1f} and {:.1f} points higher at 0.1 than at 0.01".format(*gains["resnet20-noskip"])
    assert f"{said} in seeds 1 and 2; with shortcuts by {gains['resnet20'][0]:.1f} and" in BARE
    assert f"and {gains['resnet20'][1]:.1f}." in BARE
    assert min(gains["resnet20-noskip"]) > max(gains["resnet20"]) > 0.5
    (behind, ahead), (leads, _) = (
        [
            of_photographs("LT-OMP", lr, 1, network=network)[-1].accuracy
            - of_photographs("RR-OMP", lr, 1, network=network)[-1].accuracy
            for network in ("resnet20-noskip", "resnet20")
        ]
        for lr in (0.01, 0.1)
    )
    said = (
        f"ends {-behind:.1f} points below RR-OMP in seed 1, where with shortcuts it ends {ahead:.1f} above;"
    )
    assert f"{said} at 0.1 it ends {leads:.1f} above." in BARE
    bare, whole = (losses(*ends[n, "pretraining", 0.01]) for n in ("resnet20-noskip", "resnet20"))
    assert f"loss of {bare[0]} in both seeds, instead of {whole[0]} and {whole[1]}." in BARE
    assert bare[0] == bare[1]


def after(epochs, seed):
    """At 0.005: the dense network, and how far LT and RR end above it, by sparsity."""
    (dense,) = of_photographs("pretraining", 0.005, seed, epochs)
    lt, rr = (
        {round(r.sparsity, 3): r.accuracy - dense.accuracy for r in of_photographs(name, 0.005, seed, epochs)}
        for name in ("LT-IMP", "RR-IMP")
    )
    return dense, lt, rr


def test_on_photographs_the_shorter_training_is_not_sufficient_and_shows_a_ticket_that_more_epochs_shrink():
    dense, long = ([after(epochs, seed)[0] for seed in (1, 2)] for epochs in (78, 160))
    short_of = [b.accuracy - a.accuracy for a, b in zip(dense, long, strict=True)]
    assert (
        "the dense networks end {:.1f} and {:.1f} points below themselves after 160".format(*short_of) in IMP
    )
    assert "losses of {} and {} instead of {} and {}".format(*losses(*dense, *long)) in IMP
    few, many = ([after(epochs, seed)[1:] for seed in (1, 2)] for epochs in (78, 160))

    def at_the_example(of):
        above = [lt[0.914] for lt, _ in of]
        return [f"{x:.1f}" for x in (*above, *(a - rr[0.914] for a, (_, rr) in zip(above, of, strict=True)))]

    leads = "{} and {} points above the dense network and {} and {} above the random draw"
    assert f"the ticket ends {leads.format(*at_the_example(few))}." in IMP
    kept = "{} and {} above the dense network and {} and {} above the draw"
    assert f"after 160 epochs the ticket is {kept.format(*at_the_example(many))}." in IMP
    short, full = (of_photographs("LT-IMP", 0.005, 2, epochs)[-1].accuracy for epochs in (78, 160))
    assert short > full
    assert f"even ends above that of 160, by {short - full:.1f}." in IMP
    third = claims.TESTS[3].judge(claims.gather(scale("desktop"), PUBLISHED))
    assert "LT − pretraining, 78 epochs −0.9" in third.paper
    assert "LT − pretraining, 160 epochs −2.2" in third.paper
    assert "In the paper it falls from 0.9 below the dense network to 2.2 below" in IMP


def test_on_photographs_more_epochs_unmake_a_lead_of_the_random_draw():
    few, many = ([after(epochs, seed)[2] for seed in (1, 2)] for epochs in (78, 160))
    led = [f"{of_seed[s]:.1f}" for s in (0.59, 0.832) for of_seed in few]
    assert "by {} and {} points at s = 0.59 in seeds 1 and 2, by {} and {} at 0.832".format(*led) in IMP
    below = [-of_seed[s] for s in (0.59, 0.832) for of_seed in many]
    assert f"After 160 it ends {min(below):.1f} to {max(below):.1f} below" in IMP


def test_on_photographs_imp_leads_at_equal_norms_at_small_rates_and_not_at_0_1():
    for lr, words in (
        (0.01, "{:.1f} and {:.1f} % in seeds 1 and 2, {:.1f} and {:.1f} points above RR"),
        (0.005, "{:.1f} and {:.1f} %, {:.1f} and {:.1f} points above RR"),
        (0.1, "{:.1f} and {:.1f} %, {:.1f} and {:.1f} below RR"),
    ):
        equal, rr = (
            [of_photographs(name, lr, seed)[-1] for seed in (1, 2)] for name in ("LT@RRnorms-IMP", "RR-IMP")
        )
        ahead = less(equal, rr)
        assert words.format(*(r.accuracy for r in equal), *map(abs, ahead)) in IMP
        assert {gap > 0 for gap in ahead} == {lr < 0.1}
    as_it_is = [gaps(0.1, seed)[0.914] for seed in (1, 2)]
    assert f"leads by {as_it_is[0]:.1f} in seed 1 and trails by {-as_it_is[1]:.1f} in seed 2" in IMP
    equal = [of_photographs("LT@RRnorms-IMP", 0.01, seed)[0] for seed in (1, 2)]
    (loss,) = set(losses(*equal))
    assert f"with a training loss of {loss}." in IMP


def test_on_photographs_the_ticket_of_mixed_rates_rests_on_one_rate():
    ran = {lr: [r.accuracy for r in under_masks_of(0.01, lr, seeds=(0, 1, 2))] for lr in PHOTOGRAPHS.grid}
    by_rate = {lr: sum(accuracies) / len(accuracies) for lr, accuracies in ran.items()}
    lower = (by_rate[0.1] - by_rate[lr] for lr in (0.05, 0.2))
    assert "at 0.05 and 0.2 LT is {:.1f} and {:.1f} points lower".format(*lower) in IMP
    part = TEXT.partition("<!-- computed: mixed-verdict -->")[2].partition("<!-- end -->")[0]
    assert (
        "Masks from 0.01: By the means Jackpot: ① to ⑤ hold. By the seeds secondary prize or Jackpot" in part
    )
    (likely,) = re.findall(r"P\(Jackpot\) (0\.\d\d), ", part)
    assert f"P(Jackpot) is as low as {likely} because" in IMP
    (sure,) = re.findall(r"③ .*: holds, confidence ([\d.]+)\.", part.partition("Masks from 0.1:")[0])
    assert f"③ still has a confidence of {1 - 2 * (1 - float(sure)):.2f}." in IMP
    lead, behind = (
        re.search(rf"{n} LT-IMP at learning rate 0.1 [^:]*: ([+−][\d.]+),", part)[1] for n in "③⑤"
    )
    lead, behind = (f"{abs(float(text.replace('−', '-'))):.1f}" for text in (lead, behind))
    assert f"is {behind} points below the best dense network, and 0.5 are allowed" in IMP
    assert f"{lead} points above the best random draw and {behind} below the best dense network" in README


def test_the_readme_says_what_imp_does_on_photographs():
    def mean(lr, against):
        found = [of[0.914] for of in (gaps(lr, seed, against=against) for seed in (1, 2)) if 0.914 in of]
        return f"{abs(sum(found) / len(found)):.1f}"

    ahead, above = ([mean(lr, other) for lr in (0.005, 0.01)] for other in ("RR-IMP", "pretraining"))
    assert (
        "LT-IMP leads RR-IMP by {} and {} and the dense network by {} and {}".format(*ahead, *above) in README
    )
    assert (
        f"ends {mean(0.1, 'RR-IMP')} below RR-IMP and {mean(0.1, 'pretraining')} below the dense network"
        in README
    )


def test_on_photographs_claim_2_is_contradicted_at_0_59_alone():
    outcome = claims.TESTS[2].judge(claims.gather(scale("desktop"), PUBLISHED))
    assert outcome.status == "contradicted"
    ran = [part for part in outcome.parts if part.value is not None]
    (sure,) = (part for part in ran if part.confidence > 0.95)
    assert (sure.label, round(sure.about["sparsity"], 2), sure.by_means) == ("LT-IMP − pretraining", 0.59, NO)
    said = TEXT.partition("**Claim 2 is contradicted already.**")[2]
    assert (
        f"(+{sure.value:.1f}, with confidence {sure.confidence:.3f} that it is not a point below)"
        in " ".join(said.split())
    )
    assert 2 * len(ran) == len(outcome.parts)  # "twice as many"


def test_on_photographs_claim_4_is_supported_by_as_much_as_the_page_says():
    outcome = claims.TESTS[4].judge(claims.gather(scale("desktop"), PUBLISHED))
    assert outcome.status == "supported"
    (part,) = outcome.parts
    assert f"The dense network ends {part.value:.1f} points higher after 160 epochs at 0.1" in TEXT


def test_two_seeds_leave_intervals_as_wide_as_the_page_says():
    leads = TEXT.partition("<!-- computed: leads -->")[2].partition("<!-- end -->")[0]
    rows = [line for line in leads.splitlines() if line.startswith("| LT − RR")]
    pairs = [pair for row in rows for pair in re.findall(r"\(([−+][\d.]+) … ([−+][\d.]+)\)", row)]
    widths = [float(high.replace("−", "-")) - float(low.replace("−", "-")) for low, high in pairs]
    assert f"intervals of {min(widths):.0f} to {max(widths):.0f} points" in " ".join(TEXT.split())


def test_on_photographs_the_best_tested_epoch_would_add_what_the_page_says():
    said = " ".join(TEXT.partition("## How sure are we?")[2].split())
    rows = []
    for run in PUBLISHED.tables.scales["desktop"].runs.values():
        result = PUBLISHED.get(run)
        rows.append((setting(run), run.recipe.lr, result.best_accuracy - result.accuracy))
    added = pd.DataFrame(rows, columns=["setting", "lr", "points"])

    def mean(*settings):
        return f"{added.loc[added['setting'].isin(settings), 'points'].mean():.1f}"

    by_rate = added[added["setting"] == "pretraining"].groupby("lr")["points"].mean()
    dense = f"{mean('pretraining')} points to a dense network ({by_rate.min():.1f} to {by_rate.max():.1f}"
    assert f"{dense} by learning rate)" in said
    sparse = mean("LT-OMP", "RR-OMP"), mean("LT-IMP", "RR-IMP")
    assert "{} to a subnetwork of OMP and {} to one of IMP".format(*sparse) in said
