"""loss-landscapes as a second opinion: linear interpolation between two sets of weights, one at a time.

What it does rightly is used: `linear_interpolation`, `point` and the metric `Loss`. docs/landscapes.md
says which of its other functions do not compute what they say.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lthpaper import networks
from lthpaper.measures.planes import Sample
from lthpaper.runs.task import Task
from lthpaper.training.result import Weights


def module(task: Task, weights: Weights, device: torch.device | str = "cpu") -> nn.Module:
    """The ordinary network with these weights, in evaluation mode."""
    return networks.loaded(weights, **task.shape).to(device).eval()


def interpolated(
    task: Task, start: Weights, end: Weights, steps: int, sample: Sample, device: torch.device
) -> np.ndarray:
    """Losses (steps + 1,) from `start` to `end`. The package leaves the start out; `point` adds it."""
    import loss_landscapes
    from loss_landscapes.metrics.sl_metrics import Loss

    metric = Loss(F.cross_entropy, sample.images.float().to(device), sample.labels.to(device))
    first, last = module(task, start, device), module(task, end, device)
    at_start = loss_landscapes.point(first, metric)
    # it moves the model it is given and switches its gradients off: copies
    along = loss_landscapes.linear_interpolation(first, last, metric, steps, deepcopy_model=True)
    return np.array([at_start, *along])
