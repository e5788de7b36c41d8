"""The guideline of §3.2 as a decision diagram: where each network of the scale comes out, and our results."""

import re
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, register
from lthpaper.figures.means import sizes_note
from lthpaper.figures.style import PAGE, PALE, paper_style, symbols
from lthpaper.runs import experiments
from lthpaper.runs.scales import Scale
from lthpaper.verdicts.guideline import Guideline, guideline

trials = experiments.all_sparsities  # the evidence
TRY, FOUND = "the paper: try", "our results"
SPARSITY = ("sparsity: above 0.6, up to 0.914;", "   0.945 or higher if redundant")
# (large data, residual connections; None where these do not matter) -> heading, what the paper says to try
LEAVES: dict[tuple[bool, bool | None], tuple[str, tuple[str, ...]]] = {
    (False, True): (
        "residual connections",
        ("learning rate: small", "mask: IMP", *SPARSITY, "initial weights: keep θ0"),
    ),
    (False, False): (
        "no residual connections",
        ("learning rate: large", "mask: OMP, as good and cheaper", *SPARSITY, "initial weights: any draw"),
    ),
    (True, None): (
        "large data",
        (
            *("learning rate: large", "mask: OMP"),
            *("sparsity: expect no clear ticket", "initial weights: any draw"),
        ),
    ),
}
SHOWN = 3  # experiments written out in a leaf
LINE = 0.125  # inches
BOX, QUESTION = "#EEF2F4", "#FFFFFF"


def guidelines(table: pd.DataFrame, scale: Scale) -> list[Guideline]:
    """One per experiment of the scale; rates from its grid, evidence from the table."""
    return [
        guideline(t.network, t.data, table, scale.grid_for(t.data), scale.train_images) for t in scale.tasks
    ]


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Two rows per experiment: what the guideline says, what our results say; one column per question."""
    rows = []
    for g in guidelines(table, scale):
        about = g.about
        facts = (
            f"{about.residual_connections} residual connections",
            f"{'large' if about.large_data else 'small'} data",
            f"{about.redundancy:.2g} parameters an image and class",
        )
        said = {a.question: a.answer.replace(": ", ":; ") for a in g.advice}
        rows.append({"network": f"{about.network}; {about.data}", "": TRY} | said)
        found = {a.question: a.ours for a in g.advice}
        rows.append({"network": "; ".join(facts), "": FOUND} | found)
    return pd.DataFrame(rows).set_index("network")


def leaf_of(g: Guideline) -> tuple[bool, bool | None]:
    """Where a network comes out of the diagram."""
    return (True, None) if g.about.large_data else (False, bool(g.about.residual))


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Two questions, three answers; in each, the networks of the scale that come out there."""
    found = guidelines(table, scale)
    by_leaf = {leaf: [g for g in found if leaf_of(g) == leaf] for leaf in LEAVES}
    bodies = {leaf: _body(of_leaf) for leaf, of_leaf in by_leaf.items()}
    lines = max(len(body) for body in bodies.values())
    most = max(len(advice) for _, advice in LEAVES.values())
    tall = 1.2 + LINE * (most + lines + 2.6) + 0.5
    with paper_style(), plt.rc_context({"figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(PAGE, tall))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, PAGE), ylim=(tall, 0))  # inches, downwards
        ax.set_axis_off()
        wide = (PAGE - 0.24) / 3
        left = [0.06 + i * (wide + 0.06) for i in range(3)]
        top = 1.22
        _question(ax, 2.75, 0.16, "How to win a prize (§3.2): is the data set large?")
        _question(ax, left[0] + wide + 0.03, 0.68, "are there residual connections?")
        _arrow(ax, (2.05, 0.26), (left[0] + wide + 0.03, 0.58), "no")
        _arrow(ax, (3.9, 0.26), (left[2] + wide / 2, top - 0.02), "yes")
        _arrow(ax, (left[0] + wide - 0.2, 0.79), (left[0] + wide / 2, top - 0.02), "yes")
        _arrow(ax, (left[1] + 0.2, 0.79), (left[1] + wide / 2, top - 0.02), "no")
        for x, (leaf, (heading, advice)) in zip(left, LEAVES.items(), strict=True):
            _leaf(ax, x, top, wide, tall - 0.5 - top, heading, advice, bodies[leaf])
        of = sizes_note(table).replace("; ", ", ")
        foot = (
            f"Our results at the highest sparsity, by the means of {of}; ?: the seeds leave it open.",
            "In brackets, points by which the better one leads (alike: small − large; IMP − OMP; LT − RR).",
            "What is small data and what is redundant is our reading of the paper's examples.",
        )
        for i, words in enumerate(foot):
            ax.text(0.06, tall - 0.33 + i * LINE, words, fontsize=6, color=PALE, va="center")
    return fig


def _body(of_leaf: Sequence[Guideline]) -> list[tuple[str, bool]]:
    """(line, is it a heading?) of the networks of a leaf, with our results at the highest sparsity, and the
    sparsest ticket of each mask."""
    lines: list[tuple[str, bool]] = []
    short = {"learning rate": "rate", "pruning": "mask", "sparsity": "ticket", "initial weights": "start"}
    for g in of_leaf[:SHOWN]:
        redundant = "redundant" if g.about.redundant else "not redundant"
        lines.append((f"{g.about.network} · {g.about.data}, {redundant}", True))
        for a in g.advice:
            said = a.ours.split("; ")
            if a.question != "sparsity":  # by sparsity, the highest last
                said = [re.sub(r"^\d\.\d+: ", "", said[-1])]
            lines.append((f"{short[a.question]}: {said[0]}", False))
            lines += [(f"   {more}", False) for more in said[1:]]
    if len(of_leaf) > SHOWN:
        lines.append((f"and {len(of_leaf) - SHOWN} more, in the table", False))
    return lines or [("none of this scale's networks", False)]


def _leaf(
    ax: Axes,
    x: float,
    y: float,
    wide: float,
    tall: float,
    heading: str,
    advice: Sequence[str],
    body: Sequence[tuple[str, bool]],
) -> None:
    ax.add_patch(plt.Rectangle((x, y), wide, tall, facecolor=BOX, edgecolor="#9AA7AE", linewidth=0.6))
    ax.text(x + wide / 2, y + 0.1, heading, ha="center", va="center", fontsize=6.4, fontweight="bold")
    at = y + 0.1 + 1.2 * LINE
    for words in advice:
        ax.text(x + 0.06, at, symbols(words), va="center", fontsize=6.4)
        at += LINE
    at = y + 0.1 + LINE * 6.6
    ax.plot([x + 0.06, x + wide - 0.06], [at - 0.75 * LINE] * 2, color="#9AA7AE", linewidth=0.5)
    for words, is_heading in body:
        look: dict[str, Any] = {"fontweight": "bold"} if is_heading else {}
        ax.text(x + 0.06, at, symbols(words), va="center", fontsize=6, **look)
        at += LINE


def _question(ax: Axes, x: float, y: float, words: str) -> None:
    box = {"facecolor": QUESTION, "edgecolor": "#404040", "linewidth": 0.7, "boxstyle": "round,pad=0.35"}
    ax.text(x, y, words, ha="center", va="center", fontsize=7, bbox=box, zorder=3)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], words: str) -> None:
    look = {"arrowstyle": "-|>", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
    ax.annotate("", end, start, arrowprops=look | {"color": "#404040"})
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    back = {"facecolor": "white", "linewidth": 0, "pad": 0.8}
    ax.text(*middle, words, ha="center", va="center", fontsize=6.4, bbox=back)


register(
    "guideline", FigureSpec("How to win a prize: the guideline of §3.2", trials, plot, tabulate=tabulate)
)
