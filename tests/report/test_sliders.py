"""Sliders show what their values give, and an executed notebook shows the default state."""

import re

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lthpaper.errors import InputError
from lthpaper.report import sliders
from lthpaper.report.sliders import Sliders
from lthpaper.runs.scales import scale

MEANS = {"pretraining": 95.0, "LT-IMP": 94.2, "RR-IMP": 92.7, "SDT": 90.0}
SMALL = scale("smoke", experiments="resnet8/digits")


class Study:
    """Results by hand: LT 1.5 points above RR and 0.8 below pretraining, at two learning rates."""

    scale, thresholds = SMALL, None

    @property
    def results(self) -> pd.DataFrame:
        rows = [
            {"setting": s, "lr": lr, "seed": seed, "accuracy": mean + 0.01 * seed}
            for s, mean in MEANS.items()
            for lr in (0.01, 0.1)
            for seed in range(3)
        ]
        table = pd.DataFrame(rows).assign(network="resnet8", data="digits", epochs=160, fingerprint="x")
        return table.assign(sparsity=table["setting"].map(lambda s: 0.0 if s == "pretraining" else 0.832))

    table = results


def test_the_verdict_changes_with_the_thresholds_and_nothing_is_trained():
    made = sliders.thresholds(Study())
    assert made.values == {"similar": 0.5, "gap": 0.5}
    assert "none" in made.move()  # 0.8 below is not similar within 0.5
    assert "Jackpot" in made.move(similar=1.0)
    assert "Jackpot" not in made.move(gap=2.0)  # LT is 1.5 above RR


def test_a_moved_slider_draws_anew():
    pytest.importorskip("ipywidgets", reason="the extra 'notebooks' is not installed")
    drawn: list[float] = []

    def draw(level: float) -> tuple[None, pd.DataFrame, str]:
        drawn.append(level)
        return None, pd.DataFrame(), f"level {level:g}"

    made = Sliders(draw, level=("level", (0.1, 0.2), 0.1))
    (slider,) = made.widgets().children
    slider.value = 0.2
    assert drawn == [0.2]


def test_what_is_shown_is_a_picture_with_its_words_and_leaves_none_open():
    before = plt.get_fignums()

    def draw(level: float) -> tuple[object, pd.DataFrame, str]:
        return plt.figure(), pd.DataFrame({"a": [1]}), "a < b"

    shown = Sliders(draw, level=("level", (1.0,), 1.0)).move()
    assert re.search('<img alt="a &lt; b" src="data:image/png;base64,', shown)
    assert "<table" in shown
    assert plt.get_fignums() == before


@pytest.mark.parametrize("batch", ["", "1"])
def test_an_executed_notebook_shows_the_default_state_without_sliders(monkeypatch, batch):
    display = pytest.importorskip("IPython.display", reason="the extra 'notebooks' is not installed")
    shown: list[str] = []
    monkeypatch.setattr(display, "display", lambda what, **how: shown.append(type(what).__name__))
    monkeypatch.setenv("LTHPAPER_BATCH", batch)
    Sliders(lambda p: (None, pd.DataFrame(), f"p is {p}"), p=("p", (0.1,), 0.1))._ipython_display_()
    assert shown == (["HTML"] if batch else ["VBox", "HTML"])


def test_where_there_are_no_widgets_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    with pytest.raises(InputError, match="pip install"):
        Sliders(lambda p: (None, pd.DataFrame(), ""), p=("p", (0.1,), 0.1)).widgets()
