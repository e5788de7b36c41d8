"""Operations and memory traffic of training a network, counted from its layers."""

from functools import lru_cache

import torch
from torch import nn

from lthpaper import data, networks
from lthpaper.runs.task import Task

# Reads and writes of an activation in one training step, with batch-norm and ReLU fused into the
# convolutions. Forward: written by the convolution, read for the statistics, read by the next convolution.
# Backward: its gradient is written, then read by both gradients' convolutions; the activation is read again.
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
        weight: torch.Tensor = layer.get_parameter("weight")
        products = output.numel() // weight.shape[0] * weight.numel()
        counted.append((products, output.numel() if isinstance(layer, nn.Conv2d) else 0))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    card = data.card(task.data)
    network(torch.empty(1, card.channels, card.size, card.size, device="meta"))
    macs = sum(m for m, _ in counted)
    # forward, the gradient of the weights, and that of the inputs, which the first layer does not need
    return 2 * (3 * macs - counted[0][0]), sum(a for _, a in counted), len(counted)
