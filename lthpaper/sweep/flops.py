"""How much work a network is: operations and memory traffic, counted, not measured."""

from functools import lru_cache

import torch
from torch import nn

from lthpaper import data, networks
from lthpaper.runs.run import Task

# Reads and writes of an activation in one training step, with batch-norm and ReLU fused into the
# convolutions: written by the convolution, read for the statistics, read by the next convolution;
# backward the gradient is written and read by both gradients' convolutions, the activation once more.
ACCESSES = 7


def per_image(task: Task) -> tuple[int, int]:
    """(floating-point operations, activations) of training on one image; activations: of convolutions."""
    operations, activations, _ = _counted(task)
    return operations, activations


def layers(task: Task) -> int:
    """Convolutions and linear layers."""
    return _counted(task)[2]


@lru_cache(maxsize=256)
def _counted(task: Task) -> tuple[int, int, int]:
    network = networks.skeleton(**task.shape)
    counted: list[tuple[int, int]] = []  # (multiply-accumulates, outputs) by layer in order

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weight = layer.weight
        products = output.numel() // weight.shape[0] * weight.numel()
        counted.append((products, output.numel() if isinstance(layer, nn.Conv2d) else 0))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    card = data.card(task.data)
    network(torch.empty(1, card.channels, card.size, card.size, device="meta"))
    macs = sum(m for m, _ in counted)
    # forward, for the gradient of the weights, and for that of the inputs, which the first layer needs not
    return 2 * (3 * macs - counted[0][0]), sum(a for _, a in counted), len(counted)
