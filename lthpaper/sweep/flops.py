"""Operations and memory traffic of training a network, counted on one image."""

from functools import lru_cache

from lthpaper import data, networks
from lthpaper.networks.flops import Product, products
from lthpaper.runs.task import Task

# Reads and writes of an activation in one training step, with batch-norm and ReLU fused into the
# convolutions. Forward: written by the convolution, read for the statistics, read by the next convolution.
# Backward: its gradient is written, then read by both gradients' convolutions; the activation is read again.
ACCESSES = 7


def per_image(task: Task) -> tuple[int, int]:
    """(floating-point operations, activations) of training on one image; activations: of convolutions."""
    found = _products(task)
    # forward, the gradient of the weights, and that of the inputs, which the first layer does not need
    operations = 3 * sum(p.flops for p in found) - (found[0].flops if found else 0)
    return operations, sum(p.activations for p in found)


def layers(task: Task) -> int:
    """Products of a forward pass: one per convolution and linear layer, four and more per attention."""
    return len(_products(task))


@lru_cache(maxsize=256)
def _products(task: Task) -> list[Product]:
    card = data.card(task.data)
    shape = card.channels, card.size, card.size
    try:
        return products(networks.skeleton(**task.shape), shape)
    except RuntimeError:  # its forward reads values, and a skeleton has none
        return products(networks.build_seeded(0, **task.shape), shape)
