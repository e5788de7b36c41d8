"""Assumed speeds of devices on which we have measured nothing. Whatever uses them says "estimated".

One number is an estimate: the seconds of a network-epoch of ResNet-20 on CIFAR-10 in bfloat16 at batch 64.
Everything else is scaled from it by operations and memory traffic (`flops.py`). A file of speeds measured on
the device (`lthpaper plan --on DEVICES --speed FILE`) replaces all of it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lthpaper import data
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.task import Task
from lthpaper.sweep import flops
from lthpaper.sweep.speeds import Speed, Speeds, by_shape

LARGEST_PACK = 64
ITEM = {"fp32": 4, "bf16": 2, "fp64": 8}  # bytes of an activation
PARAMETER_BYTES = 32  # a step: float32 weight read twice; gradient, velocity and weight written and read
KEPT_ACTIVATIONS = 3  # of every convolution's outputs, until backward: its own, normalised, after the ReLU
FORWARD = 1 / 3  # of a training step is its forward pass


@dataclass(frozen=True)
class Estimate:
    """A device: its peak numbers, and (optimistic, pessimistic) seconds of the reference's network-epoch.

    alone: one network at a time, with a step as one CUDA graph; packed: for each network of a large pack.
    """

    name: str
    operations: dict[str, float]  # a second, by precision
    bandwidth: float  # bytes a second
    memory: float  # bytes
    alone: tuple[float, float]
    packed: tuple[float, float]


# Bandwidth: of a copy, as published; bf16: of a large matrix product, as published; fp32 and fp64: the data
# sheet's 67 and 34 TFLOP/s without tensor cores, since float32 here is not TF32.
H100 = {"fp32": 67e12, "bf16": 798e12, "fp64": 34e12}
DEVICES = {
    "h100": Estimate("NVIDIA H100", H100, 3.0e12, 80e9, alone=(0.3, 0.5), packed=(0.12, 0.25)),
}
REFERENCE = Run(Task("resnet20", "cifar10"), Recipe(batch_size=64, precision="bf16"))


def estimated(runs: Iterable[Run], device: Estimate, pessimistic: bool = False) -> Speeds:
    """Estimated speeds of these runs' shapes."""
    return Speeds(device.name, {key: _speed(run, device, pessimistic) for key, run in by_shape(runs).items()})


def floor(run: Run, device: Estimate) -> float:
    """A lower bound for the seconds of training on an image: by products, or by memory traffic."""
    operations, activations = flops.per_image(run.task)
    traffic: float = activations * flops.ACCESSES * ITEM[run.recipe.precision]
    traffic += PARAMETER_BYTES * run.task.parameters / run.recipe.batch_size
    return max(operations / device.operations[run.recipe.precision], traffic / device.bandwidth)


def largest_pack(run: Run, device: Estimate) -> int:
    """The largest pack that fits into nine tenths of the memory."""
    activations = flops.per_image(run.task)[1] * run.recipe.batch_size * ITEM[run.recipe.precision]
    one = KEPT_ACTIVATIONS * activations + PARAMETER_BYTES * run.task.parameters
    return max(1, min(LARGEST_PACK, int(0.9 * device.memory / one)))


def _speed(run: Run, device: Estimate, pessimistic: bool) -> Speed:
    """a + b·K seconds a step: a for launching the layers' kernels, b for the work of each network."""
    alone, packed = device.alone[pessimistic], device.packed[pessimistic]
    images = data.card(REFERENCE.task.data).train
    steps = math.ceil(images / REFERENCE.recipe.batch_size)
    layer = (alone - packed) / steps / flops.layers(REFERENCE.task)
    image = packed / images * floor(run, device) / floor(REFERENCE, device)
    sizes = (1, largest_pack(run, device))
    a = layer * flops.layers(run.task)
    step = tuple(a + k * image * run.recipe.batch_size for k in sizes)
    test = tuple(FORWARD * value / run.recipe.batch_size for value in step)
    return Speed(sizes, step, test, source="estimated")
