"""Sliders where a threshold is a choice: the drawing and the verdict change at once, nothing is trained.

    lth.sliders.thresholds(study)       # Figure 3, or a check: similarity ε and clear gap γ
    lth.sliders.basin(study)            # Figures 4 and 5: the level that bounds a basin
    lth.sliders.share(study)            # Figure 6: the share p of weights that count as large
    lth.sliders.sparsity(study)         # the masks by layer: after how many IMP rounds

What the default values give is an ordinary output of the cell, so that an executed notebook and its HTML show
it; where notebooks are executed in batch (BATCH), the sliders themselves are left out.
"""

import base64
import html
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lthpaper.errors import InputError
from lthpaper.figures import appendix_f, fig6, masks
from lthpaper.measures import contours
from lthpaper.measures.overlaps import MAIN, PAIRS, WITHIN
from lthpaper.paper import Thresholds
from lthpaper.paper import thresholds as of_paper
from lthpaper.report.notebooks import BATCH
from lthpaper.report.readable import readable
from lthpaper.runs.settings import imp_sparsity
from lthpaper.store.store import Store
from lthpaper.verdicts.tickets import verdicts

Drawn = tuple[Figure | None, pd.DataFrame, str]  # a picture, a table below it, and what they show in words


class Measured(Protocol):
    """What sliders and the surface viewer need of a study."""

    scale: Any
    thresholds: Thresholds | None

    @property
    def results(self) -> pd.DataFrame: ...

    @property
    def table(self) -> pd.DataFrame: ...


class Stored(Measured, Protocol):
    """A study that reads its store anew."""

    store: Store


class Sliders:
    """`draw(**values)` of some controls: shown by a notebook, and again whenever a control is moved.

    controls: name -> (label, the values it takes, its default).
    """

    def __init__(self, draw: Callable[..., Drawn], **controls: tuple[str, Sequence[float], float]):
        self.draw, self.controls = draw, controls
        self.values = {name: default for name, (_, _, default) in controls.items()}
        self._handle: Any = None

    def move(self, **values: float) -> str:
        """Set controls, and show what they give; the HTML of it."""
        self.values |= values
        shown = _as_html(*self.draw(**self.values))
        if self._handle is not None:
            self._handle.update(_displayable(shown))
        return shown

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not os.environ.get(BATCH):
            display(self.widgets())
        self._handle = display(_displayable(self.move()), display_id=True)

    def widgets(self) -> Any:
        """The controls, one below the other (ipywidgets)."""
        try:
            import ipywidgets
        except ImportError as error:
            raise InputError(
                "ipywidgets, which makes the sliders, is not installed: pip install 'lthpaper[notebooks]'."
            ) from error
        made = []
        for name, (label, values, default) in self.controls.items():
            options = [(f"{value:g}", value) for value in values]
            look = {"description": label, "style": {"description_width": "initial"}}
            slider = ipywidgets.SelectionSlider(
                options=options, value=default, continuous_update=False, layout={"width": "32em"}, **look
            )
            slider.observe(lambda change, name=name: self.move(**{name: change["new"]}), names="value")
            made.append(slider)
        return ipywidgets.VBox(made)


def thresholds(study: Measured) -> Sliders:
    """Accuracy against learning rate with its tickets, and the verdicts, at any ε and γ (points)."""
    data = next(iter(study.results["data"]), "")
    usual = study.thresholds or of_paper(data)

    def draw(similar: float, gap: float) -> Drawn:
        limits = replace(usual, similar=similar, gap=gap)
        judged = verdicts(study.results, limits)
        short = judged[["network", "data", "sparsity", "pruning", "kind", "kind_ours"]]
        said = f"Tickets where {similar:g} points below is similar and more than {gap:g} a clear gap"
        return appendix_f.plot(study.results, study.scale, limits), readable(short), said

    return Sliders(
        draw,
        similar=("similar: ε, points", _steps(usual.similar), usual.similar),
        gap=("clear gap: γ, points", _steps(usual.gap), usual.gap),
    )


def basin(study: Measured) -> Sliders:
    """How large the basins of Figures 4 and 5 are, at any level above the minimum (nats)."""

    def draw(within: float) -> Drawn:
        said = f"Basins within {within:g} nats of the minimum, means over seeds"
        found = contours.numbers(study.table, within)
        if found.empty:
            return None, pd.DataFrame(), f"{said}: no surface is there yet"
        means = found.groupby(["setting", "lr"])[["basin", "basin_area"]].mean()
        fig, ax = plt.subplots(figsize=(4.5, 2.2), layout="constrained")
        bars = means["basin"]
        ax.barh([f"{setting}, lr {lr:g}" for setting, lr in bars.index], bars, color="#0072B2")
        ax.set(xlabel="share of the window", xlim=(0, 1))
        ax.invert_yaxis()
        return fig, readable(means, digits=3), said

    return Sliders(draw, within=("within, nats", _steps(contours.WITHIN), contours.WITHIN))


def share(study: Measured) -> Sliders:
    """R_p against learning rate at each p that was measured."""
    measured = study.table
    seen = sorted(measured["p"].dropna().unique()) or [MAIN]

    def draw(p: float) -> Drawn:
        rows = measured[(measured["pooled"] == WITHIN) & (measured["p"] == p)]
        names = list(measured["network"].unique())
        size = (3.3 * len(names), 2.6)
        fig, axes = plt.subplots(1, len(names), figsize=size, squeeze=False, layout="constrained")
        for ax, name in zip(axes.flat, names, strict=True):
            of_network = rows[rows["network"] == name]
            fig6.against_rate(ax, of_network, p, of_network["lr"])
            ax.set_title(name)
        means = rows.groupby(["network", "pair", "lr"])[["overlap", "low", "high"]].mean()
        said = f"The largest {p:.0%} of weights: R_p of {PAIRS[0]} and of {PAIRS[1]}, and the band of chance"
        return fig, readable(means.unstack("pair"), digits=3), said

    return Sliders(draw, p=("p", seen, MAIN if MAIN in seen else seen[0]))


def sparsity(study: Stored) -> Sliders:
    """How much of each layer the masks keep after k IMP rounds; OMP's masks where they were made."""
    scale = study.scale
    rounds = {round(imp_sparsity(k), 3): k for k in range(1, max(scale.rounds) + 1)}

    def draw(s: float) -> Drawn:
        measured = masks.measure(masks.trials_at(scale, rounds[s]), study.store, scale)
        said = f"What the masks keep at sparsity {s:g}, after {rounds[s]} IMP rounds"
        layers = measured[measured["kind"] == masks.LAYER]
        if layers.empty:
            return None, pd.DataFrame(), f"{said}: no mask is there yet"
        kept = layers.groupby(["setting", "lr"])["kept"].agg(["min", "median", "max"])
        return masks.plot(measured, scale), readable(kept, digits=3), said

    usual = round(imp_sparsity(masks.middle(scale)), 3)
    return Sliders(draw, s=("sparsity", list(rounds), usual))


def _steps(default: float) -> list[float]:
    """Tenths from 0.1 to 3, and the default."""
    return sorted({*(tenth / 10 for tenth in range(1, 31)), default})


def _as_html(fig: Figure | None, table: pd.DataFrame, said: str) -> str:
    """A picture with its text alternative, and the table; the picture is closed."""
    picture = ""
    if fig is not None:
        file = io.BytesIO()
        fig.savefig(file, format="png", dpi=110)
        plt.close(fig)
        encoded = base64.b64encode(file.getvalue()).decode()
        picture = f'<img alt="{html.escape(said)}" src="data:image/png;base64,{encoded}">'
    below = "" if table.empty else table._repr_html_()
    return f"<p>{html.escape(said)}.</p>{picture}{below}"


def _displayable(shown: str) -> Any:
    from IPython.display import HTML

    return HTML(shown)
