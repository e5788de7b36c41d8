"""Batch-norm statistics, estimated anew for weights that were never trained, as between two networks.

A running mean and variance belong to the weights that they were collected with. Halfway between two networks
neither's statistics fit, nor does their mean: the loss that comes out is that of a broken normalisation.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def estimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set every running mean and variance to the mean over these batches of images, (B, C, H, W) each, every
    image with the same weight. A last batch of one image, which has no variance over features, is joined to
    the one before it.

    The network is changed in place and left in evaluation mode; without batch-norm nothing happens.
    """
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    layers = [norm for norm in norms if norm.track_running_stats]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    parts = list(batches) if layers else []
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    seen = 0
    for batch in parts:
        seen += len(batch)
        for layer in layers:
            layer.momentum = len(batch) / seen  # 1/n at the n-th of equal batches, as torch's own average
        network(batch)
    network.eval()
