"""Figure 5: Figure 4 without residual connections (the "ResNet-32-like" network)."""

from functools import partial

from lthpaper.figures import FigureSpec, contours, register
from lthpaper.measures.contours import MEASUREMENT, is_measured, measure
from lthpaper.runs import experiments

trials = experiments.EXPERIMENTS["fig5"]
keep = partial(experiments.contour_snapshots, residual=False)
plot = contours.plot

register(
    "fig5",
    FigureSpec(
        "Trajectories on loss contours, without residual connections",
        trials,
        plot,
        keep,
        measure=measure,
        measurement=MEASUREMENT,
        is_measured=is_measured,
    ),
)
