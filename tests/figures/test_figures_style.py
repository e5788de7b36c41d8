"""How figures look: colours stay apart, text can be read at its printed size, axes and means are right."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hand_made import DENSE, S4, S8, S11, SMALL, minus, rows
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from over_the_edge import outside

import lthpaper as lth
from lthpaper.figures import (
    FIGURES,
    appendix_f,
    at_initialisation,
    claims_picture,
    controls,
    fig1,
    fig3,
    forest,
    stability,
    style,
)
from lthpaper.figures.axes import accuracy_axis, rate_axis
from lthpaper.figures.curves import curves
from lthpaper.figures.means import spread
from lthpaper.figures.verdict_marks import ticket_swatch
from lthpaper.paper import NAMED_RATES
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import SETTINGS
from lthpaper.store import table as tidy
from lthpaper.store.store import Store
from lthpaper.verdicts.tickets import JACKPOT, SECONDARY

NOWHERE = Store("a-store-that-is-not-there")
# Machado, Oliveira and Fernandes (2009): deuteranopia, severity 1, on linear RGB
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


# --- colours ---


def linear(colour: str) -> np.ndarray:
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    t = TO_XYZ @ rgb / WHITE
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def seen_by_a_deuteranope(colour: str) -> np.ndarray:
    return lab(np.clip(DEUTERANOPIA @ linear(colour), 0, 1))


def lightness(colour: str) -> float:
    return float(lab(linear(colour))[0])


PAIRS = list(itertools.combinations(style.COLOURS, 2))
TOGETHER = [  # settings of one figure
    SETTINGS,
    ("pretraining", *(f"{s}-{p}" for p in ("IMP", "OMP") for s in ("RR", "LT", "WR", "FT"))),
    ("pretraining", *at_initialisation.RULES),
]


def test_a_deuteranope_confuses_red_and_green_of_equal_lightness():
    red, green = "#d00000", "#5e8000"
    assert np.linalg.norm(lab(linear(red)) - lab(linear(green))) > 80
    assert np.linalg.norm(seen_by_a_deuteranope(red) - seen_by_a_deuteranope(green)) < 30


def test_settings_are_apart_under_deuteranopia():
    for a, b in PAIRS:
        apart = np.linalg.norm(
            seen_by_a_deuteranope(style.COLOURS[a]) - seen_by_a_deuteranope(style.COLOURS[b])
        )
        assert apart > (20 if any({a, b} <= set(figure) for figure in TOGETHER) else 15), (a, b)


@pytest.mark.parametrize(("settings", "least"), list(zip(TOGETHER, (7, 4.5, 6), strict=True)))
def test_settings_of_one_figure_are_apart_in_greyscale(settings, least):
    for a, b in itertools.combinations(settings, 2):
        assert abs(lightness(style.COLOURS[a]) - lightness(style.COLOURS[b])) > least, (a, b)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_learning_rates_darken_evenly_for_every_reader(count):
    colours = [to_hex(c) for c in style.rate_colours(np.logspace(-3, 0, count)).values()]
    shades = [lightness(colour) for colour in colours]
    assert min(-np.diff(shades)) > 6
    for a, b in itertools.combinations(colours, 2):
        assert np.linalg.norm(seen_by_a_deuteranope(a) - seen_by_a_deuteranope(b)) > 6


def test_a_learning_rate_has_one_colour_in_every_figure_whatever_stands_beside_it():
    alone, named, more = (
        style.rate_colours(lrs) for lrs in ((0.01,), NAMED_RATES, (0.001, 0.005, 0.01, 0.1, 0.2, 1.0))
    )
    assert alone[0.01] == named[0.01] == more[0.01]
    assert named[0.1] == more[0.1]
    assert len(set(more.values())) == len(more)
    small = style.rate_colours((1e-5, 1e-4, 1e-3))  # below the paper's
    assert len(set(small.values())) == len(small)


def test_a_shuffled_mask_has_the_colour_and_the_marker_of_its_own():
    pair = ["LT-SNIP", "LT-shuffled-SNIP"]
    assert len(set(style.palette(pair).values())) == len(set(style.markers(pair).values())) == 1
    assert at_initialisation.CASES[pair[1]].hollow
    assert not at_initialisation.CASES[pair[0]].hollow


STATES = [colour for _, colour, _ in claims_picture.LOOKS.values()]


@pytest.mark.parametrize("colours", [list(forest.STATES.values()), STATES], ids=["effects", "claims"])
def test_states_are_apart_in_greyscale_and_under_deuteranopia(colours):
    for a, b in itertools.combinations(colours, 2):
        assert abs(lightness(a) - lightness(b)) > 3, (a, b)
        assert np.linalg.norm(seen_by_a_deuteranope(a) - seen_by_a_deuteranope(b)) > 15, (a, b)


def test_every_setting_has_a_colour_and_a_marker_of_its_own_one_of_ones_own_too():
    assert len(set(style.COLOURS.values())) == len(set(style.MARKERS.values())) == len(style.COLOURS)
    names = [*style.COLOURS, "LT-RANDOM", "RR-RANDOM"]
    assert len(set(style.palette(names).values())) == len(set(style.markers(names).values())) == len(names)


def test_jackpot_and_secondary_prize_are_one_pair_with_hatches_and_their_swatches_as_pale():
    (gold, cross), (silver, stroke) = style.TICKETS[JACKPOT], style.TICKETS[SECONDARY]
    assert cross
    assert stroke
    assert cross != stroke
    assert np.linalg.norm(seen_by_a_deuteranope(gold) - seen_by_a_deuteranope(silver)) > 20
    for kind in (JACKPOT, SECONDARY):
        swatch = ticket_swatch(kind)
        assert swatch.get_alpha() == style.SURE
        assert swatch.get_hatch() == style.TICKETS[kind][1]


# --- sizes ---


def frame(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=tidy.COLUMNS)


def sanity(sparsities=(S4, S8, S11), **more):
    means = {"LT-IMP": 0.4, "LT-OMP": 1.2, "RR-IMP": 2.0, "RR-OMP": 2.5, "SDT": 4.0}
    parts = [rows("pretraining", DENSE, **more)]
    for s, (setting, below) in itertools.product(sparsities, means.items()):
        parts.append(rows(setting, minus(DENSE, below), s, **more))
    return frame(*parts)


def too_small(fig) -> list[tuple[str, float]]:
    """Texts below 6 points where the picture is printed at most a page wide."""
    fig.canvas.draw()
    shrunk = min(1.0, style.PAGE / fig.get_size_inches()[0])
    texts = [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [(t.get_text(), t.get_fontsize() * shrunk) for t in texts if t.get_fontsize() * shrunk < 5.999]


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("claims", "table2")])
def test_nothing_is_smaller_than_6_points_and_the_page_is_5_5_inches_before_anything_has_run(name):
    small = scale("smoke")
    spec = FIGURES[name]
    fig = spec.plot(spec.measure(spec.trials(small), NOWHERE, small, None), small)
    assert fig.get_size_inches()[0] <= style.PAGE
    assert not too_small(fig)
    assert not outside(fig)


def test_nothing_is_smaller_than_6_points_in_panels_with_results():
    for plot in (fig3.plot, appendix_f.plot):
        fig = plot(sanity(), SMALL)
        assert not too_small(fig)
        assert not outside(fig)
    table = pd.concat([sanity(), sanity(epochs=SMALL.insufficient_epochs)], ignore_index=True)
    assert not too_small(fig1.plot(table[table["setting"].isin(fig1.SETTINGS)], SMALL))


def as_if_trained(name, **more) -> pd.DataFrame:
    """The table of a figure's own trials, every accuracy near 90 percent."""
    trials = FIGURES[name].trials(SMALL.with_(seeds=2))
    table = tidy.table(trials, NOWHERE)
    accuracies = 90 + 5 * np.random.default_rng(0).random(len(table))
    return table.assign(accuracy=accuracies, fingerprint="f", **more)


def barriers() -> pd.DataFrame:
    cells = itertools.product((0.01, 0.1), (0, 4, 16), range(3))
    return pd.DataFrame([(lr, k, seed, 160, 5 + seed, 6 + seed) for lr, k, seed in cells]).set_axis(
        ["lr", "k", "seed", "epochs", "test", "train"], axis=1
    )


@pytest.mark.parametrize(
    ("figure", "table"),
    [
        (controls, lambda: as_if_trained("controls")),
        (at_initialisation, lambda: as_if_trained("at-initialisation", collapsed=1.0)),
        (stability, barriers),
    ],
    ids=["controls", "at-initialisation", "stability"],
)
def test_what_goes_beyond_the_paper_can_be_read_and_nothing_is_cropped(figure, table):
    fig = figure.plot(table(), SMALL)
    assert not too_small(fig)
    assert not outside(fig)
    assert "seeds" in fig.get_suptitle()  # error bars say what they are, and n
    assert ("linear to ±3" in fig.get_suptitle()) == (fig.axes[0].get_xscale() == "symlog")


def test_controls_of_one_seed_are_differences_without_an_interval():
    said = controls.plot(as_if_trained("controls").query("seed == 0"), SMALL).get_suptitle()
    assert "differences of one seed" in said
    assert "interval" not in said


def test_bars_of_a_barrier_reach_over_the_seeds_and_never_below_zero():
    table = barriers().assign(test=lambda t: t["seed"].map({0: 0.0, 1: 0.1, 2: 2.0}))
    fig = stability.plot(table, SMALL)
    bars = [line.get_ydata() for line in fig.axes[0].lines if line.get_marker() in ("None", "", None)]
    ends = np.concatenate([np.asarray(bar, float) for bar in bars])
    assert (np.nanmin(ends), np.nanmax(ends)) == pytest.approx((0.0, 2.0))
    assert "mean of 3 seeds, bars from the least to the greatest" in fig.get_suptitle()


def test_the_check_of_ones_own_network_can_be_read_and_nothing_is_cropped():
    check = lth.check("resnet8", scale="smoke", learning_rates=(0.005, 0.01, 0.02, 0.1, 0.2), rounds=(4, 8))
    fig = check.spec.plot(sanity((S4, S8)), check.scale)
    assert not too_small(fig)
    assert not outside(fig)


def test_a_text_over_the_edge_is_found():
    fig = plt.figure(figsize=(2, 2))
    fig.text(0.9, 0.5, "a long sentence over the edge")
    fig.text(0.1, 0.5, "within")
    assert outside(fig) == ["a long sentence over the edge"]


def test_too_small_a_text_is_found():
    fig, ax = plt.subplots(figsize=(2 * style.PAGE, 2))
    ax.text(0.5, 0.5, "small", fontsize=11)
    ax.tick_params(labelsize=20)
    assert too_small(fig) == [("small", 5.5)]


# --- means and axes ---


def test_curves_are_the_means_of_the_table_whatever_the_axis():
    table = frame(rows("pretraining", {0.01: 60.0, 0.1: 98.0}, around=(-8.0, 0.0, 1.0)))
    _, ax = plt.subplots()
    curves(ax, table, "lr", ["pretraining"])
    accuracy_axis(ax, 50, 99)
    rate_axis(ax, table["lr"])
    drawn = next(line for line in ax.lines if len(line.get_xdata()) == 2)
    assert drawn.get_xdata() == pytest.approx([0.01, 0.1])
    assert drawn.get_ydata() == pytest.approx(spread(table, "lr")["mean"])


def test_the_accuracy_axis_shows_chance_and_tells_half_a_point_near_the_best():
    fig, ax = plt.subplots(figsize=(2, 1.5))
    accuracy_axis(ax, 10.0, 97.0)
    height = ax.get_window_extent().height / fig.dpi * 72
    low, high = ax.transAxes.inverted().transform(ax.transData.transform([(0, 96.5), (0, 97.0)]))[:, 1]
    assert (high - low) * height > 3  # points
    assert len(ax.get_yticks()) >= 4
    assert ax.get_ylim()[0] < 10
    assert ax.get_ylim()[1] > 97


def test_a_few_points_of_accuracy_have_a_scale_too():
    _, ax = plt.subplots(figsize=(2, 1.5))
    accuracy_axis(ax, 60.3, 66.1)
    assert len(ax.get_yticks()) >= 3
    accuracy_axis(ax, 53.4, 66.4)
    assert list(ax.get_yticks()) == [55, 60, 65]  # even steps


SEVEN = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


@pytest.mark.parametrize("width", [1.6, 5.5])
def test_every_learning_rate_has_a_label_and_labels_do_not_touch(width):
    with style.paper_style():
        fig, ax = plt.subplots(figsize=(width, 1.2))
        rate_axis(ax, SEVEN)
        fig.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"{lr:g}" for lr in SEVEN]
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_learning_rates_too_close_for_labels_share_one():
    with style.paper_style():
        _, ax = plt.subplots(figsize=(0.8, 1.2))
        rate_axis(ax, SEVEN)
    assert {0.01, 0.1} < set(ax.get_xticks())
    assert len(ax.get_xticks()) < 7
    assert sorted([*ax.get_xticks(), *ax.get_xticks(minor=True)]) == list(SEVEN)
