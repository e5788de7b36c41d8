"""Figures and tables by name. A new one is one new file here, with its notebook.

A figure is two pure functions: `trials(scale)` names the runs that it shows, `plot(table, scale)`
draws the tidy table of their results (settings.COLUMNS). It never trains.

    register("fig1", FigureSpec("Preliminary results", trials, plot))
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.registry import Registry
from lthpaper.scales import Scale
from lthpaper.settings import Trial


@dataclass(frozen=True)
class FigureSpec:
    """title: what it shows, in one line. trials, plot: see above."""

    title: str
    trials: Callable[[Scale], list[Trial]]
    plot: Callable[[pd.DataFrame, Scale], Figure]


FIGURES: Registry[FigureSpec] = Registry("figure", "lthpaper.figures")


def register(name: str, spec: FigureSpec) -> FigureSpec:
    """Give a figure its name."""
    return FIGURES.register(name)(spec)
