"""Which network learns which data: the part of a run that is not about how it is trained."""

import math
from dataclasses import InitVar, dataclass, replace
from functools import cached_property
from typing import Any

from lthpaper import networks
from lthpaper.data import card
from lthpaper.errors import InputError, as_python, require, require_fields, require_whole
from lthpaper.registry import is_local
from lthpaper.runs.digest import added, coerce_floats
from lthpaper.runs.masks import prunable


@dataclass(frozen=True)
class Task:
    """Which network learns which data.

    width multiplies the channel counts. train_images: use only that many training images (0: all),
    the same ones for every run. validation_images: so many of these are held out, the same ones for every
    run; no run trains on them, and verdicts choose learning rates on them (0: on the test images, as in the
    paper). prunable: patterns of prunable weights (empty: the paper's rule).
    architecture: filled in for a custom network (`package.module:function`), a hash of what it
    builds and of the code of its function and classes, so that an edited network is another task and not an
    old result.

    look_up: False for a description that is only read: custom networks and data sets are then not
    imported, since whoever wrote the description would choose the module and the function that is called.
    """

    network: str = "resnet20"
    data: str = "cifar10"
    width: float = 1.0
    train_images: int = 0
    prunable: tuple[str, ...] = ()
    architecture: str = added("", absent="")
    validation_images: int = added(0, absent=0)
    look_up: InitVar[bool] = True

    def __post_init__(self, look_up: bool):
        coerce_floats(self)
        for what, name in (("network", self.network), ("data set", self.data)):
            kind = type(name).__name__
            require(
                isinstance(name, str), f"The {what} is a {kind}; it must be a name or package.module:name."
            )
        if not (":" in self.network and (self.architecture or not look_up)):
            networks.factory(self.network)
        require(
            isinstance(self.width, float) and 0 < self.width < math.inf,
            f"width is {self.width!r}; it must be a number above 0{as_python(self.width, 'float')}.",
        )
        require(
            isinstance(self.prunable, tuple | list) and all(isinstance(p, str) for p in self.prunable),
            f"prunable is {self.prunable!r}; it must be a list of patterns such as ['blocks.*.weight'].",
        )
        object.__setattr__(self, "prunable", tuple(self.prunable))
        count, held = self.train_images, self.validation_images
        require_whole("train_images", count, 0)
        require_whole("validation_images", held, 0)
        if look_up or ":" not in self.data:
            images = card(self.data).train
            require(count <= images, f"train_images is {count}; {self.data} has {images} (0 means all).")
            require(
                held < (count or images),
                f"validation_images is {held}; it must leave some of the {count or images} training images "
                "to train on.",
            )
        if ":" in self.network and not self.architecture:
            require(
                look_up, f"The description of a run with {self.network} lacks the network's architecture."
            )
            object.__setattr__(self, "architecture", networks.architecture(**self.shape))

    def with_(self, **changes) -> "Task":
        """The same task with some fields changed."""
        require_fields("A task", changes, tuple(self.__dataclass_fields__))
        return replace(self, **{"architecture": "", **changes})

    def verify(self) -> None:
        """Raises InputError if a custom network is not what it was when this task was described."""
        if self.architecture and networks.architecture(**self.shape) != self.architecture:
            raise InputError(
                f"The network {self.network} has changed since this run was described: describe it again, "
                "or bring the old network back."
            )

    @property
    def is_local(self) -> bool:
        """Whether its network or its data set was handed over in this process: no other can train it."""
        return is_local(self.network) or is_local(self.data)

    @property
    def images(self) -> int:
        """Training images of one epoch: those that are used, less those that are held out."""
        return (self.train_images or card(self.data).train) - self.validation_images

    @property
    def division(self) -> tuple[int, int]:
        """How many training images are used (0: all), and how many of these are held out: for `data.load`."""
        return self.train_images, self.validation_images

    @property
    def shape(self) -> dict[str, Any]:
        """Arguments of `networks.build` for this task."""
        about = card(self.data)
        return {
            "name": self.network,
            "num_classes": about.num_classes,
            "width": self.width,
            "in_channels": about.channels,
            "size": about.size,
        }

    @property
    def parameters(self) -> int:
        """Number of parameters of the dense network."""
        return networks.count_parameters(**self.shape)

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """The network's parameters, without its buffers, in its order."""
        return tuple(name for name, _ in networks.skeleton(**self.shape).named_parameters())

    @cached_property
    def prunable_weights(self) -> dict[str, int]:
        """Name -> number of weights, for every prunable parameter."""
        network = networks.skeleton(**self.shape)
        sizes = {name: p.numel() for name, p in network.named_parameters()}
        return {name: sizes[name] for name in prunable(network, self.prunable)}
