"""The floor: the least time a network-epoch can take on this device, from arithmetic and two measurements.

A training step must do its multiplications (forward, and twice as many backward, less the input gradient
of the first layer) and must carry every activation to and from memory a few times. Dividing the one by
the speed of a large matrix product and the other by the speed of a copy gives two times; the longer one
is the floor.
"""

import math
import time
from collections.abc import Callable

import torch

from benchmarks.sizes import Size
from lthpaper.sweep import flops
from lthpaper.sweep.plan import worker_count
from lthpaper.training.pack import repeatable


def _fastest(action: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """Seconds of the fastest of several calls."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found)


def operations_per_s(device: torch.device, dtype: torch.dtype) -> float:
    """Of a large matrix product on all of the device; on a CPU one core's speed times the cores."""
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    with repeatable(device):
        return worker_count(device) * 2 * n**3 / _fastest(lambda: a @ b, device, times=10)


def bytes_per_s(device: torch.device) -> float:
    """Read and written by a copy that no cache holds."""
    source = torch.ones(2**30 if device.type == "cuda" else 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _fastest(lambda: target.copy_(source), device)


def floors(size: Size, device_name: str) -> list[dict[str, object]]:
    """A row a precision: images a second that nothing on this device can exceed."""
    device = torch.device(device_name)
    operations, activations = flops.per_image(size.task)
    bandwidth = bytes_per_s(device) if device.type == "cuda" else math.inf  # a CPU's caches hold them
    rows = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        traffic = activations * flops.ACCESSES * dtype.itemsize / bandwidth
        speed = 1 / max(operations / operations_per_s(device, dtype), traffic)
        rows.append(
            {
                "contender": "floor",
                "precision": precision,
                "images_per_s": speed,
                "network_epochs_per_hour": 3600 * speed / size.epoch,
            }
        )
    return rows
