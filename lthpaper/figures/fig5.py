"""Figure 5: Figure 4 without residual connections (the "ResNet-32-like" network)."""

from lthpaper.figures import register
from lthpaper.figures.contours import spec

register("fig5", spec("Trajectories on loss contours, without residual connections", residual=False))
