"""A network that knows its shape and cannot be trained."""

import torch
from torch import nn

from lthpaper import networks


def failing(num_classes: int = 10) -> nn.Module:
    """Raises where it is built for training."""
    if torch.get_default_device().type != "meta":
        raise LookupError("no such layer")
    return networks.build("resnet8", num_classes, 0.125, 1)
