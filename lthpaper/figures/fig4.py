"""Figure 4: training trajectories along the loss contours of ResNet-32, IMP and OMP, s = 0.945."""

from functools import partial

from lthpaper.figures import FigureSpec, contours, register
from lthpaper.measures.contours import MEASUREMENT, is_measured, measure
from lthpaper.runs import experiments

trials = experiments.EXPERIMENTS["fig4"]
keep = partial(experiments.contour_snapshots, residual=True)
plot = contours.plot

register(
    "fig4",
    FigureSpec(
        "Trajectories on loss contours, with residual connections",
        trials,
        plot,
        keep,
        measure=measure,
        measurement=MEASUREMENT,
        is_measured=is_measured,
    ),
)
