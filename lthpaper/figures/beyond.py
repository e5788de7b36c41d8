"""An interval that goes on beyond its panel: an arrowhead at the panel's edge, and the words for it."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP

HEADS = {"x": (CARETLEFT, CARETRIGHT), "y": (CARETDOWN, CARETUP)}
NOTE = "arrow: the interval goes on"


def arrows(
    ax: Axes,
    at: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    colour: Any,
    along: Literal["x", "y"] = "y",
    size: float = 3,
) -> None:
    """An arrowhead where an interval's end lies outside the panel, whose limits must stand.

    along: the axis that the intervals lie along; at: their places on the other one. size: points.
    """
    ends, everywhere = (ax.get_xlim() if along == "x" else ax.get_ylim()), np.asarray(at, float)
    outside = (np.asarray(low, float) < min(ends), np.asarray(high, float) > max(ends))
    look: dict[str, Any] = {"linestyle": "none", "color": colour, "markersize": size, "clip_on": False}
    for edge, (beyond, head) in enumerate(zip(outside, HEADS[along], strict=True)):
        if beyond.any():
            edges, places = np.full(beyond.sum(), float(edge)), everywhere[beyond]
            if along == "x":
                ax.plot(edges, places, marker=head, transform=ax.get_yaxis_transform(), **look)
            else:
                ax.plot(places, edges, marker=head, transform=ax.get_xaxis_transform(), **look)


def note(fig: Figure) -> str:
    """The words for a caption, if an arrowhead is drawn."""
    heads = {head for pair in HEADS.values() for head in pair}
    drawn = any(line.get_marker() in heads for ax in fig.axes for line in ax.lines)
    return NOTE if drawn else ""
