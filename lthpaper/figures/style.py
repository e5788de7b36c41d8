"""How figures look: sizes, one colour and one marker per setting, one pair of tickets, symbols.

A page of this field is 5.5 inches wide, a column 3.25; no text is smaller than 6 points there. Colours
differ in lightness, so they stay apart in greyscale, and under deuteranopia (tests measure both).
seaborn is imported where it draws: machines that only train may lack it.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, product
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.path import Path

from lthpaper.verdicts.tickets import EITHER, JACKPOT, SECONDARY

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

PAGE = 5.5  # inches: width of a paper's page

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
    # masks at initialisation, and early ones
    "LT-early": "#490165",
    "LT-magnitude": "#43770F",
    "LT-SNIP": "#0A8791",
    "LT-GraSP": "#F06C8A",
    "LT-SynFlow": "#FDAD63",
    "random-erk": "#0DE9ED",
}
CORNERS = ((-0.3, -0.5), (0.3, -0.5), (0.3, 0.5), (-0.3, 0.5), (0, 0))  # the last one closes the path
TALL, WIDE = Path(CORNERS, closed=True), Path([(y, x) for x, y in CORNERS], closed=True)
MARKERS: dict[str, Any] = {
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
    "LT-early": "d",
    "LT-magnitude": (4, 1, 0),  # a star of four points
    "LT-SNIP": "h",
    "LT-GraSP": (6, 1, 0),
    "LT-SynFlow": WIDE,
    "random-erk": TALL,
}
DASHES: dict[str, tuple[float, ...]] = {"RR-IMP": (4, 1.5), "RR-OMP": (2, 1, 0.6, 1), "SDT": (1.2, 1.2)}
OTHERS: tuple[tuple[str, Any], ...] = (("#8C8C8C", (3, 1, 0)), ("#5F5F5F", "H"), ("#BFBFBF", (5, 0, 180)))
LENT = (("WR-IMP", "WR-OMP"), ("FT-IMP", "FT-OMP"))  # to LT and RR of rules without a look of their own
SHUFFLED = "shuffled-"  # in a setting's name: the mask of another, shuffled; in its colour and mark, open

GOLD, SILVER = ("#F2C230", "xxxxx"), ("#9FD3B4", "/////")  # colour and hatch
TICKETS = {JACKPOT: GOLD, SECONDARY: SILVER, EITHER: SILVER}
SURE, BY_MEANS = 0.75, 0.45  # opacity of a ticket that the seeds support, and of one by the means alone
RATES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)  # even steps of the colours of learning rates
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
    import matplotlib.pyplot as plt

    plt.draw_if_interactive()  # loads the backend: what a notebook's one sets must outlive the style
    with mpl.rc_context(RC):
        yield


# --- settings ---


def palette(settings: Iterable[str]) -> dict[str, str]:
    """Setting -> colour. Those without one in COLOURS (LT-RANDOM, RR-RANDOM) are lent rewinding's, where that
    is not among the settings, else greys; so ask for all settings of a figure at once."""
    return {name: colour for name, (colour, _) in _looks(settings).items()}


def markers(settings: Iterable[str]) -> dict[str, Any]:
    """Setting -> marker, as matplotlib names it."""
    return {name: marker for name, (_, marker) in _looks(settings).items()}


def _looks(settings: Iterable[str]) -> dict[str, tuple[str, Any]]:
    settings, found, others = list(settings), {}, 0
    labels = [label for start, _, label in (s.partition("-") for s in settings) if start in ("LT", "RR")]
    unknown = [label for label in dict.fromkeys(labels) if f"RR-{label}" not in COLOURS]
    spare = [pair for pair in LENT if not set(pair) & set(settings)]
    lent = {
        f"{start}-{label}": name
        for label, pair in zip(unknown, spare, strict=False)
        for start, name in zip(("LT", "RR"), pair, strict=True)
    }
    for name in settings:
        known = name.replace(SHUFFLED, "")
        if (known := known if known in COLOURS else lent.get(name, "")) in COLOURS:
            found[name] = COLOURS[known], MARKERS[known]
        elif name not in found:
            found[name] = OTHERS[others % len(OTHERS)]
            others += 1
    return found


def swatch(setting: str, among: Iterable[str] = (), **look: object) -> Line2D:
    """A setting's line and marker for a legend. among: all settings of the figure."""
    colour, marker = _looks([*among, setting])[setting]
    dashes = (0, DASHES[setting]) if setting in DASHES else "-"
    given: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": dashes, "label": setting}
    return Line2D([], [], **given | {"markeredgecolor": "white"} | look)


def letters() -> Iterator[str]:
    """Of panels: a to z, then aa to az, …"""
    return ("".join(word) for size in count(1) for word in product(ascii_lowercase, repeat=size))


def rate_colours(lrs: Iterable[float]) -> dict[float, Any]:
    """Learning rate -> colour, where learning rates are compared and not settings: the larger, the darker.

    A rate within RATES has the same colour in every figure, whatever stands or has run beside it. Smaller
    and larger ones make the scale longer.
    """
    import seaborn as sns

    lrs = sorted(set(lrs))
    scale = sorted({*RATES, *(lr for lr in lrs if not RATES[0] <= lr <= RATES[-1])})
    places = np.interp(np.log(lrs), np.log(scale), np.linspace(0, 1, len(scale)))
    colours = sns.color_palette("flare", as_cmap=True)
    return {lr: colours(place)[:3] for lr, place in zip(lrs, places, strict=True)}


# --- words ---


def symbols(text: str) -> str:
    """θ0, θ0′, θt, θT, θ5 and R_p in a text as mathtext."""
    text = re.sub(r"θ(\d+|T|t)′", r"$\\theta_{\1}^{\\prime}$", text)
    return re.sub(r"θ(\d+|T|t)", r"$\\theta_{\1}$", text).replace("R_p", R_P)


def as_written(sparsity: float) -> str:
    """s as the text writes it: 0.59, 0.832, 0.914."""
    return f"{sparsity:.3f}".rstrip("0")
