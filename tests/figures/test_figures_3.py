"""Figure 3, Appendix F.1 and Tables 2 and 3 say what the results say, and "not run" where there are none."""

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.markers import CARETDOWN, CARETUP

from lthpaper import data, paper
from lthpaper.figures import appendix_a, appendix_f, differences, drawn_table, fig1, fig3, table2, table3
from lthpaper.figures.means import seeds_note, spread
from lthpaper.figures.style import BY_MEANS, COLOURS, MARKERS, PAGE, SURE
from lthpaper.runs import experiments
from lthpaper.runs.scales import PAPER, SMOKE
from lthpaper.runs.settings import SETTINGS
from lthpaper.verdicts.evidence import NOT_RUN, UNDECIDED, YES
from lthpaper.verdicts.observations import ALIKE, NO_SMALLER, observations
from lthpaper.verdicts.tickets import verdict

NAN = math.nan
GRID = (0.005, 0.01, 0.1)
# A secondary prize: at 0.01 LT-IMP is similar to pretraining there and beats every RR, but not at the best.
SECONDARY = {
    "pretraining": (88.0, 90.0, 92.5),
    "LT-IMP": (88.0, 90.2, 89.9),
    "RR-IMP": (84.0, 86.0, 88.0),
    "LT-OMP": (83.0, 85.0, 88.1),
    "RR-OMP": (83.0, 85.0, 88.0),
    "SDT": (80.0, 82.0, 84.0),
}
SPREAD = (-0.1, 0.0, 0.1)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def tidy(curves=SECONDARY, grid=GRID, sparsity=0.9141, spread=SPREAD, experiments=(("resnet8", "digits"),)):
    """A tidy table: accuracies by setting over the grid, seeds spread about them; None: not trained yet."""
    rows = []
    for network, name in experiments:
        for setting, accuracies in curves.items():
            for lr, mean in zip(grid, accuracies, strict=True):
                for seed, apart in enumerate(spread):
                    s = 0.0 if setting == "pretraining" else sparsity
                    accuracy = NAN if mean is None else mean + apart
                    row = {"setting": setting, "network": network, "data": name, "epochs": 160, "lr": lr}
                    row |= {"sparsity": s, "seed": seed, "accuracy": accuracy}
                    row |= {"fingerprint": "" if mean is None else "x"}
                    rows.append(row | {"digest": f"{network}{name}{setting}{lr}{s}{seed}"})
    return pd.DataFrame(rows)


def unrun(scale):
    curves = {setting: (None,) * len(scale.grid) for setting in SETTINGS}
    return tidy(curves, scale.grid, experiments=[(t.network, t.data) for t in scale.tasks])


def texts(fig):
    return [t.get_text() for ax in fig.axes for t in ax.texts]


def bands(ax):
    """(kind, opacity) of the tickets drawn in a panel."""
    return [(c.get_label().removesuffix(" ticket"), c.get_alpha()) for c in ax.collections if c.get_hatch()]


def swatches(fig):
    """The legend's patches of tickets."""
    return [patch for patch in fig.legends[0].get_patches() if patch.get_hatch()]


def marks(ax, marker):
    """(learning rates without their shift, colour) of the marks at the foot."""
    return [
        ([min(GRID, key=lambda lr: abs(math.log(lr / x))) for x in line.get_xdata()], line.get_color())
        for line in ax.lines
        if line.get_marker() == marker and not line.get_clip_on()
    ]


def held(strip):
    """Condition -> learning rates at which IMP's marker stands in the strip, those filled and those open."""
    circles = [line for line in strip.lines if line.get_marker() == MARKERS["LT-IMP"]]
    assert [line.get_markerfacecolor() != "white" for line in circles] == [True, False] * 3
    rates = [sorted(line.get_xdata()) for line in circles]
    return dict(zip((5, 4, 3), zip(rates[::2], rates[1::2], strict=True), strict=True))


# --- Figure 3 and Appendix F ---


def test_the_appendix_has_every_run_of_figure_3():
    shown = {t.run.digest for t in fig3.trials(SMOKE)}
    assert shown
    assert shown <= {t.run.digest for t in appendix_f.trials(SMOKE)}


def test_a_panel_has_all_six_settings_over_the_grid_at_one_sparsity():
    trials = [t for t in fig3.trials(SMOKE) if t.run.task.network == "vgg-small"]
    assert {t.setting for t in trials} == set(SETTINGS)
    assert {t.run.recipe.lr for t in trials} == set(SMOKE.grid)
    assert {round(t.sparsity, 3) for t in trials} == {0.0, 0.914}


def test_the_sparsity_of_a_panel_is_the_texts_where_the_scale_has_it():
    shown = {key: round(s, 3) for key, s in experiments.shown_sparsities(PAPER).items()}
    assert shown[("resnet20", "cifar10")] == shown[("vgg16", "cifar10")] == 0.914
    assert shown[("mobilenet-v1", "cifar10")] == 0.832
    further = experiments.shown_sparsities(PAPER.with_(rounds=(8, 13)))
    assert round(further[("resnet32", "cifar10")], 3) == round(further[("resnet20", "cifar10")], 3) == 0.945
    assert round(further[("mobilenet-v1", "cifar10")], 3) == 0.832


def test_experiments_that_have_not_run_are_panels_that_say_so():
    fig = fig3.plot(unrun(PAPER), PAPER)
    fig.canvas.draw()
    assert texts(fig).count("IMP: not run") == len(PAPER.experiments)
    assert fig.get_size_inches()[0] == PAGE
    assert "nothing has run yet" in fig.get_suptitle()


def test_marks_at_a_learning_rate_stand_apart_and_clear_of_those_at_the_double():
    grid = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5)
    table = tidy(
        dict.fromkeys(SETTINGS, (90.0,) * 6), grid, experiments=[("resnet8", "digits"), ("vgg", "digits")]
    )
    fig = fig3.plot(table, SMOKE)
    fig.canvas.draw()
    lines = [
        line for line in fig.axes[0].lines if line.get_marker() in MARKERS.values() and line.get_clip_on()
    ]
    assert len(lines) == len(SETTINGS)
    x = np.array(
        [fig.axes[0].transData.transform(np.array(line.get_data(), float).T)[:, 0] for line in lines]
    )
    points = 72 / fig.dpi * np.sort(x, axis=0)  # (settings, rates)
    apart = np.diff(points, axis=0).min()
    assert apart > 2  # points, half a mark
    assert (points[0, 1:] - points[-1, :-1]).min() > 2 * apart


def test_marks_at_the_outer_learning_rates_stand_clear_of_the_edges_of_a_narrow_panel():
    grid = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5)
    table = pd.concat([tidy(dict.fromkeys(SETTINGS, (90.0,) * 6), grid, s) for s in (0.59, 0.832, 0.914)])
    fig = appendix_f.plot(table.drop_duplicates("digest"), SMOKE)
    fig.canvas.draw()
    for ax in fig.axes[::2]:
        marks = [line for line in ax.lines if line.get_marker() in MARKERS.values() and line.get_clip_on()]
        x = np.concatenate([ax.transData.transform(line.get_xydata())[:, 0] for line in marks])
        half = 2 * fig.dpi / 72 * 2**0.5  # of a diamond of four points
        assert ax.bbox.x0 + half < x.min()
        assert x.max() < ax.bbox.x1 - half


def test_a_row_without_a_mark_says_of_which_mask_it_speaks():
    low = SECONDARY | {"LT-IMP": (80.0, 80.0, 80.0), "LT-OMP": (80.0, 80.0, 80.0)}
    without = dict.fromkeys(("LT-IMP", "RR-IMP"), (None, None, None))
    for curves, said in ((low, "nowhere"), (low | without, "OMP: nowhere")):
        assert [t.get_text() for t in fig3.plot(tidy(curves), SMOKE).axes[1].texts] == [said] * 3


def test_the_legend_names_what_is_drawn():
    some = SECONDARY | dict.fromkeys(("LT-IMP", "RR-IMP", "SDT"), (None, None, None))
    for curves, named in ((some, {"pretraining", "LT-OMP", "RR-OMP"}), (SECONDARY, set(SECONDARY))):
        (legend,) = fig3.plot(tidy(curves), SMOKE).legends
        assert named == {t.get_text() for t in legend.get_texts()} & set(SETTINGS)


def test_the_ticket_is_named_by_mask_and_drawn_where_lt_beats_every_rr():
    fig = fig3.plot(tidy(), SMOKE)
    assert {"IMP: secondary prize", "OMP: no ticket"} <= set(texts(fig))
    assert bands(fig.axes[0]) == [("secondary prize", SURE)]
    (drawn,) = (c for c in fig.axes[0].collections if c.get_hatch())
    span = drawn.get_paths()[0].get_extents()
    middle = fig.axes[0].transAxes.transform((span.x0 + span.width / 2, 0))
    lt = [line for line in fig.axes[0].lines if line.get_marker() == MARKERS["LT-IMP"] and line.get_clip_on()]
    (mark,) = (line.get_xdata()[GRID.index(0.01)] for line in lt)
    assert mark == pytest.approx(0.01, rel=0.1)  # beside the other settings' marks
    assert fig.axes[0].transData.inverted().transform(middle)[0] == pytest.approx(mark, rel=0.001)


def test_the_strip_says_at_which_learning_rates_each_condition_holds():
    v = verdict(tidy())
    assert v[3].lrs
    assert v[4].lrs
    shown = held(fig3.plot(tidy(), SMOKE).axes[1])
    assert {n: sorted(filled + open_) for n, (filled, open_) in shown.items()} == {
        n: sorted(v[n].lrs) for n in (5, 4, 3)
    }


def test_a_mark_is_filled_only_at_the_learning_rate_whose_difference_the_seeds_support():
    """At 0.005 LT equals pretraining by the means alone: its seeds scatter by points."""
    table = tidy(SECONDARY | {"LT-IMP": (88.1, 90.2, 89.9)})
    wild = (table["setting"] == "LT-IMP") & (table["lr"] == 0.005)
    table.loc[wild, "accuracy"] += table.loc[wild, "seed"].map({0: -4.0, 1: 0.0, 2: 4.0})
    v = verdict(table)
    assert (v[4].holds_ours, v[4].lrs, v[4].best) == (YES, (0.005, 0.01), ("LT-IMP", 0.01))
    assert held(fig3.plot(table, SMOKE).axes[1])[4] == ([0.01], [0.005])


@pytest.mark.parametrize("luck", range(8))
def test_a_mark_is_filled_only_where_the_condition_is_settled_and_would_be_at_this_rate_alone(luck):
    table, draw = tidy(), np.random.default_rng(luck)
    table["accuracy"] += draw.normal(scale=0.5, size=len(table))
    v = verdict(table)
    lt = table["setting"] == "LT-IMP"
    alone = {lr: verdict(table[~lt | (table["lr"] == lr)]) for lr in table.loc[lt, "lr"].unique()}
    for n, (filled, _) in held(fig3.plot(table, SMOKE).axes[1]).items():
        sure = [lr for lr in v[n].lrs if v[n].holds_ours == YES and alone[lr][n].holds_ours == YES]
        assert filled == sorted(sure)
    plt.close("all")


def test_a_ticket_that_the_seeds_do_not_settle_is_pale_and_has_a_question_mark():
    fig = fig3.plot(tidy(spread=(0.0,)), SMOKE)
    assert "IMP: secondary prize?" in texts(fig)
    assert bands(fig.axes[0]) == [("secondary prize", BY_MEANS)]
    assert [(p.get_label(), p.get_alpha()) for p in swatches(fig)] == [("secondary prize ticket", BY_MEANS)]


def test_no_ticket_is_said_too():
    curves = SECONDARY | {"LT-IMP": (84.0, 86.0, 88.0)}
    fig = fig3.plot(tidy(curves), SMOKE)
    assert "IMP: no ticket" in texts(fig)
    assert not swatches(fig)
    assert "IMP: no ticket?" in texts(fig3.plot(tidy(curves, spread=(0.0,)), SMOKE))


def test_no_ticket_for_a_trivial_sparsity_is_told_from_one_that_the_strips_explain():
    table = tidy()
    pruned = table["sparsity"] > 0
    trivial = table.assign(sparsity=table["sparsity"].where(~pruned, 0.5))
    assert {"IMP: no ticket (① fails)", "OMP: no ticket (① fails)"} <= set(texts(fig3.plot(trivial, SMOKE)))


def test_no_ticket_is_not_said_while_runs_that_could_be_one_are_missing():
    fig = fig3.plot(tidy(SECONDARY | {"LT-IMP": (84.0, None, None)}), SMOKE)
    assert "IMP: not yet complete" in texts(fig)
    assert "6 of 54 runs are still missing" in fig.get_suptitle()


def test_the_whole_range_of_accuracies_is_shown():
    curves = SECONDARY | {"RR-IMP": (10.0, 86.0, 88.0)}
    ax = fig3.plot(tidy(curves), SMOKE).axes[0]
    low, high = ax.get_ylim()
    assert low < 10
    assert high > 92.6
    places = ax.transAxes.inverted().transform(ax.transData.transform([(0.01, 90.0), (0.01, 92.5)]))
    assert places[1, 1] - places[0, 1] > 0.09  # and the best are told apart


def test_a_learning_rate_at_which_a_seed_diverged_is_crossed_and_out_of_the_curve():
    table = tidy()
    table.loc[(table["setting"] == "LT-OMP") & (table["lr"] == 0.1) & (table["seed"] == 0), "accuracy"] = NAN
    ax = fig3.plot(table, SMOKE).axes[0]
    assert marks(ax, "x") == [([0.1], COLOURS["LT-OMP"])]
    curve = [
        line for line in ax.lines if line.get_marker() == MARKERS["LT-OMP"] and line.get_linestyle() == "-"
    ]
    assert [np.isfinite(line.get_ydata()).sum() for line in curve] == [2]


def test_the_panel_judges_by_the_thresholds_that_it_is_given():
    curves = SECONDARY | {"LT-IMP": (88.0, 90.2, 91.8)}  # 0.7 below the best pretraining
    table = tidy(curves, spread=(-0.01, 0.0, 0.01))
    wide = paper.Thresholds(similar=1.0)
    for limits, said in ((None, "IMP: secondary prize"), (wide, "IMP: Jackpot")):
        fig = appendix_f.plot(table, SMOKE, limits)
        assert said in texts(fig)
        assert verdict(table, limits).kind in said
        (band,) = fig.axes[0].patches
        assert band.get_height() == pytest.approx(1.0 if limits else 0.5)


def test_a_cell_with_a_diverged_seed_has_no_mean_and_one_that_waits_for_a_seed_has():
    table = tidy({"pretraining": (90.0, 91.0, 92.0)})
    gone = table["seed"] == 0
    table.loc[gone & (table["lr"] == 0.01), "accuracy"] = NAN
    table.loc[gone & (table["lr"] == 0.1), ["accuracy", "fingerprint"]] = NAN, ""
    found = spread(table, "lr").set_index("lr")
    assert found["diverged"].tolist() == [False, True, False]
    assert found["mean"].tolist() == pytest.approx([90.0, NAN, 92.05], nan_ok=True)
    assert found["n"].tolist() == [3, 2, 2]
    assert seeds_note(table).endswith("2–3 seeds")
    table.loc[(table["seed"] == 1) & (table["lr"] == 0.1), ["accuracy", "fingerprint"]] = NAN, ""
    assert seeds_note(table).endswith("1–3 seeds (no bar: one seed, or shorter than the mark)")


def test_figure_3_and_appendix_a_join_no_marks_across_one_that_is_missing():
    for lost in ({"accuracy": NAN, "fingerprint": ""}, {"accuracy": NAN}):  # not run; diverged
        table = tidy()
        table.loc[(table["setting"] == "LT-IMP") & (table["lr"] == 0.01), list(lost)] = list(lost.values())
        assert joined(fig3.plot(table, SMOKE).axes[0]) == {"LT-IMP": [], "RR-IMP": [(0, 1), (1, 2)]}
        parts = [tidy(sparsity=s) for s in (0.2, 0.36, 0.488)]
        table = pd.concat(
            [parts[0], *(p[p["setting"] != "pretraining"] for p in parts[1:])], ignore_index=True
        )
        missing = (table["setting"] == "LT-IMP") & (table["sparsity"] == 0.36)
        table.loc[missing, list(lost)] = list(lost.values())
        fig = appendix_a.plot(table[table["setting"].isin(fig1.SETTINGS)], SMOKE)
        assert joined(fig.axes[0]) == {"LT-IMP": [], "RR-IMP": [(0, 1), (1, 2)]}
        assert joined(fig.axes[3]) == {"LT-IMP": []}  # LT less RR
        assert fig.axes[0].get_xlim() == fig.axes[3].get_xlim()  # whichever of its runs are there


def joined(ax) -> dict[str, list[tuple[int, int]]]:
    """Setting -> the neighbouring marks that its line joins; LT-IMP's and RR-IMP's, if drawn."""
    found = {}
    for setting in ("LT-IMP", "RR-IMP"):
        for line in ax.lines:
            if line.get_marker() == MARKERS[setting] and len(line.get_xdata()) > 1:
                there = np.isfinite(line.get_ydata())
                pairs = itertools.pairwise(range(len(there)))
                found[setting] = [(i, j) for i, j in pairs if there[i] and there[j]]
    return found


def test_appendix_a_crosses_what_diverged_and_leaves_it_out_of_lines_and_curves():
    table = tidy({s: SECONDARY[s] for s in ("pretraining", "LT-IMP", "RR-IMP")})
    further = table[table["setting"] != "pretraining"].assign(sparsity=0.5)
    table = pd.concat([table, further], ignore_index=True)
    small = table["lr"] == 0.005
    lost = (table["setting"] == "pretraining") | (table["setting"] == "LT-IMP") & (table["sparsity"] == 0.5)
    table.loc[small & lost & (table["seed"] == 0), "accuracy"] = NAN
    fig = appendix_a.plot(table, SMOKE)
    crossed = [c for ax in fig.axes for _, c in marks(ax, "x")]
    assert crossed == [COLOURS["pretraining"], COLOURS["LT-IMP"]]
    assert "×: a seed diverged" in fig.get_suptitle()
    shown = [
        [
            line.get_ydata()[line.get_ydata() > 0].size
            for line in ax.lines
            if line.get_marker() == MARKERS["LT-IMP"]
        ]
        for ax in fig.axes[:2]
    ]
    assert [max(lengths) for lengths in shown] == [1, 2]
    levels = [[line for line in ax.lines if list(line.get_xdata()) == [0, 1]] for ax in fig.axes[:2]]
    assert [len(found) for found in levels] == [0, 1]


def test_figure_1_shows_lt_less_rr_with_its_interval():
    table = tidy({s: SECONDARY[s] for s in fig1.SETTINGS})
    below = fig1.plot(table, SMOKE).axes[1]
    (bars,) = below.containers
    (points,) = (line for line in below.lines if line.get_marker() == MARKERS["LT-IMP"])
    assert list(points.get_ydata()) == pytest.approx([4.0, 4.2, 1.9])
    (spans,) = bars[2]
    low, high = spans.get_segments()[0][:, 1]
    assert low < 4.0 < high


def test_figure_1_has_one_range_for_the_differences_of_all_panels():
    some, more = (tidy({k: SECONDARY[k] for k in fig1.SETTINGS}, sparsity=s) for s in (0.59, 0.832))
    some.loc[some["setting"] == "LT-IMP", "accuracy"] += 5  # the lead is largest in the first panel
    fig = fig1.plot(pd.concat([some, more[more["setting"] != "pretraining"]]), SMOKE)
    foot, head = fig.axes[2].get_ylim()
    for below in fig.axes[2:]:
        (points,) = (line for line in below.lines if line.get_marker() == MARKERS["LT-IMP"])
        assert all(foot < lead < head for lead in points.get_ydata())


def test_an_interval_that_goes_on_beyond_its_panel_ends_in_an_arrow():
    table = tidy({s: SECONDARY[s] for s in fig1.SETTINGS})
    assert not _arrows((fig := fig1.plot(table, SMOKE)).axes[1])
    assert "arrow" not in fig.get_suptitle()
    two = table[table["seed"] < 2].copy()
    two.loc[(two["setting"] == "LT-IMP") & (two["seed"] == 1), "accuracy"] += 6
    assert _arrows((fig := fig1.plot(two, SMOKE)).axes[1]) == {CARETUP, CARETDOWN}
    assert "arrow: the interval goes on" in fig.get_suptitle()


def test_one_seed_has_no_bounds_and_no_room_is_left_for_them():
    table = tidy({s: SECONDARY[s] for s in fig1.SETTINGS})
    said = fig1.plot(table, SMOKE).get_suptitle()
    assert "LT − RR, seed by seed, with 95 % intervals" in said
    fig = fig1.plot(table[table["seed"] == 0], SMOKE)
    assert "interval" not in fig.get_suptitle()
    foot, head = fig.axes[1].get_ylim()  # differences are 1.9 to 4.2
    assert -1 < foot < 0
    assert 4.2 < head < 5


def _arrows(ax):
    return {line.get_marker() for line in ax.lines} & {CARETUP, CARETDOWN}


def test_appendix_a_sets_two_lengths_of_training_beside_each_other():
    """Where both are as accurate, neither hides the other."""
    table = tidy({s: SECONDARY[s] for s in fig1.SETTINGS}, sparsity=0.59)
    shorter = table.assign(epochs=table["epochs"].max() // 2)
    fig = appendix_a.plot(pd.concat([table, shorter], ignore_index=True), SMOKE)
    width = 4 / 72 * fig.dpi  # of a mark
    for ax in (fig.axes[0], fig.axes[3]):
        lines = [line for line in ax.lines if line.get_marker() == MARKERS["LT-IMP"]]
        first, second = (ax.transData.transform(line.get_xydata())[0] for line in lines)
        assert first[1] == second[1]
        assert abs(first[0] - second[0]) > width / 3


def test_appendix_a_says_that_pretraining_is_a_mean_alone():
    table = tidy({s: SECONDARY[s] for s in fig1.SETTINGS})
    said = [
        [text.get_text() for text in of.plot(table, SMOKE).legends[0].get_texts()]
        for of in (fig1, appendix_a)
    ]
    assert [words[0] for words in said] == ["pretraining", "pretraining (mean)"]


def test_figure_1_has_no_place_for_a_length_of_training_of_which_nothing_has_run():
    table = tidy({s: SECONDARY[s] for s in fig1.SETTINGS})
    shorter = table.assign(epochs=table["epochs"].max() // 2, accuracy=NAN, fingerprint="")
    both = fig1.plot(pd.concat([table, shorter]), SMOKE)
    alone = fig1.plot(table, SMOKE)
    places = [[list(line.get_xdata()) for line in fig.axes[1].lines] for fig in (both, alone)]
    assert places[0] == places[1]
    (points,) = (line for line in both.axes[1].lines if line.get_marker() == MARKERS["LT-IMP"])
    assert list(points.get_xdata()) == [0, 1, 2]
    words = [[text.get_text() for text in fig.legends[0].get_texts()] for fig in (both, alone)]
    assert words[0] == words[1]
    assert "missing" not in alone.get_suptitle()
    assert "27 of 54 runs are still missing, all of 80 epochs among them" in both.get_suptitle()


def test_lt_less_rr_is_of_the_seeds_that_both_have():
    table = tidy()
    lost = (table["setting"] == "RR-IMP") & (table["seed"] > 0)
    table.loc[lost, ["accuracy", "fingerprint"]] = [NAN, ""]
    found = differences.between(table, "LT-IMP", "RR-IMP", ["lr"])
    assert set(found["n"]) == {1}
    first = table[table["seed"] == 0].pivot(index="lr", columns="setting", values="accuracy")
    assert list(found["difference"]) == pytest.approx(list(first["LT-IMP"] - first["RR-IMP"]))
    assert found["low"].isna().all()
    said = fig1.plot(table[table["setting"].isin(fig1.SETTINGS)], SMOKE).get_suptitle()
    assert "LT − RR over the seeds that both have" in said


def test_what_the_paper_states_is_a_star_for_its_own_network_and_data_alone():
    table = tidy({s: SECONDARY[s] for s in fig1.SETTINGS}, experiments=(("resnet20", "cifar10"),))
    stars = [line for line in fig1.plot(table, PAPER).axes[0].lines if line.get_marker() == "*"]
    assert sorted(float(line.get_ydata()[0]) for line in stars) == [82.9, 87.4, 89.6, 92.3]
    other = fig1.plot(table.assign(network="resnet8"), SMOKE)
    assert not [line for line in other.axes[0].lines if line.get_marker() == "*"]


def test_the_appendix_has_a_row_an_experiment_and_a_column_a_sparsity():
    parts = [
        tidy(sparsity=s, experiments=(("resnet8", "digits"), ("vgg-small", "digits")))
        for s in (0.832, 0.9141)
    ]
    fig = appendix_f.plot(pd.concat(parts, ignore_index=True).drop_duplicates("digest"), SMOKE)
    assert [title for ax in fig.axes if (title := ax.get_title(loc="left"))] == [
        f"{network} · digits, $s$ = {s}" for network in ("resnet8", "vgg-small") for s in ("0.832", "0.914")
    ]
    tops = [ax for ax in fig.axes if ax.get_title(loc="left")]
    assert tops[0].get_ylim() == tops[1].get_ylim()  # one range of accuracies a row


# --- the observations behind Table 3 ---


def answers(question, curves=None, **options):
    """(by the means, by the seeds)"""
    found = observations(tidy(SECONDARY | (curves or {}), **options)).iloc[0]
    return found[question], found[f"{question}_ours"]


def test_the_better_pruning_leads_by_more_than_half_a_point():
    assert answers("pruning") == ("IMP", "IMP")
    assert answers("pruning", {"LT-OMP": (88.0, 92.0, 80.0)}) == ("OMP", "OMP")
    assert answers("pruning", {"LT-OMP": (88.0, 90.2, 80.0)}) == (ALIKE, ALIKE)
    assert answers("pruning", {"LT-OMP": (88.0, 89.7, 80.0)})[0] == ALIKE  # exactly half a point


def test_what_seeds_cannot_settle_is_undecided():
    assert answers("pruning", spread=(0.0,)) == ("IMP", UNDECIDED)
    assert answers("pruning", {"LT-OMP": (88.0, 90.1, 80.0)}, spread=(-2.0, 0.0, 2.0)) == (ALIKE, UNDECIDED)


def test_what_has_not_run_is_said_and_keeps_open_what_it_could_overturn():
    assert answers("pruning", {"LT-OMP": (None, None, None)}) == (NOT_RUN, NOT_RUN)
    assert answers("pruning", {"LT-OMP": (88.0, 88.0, None)}) == ("IMP", UNDECIDED)


def test_a_pruning_that_diverges_at_every_learning_rate_is_worse():
    assert answers("pruning", {"LT-OMP": (NAN, NAN, NAN)}) == ("IMP", "IMP")


def test_small_and_large_rates_lie_on_either_side_of_a_fixed_border():
    assert answers("rate", {"LT-IMP": (88.0, 91.2, 89.9)}) == ("small", "small")
    assert answers("rate", {"LT-IMP": (88.0, 89.0, 91.0)}) == ("large", "large")
    first = {"pretraining": (93.0, 90.0, 90.0)}  # where pretraining is best does not matter
    assert answers("rate", first | {"LT-IMP": (88.0, 89.0, 91.0)}) == ("large", "large")
    assert answers("rate", grid=(0.05, 0.1, 0.2)) == (NO_SMALLER, NO_SMALLER)


def test_theta0_matters_where_lt_is_above_rr():
    assert answers("theta0") == ("LT", "LT")
    assert answers("theta0", {"RR-OMP": (83.0, 85.0, 91.5)}) == ("RR", "RR")
    assert observations(tidy()).iloc[0]["theta0_at"] == GRID


# --- Table 3 ---


def column(table, scale=SMOKE):
    return table3.tabulate(table, scale)["resnet8; digits"]


def test_table_3_says_up_to_which_sparsity_there_are_tickets():
    none = SECONDARY | {"LT-IMP": (84.0, 86.0, 88.0)}
    table = pd.concat([tidy(sparsity=0.832), tidy(none)], ignore_index=True).drop_duplicates("digest")
    said = column(table)
    assert said["secondary prize, up to s, by means"] == "IMP 0.832; OMP none"
    assert said["Jackpot ticket, up to s, by means"] == "none"
    assert said["compared at s"] == "0.914"
    assert said["residual connections"] == "3"


def test_a_ticket_that_is_open_above_is_so_much_or_more():
    unfinished = SECONDARY | {"SDT": (None, None, None)}
    table = pd.concat([tidy(sparsity=0.832), tidy(unfinished)], ignore_index=True).drop_duplicates("digest")
    assert column(table)["secondary prize, up to s, by means"].startswith("IMP 0.832 or more")


def test_table_3_gives_answers_with_their_lead_and_their_learning_rates():
    said = column(tidy())
    assert said["IMP or OMP better, by means"] == "IMP (+2.1)"
    assert said["initial weights matter, by means"] == "yes (+2.2)"
    assert said["initial weights matter at learning rate"] == "0.005 to 0.1"


def test_table_3_of_what_has_not_run_says_so_everywhere():
    frame = table3.tabulate(unrun(PAPER), PAPER)
    assert frame.shape[1] == len(PAPER.experiments)
    asked = frame.drop(index=["residual connections", "compared at s"])
    assert set(asked.to_numpy().ravel()) == {NOT_RUN}
    table3.plot(unrun(SMOKE), SMOKE).canvas.draw()


# --- Table 2 ---


@pytest.fixture(scope="module")
def counted():
    return table2.measure([], None, SMOKE, None)


def test_every_printed_count_is_ours_but_resnet50s_on_tiny_imagenet(counted):
    stated = counted[counted["in_paper"]]
    assert len(stated) == sum(len(row.data) for row in paper.TABLE2)
    others = stated[stated["agrees"] == "no"]
    assert list(zip(others["network"], others["data"], strict=True)) == [("resnet50-tiny", "tiny-imagenet")]
    assert (others["count"] - others["implied"]).tolist() == [
        64 * 3 * (3 * 3 - 7 * 7)
    ]  # the first convolution


def test_own_counts_images_and_residual_connections_are_the_models_and_the_cards(counted):
    rows = counted.set_index(["network", "data"])
    assert rows.loc[("resnet20", "cifar100"), "parameters"] == 272_474 + 90 * 65
    assert rows.loc[("resnet20", "cifar10"), ["train", "test", "classes", "size"]].tolist() == [
        50_000,
        10_000,
        10,
        32,
    ]
    assert rows.loc[("resnet32", "cifar10"), "residual"] == 15
    assert (
        rows.loc[("vgg16", "cifar10"), "residual"] == rows.loc[("mobilenet-v1", "cifar10"), "residual"] == 0
    )
    assert {("resnet8", "digits"), ("vgg-small", "digits")} <= set(rows.index)


def test_a_data_set_that_no_loader_knows_is_marked(counted):
    lines = table2.tabulate(counted, SMOKE)["data"]
    marked = {name.rstrip("*") for name in lines if name.endswith("*")}
    assert marked == {c.data for c in paper.TABLE2_DATA} - set(data.SOURCES)


@pytest.mark.parametrize(
    ("count", "agrees"),
    [(272_474, "rounded"), (267_000, "rounded"), (279_999, "cut"), (265_000 - 1, "no"), (280_000, "no")],
)
def test_a_printed_count_may_be_rounded_or_cut(count, agrees):
    assert table2.agreement(count, 0.27) == agrees


# --- tables as pictures ---


@pytest.mark.parametrize("columns", [2, 11])
def test_no_text_of_a_drawn_table_runs_into_its_neighbour_or_off_the_picture(columns):
    frame = pd.DataFrame({f"network{i}; data": ["IMP 0.914; OMP none", "undecided"] for i in range(columns)})
    fig = drawn_table.draw_table(frame, "A table", ["A note. " * 40])
    fig.canvas.draw()
    boxes = [t.get_window_extent() for t in fig.axes[0].texts]
    width, height = fig.canvas.get_width_height()
    assert all(b.x0 >= 0 and b.x1 <= width and b.y0 >= 0 and b.y1 <= height for b in boxes)
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    assert not [1 for a, b in pairs if a.x0 < b.x1 and b.x0 < a.x1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2]
