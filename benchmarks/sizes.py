"""The timed trainings: network, batch and number of random images."""

from dataclasses import dataclass

import torch

from lthpaper import data
from lthpaper.data import Card
from lthpaper.errors import InputError
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.task import Task


@dataclass(frozen=True)
class Size:
    """images: of one timed epoch; epoch: of the network-epoch that results are stated in."""

    task: Task
    batch: int
    images: int
    epoch: int
    test: int

    @property
    def card(self) -> Card:
        return data.card(self.task.data)

    def recipe(self, precision: str) -> Recipe:
        """Never reaches an end: only single epochs of it are trained."""
        return Recipe(epochs=10**6, lr=0.05, batch_size=self.batch, precision=precision, milestones=())


SIZES = {
    "digits": Size(Task("resnet8", "digits"), batch=50, images=300, epoch=300, test=1497),
    "cifar": Size(Task("resnet20", "cifar10"), batch=64, images=512, epoch=50_000, test=1000),
    "vgg": Size(Task("vgg16", "cifar10"), batch=64, images=512, epoch=50_000, test=1000),
}


def precisions(device: str) -> tuple[str, ...]:
    """The precisions to time on a device: not bfloat16 on a processor with AVX2 alone, where torch's
    convolutions in it take ten times as long as in float32."""
    slow = torch.device(device).type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    return ("fp32",) if slow else ("fp32", "bf16")


def named(name: str) -> Size:
    """Raises InputError for an unknown size."""
    if name not in SIZES:
        raise InputError(f"There is no size {name!r} to measure; choose from {', '.join(SIZES)}.")
    return SIZES[name]
