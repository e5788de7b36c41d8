"""What a rule that looks at more than weights may see: the network, training images, other trained runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lthpaper import networks
from lthpaper.data import DataSet, Images
from lthpaper.data.augment import as_tested
from lthpaper.errors import InputError, require

if TYPE_CHECKING:
    from lthpaper.runs.run import Run
    from lthpaper.runs.task import Task


@dataclass(frozen=True)
class Seen:
    """A task's network and images, in float64 on the CPU: a mask does not depend on the device.

    load(run, epoch): weights and mask of a trained run (epoch None: its last).
    """

    task: "Task"
    data: DataSet | None = None
    load: Callable[..., Any] | None = None

    def trained(self, run: "Run") -> dict[str, Tensor]:
        """The final parameters of a run that the rule names, in float64 on the CPU."""
        assert self.load is not None  # a rule's runs are its run's parents, which are trained before it
        weights, _ = self.load(run, None)
        return {name: weights[name].detach().cpu().double() for name in self.task.parameter_names}

    def network(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The network with these parameters and buffers."""
        return networks.loaded(weights, **self.task.shape).double()

    def batch(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """`count` training images drawn by `seed`, none twice, normalised and neither cropped nor flipped:
        (count, C, H, W), and their labels. Raises InputError if there are not that many in memory."""
        data = self.data
        if data is None:
            raise InputError("This mask is made from training images; give the data set.")
        images = data.images
        if not isinstance(images, Images):
            raise InputError(
                f"A mask at initialisation is made from images in memory; {data.name} stays in files."
            )
        there = len(images.train)
        require(count <= there, f"The mask takes {count} images; {data.name} has {there} to train on.")
        index = torch.randperm(there, generator=torch.Generator().manual_seed(seed))[:count]
        return as_tested(images.train[index], data.card, torch.float64), images.train_labels[index]

    @property
    def ones(self) -> Tensor:
        """One image of ones, (1, C, H, W)."""
        shape = self.task.shape
        return torch.ones(1, shape["in_channels"], shape["size"], shape["size"], dtype=torch.float64)
