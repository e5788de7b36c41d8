"""The forest plot of conditions, training curves, accuracy against sparsity, masks by layer."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from hand_made import DENSE, S8, S11, SMALL, minus, rows
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.text import Text
from over_the_edge import outside

from lthpaper.figures import (
    at_initialisation,
    claims_picture,
    conditions,
    fig3,
    forest,
    masks,
    means,
    sparsity,
    style,
    training,
)
from lthpaper.report.results_export import export
from lthpaper.runs.run import Fresh
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import SETTINGS
from lthpaper.store import table as tidy
from lthpaper.store.published import MANIFEST, MASKS
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute
from lthpaper.training.start import initial_weights
from lthpaper.verdicts.evidence import NO, YES
from lthpaper.verdicts.tickets import verdict, verdicts

TINY = scale("smoke", train_images=60, rounds=(1, 2), learning_rates=(0.1,), grid=(0.1,))
ROOT = Path(__file__).resolve().parents[2]
NOWHERE = Store("a-store-that-is-not-there")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("further"))
    wanted = [*training.trials(TINY), *masks.trials(TINY)]
    execute([t.run for t in wanted], store, workers=1, quiet=True)
    return store


def sanity(**about):
    below = {"LT-IMP": 0.3, "LT-OMP": 1.2, "RR-IMP": 2.0, "RR-OMP": 2.5, "SDT": 4.0}
    parts = [rows("pretraining", DENSE, **about)]
    parts += [
        rows(name, minus(DENSE, points), s, **about) for s in (S8, S11) for name, points in below.items()
    ]
    return pd.DataFrame([row for part in parts for row in part], columns=tidy.COLUMNS)


# --- conditions ---


def test_effects_are_the_verdicts_conditions_with_their_bounds():
    judged = verdicts(sanity())
    found = conditions.effects(judged["verdict"]).set_index(["sparsity", "pruning", "condition"])
    assert len(found) == len(judged) * 4
    for v in judged["verdict"]:
        for n in (2, 3, 4, 5):
            row = found.loc[(v.sparsity, v.pruning, v[n].symbol)]
            assert (row["difference"], row["threshold"]) == (v[n].difference, v[n].threshold)
            assert row["low"] < row["difference"] < row["high"]
            assert row["holds_ours"] == v[n].holds_ours


def test_the_forest_plot_has_a_row_a_verdict_and_a_threshold_a_condition():
    fig = conditions.plot(sanity(), SMALL)
    fig.canvas.draw()
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == [
        *("0.832 IMP", "0.832 OMP", "0.914 IMP", "0.914 OMP")
    ]
    dashed = [[line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"] for ax in fig.axes]
    assert dashed == [[0.5], [0.5], [-0.5], [-0.5]]
    said = [t.get_text() for t in fig.axes[-1].texts]
    assert said == ["Jackpot", "no ticket", "Jackpot", "no ticket"]
    fifth = conditions.effects(verdicts(sanity())["verdict"]).query("condition == '⑤'")
    assert fifth.groupby("pruning")["holds_ours"].unique().map(list).to_dict() == {"IMP": [YES], "OMP": [NO]}


def test_the_forest_plot_has_a_mark_for_a_pruning_rule_without_a_look_of_its_own():
    mine = sanity().assign(setting=lambda rows: rows["setting"].str.replace("OMP", "mine"))
    fig = conditions.plot(mine, SMALL)
    marks = {h.get_label(): h.get_marker() for h in fig.legends[0].legend_handles}
    assert {"IMP mask", "mine mask"} <= set(marks)
    assert marks["IMP mask"] != marks["mine mask"]
    both = conditions.draw([verdict(sanity().query("sparsity in (0, @S8)"), pruning=None)])
    assert "either mask" in [t.get_text() for t in both.legends[0].get_texts()]


def test_the_forest_plot_of_one_seed_speaks_of_no_bounds():
    said = [conditions.plot(table, SMALL).get_suptitle() for table in (sanity(), sanity().query("seed == 0"))]
    assert ["bounds" in words for words in said] == [True, False]


def test_shuffled_masks_have_a_column_and_a_row_of_the_strips_where_they_were_trained():
    below = rows("LT-shuffled-IMP", minus(DENSE, 1.5), S8) + rows("LT-shuffled-IMP", minus(DENSE, 0.4), S11)
    table = pd.concat([sanity(), pd.DataFrame(below)])
    fig = conditions.plot(table, SMALL)
    assert [ax.get_title()[:2].strip() for ax in fig.axes] == ["②", "③", "③m", "④", "⑤"]
    found = conditions.effects(verdicts(table)["verdict"]).query("condition == '③m'")
    assert found[["sparsity", "pruning", "holds_ours"]].to_numpy().tolist() == [
        [S8, "IMP", YES],
        [S11, "IMP", NO],
    ]
    third_m = conditions.tabulate(table, SMALL)["③m"].tolist()
    assert [said.partition(" (")[0] for said in third_m] == ["+1.2", "not run", "+0.1", "not run"]
    strip = fig3.plot(table, SMALL).axes[1]
    assert [t.get_text() for t in strip.get_yticklabels()] == ["⑤", "④", "③m", "③"]
    assert [t.get_text() for t in fig3.plot(sanity(), SMALL).axes[1].get_yticklabels()] == ["⑤", "④", "③"]


def test_a_data_set_that_trains_for_fewer_epochs_has_its_row():
    table = pd.concat([sanity(), sanity(network="resnet18", data="imagenet", epochs=90)])
    found = conditions.tabulate(table, SMALL).reset_index()["experiment"]
    assert set(found) == {"resnet8 on digits", "resnet18 on imagenet"}
    assert "160 or 90 epochs" in means.caption(table)


def test_the_table_of_masks_at_initialisation_counts_the_seeds_that_diverged():
    made = pd.DataFrame(rows("LT-SNIP", {0.1: 90.0}, S11) + rows("LT-GraSP", {0.1: 80.0}, S11))
    made.loc[[1, 3, 4, 5], "accuracy"] = math.nan  # one seed of SNIP's, all of GraSP's
    text = at_initialisation.tabulate(made.assign(collapsed=0.0), SMALL)["0.914"]
    assert text["0.1", "LT-SNIP"].endswith("(1 of 3 diverged)")
    assert text["0.1", "LT-GraSP"] == "3 of 3 diverged"


def test_what_has_not_run_has_a_row_without_a_mark():
    table = sanity()
    table.loc[table["setting"] == "SDT", ["accuracy", "fingerprint"]] = math.nan, ""
    fig = conditions.plot(table, SMALL)
    fig.canvas.draw()
    assert not [line for line in fig.axes[0].lines if line.get_marker() in ("o", "^")]
    assert [line for line in fig.axes[1].lines if line.get_marker() in ("o", "^")]
    assert conditions.tabulate(table, SMALL)["②"].unique().tolist() == ["not run"]
    words = [[t.get_text() for t in ax.texts] for ax in fig.axes]
    assert (words[0].count("not run"), words[1]) == (4, [])
    assert words[-1] == ["not yet complete", "no ticket"] * 2  # as Figure 3 says them: OMP fails anyhow


def test_a_setting_that_diverged_at_every_learning_rate_says_so_in_its_row():
    table = sanity()
    table.loc[table["setting"] == "RR-OMP", "accuracy"] = math.nan
    texts = [t.get_text() for t in conditions.plot(table, SMALL).axes[1].texts]
    assert texts == ["diverged: holds"] * 2


def test_an_interval_of_the_forest_plot_that_goes_on_ends_in_an_arrow_that_the_caption_names():
    assert not arrows(fig := conditions.plot(sanity(), SMALL))
    assert "arrow" not in fig.get_suptitle()
    two = sanity().query("seed < 2")
    two.loc[(two["setting"] == "LT-IMP") & (two["seed"] == 1), "accuracy"] += 6
    assert {CARETLEFT, CARETRIGHT} == arrows(fig := conditions.plot(two, SMALL))
    assert "arrow: the interval goes on" in fig.get_suptitle()


def arrows(fig):
    return {line.get_marker() for ax in fig.axes for line in ax.lines} & {CARETLEFT, CARETRIGHT}


def test_labels_of_a_narrow_axis_of_points_do_not_touch():
    with style.paper_style():
        fig, ax = plt.subplots(figsize=(1.1, 1))
        forest.points_axis(ax, pd.Series([-4.0, 4.0]))
        fig.canvas.draw()
    labels = [label for label in ax.get_xticklabels() if label.get_text()]
    assert [label.get_text() for label in labels] == ["−3", "0", "+3"]
    boxes = [label.get_window_extent() for label in labels]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    assert set(ax.get_xticks()) == {-3, -1, 0, 1, 3}


# --- training curves ---


def test_training_curves_are_the_stored_ones(trained):
    table = training.measure(training.trials(TINY), trained, TINY)
    assert list(table) == training.COLUMNS
    assert set(table["setting"]) == set(SETTINGS)
    for trial in training.trials(TINY):
        mine = table[table["digest"] == trial.run.digest].sort_values("epoch")
        assert mine["epoch"].tolist() == [1, 2]
        assert mine["train_loss"].tolist() == list(trained.get(trial.run).curves["train_loss"])
    fig = training.plot(table, TINY)
    fig.canvas.draw()
    lines = [line for line in fig.axes[0].lines if len(line.get_xdata()) == 2]
    assert len(lines) == len(SETTINGS)
    assert lines[0].get_ydata() == pytest.approx(
        table[table["setting"] == "pretraining"].groupby("epoch")["train_loss"].mean()
    )


def test_an_epoch_without_a_test_is_left_out_of_the_accuracy_alone(trained):
    table = training.measure(training.trials(TINY), trained, TINY)
    table.loc[table["epoch"] == 1, "test_accuracy"] = math.nan
    fig = training.plot(table, TINY)
    assert {len(line.get_xdata()) for line in fig.axes[0].lines} == {2}
    assert {len(line.get_xdata()) for line in fig.axes[1].lines} == {1}


def test_where_pretraining_has_converged_is_said():
    curves = {0.001: [2.0, 1.8, 1.6], 0.1: [2.0, 0.8, 0.4]}
    table = pd.DataFrame(
        {"setting": "pretraining", "lr": lr, "seed": seed, "epoch": epoch, "train_loss": loss}
        for lr, losses in curves.items()
        for seed in range(2)
        for epoch, loss in enumerate(losses, 1)
    )
    said = "Pretraining has converged, as ① asks, at 0.1, not at 0.001 (80 % of its training loss is left)."
    assert training.says(table, TINY) == [said]
    assert training.says(table.assign(epoch=math.nan), TINY) == []


def test_curves_of_what_has_not_run_say_so():
    table = training.measure(training.trials(TINY), NOWHERE, TINY)
    assert table["epoch"].isna().all()
    assert "nothing has run yet" in training.plot(table, TINY).get_suptitle()


# --- accuracy against sparsity ---


def test_a_panel_a_learning_rate_has_all_settings_over_sparsity_and_pretraining_as_a_level():
    fig = sparsity.plot(sanity(), SMALL)
    fig.canvas.draw()
    titled = [ax for ax in fig.axes if ax.get_title()]
    assert [ax.get_title() for ax in titled] == [f"resnet8, learning rate {lr:g}" for lr in DENSE]
    for ax, accuracy in zip(titled, DENSE.values(), strict=True):
        levels = [line.get_ydata()[0] for line in ax.lines if list(line.get_xdata()) == [0, 1]]
        assert levels == pytest.approx([accuracy])
        shown = {line.get_marker() for line in ax.lines if len(line.get_xdata()) == 2}
        assert {style.MARKERS[s] for s in SETTINGS[1:]} <= shown


# --- masks ---


def test_shares_and_norms_are_those_of_a_plain_count(trained):
    trials = masks.trials(TINY)
    assert {t.setting for t in trials} == {"LT-IMP", "LT-OMP"}
    table = masks.measure(trials, trained, TINY)
    for trial in trials:
        run = trial.run
        layers = table[(table["digest"] == run.digest) & (table["kind"] == "layer")].set_index("layer")
        mask = trained.weights(run)[1]
        ours, theirs = initial_weights(run), initial_weights(run.with_(init=Fresh(run.seed, 1)))
        assert set(layers.index) == set(mask)
        for name, m in mask.items():
            assert layers.loc[name, "kept"] == pytest.approx(m.double().mean().item())
            ratio = torch.linalg.norm(ours[name][m].double()) / torch.linalg.norm(theirs[name][m].double())
            assert layers.loc[name, "norm_ratio"] == pytest.approx(ratio.item())
        shares = (layers["kept"] * layers["weights"]).sum() / layers["weights"].sum()
        assert 1 - shares == pytest.approx(trial.sparsity, abs=1e-3)


def test_channels_add_up_to_their_layer(trained):
    table = masks.measure(masks.trials(TINY), trained, TINY)
    channels = table[table["kind"] == "channels"]
    whole = table[table["kind"] == "layer"].set_index(["digest", "layer"])["kept"]
    for key, kept in channels.groupby(["digest", "layer"])["kept"].mean().items():
        assert kept == pytest.approx(whole[key])
    fig = masks.plot(table, TINY)
    assert sum(len(ax.images) for ax in fig.findobj(plt.Axes)) == 2


def test_published_masks_are_drawn_as_the_stores_own(trained, tmp_path):
    export(["masks"], TINY, trained, tmp_path / "results")
    layer = Store(tmp_path / "none", tmp_path / "results")
    own, table = (masks.measure(masks.trials(TINY), store, TINY) for store in (trained, layer))
    assert {"layer", "channels"} == set(table["kind"])
    pd.testing.assert_frame_equal(table, own)
    folder = tmp_path / "results" / "smoke"
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"][MASKS]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / MASKS).unlink()
    table = masks.measure(masks.trials(TINY), Store(tmp_path / "none", tmp_path / "results"), TINY)
    assert set(table["kind"]) == {"layer"}
    assert table["norm_ratio"].isna().all()
    assert list(table["kept"]) == list(own.loc[own["kind"] == "layer", "kept"])


def test_channels_are_of_the_seed_with_most_masks_and_what_is_missing_is_said(tmp_path):
    two = replace(TINY, seeds=2)
    trials, store = masks.trials(two), Store(tmp_path)
    execute(
        [t.run for t in trials if t.setting == "LT-OMP" and t.run.seed == 1], store, workers=1, quiet=True
    )
    table = masks.measure(trials, store, two)
    assert set(table.loc[table["kind"] == "channels", "seed"]) == {1}
    fig = masks.plot(table, two)
    said = [text.get_text() for text in fig.findobj(Text)]
    assert any(text.endswith("seed 1") for text in said)
    assert any("3 of 4 runs are missing or diverged" in text for text in said)
    assert [sum(text == what for text in said) for what in ("no run of IMP", "no mask of IMP")] == [1, 1]
    assert "no mask" in said  # in the place of IMP's channels
    execute([t.run for t in trials if t.run.seed == 0], store, workers=1, quiet=True)
    table = masks.measure(trials, store, two)
    assert set(table.loc[table["kind"] == "channels", "seed"]) == {0}


def test_n_of_norms_is_said_where_fewer_masks_than_shares_are_known(trained):
    table = masks.measure(masks.trials(TINY), trained, TINY)
    more = table[table["kind"] == "layer"].assign(seed=1, norm_ratio=math.nan)
    note = masks.plot(pd.concat([table, more]), TINY).findobj(Text)
    assert any("deviation of 2 seeds, norms: one seed" in text.get_text() for text in note)


def test_what_masks_keep_is_said_with_norms_where_they_are_known():
    row = {"kind": "layer", "setting": "LT-OMP", "lr": 0.1, "seed": 0}
    table = pd.DataFrame(
        [
            row | {"layer": "a", "kept": 0.1, "norm_ratio": 1.5},
            row | {"layer": "b", "kept": 0.4, "norm_ratio": 1.2},
        ]
    )
    kept, norms = (
        "OMP's masks keep from 10 % of a to 40 % of b",
        "; θ0 has 1.20 to 1.50 times the norm of θ0′ there",
    )
    means = " (means over learning rates and seeds)."
    assert masks.says(table, TINY) == [kept + norms + means]
    assert masks.says(table.assign(norm_ratio=math.nan), TINY) == [kept + means]


def test_the_figure_of_masks_says_why_it_shows_no_bars():
    about = {"kind": "layer", "network": "resnet8", "data": "digits", "sparsity": 0.8, "lr": 0.1, "depth": 0}
    about |= {"setting": "LT-OMP", "layer": "a", "norm_ratio": math.nan}
    fig = masks.plot(pd.DataFrame([about | {"seed": s, "kept": 0.4 + s / 1e4} for s in (0, 1)]), TINY)
    assert "standard deviation of 2 seeds (no bar: shorter than its mark)" in fig.get_suptitle()
    plt.close(fig)


def test_masks_of_what_has_not_run_are_empty_panels():
    table = masks.measure(masks.trials(TINY), NOWHERE, TINY)
    assert set(table["kind"]) == {"missing"}
    masks.plot(table, TINY).canvas.draw()


# --- the claims ---


@pytest.mark.parametrize(
    ("needed", "low", "high"),
    [
        ("more than +0.50", 0.5, math.inf),
        ("at least −1.00", -1.0, math.inf),
        ("less than −1.00", -math.inf, -1.0),
        ("at most 0.5 either way", -0.5, 0.5),
        ("above chance, 0.131", 0.131, math.inf),
        ("from 0.050 to 0.150", 0.05, 0.15),
    ],
)
def test_where_a_comparison_holds_is_read_from_its_words(needed, low, high):
    assert claims_picture.bounds(needed) == (low, high)


def test_what_needs_no_number_has_no_bounds():
    assert claims_picture.bounds("no Jackpot") is None
    assert claims_picture.bounds("not below vgg-small's") is None


def test_the_papers_numbers_are_those_of_its_text():
    found = claims_picture.of_paper()
    assert found[3, "LT − pretraining, 160 epochs"] == pytest.approx(87.4 - 89.6)
    assert found[4, "pretraining, 160 epochs at 0.1 − 78 epochs at 0.005"] == pytest.approx(92.3 - 88.0)
    assert found[8, "LT, large − small rates, no residual"] == pytest.approx(89.6 - 89.4)


def test_every_number_of_the_paper_is_beside_one_of_ours():
    drawn = pd.read_csv(ROOT / "docs" / "gallery" / "claims.csv")
    measured = set(zip(drawn["claim"], drawn["measured"], strict=True))
    assert {(str(number), label) for number, label in claims_picture.of_paper()} <= measured


def test_the_scoreboard_of_all_claims_fits_a_page():
    drawn = pd.read_csv(ROOT / "docs" / "gallery" / "claims.csv")
    drawn["claim"] = [int(c) if c.isdigit() else c for c in drawn["claim"]]
    drawn["tried on"] = drawn["tried on"].fillna("")
    fig = claims_picture.plot(drawn, scale("laptop"))
    wide, tall = fig.get_size_inches()
    assert wide == style.PAGE
    assert tall <= 9
    assert not outside(fig)


def test_counts_of_the_scoreboard_are_sentences():
    drawn = pd.read_csv(ROOT / "docs" / "gallery" / "claims.csv")
    drawn["claim"] = [int(c) if c.isdigit() else c for c in drawn["claim"]]
    drawn["tried on"] = drawn["tried on"].fillna("")
    tickets = drawn[(drawn["claim"] == 6) & (drawn["measured"] == "ticket")].head(1)
    for count, said in ((1, "1 holds"), (2, "2 hold")):
        table = pd.concat([tickets.assign(**{"by the seeds": YES})] * count)
        assert said in [t.get_text() for t in claims_picture.plot(table, scale("laptop")).axes[1].texts]
