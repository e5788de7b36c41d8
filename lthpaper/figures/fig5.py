"""Figure 5: Figure 4 without residual connections (the "ResNet-32-like" network)."""

from functools import partial

from lthpaper.figures import FigureSpec, contours, register

trials = partial(contours.trials, residual=False)
keep = partial(contours.keep, residual=False)
measure, is_measured, plot = contours.measure, contours.is_measured, contours.plot

register(
    "fig5",
    FigureSpec(
        "Trajectories on loss contours, without residual connections",
        trials,
        plot,
        keep,
        measure=measure,
        measurement=contours.MEASUREMENT,
        is_measured=is_measured,
    ),
)
