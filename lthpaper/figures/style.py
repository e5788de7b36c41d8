"""How figures look: sizes, one colour and one marker a setting, one pair of tickets, symbols, axes.

A page of this field is 5.5 inches wide, a column 3.25; no text is smaller than 6 points there. Colours
differ in lightness, so they stay apart in greyscale, and under deuteranopia (tests measure both).
seaborn is imported where it draws: machines that only train may lack it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import Transform

from lthpaper.verdicts.cells import trained
from lthpaper.verdicts.tickets import EITHER, JACKPOT, SECONDARY

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

COLUMN, PAGE = 3.25, 5.5  # inches: width of a paper's column and of its page
SMALLEST = 6.0  # points
CROSS = "×: a seed diverged"

THETA0, THETA0_NEW, THETA_T = r"$\theta_0$", r"$\theta_0^\prime$", r"$\theta_T$"
R_P, MASKED = "$R_p$", r"$\odot\,m$"

COLOURS = {
    "pretraining": "#000000",
    "LT-IMP": "#0058B8",
    "RR-IMP": "#D55E00",
    "LT-OMP": "#4DB3E6",
    "RR-OMP": "#F5C73D",
    "SDT": "#007D52",
    "WR-IMP": "#6A0F52",
    "WR-OMP": "#D37BB2",
    "FT-IMP": "#3F2A00",
    "FT-OMP": "#B5BE73",
}
MARKERS = {
    "pretraining": "D",
    "LT-IMP": "o",
    "RR-IMP": "s",
    "LT-OMP": "^",
    "RR-OMP": "v",
    "SDT": "X",
    "WR-IMP": "P",
    "WR-OMP": "p",
    "FT-IMP": "<",
    "FT-OMP": ">",
}
DASHES: dict[str, tuple[float, ...]] = {"RR-IMP": (4, 1.5), "RR-OMP": (4, 1.5), "SDT": (1.2, 1.2)}
OTHERS = ("#8C8C8C", "*"), ("#5F5F5F", "h"), ("#BFBFBF", "8")  # settings of one's own, in turn

GOLD, SILVER = ("#F2C230", "xxxxx"), ("#9FD3B4", "/////")  # colour and hatch
TICKETS = {JACKPOT: GOLD, SECONDARY: SILVER, EITHER: SILVER}
SURE, BY_MEANS = 0.75, 0.3  # opacity of a ticket that the seeds bear out, and of one by the means alone
SIMILAR = "#E4E4E4"  # within the paper's tolerance of the best pretraining
PALE = "#6E6E6E"  # text that is not about a setting

RC: "dict[RcKeyType, Any]" = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "figure.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#404040",
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlepad": 3,
    "axes.labelpad": 2,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.5,
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 0,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.0,
    "lines.markeredgewidth": 0.3,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.3,
    "mathtext.fontset": "dejavusans",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "lthpaper",  # the same figure is the same file
}


@contextmanager
def paper_style() -> Iterator[None]:
    """matplotlib as the paper-width figures want it; what was set before comes back."""
    with mpl.rc_context(RC):
        yield


# --- settings ---


def palette(settings: Iterable[str]) -> dict[str, str]:
    """Setting -> colour; one that the paper has not (LT-RANDOM) gets a grey of its own."""
    return {name: colour for name, (colour, _) in _looks(settings).items()}


def markers(settings: Iterable[str]) -> dict[str, str]:
    """Setting -> marker."""
    return {name: marker for name, (_, marker) in _looks(settings).items()}


def _looks(settings: Iterable[str]) -> dict[str, tuple[str, str]]:
    found, others = {}, 0
    for name in settings:
        if name in COLOURS:
            found[name] = COLOURS[name], MARKERS[name]
        elif name not in found:
            found[name] = OTHERS[others % len(OTHERS)]
            others += 1
    return found


def swatch(setting: str, **look: object) -> Line2D:
    """A setting's line and marker for a legend."""
    colour, marker = _looks([setting])[setting]
    dashes = (0, DASHES[setting]) if setting in DASHES else "-"
    given: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": dashes, "label": setting}
    return Line2D([], [], **given | {"markeredgecolor": "white"} | look)


def ticket_swatch(kind: str) -> Patch:
    """A ticket's band for a legend, as pale as the band."""
    colour, hatch = TICKETS[kind]
    return Patch(
        facecolor=colour, edgecolor="white", hatch=hatch, alpha=SURE, linewidth=0, label=f"{kind} ticket"
    )


def ticket_band(
    ax: Axes, x: Sequence[float], y: Sequence[float], kind: str, sure: bool = True, half: float = 0.055
) -> None:
    """A hatched band along a curve where the ticket is. x, y: data; call it when limits and scales stand.

    half: half its height, a share of the panel's.
    """
    colour, hatch = TICKETS[kind]
    points = ax.transAxes.inverted().transform(ax.transData.transform(np.column_stack([x, y])))
    (left, first), (right, last) = points[0], points[-1]
    xs = [left - 0.03, *points[:, 0], right + 0.03]  # a single learning rate is a band too
    ys = np.array([first, *points[:, 1], last])
    look: dict[str, Any] = {
        "facecolor": colour,
        "edgecolor": "white",
        "hatch": hatch,
        "linewidth": 0,
        "zorder": 1,
    }
    alpha = SURE if sure else BY_MEANS
    ax.fill_between(
        xs, ys - half, ys + half, transform=ax.transAxes, alpha=alpha, label=f"{kind} ticket", **look
    )


# --- tables ---


def spread(table: pd.DataFrame, by: str | Sequence[str], value: str = "accuracy") -> pd.DataFrame:
    """One row a group: mean, std over seeds (ddof 1; NaN for one seed), n, and whether a seed diverged.

    A group with a diverged seed has a NaN mean and std, as verdicts rule it out: those that survived are
    not what the setting reaches. A run that is not trained yet counts for nothing.
    """
    keys = [by] if isinstance(by, str) else list(by)
    lost = (trained(table) & table[value].isna()).groupby([table[key] for key in keys]).any()
    groups = table.groupby(keys)[value]
    found = pd.DataFrame({"mean": groups.mean(), "std": groups.std(ddof=1), "n": groups.count()})
    found["diverged"] = lost.astype(bool)
    found.loc[found["diverged"], ["mean", "std"]] = math.nan
    return found.reset_index()


CELL = ("network", "data", "epochs", "setting", "lr", "pretraining_lr", "sparsity", "rewind")


def converged(table: pd.DataFrame, value: str = "accuracy") -> pd.DataFrame:
    """The trained rows of cells of which no seed diverged: what means and error bars are taken over."""
    keys = [key for key in CELL if key in table]
    lost = (trained(table) & table[value].isna()).groupby([table[k] for k in keys], dropna=False)
    return table[~lost.transform("any") & table[value].notna()]


def diverged(table: pd.DataFrame, by: Sequence[str], value: str = "accuracy") -> pd.DataFrame:
    """The cells of which a seed diverged, one row each, with the columns `by`."""
    return table.loc[trained(table) & table[value].isna(), list(by)].drop_duplicates()


# --- curves ---


def curves(
    ax: Axes,
    table: pd.DataFrame,
    x: str,
    settings: Sequence[str],
    apart: float = 1.0,
    hollow: bool = False,
    **look: object,
) -> Axes:
    """Mean accuracy of each setting against column x, bars of one standard deviation over seeds; × where a
    seed diverged.

    apart: factor between neighbouring settings' x, so that bars stand beside each other on a log axis.
    hollow: markers are open (an insufficient training). look: of lines, as matplotlib names it.
    Scales are set afterwards: seaborn takes means in an axis' own scale.
    """
    import seaborn as sns

    if converged(table).empty:  # nothing to take a mean of
        for setting in settings:
            crosses(ax, diverged(table[table["setting"] == setting], [x])[x], setting)
        return ax
    order = [s for s in settings if s in set(table["setting"])]
    shift = {s: apart ** (i - (len(order) - 1) / 2) for i, s in enumerate(order)}
    table = table[table["setting"].isin(order)]
    table = table.assign(**{x: table[x] * table["setting"].map(shift).astype(float)})
    before, shown = len(ax.lines), converged(table)
    sns.lineplot(
        shown,
        x=x,
        y="accuracy",
        hue="setting",
        style="setting",
        hue_order=order,
        style_order=order,
        palette=palette(order),
        markers=markers(order),
        dashes={s: DASHES.get(s, "") for s in order},
        errorbar="sd",
        err_style="bars",
        err_kws={"capsize": 1.5, "elinewidth": 0.7, "capthick": 0.7},
        legend=False,
        ax=ax,
        **look,
    )
    if hollow:
        _open(ax.lines[before:])
    for setting, cells in diverged(table, [x, "setting"]).groupby("setting"):
        crosses(ax, cells[x], setting)
    return ax


def _open(lines: Iterable[Line2D]) -> None:
    for line in lines:
        if line.get_marker() not in ("None", "none", "", "_", "|", None):
            line.set(markerfacecolor="white", markeredgecolor=line.get_color(), markeredgewidth=0.8)


def points(
    ax: Axes, table: pd.DataFrame, x: str, cases: Sequence[tuple[str, int]], dodge: float = 0.66
) -> Axes:
    """Mean accuracy and its standard deviation over seeds, the cases side by side at each value of x.

    cases: (setting, number of epochs); those with fewer epochs than the most are open. × where a seed
    diverged.
    """
    import seaborn as sns

    table = table.assign(case=table["setting"] + " " + table["epochs"].astype(str))
    names = [f"{setting} {epochs}" for setting, epochs in cases]
    order, longest = sorted(table[x].unique()), max(epochs for _, epochs in cases)
    offset = dict(zip(names, np.linspace(-dodge / 2, dodge / 2, len(cases)), strict=True))
    for hollow in (False, True):
        before = len(ax.lines)
        shown = converged(table)
        sns.pointplot(
            shown[(shown["epochs"] < longest) == hollow],
            x=x,
            y="accuracy",
            hue="case",
            order=order,
            hue_order=names,
            palette=[palette([s])[s] for s, _ in cases],
            markers=[markers([s])[s] for s, _ in cases],
            dodge=dodge,
            errorbar="sd",
            err_kws={"linewidth": 0.7},
            linestyle="none",
            markersize=4,
            markeredgewidth=0.3,
            legend=False,
            ax=ax,
        )
        for line in ax.lines[before:]:
            line.set_zorder(3 if line.get_marker() in ("None", "", None) else 4)  # marks lie on bars
        if hollow:
            _open(ax.lines[before:])
    for cell in diverged(table, [x, "case"]).itertuples():
        crosses(ax, [order.index(getattr(cell, x)) + offset[cell.case]], cell.case.split(" ")[0])
    for between in range(1, len(order)):
        ax.axvline(between - 0.5, color="#BBBBBB", linewidth=0.5)
    ax.set_xlim(-0.5, len(order) - 0.5)
    ax.grid(axis="x", visible=False)
    return ax


def crosses(ax: Axes, x: Iterable[float], setting: str, transform: Transform | None = None) -> None:
    """× at the foot of the panel where a seed of a setting diverged. x: data, unless `transform` says."""
    x = list(x)
    if x:
        where: dict[str, Any] = {
            "transform": transform or ax.get_xaxis_transform(),
            "clip_on": False,
            "zorder": 5,
        }
        look: dict[str, Any] = {
            "color": palette([setting])[setting],
            "marker": "x",
            "markersize": 3.2,
            "markeredgewidth": 0.8,
        }
        ax.plot(x, [0.01] * len(x), linestyle="", **look, **where)


def level(ax: Axes, table: pd.DataFrame, setting: str = "pretraining", **style: Any) -> None:
    """A level line at the mean accuracy of a setting's rows (of one learning rate); × if a seed diverged."""
    for cell in spread(table[table["setting"] == setting], "lr").itertuples():
        if cell.diverged:
            crosses(ax, [0.015], setting, ax.transAxes)
        elif math.isfinite(cell.mean):
            look: dict[str, Any] = {"color": COLOURS[setting], "linewidth": 1}
            ax.axhline(cell.mean, **look | style)


# --- axes ---

ACCURACIES = (
    *(0, 10, 20, 30, 40, 50, 60, 70, 75, *range(80, 96), 95.5, 96, 96.5, 97, 97.5, 98, 98.5),
    *(99, 99.5, 99.7, 99.9),
)
LEAST_ERROR = 0.05  # percent; what is nearer to 100 is drawn there


def accuracy_axis(ax: Axes, low: float, high: float, ticks: int = 6) -> None:
    """y from `low` to `high` percent on a logarithmic scale of the error (100 − accuracy).

    A rate that learns nothing and differences of half a point near the best are both to be seen.
    """
    ax.set_yscale("function", functions=(_from_accuracy, _to_accuracy))
    bottom, top = _from_accuracy(np.array([low, min(high, 100 - LEAST_ERROR)]))
    room = max(top - bottom, 0.02)
    bottom, top = bottom - 0.06 * room, top + 0.1 * room
    ax.set_ylim(*_to_accuracy(np.array([bottom, top])))
    inside = [a for a in ACCURACIES if bottom <= _from_accuracy(np.array(a, float)) <= top]
    shown = _far_apart(inside, (top - bottom) / ticks)
    ax.set_yticks(shown, [f"{accuracy:g}" for accuracy in shown])
    ax.minorticks_off()


def _from_accuracy(accuracy: np.ndarray) -> np.ndarray:
    return -np.log10(np.maximum(100 - np.asarray(accuracy, float), LEAST_ERROR))


def _to_accuracy(place: np.ndarray) -> np.ndarray:
    return 100 - 10 ** -np.asarray(place, float)


def _far_apart(accuracies: Sequence[float], least: float) -> list[float]:
    """Those that stand `least` apart on the axis, from the top down; round ones before others."""
    chosen: list[float] = []
    for accuracy in sorted(accuracies, key=lambda a: (a % 10 != 0, a % 5 != 0, a % 1 != 0, -a)):
        places = [
            abs(float(_from_accuracy(np.array(accuracy)) - _from_accuracy(np.array(c)))) for c in chosen
        ]
        if all(place >= 0.75 * least for place in places):
            chosen.append(accuracy)
    return sorted(chosen)


LABEL = 0.3  # inches between the middles of two learning rates' labels


def rate_axis(ax: Axes, lrs: Iterable[float]) -> None:
    """A logarithmic x axis with a tick a learning rate, labelled where labels do not touch."""
    lrs = sorted(set(lrs))
    ax.set_xscale("log")
    low, high = min(lrs) / 1.45, max(lrs) * 1.45
    ax.set_xlim(low, high)
    inches = ax.get_position().width * ax.figure.figure.get_size_inches()[0]
    apart = LABEL / inches * math.log(high / low)
    decades = [lr for lr in lrs if abs(math.log10(lr) - round(math.log10(lr))) < 1e-9]
    labelled: list[float] = []
    for lr in sorted(lrs, key=lambda lr: (lr not in decades, -lr)):
        if all(abs(math.log(lr / other)) >= apart for other in labelled):
            labelled.append(lr)
    ax.set_xticks(sorted(labelled), [f"{lr:g}" for lr in sorted(labelled)])
    ax.set_xticks([lr for lr in lrs if lr not in labelled], [], minor=True)


# --- words ---


def seeds_note(table: pd.DataFrame) -> str:
    """What the error bars are, with n."""
    cells = spread(table, ["setting", "lr", "sparsity", "epochs", "network", "data"])
    n = cells.loc[~cells["diverged"] & (cells["n"] > 0), "n"]
    low, high = (int(n.min()), int(n.max())) if len(n) else (0, 0)
    count = f"{high}" if low == high else f"{low}–{high}"
    return "one seed" if high <= 1 else f"mean ± standard deviation of {count} seeds"


def diverged_note(table: pd.DataFrame) -> str:
    """What × means, if there is one."""
    return f"; {CROSS}" if (trained(table) & table["accuracy"].isna()).any() else ""


def unfinished_note(table: pd.DataFrame) -> str:
    """How many runs are missing, if only some are."""
    ran = trained(table)
    return "" if ran.all() or not ran.any() else f"; {(~ran).sum():,} of {len(ran):,} runs are still missing"


def symbols(text: str) -> str:
    """θ0, θ0′, θt, θT, θ5 and R_p in a text as mathtext."""
    text = re.sub(r"θ(\d+|T|t)′", r"$\\theta_{\1}^{\\prime}$", text)
    return re.sub(r"θ(\d+|T|t)", r"$\\theta_{\1}$", text).replace("R_p", R_P)


def percent(sparsity: float) -> str:
    """s as the text writes it: 0.59, 0.832, 0.914."""
    return f"{sparsity:.3f}".rstrip("0")


def signed(points: float, digits: int = 1) -> str:
    """With its sign, and a minus that is one."""
    return f"{points:+.{digits}f}".replace("-", "−")


def epochs_fill(epochs: Iterable[int]) -> Mapping[int, bool]:
    """Number of epochs -> are its marks filled? The longest training's are, others are open."""
    longest = max(epochs, default=0)
    return {e: e == longest for e in epochs}
