"""Conditions ② to ⑤ of every network, mask and sparsity as a forest plot: effect, interval, verdict."""

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lthpaper.figures import FigureSpec, beyond, forest, register
from lthpaper.figures.means import in_lines, sizes_note
from lthpaper.figures.style import PAGE, PALE, TICKETS, as_written, markers, paper_style
from lthpaper.figures.verdict_marks import SHORT, no_ticket, said_of, ticket_box
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.verdicts import tickets
from lthpaper.verdicts.cells import by_sparsity
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES, always_signed
from lthpaper.verdicts.tickets import NONE, Verdict

ASKED = {
    "②": "best rates:\nLT − SDT",
    "③": "best rates:\nLT − RR",
    "③m": "best rates:\nLT − shuffled",
    "④": "same rate:\nLT − pretraining",
    "⑤": "best rates:\nLT − pretraining",
}

OFFSET: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
BESIDE_A_ROW: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
FAR = 5.0  # points; an interval that reaches further may run out of its panel

Place = tuple[str, str, float, str]  # network, data set, sparsity, pruning

trials = experiments.all_sparsities


def effects(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One row per verdict and condition, "②" to "⑤" and "③m" where it is asked: difference, low, high in
    points (each bound at 95 %), the threshold, holds (by the means), holds_ours (by the seeds), lr (of LT, of
    the difference); of the verdict kind and kind_ours, and first: whether ① holds."""
    rows = []
    for v in verdicts:
        about = {"network": v.network, "data": v.data, "epochs": v.epochs, "sparsity": v.sparsity}
        about |= {"pruning": v.pruning or "", "kind": v.kind, "kind_ours": v.kind_ours, "first": v[1].holds}
        for c in (c for c in v.judged if c.symbol in ASKED):
            row = {"condition": c.symbol, "difference": c.difference, "low": c.low, "high": c.high}
            row |= {"threshold": c.threshold, "holds": c.holds, "holds_ours": c.holds_ours}
            rows.append(about | row | {"lr": c.best[1] if c.best else None})
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(("difference", "low", "high", "lr"), float)) if len(frame) else frame


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """One row per network, sparsity and mask: each condition's difference, bounds, the verdict, as text."""
    found = effects(_longest(table))
    rows = []
    for (network, data, s, pruning), of_one in found.groupby(
        ["network", "data", "sparsity", "pruning"], sort=False
    ):
        row = {"experiment": f"{network} on {data}", "s": as_written(s), "mask": pruning}
        row |= {c.condition: _said(c) for c in of_one.itertuples()}
        kind, ours = of_one["kind"].iloc[0], of_one["kind_ours"].iloc[0]
        rows.append(row | {"by the means": kind, "by the seeds": ours})
    return pd.DataFrame(rows).set_index("experiment").fillna(NOT_RUN)


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """One row per network, sparsity and mask, one column per condition."""
    found = _longest(table)
    return draw(found, sizes_note(table), {_place(v): _in_words(v, table) for v in found})


def _longest(table: pd.DataFrame) -> list[Verdict]:
    longest = table.groupby(["network", "data"])["epochs"].transform("max")  # ImageNet's are fewer
    return list(tickets.verdicts(table[table["epochs"] == longest])["verdict"])


def _place(v: Verdict) -> Place:
    return v.network, v.data, v.sparsity, v.pruning or ""


def _in_words(v: Verdict, table: pd.DataFrame) -> str:
    """The verdict as Figure 3 says it: "not run" and "not yet complete" where runs are missing."""
    rows = table[(table["network"] == v.network) & (table["data"] == v.data) & (table["epochs"] == v.epochs)]
    return said_of(v, next(of_one for s, of_one in by_sparsity(rows) if s == v.sparsity))


def draw(verdicts: Iterable[Verdict], note: str = "", kinds: Mapping[Place, str] | None = None) -> Figure:
    """The forest plot of any verdicts, also of those on a custom network.

    kinds: words for a row's verdict where runs are missing, by its network, data set, sparsity and pruning.
    """
    found = effects(verdicts)
    keys = found[["network", "data", "sparsity", "pruning"]].drop_duplicates().reset_index(drop=True)
    found["y"] = found.merge(keys.reset_index(), on=list(keys), how="left")["index"].to_numpy()
    found = found.assign(effect=found["difference"], state=found["holds_ours"], mark="LT-" + found["pruning"])
    first = keys.groupby(["network", "data"], sort=False).head(1).index
    labels = list(found["pruning"].unique())
    shapes = markers(f"LT-{label}" for label in labels)
    with paper_style():
        asked = {symbol: words for symbol, words in ASKED.items() if symbol in set(found["condition"])}
        fig, axes = plt.subplots(1, len(asked), figsize=(PAGE, 1.25 + 0.15 * len(keys)), sharey=True)
        for ax, (symbol, words) in zip(axes, asked.items(), strict=True):
            rows = found[found["condition"] == symbol]
            bounds = [rows["low"].clip(lower=-FAR), rows["high"].clip(upper=FAR)]
            forest.points_axis(ax, pd.concat([rows["difference"], rows["threshold"], *bounds]))
            forest.effects(ax, rows, shapes)
            forest.threshold(ax, rows["threshold"].iloc[0])
            _without_a_mark(ax, rows)
            if symbol == "④":
                _rates(ax, rows)
            ax.set_title(f"{symbol} {words}", fontsize=6.5)
            ax.set_xlabel("points")
        forest.rows_axis(axes[0], [f"{as_written(k.sparsity)} {k.pruning}" for k in keys.itertuples()])
        for ax in axes:
            for y in first[1:]:
                ax.axhline(y - 0.5, color="#999999", linewidth=0.6)
        axes[0].annotate("$s$, mask", (0, 1), (-4, 5), ha="right", **OFFSET)
        _names(axes[0], keys, first)
        _kinds(axes[-1], found.drop_duplicates("y"), kinds or {})
        several = bool(found["low"].notna().any())  # one seed has no bounds
        bounded = " with one-sided bounds at 95 %" * several
        parts = [
            f"differences of the best means{bounded}; dashed: the threshold",
            "④: the largest difference, at the rate beside it" + ", and bounds over all rates" * several,
            "each verdict by itself",
            f"axes linear to ±{forest.LINEAR:g} point, logarithmic beyond",
            beyond.note(fig),
            *note.split("; "),
        ]
        fig.suptitle(in_lines(parts), fontsize=6.5)
        said = {YES: "holds", NO: "fails", UNDECIDED: "the seeds leave it open"}
        drawn = set(found.loc[found["difference"].notna(), "holds_ours"])
        marks = forest.legend({state: words for state, words in said.items() if state in drawn})
        look: dict[str, Any] = {"color": PALE, "linestyle": "", "markersize": 4}
        marks += [
            Line2D([], [], marker=shapes[f"LT-{label}"], label=f"{label or 'either'} mask", **look)
            for label in labels
        ]
        fig.legend(handles=marks, loc="outside lower center", ncols=5)
    return fig


def _without_a_mark(ax: plt.Axes, rows: pd.DataFrame) -> None:
    """Why a row has no difference: nothing has run, or one side diverged at every learning rate."""
    words = {YES: "diverged: holds", NO: "diverged: fails"}
    for row in rows[rows["difference"].isna()].itertuples():
        look: dict[str, Any] = {"fontsize": 6, "color": PALE, "ha": "center", "va": "center"}
        look |= {"bbox": {"facecolor": "white", "linewidth": 0, "pad": 0.5}}  # above the threshold's line
        said = words.get(row.holds, row.holds)
        ax.text(0.5, row.y, said, transform=ax.get_yaxis_transform(), **look)


def _rates(ax: plt.Axes, rows: pd.DataFrame) -> None:
    """The learning rate of each difference, right of its row."""
    for row in rows[rows["difference"].notna()].itertuples():
        ax.annotate(f"{row.lr:g}", (1, row.y), (2, 0), fontsize=6, color=PALE, va="center", **BESIDE_A_ROW)


def _names(ax: plt.Axes, keys: pd.DataFrame, first: pd.Index) -> None:
    """The experiments' names beside their rows, upright."""
    ends = [*first[1:], len(keys)]
    for start, end in zip(first, ends, strict=True):
        name = f"{keys['network'][start]}\n{keys['data'][start]}"
        middle: dict[str, Any] = {"ha": "center", "va": "center", "rotation": 90, "fontsize": 6.5}
        ax.annotate(name, (0, (start + end - 1) / 2), (-48, 0), **middle, **BESIDE_A_ROW)


def _kinds(ax: plt.Axes, verdicts: pd.DataFrame, words: Mapping[Place, str]) -> None:
    """What the verdict is, right of its row."""
    for v in verdicts.itertuples():
        said = no_ticket(v.first) if v.kind == NONE else SHORT.get(v.kind, v.kind)
        said += "?" * (v.kind_ours != v.kind and v.kind != UNDECIDED)
        said = words.get((v.network, v.data, v.sparsity, v.pruning), said)
        ticket = v.kind in TICKETS
        look: dict[str, Any] = {"bbox": ticket_box(v.kind, v.kind_ours)} if ticket else {"color": PALE}
        ax.annotate(said, (1, v.y), (5, 0), fontsize=6.3, va="center", **BESIDE_A_ROW, **look)


def _said(c: Any) -> str:
    if pd.isna(c.difference):
        return c.holds
    bounds = "" if pd.isna(c.low) else f" ({always_signed(c.low, 1)} to {always_signed(c.high, 1)})"
    return always_signed(c.difference, 1) + bounds


register(
    "conditions",
    FigureSpec("Conditions ② to ⑤ of every experiment as a forest plot", trials, plot, tabulate=tabulate),
)
