"""Figure 4: training trajectories along the loss contours of ResNet-32, IMP and OMP, s = 0.945."""

from lthpaper.figures import register
from lthpaper.figures.contours import spec

register("fig4", spec("Trajectories on loss contours, with residual connections", residual=True))
