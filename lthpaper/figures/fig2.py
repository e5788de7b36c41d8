"""Figure 2: conditions ② to ⑤ on sketched accuracy-vs-learning-rate curves; a Jackpot, a secondary prize.

The curves are sketches, no data. What is marked on them is what `lthpaper.verdicts.tickets` finds in them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.style import COLOURS, DASHES, PAGE, SIMILAR, paper_style, swatch
from lthpaper.figures.verdict_marks import ticket_band, ticket_swatch
from lthpaper.paper import Thresholds
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.verdicts.conditions import SYMBOLS
from lthpaper.verdicts.evidence import YES
from lthpaper.verdicts.tickets import JACKPOT, SECONDARY, Verdict, verdict

NAMES = {"pretraining": "pretraining", "LT-IMP": "LT", "RR-IMP": "RR", "SDT": "SDT"}
RATES = np.logspace(-3, 0, 301)
SKETCHED = Thresholds(similar=0.8, gap=0.8)  # wider than the paper's, to be seen
LOW, HIGH = 85.0, 94.2
GUTTER = 7.5  # panel (a) goes on to here, for the levels and the arrows between them


@dataclass(frozen=True)
class Sketch:
    """A curve with its top at learning rate 10^at: top − left (log10 lr − at)² below it, right above."""

    top: float
    at: float
    left: float
    right: float

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        x = np.log10(lr) - self.at
        return self.top - np.where(x < 0, self.left, self.right) * x**2


JACKPOT_SKETCH = {
    "pretraining": Sketch(93.3, -1.0, 1.5, 2.8),
    "LT-IMP": Sketch(92.7, -1.25, 1.8, 3.6),
    "RR-IMP": Sketch(90.5, -1.1, 1.4, 2.8),
    "SDT": Sketch(88.7, -0.9, 0.7, 2.6),
}
SECONDARY_SKETCH = JACKPOT_SKETCH | {
    "pretraining": Sketch(93.3, -0.9, 1.5, 2.8),
    "LT-IMP": Sketch(91.6, -1.75, 3.1, 1.4),
    "RR-IMP": Sketch(89.9, -1.1, 1.2, 2.4),
}


def sketched(curves: dict[str, Sketch]) -> pd.DataFrame:
    """The curves as a tidy table, one seed, s = 0.832."""
    frames = [
        pd.DataFrame({"setting": setting, "lr": RATES, "accuracy": curve(RATES)})
        for setting, curve in curves.items()
    ]
    table = pd.concat(frames, ignore_index=True)
    table["sparsity"] = np.where(table["setting"] == "pretraining", 0.0, 0.832)
    return table.assign(network="sketch", data="sketch", epochs=160, seed=0)


def trials(scale: Scale | None = None) -> list[Trial]:
    """Nothing is trained."""
    return []


def plot(table: pd.DataFrame | None = None, scale: Scale | None = None) -> Figure:
    """Three panels over strips that show at which learning rates ③, ④ and ⑤ hold. No table is read."""
    with paper_style():
        shape = {  # (a) has the gutter
            "height_ratios": (5, 1.25),
            "width_ratios": (1 + np.log10(GUTTER) / 3, 1, 1),
        }
        fig, axes = plt.subplots(2, 3, figsize=(PAGE, 2.75), sharex="col", sharey="row", gridspec_kw=shape)
        titles = ("(a) the conditions", "(b) Jackpot winning ticket", "(c) secondary prize ticket")
        sketches = (JACKPOT_SKETCH, JACKPOT_SKETCH, SECONDARY_SKETCH)
        for (top, strip), title, curves in zip(axes.T, titles, sketches, strict=True):
            rows = sketched(curves)
            found = verdict(rows, SKETCHED)
            _curves(top, rows, found)
            top.set_xlim(RATES[0], GUTTER if title.startswith("(a)") else RATES[-1])
            top.set_title(title)
            if title.startswith("(a)"):
                _conditions(top, rows, found)
            else:
                _ticket(top, rows, found)
            _strip(strip, found)
        axes[0][0].set_ylabel("test accuracy")
        axes[1][0].set_ylabel("holds at")
        handles: list[Artist] = [swatch(s, marker="", label=name) for s, name in NAMES.items()]
        handles += [Patch(color=SIMILAR, label="similar to the best pretraining")]
        handles += [ticket_swatch(kind) for kind in (SECONDARY, JACKPOT)]
        fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


def _curves(ax: Axes, rows: pd.DataFrame, found: Verdict) -> None:
    best = _best(rows, "pretraining")
    ax.axhspan(best + found[5].threshold, best, color=SIMILAR, linewidth=0, zorder=0)
    for setting in NAMES:
        own = rows[rows["setting"] == setting]
        dashes = (0, DASHES[setting]) if setting in DASHES else "-"
        ax.plot(own["lr"], own["accuracy"], color=COLOURS[setting], linestyle=dashes, linewidth=1.3)
    ax.set_xscale("log")
    ax.set_ylim(LOW, HIGH)
    ax.grid(visible=False)
    ax.tick_params(left=False, labelleft=False, which="both")
    ax.tick_params(bottom=False, labelbottom=False, which="both")
    note: dict[str, Any] = {"fontsize": 6, "color": "#777777", "style": "italic"}
    ax.text(10**-1.5, LOW + 0.25, "sketch, no data", ha="center", **note)


def _conditions(ax: Axes, rows: pd.DataFrame, found: Verdict) -> None:
    """Levels of the bests in the gutter, an arrow for each difference; ④ where the curves are."""
    for setting in NAMES:
        lr, best = _where_best(rows, setting), _best(rows, setting)
        ax.plot([lr, GUTTER], [best, best], color=COLOURS[setting], linewidth=0.6, alpha=0.8)
        ax.plot([lr], [best], "o", color=COLOURS[setting], markersize=3)
    back = {"facecolor": "white", "linewidth": 0, "pad": 0.2}  # a symbol never lies on a level
    for n, x, lower in ((5, 3.4, 0), (3, 1.35, 0), (2, 3.4, 0.9)):
        ours, theirs = found[n].best, found[n].against
        assert ours is not None
        assert theirs is not None
        (lt, _), (other, _) = ours, theirs
        ends = _best(rows, other), _best(rows, lt)
        _arrow(ax, x, *ends)
        ax.text(
            x * 1.15, sum(ends) / 2 - lower, SYMBOLS[n - 1], va="center", ha="left", fontsize=9, bbox=back
        )
    lr = min(found[4].lrs, key=lambda lr: abs(np.log(lr / 0.004)))
    lt, dense = (np.interp(lr, RATES, _accuracy(rows, s)) for s in ("LT-IMP", "pretraining"))
    ax.annotate(
        SYMBOLS[3],
        (lr, (lt + dense) / 2),
        (lr * 0.62, dense + 1.35),
        fontsize=10,
        ha="center",
        arrowprops={"arrowstyle": "-", "linewidth": 0.7, "shrinkB": 0},
    )


def _ticket(ax: Axes, rows: pd.DataFrame, found: Verdict) -> None:
    """A box around LT where the ticket is, and what ⑤ lacks where it fails."""
    shown = sorted(set(found.lrs) & set(found[3].lrs))
    lt = np.interp(shown, RATES, _accuracy(rows, "LT-IMP"))
    jackpot = found.kind == JACKPOT
    ticket_band(ax, shown, lt, found.kind)
    text = "Jackpot" if jackpot else "secondary prize"
    ax.text(RATES[0] * 1.12, HIGH - 0.4, text, fontweight="bold", fontsize=7, va="center")
    if not jackpot:
        best = found[5].best
        assert best is not None
        lr = best[1]
        _arrow(ax, lr, _best(rows, "LT-IMP"), _best(rows, "pretraining"))
        ax.text(lr * 0.87, _best(rows, "pretraining") - 0.4, f"{SYMBOLS[4]} fails", va="center", ha="right")


def _strip(ax: Axes, found: Verdict) -> None:
    """One row per condition: a bar over the learning rates at which it holds."""
    for row, n in enumerate((5, 4, 3)):
        lrs = found[n].lrs
        if lrs:
            ax.plot([min(lrs), max(lrs)], [row, row], color="#555555", linewidth=4, solid_capstyle="butt")
        else:
            ax.text(0.03, row, "nowhere", fontsize=6.2, ha="center", va="center", color="#555555")
    ax.set_yticks(range(3), [SYMBOLS[n - 1] for n in (5, 4, 3)], fontsize=7.5)
    ax.set_ylim(-0.6, 2.6)
    ax.grid(visible=False)
    ax.tick_params(which="both", length=0)
    ax.set_xticks([])
    ax.set_xticks([], minor=True)
    ends: dict[str, Any] = {"y": -0.85, "va": "top", "fontsize": 7}
    ax.text(x=RATES[0], s="small", ha="left", **ends)
    ax.text(x=RATES[-1], s="large", ha="right", **ends)
    ax.text(x=10**-1.5, s="learning rate", ha="center", **ends)


def _arrow(ax: Axes, x: float, low: float, high: float) -> None:
    style = {"arrowstyle": "<|-|>", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
    ax.annotate("", (x, high), (x, low), arrowprops=style | {"color": "black"})


def _accuracy(rows: pd.DataFrame, setting: str) -> np.ndarray:
    return rows.loc[rows["setting"] == setting, "accuracy"].to_numpy()


def _best(rows: pd.DataFrame, setting: str) -> float:
    return float(_accuracy(rows, setting).max())


def _where_best(rows: pd.DataFrame, setting: str) -> float:
    return float(RATES[_accuracy(rows, setting).argmax()])


def judged() -> dict[str, Verdict]:
    """The verdicts on the sketches of panels (b) and (c)."""
    sketches = {"(b)": JACKPOT_SKETCH, "(c)": SECONDARY_SKETCH}
    return {name: verdict(sketched(curves), SKETCHED) for name, curves in sketches.items()}


def says(table: pd.DataFrame, scale: Scale) -> list[str]:
    """Which conditions hold on each sketch, and what it is called."""
    return [
        f"Sketch {name}: {''.join(c.symbol for c in v.conditions if c.holds == YES)} hold, a {v.kind} ticket."
        for name, v in judged().items()
    ]


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """One row per sketch, one column per condition, and the ticket."""
    rows = {n: {c.symbol: c.holds for c in v.conditions} | {"ticket": v.kind} for n, v in judged().items()}
    return pd.DataFrame.from_dict(rows, orient="index")


register(
    "fig2",
    FigureSpec("The principles: conditions on sketched curves", trials, plot, tabulate=tabulate, says=says),
)
