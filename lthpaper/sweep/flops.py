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
    try:
        return _counted_on(networks.skeleton(**task.shape), task)
    except RuntimeError:  # its forward reads values, and a skeleton has none
        return _counted_on(networks.build_seeded(0, **task.shape), task)


def _counted_on(network: nn.Module, task: Task) -> tuple[int, int, int]:
    counted: list[tuple[int, int]] = []  # (multiply-accumulates, outputs) by layer in order

    def count(layer: nn.Conv2d | nn.Linear, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weight = layer.weight  # not always a parameter: weight_norm computes it
        products = output.numel() // weight.shape[0] * weight.numel()
        counted.append((products, output.numel() if isinstance(layer, nn.Conv2d) else 0))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    card, device = data.card(task.data), next(network.parameters()).device
    # not in training: batch-norm takes no variance of one image of one pixel
    network.eval()(torch.zeros(1, card.channels, card.size, card.size, device=device))
    macs = sum(m for m, _ in counted)
    # forward, the gradient of the weights, and that of the inputs, which the first layer does not need
    return 2 * (3 * macs - counted[0][0]), sum(a for _, a in counted), len(counted)
