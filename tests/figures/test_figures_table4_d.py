"""Table 4 and Appendix D: which runs they are, and what they draw from them."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hand_made import S11, SMALL, rows

from lthpaper.figures import FIGURES, appendix_d, fig1, table4
from lthpaper.figures.style import COLOURS, symbols
from lthpaper.runs import experiments
from lthpaper.runs.run import Fresh, Rewind
from lthpaper.runs.run import setting as name_of
from lthpaper.runs.scales import scale
from lthpaper.store.store import Store
from lthpaper.store.table import COLUMNS
from lthpaper.store.table import table as tidy
from lthpaper.sweep.execute import execute

LAPTOP = scale("laptop", seeds=1)
NOWHERE = Store("a-store-that-is-not-there")


def frame(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)


# --- Table 4 ---


def test_every_round_trains_at_the_pretraining_rate_and_the_subnetwork_alone_at_another():
    for trial in table4.trials(LAPTOP):
        run = trial.run
        if run.mask is None:
            continue
        chain = [run.mask.after]
        while chain[-1].mask is not None:
            chain.append(chain[-1].mask.after)
        assert len(chain) == 11
        assert {r.recipe.lr for r in chain} <= {0.01, 0.1}
        assert len({r.recipe.lr for r in chain}) == 1
        assert run.recipe == LAPTOP.recipe.with_(lr=run.recipe.lr)  # nothing but the rate is another


def test_two_pretraining_rates_meet_every_rate_of_the_grid():
    table = tidy(table4.trials(LAPTOP), NOWHERE)
    lt = table[table["setting"] == "LT-IMP"]
    pairs = set(zip(lt["pretraining_lr"], lt["lr"], strict=True))
    assert pairs == {(dense, lr) for dense in (0.01, 0.1) for lr in LAPTOP.grid}
    assert {name_of(t.run) for t in table4.trials(LAPTOP)} == {"pretraining", "LT-IMP", "RR-IMP"}


def test_equal_rates_are_figure_1_s_runs():
    shared = {t.run.digest for t in fig1.trials(LAPTOP)}
    for trial in table4.trials(LAPTOP):
        same = trial.run.mask is None or trial.run.mask.after.recipe.lr == trial.run.recipe.lr
        assert (trial.run.digest in shared) == same


def test_one_learning_rate_in_figure_1_gives_one_row():
    table = tidy(table4.trials(LAPTOP.with_(learning_rates=(0.1,))), NOWHERE)
    assert set(table["pretraining_lr"].dropna()) == {0.1}


def mixed():
    return frame(
        rows("pretraining", {0.01: 90.0, 0.1: 93.0}),
        *(
            rows(setting, {0.01: 90.0, 0.1: 91.0 + dense}, S11, (-0.1, 0.0, 0.1), pretraining_lr=dense)
            for setting in ("LT-IMP", "RR-IMP")
            for dense in (0.01, 0.1)
        ),
    )


def test_the_table_s_cells_are_means_over_seeds_and_a_diverged_seed_empties_its_cell():
    table = mixed()
    lost = (table["setting"] == "LT-IMP") & (table["pretraining_lr"] == 0.01) & (table["lr"] == 0.01)
    table.loc[lost & (table["seed"] == 1), "accuracy"] = np.nan
    found = table4.cells(table).set_index(["setting", "pretraining_lr", "lr"])
    assert found.loc[("LT-IMP", 0.1, 0.1), "mean"] == pytest.approx(91.1)
    assert found.loc[("LT-IMP", 0.1, 0.1), "std"] == pytest.approx(0.1)
    assert math.isnan(found.loc[("LT-IMP", 0.01, 0.01), "mean"])
    text = table4.tabulate(table, SMALL)
    assert text.loc["LT-IMP, masks from 0.1", "0.1"] == "[91.1] ± 0.1*"
    assert text.loc["LT-IMP, masks from 0.01", "0.1"] == "[91.0] ± 0.1"
    assert text.loc["LT-IMP, masks from 0.01", "0.01"] == "×*"
    dense = (table["setting"] == "pretraining") & (table["lr"] == 0.1)
    table.loc[dense & (table["seed"] == 2), "accuracy"] = np.nan
    fig = table4.plot(table, SMALL)
    assert "pretraining 90.0 at 0.01, × at 0.1; ×: a seed diverged" in fig.get_suptitle()
    plt.close(fig)


@pytest.mark.parametrize("name", ["table4", "appendix-d"])
def test_what_is_not_trained_is_drawn_as_such(name):
    small = scale("smoke")
    table = tidy(FIGURES[name].trials(small), NOWHERE)
    fig = FIGURES[name].plot(table, small)
    fig.canvas.draw()
    assert "nothing has run yet" in fig.get_suptitle()
    assert len(FIGURES[name].tabulate(table, small))
    plt.close(fig)


def test_table_4_frames_equal_rates():
    fig = table4.plot(mixed(), SMALL)
    frames = [[p.get_xy() for p in ax.patches] for ax in fig.axes[:2]]
    assert [len(found) for found in frames] == [2, 2]
    centres = {(round(x + 0.47), round(y + 0.46)) for x, y in frames[0]}
    assert centres == {(0, 0), (1, 1)}
    assert "3 seeds" in fig.get_suptitle()
    plt.close(fig)


# --- Appendix D ---


def test_rewinding_is_to_early_epochs_before_the_end():
    assert experiments.rewinding_epochs(scale("paper")) == (4, 8, 16)
    assert experiments.rewinding_epochs(LAPTOP) == (4, 8, 16)
    assert experiments.rewinding_epochs(scale("smoke")) == (1,)
    assert experiments.rewinding_epochs(scale("smoke", epochs=1)) == ()


def test_rewound_runs_have_lt_s_masks_and_go_on_with_the_recipe_from_epoch_t():
    trials = appendix_d.trials(LAPTOP)
    masks = {(t.run.mask, t.run.recipe.lr) for t in trials if t.setting.startswith("LT-")}
    rewound = [t.run for t in trials if t.setting.startswith("WR-")]
    assert len(rewound) == 3 * 2 * len(LAPTOP.learning_rates)
    for run in rewound:
        assert (run.mask, run.recipe.lr) in masks
        assert isinstance(run.init, Rewind)
        assert run.first_epoch == run.init.epoch  # the schedule goes on from there
        assert run.cost == LAPTOP.epochs - run.init.epoch
        assert isinstance(run.init.to.init, Fresh)
        assert run.init.to.mask is None  # θt is the pretraining's own
    tuned = [t.run for t in trials if t.setting.startswith("FT-")]
    assert {run.cost for run in tuned} == {LAPTOP.epochs}  # the whole schedule again
    assert {run.init.epoch for run in tuned} == {LAPTOP.epochs}


def rewinding(wr=92.9, lt=91.0, rr=88.0):
    parts = [rows("pretraining", {0.1: 93.0})]
    for label in ("IMP", "OMP"):
        parts.append(rows(f"LT-{label}", {0.1: lt}, S11))
        parts.append(rows(f"RR-{label}", {0.1: rr}, S11))
        for t, mean in ((2.0, lt + 0.2), (6.0, wr)):
            parts.append(rows(f"WR-{label}", {0.1: mean}, S11, rewind=t))
        parts.append(rows(f"FT-{label}", {0.1: wr}, S11, rewind=60.0))
    return frame(*parts, rows("SDT", {0.1: 85.0}, S11))


def test_rewound_subnetworks_are_judged_in_lt_s_place_one_epoch_at_a_time():
    found = {(start, p): v.kind for start, p, v in appendix_d.verdicts(rewinding())}
    for pruning in ("IMP", "OMP"):
        assert found["θ0", pruning] == "none"
        assert found["θ2", pruning] == "none"
        assert found["θ6", pruning] == "Jackpot"
        assert found["θT", pruning] == "Jackpot"


def test_the_table_says_how_far_each_start_is_above_theta0():
    text = appendix_d.tabulate(rewinding(), SMALL)
    assert list(text.index) == ["θ0", "θ2", "θ6", "θT"] * 2
    assert list(text["above θ0"]) == ["", "+0.20", "+1.90", "+1.90"] * 2
    assert list(text["by the seeds"]) == list(text["ticket by the means"])


def test_a_start_that_is_not_trained_is_above_nothing():
    table = rewinding()
    lacking = table["setting"].str.startswith("WR-") & (table["rewind"] == 2.0)
    table.loc[lacking, ["accuracy", "fingerprint"]] = np.nan, ""
    assert list(appendix_d.tabulate(table, SMALL)["above θ0"]) == ["", "", "+1.90", "+1.90"] * 2


def test_appendix_d_crosses_a_start_at_which_a_seed_diverged():
    table = rewinding()
    gone = (table["setting"] == "LT-IMP") | (table["setting"] == "pretraining")
    table.loc[gone & (table["seed"] == 1), "accuracy"] = np.nan
    fig = appendix_d.plot(table, SMALL)
    crosses = {line.get_color() for line in fig.axes[0].lines if line.get_marker() == "x"}
    assert crosses == {COLOURS["LT-IMP"], COLOURS["pretraining"]}
    assert fig.axes[0].containers  # the other starts are there
    assert "×: a seed diverged" in fig.get_suptitle()
    assert appendix_d.tabulate(table, SMALL)["best accuracy"].iloc[0] == "–"
    plt.close(fig)


def test_appendix_d_joins_no_starts_across_one_that_has_not_run():
    table = rewinding()
    table.loc[(table["setting"] == "WR-IMP") & (table["rewind"] == 6), ["accuracy", "fingerprint"]] = (
        np.nan,
        "",
    )
    whole, broken = (
        next(line.get_ydata() for line in reversed(ax.lines) if line.get_color() == COLOURS["WR-IMP"])
        for ax in (appendix_d.plot(t, SMALL).axes[0] for t in (rewinding(), table))
    )
    assert np.isnan(whole).tolist() == [False] * 3  # θT, trained for longer, stands apart
    assert np.isnan(broken).tolist() == [False, False, True]
    plt.close("all")


def test_the_panel_orders_starts_from_theta0_to_theta_t_with_theta0_prime_apart():
    fig = appendix_d.plot(rewinding(), SMALL)
    ticks = [t.get_text() for t in fig.axes[0].get_xticklabels()]
    assert ticks == [symbols(name) for name in ("θ0′", "θ0", "θ2", "θ6", "θT")]
    assert "of 3 seeds" in fig.get_suptitle()
    plt.close(fig)


def test_the_legend_of_appendix_d_has_a_row_a_mask_in_the_order_of_the_starts():
    fig = appendix_d.plot(rewinding(), SMALL)
    words = [t.get_text().partition(": ")[2] for t in fig.legends[0].get_texts()][2:]  # column by column
    assert words[::2] == ["RR-IMP", "LT-IMP", "WR-IMP", "FT-IMP"]
    assert words[1::2] == ["RR-OMP", "LT-OMP", "WR-OMP", "FT-OMP"]
    plt.close(fig)


def test_both_are_trained_through_the_real_path(tmp_path):
    tiny = scale("smoke", rounds=(1,), learning_rates=(0.1,), grid=(0.1, 0.05))
    store = Store(tmp_path)
    trials = [*table4.trials(tiny), *appendix_d.trials(tiny)]
    execute([t.run for t in trials], store, workers=1, quiet=True)
    table = tidy(trials, store)
    assert table["accuracy"].notna().all()
    assert set(table.loc[table["setting"] == "WR-IMP", "rewind"]) == {1.0}
    assert set(table.loc[table["setting"] == "FT-OMP", "rewind"]) == {2.0}
