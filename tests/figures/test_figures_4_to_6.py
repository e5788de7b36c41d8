"""Figures 4, 5 and 6: what they ask for, measure and draw, through real (tiny) trainings."""

import itertools
import json
import math
import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from lthpaper.data import load
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES, contours, fig6
from lthpaper.measures import contours as measured
from lthpaper.measures import overlaps, surfaces
from lthpaper.measures.planes import moving_weights, trajectory_plane
from lthpaper.measures.surfaces import Evaluator, losses, sample
from lthpaper.networks import skeleton
from lthpaper.runs import experiments
from lthpaper.runs.masks import kept
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh
from lthpaper.runs.scales import SCALES, Scale, scale
from lthpaper.runs.settings import imp_sparsity, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.merge import leave_out
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute
from lthpaper.training.start import initial_weights
from lthpaper.verdicts import claims

TINY = scale("smoke", train_images=60, grid=(0.05,))
fig4 = FIGURES["fig4"]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Figure 4's store and table at a tiny scale."""
    store = Store(tmp_path_factory.mktemp("fig4"))
    trials = fig4.trials(TINY)
    execute([t.run for t in trials], store, workers=1, keep=fig4.keep(TINY), quiet=True)
    return store, fig4.measure(trials, store, TINY, None)


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("fig6"))
    trials = fig6.trials(TINY)
    execute([t.run for t in trials], store, workers=1, quiet=True)
    return store, overlaps.measure(trials, store, TINY)


@pytest.mark.parametrize("of", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("name", ["fig4", "fig5"])
def test_the_panels_are_imp_and_omp_at_0_945_at_two_learning_rates(name: str, of: Scale):
    trials = FIGURES[name].trials(of)
    first = [t for t in trials if t.run.seed == 0]
    assert [(t.setting, t.run.recipe.lr) for t in first] == list(experiments.PANELS)
    assert len(trials) == 4 * of.seeds
    assert {round(t.sparsity, 3) for t in trials} == {0.945}
    assert all(t.run.mask.sparsity == pytest.approx(imp_sparsity(13), abs=1e-9) for t in trials)
    with_, without = "fig4", "fig5"
    names = {fig: {t.run.task.network for t in FIGURES[fig].trials(of)} for fig in (with_, without)}
    assert names[without] == {f"{n}-noskip" for n in names[with_]}
    if of.name == "paper":
        assert names[with_] == {"resnet32"}


@pytest.mark.parametrize("name", ["fig4", "fig5"])
def test_snapshots_are_asked_for_at_the_start_and_along_the_way(name: str):
    for of in SCALES.values():
        keep = FIGURES[name].keep(of)
        assert set(keep) == {t.run for t in FIGURES[name].trials(of)}
        for run, epochs in keep.items():
            assert 0 in epochs
            assert 2 <= len(epochs) <= 25
            assert experiments.snapshots(run) == [*sorted(epochs), of.epochs]


def test_every_panel_has_its_surface_and_its_trajectory(four):
    _, table = four
    assert list(table) == measured.COLUMNS
    counts = table.groupby(["panel", "kind"]).size().unstack()
    assert list(counts.index) == list("abcd")
    assert (counts["surface"] == 49).all()
    assert (counts["trajectory"] == 3).all()
    assert table["loss"].notna().all()
    assert set(table["images"]) == {60}  # all there are


def test_claims_read_complete_surfaces_of_this_grid_alone_and_compute_none(four, tmp_path):
    store, _ = four
    trials = fig4.trials(TINY)
    assert all(measured.is_measured(t.run, store, TINY) for t in trials)
    for other in (
        TINY.with_(surface_points=8),
        TINY.with_(surface_images=50),
        TINY.with_(surface_error=0.01),
    ):
        assert not any(measured.is_measured(t.run, store, other) for t in trials)
    copied = Store(shutil.copytree(store.folder, tmp_path / "copy"))
    damaged, lost = (next(copied.folder.glob(f"measurements/surface/{t.run.digest}-*")) for t in trials[:2])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    lost.unlink()
    before = {f: f.stat().st_mtime_ns for f in copied.folder.glob("measurements/surface/*")}
    read = claims.gather(TINY, copied).contours
    assert list(read["panel"]) == [experiments.PANELS[t.setting, t.run.recipe.lr] for t in trials[2:]]
    assert {f: f.stat().st_mtime_ns for f in copied.folder.glob("measurements/surface/*")} == before
    assert not list(copied.folder.glob("surfaces/*"))


def test_a_surface_that_was_cut_off_goes_on_where_it_was(four, tmp_path, monkeypatch):
    store, table = four
    copied = Store(shutil.copytree(store.folder, tmp_path / "copy"))
    shutil.rmtree(copied.folder / "measurements")
    trial = fig4.trials(TINY)[0]
    asked, whole = [], Evaluator.__call__
    monkeypatch.setattr(surfaces, "worker_count", lambda *_: 1)  # packs one after another

    def cut_off(self, points):
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(len(points))
        return whole(self, points)

    monkeypatch.setattr(Evaluator, "__call__", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fig4.measure([trial], copied, TINY, None)
    monkeypatch.setattr(Evaluator, "__call__", lambda self, p: asked.append(len(p)) or whole(self, p))
    again = fig4.measure([trial], copied, TINY, None)
    assert again.equals(table[table["digest"] == trial.run.digest].reset_index(drop=True))
    assert sum(asked) == 49 + 3
    assert not list(copied.folder.glob("surfaces/*"))


def test_figures_4_to_6_are_drawn_from_measurements_where_weights_are_gone(four, six, tmp_path):
    for name, (store, table) in (("fig4", four), ("fig6", six)):
        spec, copied = FIGURES[name], Store(shutil.copytree(store.folder, tmp_path / name))
        for weights in copied.folder.glob("*/*.safetensors"):
            weights.unlink()
        for entry in {path.parent for path in copied.folder.glob("*/result.json")}:
            leave_out(entry)
        assert spec.measure(spec.trials(TINY), copied, TINY, None).equals(table)
        assert not any(copied.has_weights(t.run) for t in spec.trials(TINY))
        assert spec.keep(TINY)
        assert spec.lacking(TINY, copied) == {}
        shutil.rmtree(copied.folder / "measurements")
        assert spec.lacking(TINY, copied) == spec.keep(TINY)


def test_a_surface_of_another_copy_of_the_images_is_refused(four, tmp_path):
    store, _ = four
    copied = Store(shutil.copytree(store.folder, tmp_path / "copy"))
    shutil.rmtree(copied.folder / "measurements")

    class Elsewhere(Store):
        def get(self, run):
            return replace(super().get(run), fingerprint="another")

    with pytest.raises(InputError, match="trained on another copy of digits"):
        fig4.measure(fig4.trials(TINY), Elsewhere(copied.folder), TINY, None)


def test_the_tables_losses_are_those_of_the_planes_points(four):
    store, table = four
    run = fig4.trials(TINY)[0].run
    weights = [store.weights(run, epoch)[0] for epoch in experiments.snapshots(run)]
    parameters = [n for n, _ in skeleton(**run.task.shape).named_parameters()]
    plane = trajectory_plane(weights, moving_weights(weights[-1], parameters), store.weights(run)[1])
    images = sample(load("digits", train_images=60), 256)
    evaluate = Evaluator(run.task, plane, images)
    rows = table[table["digest"] == run.digest]
    for kind in ("surface", "trajectory"):
        part = rows[rows["kind"] == kind].iloc[::7]
        found = losses(evaluate, part[["x", "y"]].to_numpy(), quiet=True)
        np.testing.assert_allclose(part["loss"], found, rtol=1e-6)


def test_measuring_again_reads_what_was_kept(four):
    store, table = four
    folder = store.folder / "measurements" / "surface"
    files = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    again = fig4.measure(fig4.trials(TINY), store, TINY, None)
    assert table.equals(again)
    assert len(files) == 4
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == files
    assert {result.run for result in store} >= {t.run for t in fig4.trials(TINY)}  # it stays a store


def test_each_run_has_its_numbers(four):
    _, table = four
    found = measured.numbers(table)
    assert list(found["panel"]) == list("abcd")
    assert found["basin_relative"].tolist() == pytest.approx(
        (found["basin"] * (2 * measured.HALF) ** 2).tolist()
    )
    for name in ("basin", "roughness", "non_convexity", "off_plane"):
        assert found[name].between(0, 1).all()
    assert (found["basin_area"] > 0).all()
    assert (found["off_plane"] < 1e-3).all()  # three snapshots lie on a plane


def test_four_panels_share_their_levels_and_say_what_they_show(four):
    _, table = four
    figure = fig4.plot(table, TINY)
    assert [ax.get_title("left")[:3] for ax in figure.axes[:4]] == ["(a)", "(b)", "(c)", "(d)"]
    said = [ax.texts[-1].get_text().splitlines() for ax in figure.axes[:4]]
    for name, numbers in measured.numbers(table).groupby("panel"):
        of_panel = said["abcd".index(name)]
        assert of_panel[of_panel.index("test accuracy, %") + 1] == f"{numbers['accuracy'].item():.1f}"
    levels = [c.levels for ax in figure.axes[:4] for c in ax.collections[:1]]
    assert all(np.array_equal(levels[0], other) for other in levels)
    assert {(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes[:4]} == {
        ((-measured.HALF, measured.HALF),) * 2
    }
    paths = [line for ax in figure.axes[:4] for line in ax.lines if line.get_marker() == "*"]
    assert [(float(x[0]), float(y[0])) for x, y in (line.get_data() for line in paths)] == [(0, 0)] * 4
    assert all("% of variance" in ax.get_xlabel() for ax in figure.axes[:4])
    plt.close(figure)


def test_a_panel_says_the_mean_over_seeds_and_not_the_first_one(four):
    _, table = four
    more = table.assign(seed=1, digest=table["digest"] + "-", accuracy=table["accuracy"] + 10)
    figure = fig4.plot(pd.concat([table, more], ignore_index=True), TINY)
    mean = measured.numbers(table)["accuracy"].iloc[0] + 5
    assert f"accuracy, %\n{mean:.1f} ± 7.1\n" in figure.axes[0].texts[-1].get_text()
    plt.close(figure)


def test_a_figure_says_that_its_surfaces_are_interpolated(four):
    _, table = four
    assert "interpolated" not in fig4.plot(table, TINY).get_suptitle()
    refined = fig4.plot(table, TINY.with_(surface_error=0.01))
    assert "60 training images, in part interpolated (error 0.01);" in refined.get_suptitle()
    plt.close("all")


def test_a_basin_is_measured_filter_by_filter_where_every_run_was(four):
    _, table = four
    found = measured.numbers(table)
    surfaces_of = table[table["kind"] == "surface"].groupby("panel").first()
    unit = (surfaces_of["filter_x"] * surfaces_of["filter_y"]).reindex(found["panel"]).to_numpy()
    assert found["basin_by_filter"].tolist() == pytest.approx((found["basin_area"] * unit).tolist())
    assert "by its own norm" in fig4.plot(table, TINY).get_suptitle()
    published_before = table.assign(filter_x=math.nan, filter_y=math.nan)
    figure = fig4.plot(published_before, TINY)
    assert "minimum, in ‖" in figure.get_suptitle()
    assert f"basin\n{measured.numbers(table)['basin_relative'][0]:.3f}" in figure.axes[0].texts[-1].get_text()
    plt.close("all")


def test_scaling_all_weights_changes_neither_the_picture_nor_the_basin(four):
    _, table = four
    scaled = table.assign(**{name: 3 * table[name] for name in ("x", "y", "off_plane", "norm")})
    for name in ("basin_relative", "roughness", "non_convexity"):
        assert measured.numbers(scaled)[name].tolist() == pytest.approx(
            measured.numbers(table)[name].tolist()
        )
    once, again = (contours.scene(t)[0] for t in (table, scaled))
    assert once["x"] == pytest.approx(again["x"])
    assert once["path"]["x"] == pytest.approx(again["path"]["x"])


def test_contours_are_labelled_away_from_the_trajectory_and_from_each_other():
    """Rings around the end of a straight way: each of the levels that have room is named, across from it."""
    _, ax = plt.subplots()
    x = np.linspace(-1, 1, 101)
    loss = 100 * (x[:, None] ** 2 + x**2)
    lines = ax.contour(x, x, loss, contours.LEVELS)
    way = np.linspace(-0.9, 0, 5)
    contours._label(ax, lines, pd.Series(way), pd.Series(0 * way))
    assert [text.get_text() for text in lines.labelTexts] == ["3", "10", "30"]  # 1 lies too near to the end
    at = np.array([text.get_position() for text in lines.labelTexts])
    assert np.hypot(at[:, 0].clip(min=0), at[:, 1]).min() > contours.ROOM  # from the way
    assert all(math.dist(a, b) > contours.ROOM for a, b in itertools.combinations(at, 2))
    plt.close("all")


def test_the_scene_is_plain_json_and_the_still_has_a_panel_a_surface(four):
    _, table = four
    views = json.loads(json.dumps(contours.scene(table)))
    assert [v["about"]["panel"] for v in views] == list("abcd")
    assert np.array(views[0]["loss"]).shape == (7, 7)
    figure = contours.still(table)
    assert len(figure.axes) == 4
    plt.close(figure)


def test_what_is_not_trained_is_said_in_its_panel(four):
    _, table = four
    some = FIGURES["fig4"].trials(TINY.with_(epochs=3))
    nothing = fig4.measure(some, Store("nowhere"), TINY, None)
    assert list(nothing["kind"]) == ["missing"] * 4
    for shown in (nothing, table[table["panel"] != "b"]):
        figure = fig4.plot(shown, TINY)
        said = [any("not trained" in t.get_text() for t in ax.texts) for ax in figure.axes[:4]]
        assert said == [p not in set(shown.loc[shown["kind"] == "surface", "panel"]) for p in "abcd"]
        plt.close(figure)


def test_figure_6_compares_a_residual_network_and_a_vgg_at_every_learning_rate():
    for of, names in (("laptop", {"resnet8", "vgg-small"}), ("paper", {"resnet20", "vgg16"})):
        trials = fig6.trials(scale(of))
        assert {t.run.task.network for t in trials} == names
        assert {t.run.recipe.lr for t in trials} == set(scale(of).grid)
        assert {round(t.sparsity, 3) for t in trials} == {0.832}


def test_overlaps_are_those_of_a_plain_count(six):
    """R_p within layers, p = 0.1, from sets of positions: θT is the pretraining's, m round 8's mask."""
    store, table = six
    run = fig6.trials(TINY)[0].run
    mask = store.weights(run)[1]
    trained = store.weights(run.with_(mask=None))[0]
    for pair, draw in zip(overlaps.PAIRS, (0, 1), strict=True):
        start = initial_weights(run.with_(mask=None, init=Fresh(run.seed, draw)))
        common = total = 0
        for name, m in mask.items():
            size = max(1, round(0.1 * int(m.sum())))
            tops = [
                set(torch.argsort(-w[name][m].abs(), stable=True)[:size].tolist()) for w in (start, trained)
            ]
            common, total = common + len(tops[0] & tops[1]), total + size
        row = table[
            (table["digest"] == run.digest)
            & (table["pair"] == pair)
            & (table["p"] == 0.1)
            & (table["pooled"] == overlaps.WITHIN)
        ]
        assert row["overlap"].item() == pytest.approx(common / total)
        assert row["survivors"].item() == kept(mask)


def test_an_independent_draw_stays_in_the_chance_band_and_the_own_start_leaves_it(six):
    _, table = six
    main = table[(table["pooled"] == overlaps.WITHIN) & (table["p"] == overlaps.MAIN)]
    own, other = (main[main["pair"] == pair] for pair in overlaps.PAIRS)
    assert (own["overlap"] > own["high"]).all()
    # the band holds 95 %: of a handful of draws none lies more than its width away
    width = other["high"] - other["low"]
    assert ((other["overlap"] - overlaps.MAIN).abs() < width).all()


def test_every_surviving_layer_has_its_own_row(six):
    store, table = six
    for trial in fig6.trials(TINY):
        mask = store.weights(trial.run)[1]
        rows = table[(table["digest"] == trial.run.digest) & table["layer"].notna()]
        survivors = {name for name, m in mask.items() if m.any()}
        assert set(rows["layer"]) == survivors
        assert len(rows) == len(survivors) * len(overlaps.SHARES) * len(overlaps.PAIRS)


def test_figure_6_draws_a_row_a_network_with_or_without_results(six):
    _, table = six
    nothing = overlaps.measure(fig6.trials(TINY), Store("nowhere"), TINY)
    assert nothing["overlap"].isna().all()
    for shown in (table, nothing):
        figure = fig6.plot(shown, TINY)
        titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
        assert len(titles) == 2 * (len(overlaps.SHARES) + 1 + (shown is table))
        plt.close(figure)


def test_figure_6_says_the_least_and_the_greatest_number_of_seeds_and_that_nothing_has_run(six):
    _, table = six
    more = table[table["network"] == table["network"].iloc[0]].assign(seed=1, digest="another")
    nothing = overlaps.measure(fig6.trials(TINY), Store("nowhere"), TINY)
    several = "mean ± standard deviation of 1–2 seeds (no bar: one seed, or shorter than the mark)"
    for shown, said in (
        (table, "one seed"),
        (pd.concat([table, more]), several),
        (nothing, "nothing has run yet"),
    ):
        figure = fig6.plot(shown, TINY)
        assert figure.get_suptitle().splitlines()[1].split(";")[0] == said
        assert "missing" not in figure.get_suptitle()
        plt.close(figure)
    lacking = nothing.assign(seed=1, digest=nothing["digest"] + "1")
    figure = fig6.plot(pd.concat([table, lacking]), TINY)
    n = table["digest"].nunique()
    assert f"{n} of {2 * n} runs have no $R_p$ yet" in figure.get_suptitle()
    plt.close(figure)


def test_figure_6_shows_every_run_at_the_distance_that_training_moved_its_weights(six):
    store, table = six
    for trial in fig6.trials(TINY):
        dense = trial.run.with_(mask=None)
        start, end = initial_weights(dense), store.weights(dense)[0]
        moved, length = (
            torch.cat([w.flatten().double() for w in some]).norm()
            for some in (
                [end[name] - start[name] for name in dense.task.prunable_weights],
                [start[name] for name in dense.task.prunable_weights],
            )
        )
        found = table.loc[table["digest"] == trial.run.digest, "distance"]
        assert found.tolist() == pytest.approx([float(moved / length)] * len(found))
    figure = fig6.plot(table, TINY)
    distances = [ax for ax in figure.axes if "distance" in ax.get_title()]
    points = [line.get_xydata().tolist() for ax in distances for line in ax.lines if line.get_marker() == "o"]
    main = table[(table["pooled"] == "within layers") & (table["p"] == overlaps.MAIN)]
    main = main[main["pair"] == overlaps.PAIRS[0]]
    assert sorted(p for line in points for p in line) == sorted(
        main[["distance", "overlap"]].to_numpy().tolist()
    )
    plt.close(figure)


def test_figure_6_says_how_many_distances_lack_where_r_p_is_kept_and_weights_are_not(six, tmp_path):
    store, _ = six
    bare = Store(shutil.copytree(store.folder, tmp_path / "bare"))
    shutil.rmtree(bare.folder / "measurements" / "distance")
    for result in list(bare):
        for path in result.folder.glob("*.safetensors"):
            path.unlink()
        leave_out(result.folder)
    table = overlaps.measure(fig6.trials(TINY), bare, TINY)
    assert table["overlap"].notna().any()
    assert table["distance"].isna().all()
    figure = fig6.plot(table, TINY)
    assert "not measured: the weights are not in the store" in figure.get_suptitle()
    plt.close(figure)
    known = table.assign(distance=table["lr"].where(table["network"] == "resnet8"))
    half = fig6.plot(known, TINY)
    said = [ax.get_title().split(": ")[1] for ax in half.axes if "distance" in ax.get_title()]
    assert sorted(said) == ["distance, 0 of 1 runs", "distance, 1 runs"]
    plt.close(half)
    assert FIGURES["fig6"].lacking(TINY, bare) == {}  # nothing is trained again for it


def test_a_mask_of_a_diverged_round_gives_no_overlap_and_its_learning_rate_is_crossed(six):
    kept_store, whole = six
    trial = fig6.trials(TINY)[0]
    gone = trial.run.mask.after  # a round before the last: dense network and mask are both there

    class Lost(Store):
        def get(self, run):
            result = super().get(run)
            return replace(result, curves={"test_accuracy": [math.nan]}) if run == gone else result

    table = overlaps.measure(fig6.trials(TINY), Lost(kept_store.folder), TINY)
    lost, rest = table["digest"] == trial.run.digest, whole["digest"] != trial.run.digest
    assert table.loc[lost, "overlap"].isna().all()
    assert table.loc[lost, "survivors"].notna().all()
    assert table.loc[~lost, "overlap"].tolist() == whole.loc[rest, "overlap"].tolist()
    figure = fig6.plot(table, TINY)
    of_gone = [f"({letter}) $p$ = {p:g}" for letter, p in zip("abc", overlaps.SHARES, strict=True)]
    crosses = {ax.get_title(): sum(line.get_marker() == "x" for line in ax.lines) for ax in figure.axes}
    assert {title: n for title, n in crosses.items() if n} == dict.fromkeys(of_gone, len(overlaps.PAIRS))
    assert "×: a seed diverged" in figure.get_suptitle()
    plt.close(figure)


def test_figure_6_joins_no_learning_rates_across_one_that_has_not_run():
    cells = [(pair, lr, r, 10, 0.0, 0.2) for pair in overlaps.PAIRS for lr, r in ((0.01, 0.9), (0.1, 0.5))]
    table = pd.DataFrame(cells, columns=["pair", "lr", "overlap", "survivors", "low", "high"])
    _, ax = plt.subplots()
    fig6.against_rate(ax, table, 0.1, (0.01, 0.05, 0.1))
    lines = [line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 3]
    assert [np.isnan(y).tolist() for y in lines] == [[False, True, False]] * 2
    plt.close("all")


def test_a_layers_depth_is_its_place_in_the_network_in_whatever_order_a_mask_was_read():
    task = Task("resnet8", "digits")
    weights = initial_weights(pretraining(task, Recipe()))
    layers = list(task.prunable_weights)
    mask = {name: torch.ones_like(weights[name], dtype=torch.bool) for name in reversed(layers)}
    rows = overlaps._overlaps(weights, weights, mask, 0.1, task.prunable_weights)
    assert {row["layer"]: row["depth"] for row in rows if "layer" in row} == {
        n: i for i, n in enumerate(layers)
    }
