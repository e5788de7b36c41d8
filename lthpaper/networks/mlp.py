"""LeNet-300-100 (LeCun et al. 1998), the network of the first lottery-ticket experiments.

Linear and ReLU layers over flattened images; no batch-norm. By the paper's rule (never the first or the
last layer) only `fc2` is prunable; the patterns `fc1.weight` and `fc2.weight` name more.
"""

from collections import OrderedDict

from torch import nn

from lthpaper.networks import register, scaled


@register("mlp")
def mlp(num_classes: int = 10, width: float = 1.0, in_channels: int = 3, size: int = 32) -> nn.Module:
    """images (B, in_channels, size, size) -> logits (B, num_classes)."""
    first, second = scaled(300, width), scaled(100, width)
    fc1, fc2 = nn.Linear(in_channels * size * size, first), nn.Linear(first, second)
    network = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=fc1,
            relu1=nn.ReLU(),
            fc2=fc2,
            relu2=nn.ReLU(),
            fc3=nn.Linear(second, num_classes),
        )
    )
    for layer in (fc1, fc2):
        # fan-in, since no batch-norm follows: it keeps the activations' variance in 3,072 -> 300 -> 100
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return network
