"""Figure 4: training trajectories along the loss contours of ResNet-32, IMP and OMP, s = 0.945."""

from functools import partial

from lthpaper.figures import FigureSpec, contours, register

trials = partial(contours.trials, residual=True)
keep = partial(contours.keep, residual=True)
measure, is_measured, plot = contours.measure, contours.is_measured, contours.plot

register(
    "fig4",
    FigureSpec(
        "Trajectories on loss contours, with residual connections",
        trials,
        plot,
        keep,
        measure=measure,
        measurement=contours.MEASUREMENT,
        is_measured=is_measured,
    ),
)
