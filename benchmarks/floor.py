"""The floor: the least time a network-epoch can take on this device, from arithmetic and two measurements.

A training step must do its multiplications (forward, and twice as many backward, less the input gradient
of the first layer) and must carry every activation to and from memory a few times. Dividing the one by
the speed of large matrix products and the other by the speed of a copy gives two times; the longer one
is the floor. The products are a contender like the others, with as many processes as the engine has, in the
same rounds, so that a busy machine slows both; their fastest round counts.
"""

import time
from collections.abc import Callable

import torch

from benchmarks.sizes import Size
from lthpaper.sweep import flops


def _fastest(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of five calls."""
    found = []
    for _ in range(5):
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found)


class Products:
    """Matrix products alone, with as many operations as training on `images` images needs."""

    def __init__(self, size: Size, images: int, precision: str, device: torch.device):
        n = 8192 if device.type == "cuda" else 1024
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.a, self.b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        operations, _ = flops.per_image(size.task)
        self.images, self.products = images, operations * images / (2 * n**3)

    def train_epoch(self) -> None:
        """Whole products, then one of fewer rows: together the operations of an epoch, to a row."""
        for _ in range(int(self.products)):
            self.a @ self.b
        rows = round(self.products % 1 * len(self.a))
        if rows:
            self.a[:rows] @ self.b


def bytes_per_s(device: torch.device) -> float:
    """Bytes a second read and written by a copy that is too large for any cache."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _fastest(lambda: target.copy_(source), device)


def floor(size: Size, device_name: str, precision: str, products: float) -> dict[str, object]:
    """The row of a precision: images a second that nothing on this device can exceed.

    products: images a second whose operations were done as matrix products.
    """
    device = torch.device(device_name)
    _, activations = flops.per_image(size.task)
    itemsize = {"fp32": 4, "bf16": 2}[precision]
    traffic = 0.0  # a CPU's caches hold the activations
    if device.type == "cuda":
        traffic = activations * flops.ACCESSES * itemsize / bytes_per_s(device)
    speed = 1 / max(1 / products, traffic)
    return {
        "contender": "floor",
        "precision": precision,
        "images_per_s": speed,
        "network_epochs_per_hour": 3600 * speed / size.epoch,
    }
