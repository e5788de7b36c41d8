"""Scales: how large the same figures are computed. A scale is a value; any field can be changed."""

import dataclasses
import typing
from dataclasses import dataclass, replace
from typing import Any

from lthpaper import paper
from lthpaper.errors import InputError, require, require_fields, require_whole, suggestion
from lthpaper.runs.recipe import CURVE_POINTS, Recipe
from lthpaper.runs.settings import check_once, check_rounds
from lthpaper.runs.task import Task

WHOLE = {  # field -> least
    **dict.fromkeys(("epochs", "insufficient_epochs", "seeds", "surface_images", "curve_points"), 1),
    "surface_points": 2,
    "micro_batch": 0,
    "validation_images": 0,
}
MOST = {"seeds": 1000, "surface_points": 1000}  # of what is listed before anything is trained
BY_DATA = ("epochs", "batch_size", "precision", "grid", "rounds")  # fields that paper.py has by data set


@dataclass(frozen=True)
class Scale:
    """What the figures are computed on. rounds: IMP rounds k of the sparsities 1 − 0.8^k shown.

    epochs, insufficient_epochs: the sufficient and the insufficient recipe of §2.1. learning_rates:
    Figure 1's; grid: Figure 3's. train_images: 0 means all. precision: of every training. experiments:
    the networks and data sets of Figure 3 and Table 3, each "network/data". validation_images: held out of
    the training images; verdicts choose learning rates on them (0: on the test images, as the paper).
    micro_batch: the most images that one forward pass takes (0: a whole batch), for devices on which a batch
    does not fit. surface_points, surface_images: of Figures 4 and 5, points a side of the grid and training
    images behind each loss. surface_error: a grid point that interpolation gives to within this share of its
    loss is not computed (0: all are). contour_network: of Figures 4 and 5, which take "-noskip" of it too;
    correlation_networks: of Figure 6. curve_points: at most this many tests during one training; this changes
    no result.
    optimizer, clip, decay_norms: of every training, as a Recipe has them.
    controls: trained beside the paper's settings in Figure 3, Appendix F and what shows Appendix F's runs
    (Table 3, the conditions, the guideline), by their names in lthpaper.runs.controls without a mask:
    LT-shuffled, for ③m.
    as_paper: which of BY_DATA the paper's data sets have their own value of, as paper.py states it; such a
    field's value here is for other data sets, and changing it by `with_` changes it for all.
    """

    name: str
    network: str
    data: str
    epochs: int
    insufficient_epochs: int
    batch_size: int
    seeds: int
    learning_rates: tuple[float, ...] = paper.NAMED_RATES
    grid: tuple[float, ...] = paper.grid_of("cifar10")
    rounds: tuple[int, ...] = (4, 8, 11)
    train_images: int = 0
    precision: str = "fp32"
    experiments: tuple[str, ...] = ("resnet8/digits", "vgg-small/digits")
    micro_batch: int = 0
    surface_points: int = 25
    surface_images: int = 1000
    surface_error: float = 0.0
    contour_network: str = "resnet8"
    correlation_networks: tuple[str, ...] = ("resnet8", "vgg-small")
    curve_points: int = CURVE_POINTS
    optimizer: str = "sgd"
    clip: float = 0.0
    decay_norms: bool = True
    as_paper: tuple[str, ...] = ()
    validation_images: int = 0
    controls: tuple[str, ...] = ()

    def __post_init__(self):
        for field, least in WHOLE.items():
            value = getattr(self, field)
            require_whole(field, value, least)
            most = MOST.get(field, value)
            require(value <= most, f"{field} is {value}; it must be at most {most}.")
        require(
            bool(self.learning_rates) and bool(self.grid) and bool(self.rounds),
            "learning_rates, grid and rounds must each hold at least one value.",
        )
        check_rounds(self.rounds)
        check_once(self, "learning_rates", "grid", "rounds")
        require(
            0 <= self.surface_error <= 0.1,
            f"surface_error is {self.surface_error:g}; it must be from 0 (every point is computed) to 0.1.",
        )
        require(
            set(self.as_paper) <= set(BY_DATA),
            f"as_paper is {self.as_paper}; it takes some of {', '.join(BY_DATA)}.",
        )
        for lr in (*self.learning_rates, *self.grid):
            self.recipe.with_(lr=lr)
        _ = self.insufficient_recipe, self.task  # whatever they refuse is refused here
        for task in self.tasks:
            self.recipe_for(task.data)

    @property
    def task(self) -> Task:
        """The network and data of the figures about one network."""
        return self._task(self.network, self.data)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The networks and data sets of the figures about many."""
        for name in self.experiments:
            require("/" in name, f"experiments has {name!r}; each is network/data, resnet20/cifar10 for one.")
        pairs = [name.rpartition("/")[::2] for name in self.experiments]
        return tuple(self._task(network, data) for network, data in pairs)

    def _task(self, network: str, data: str) -> Task:
        return Task(network, data, train_images=self.train_images, validation_images=self.validation_images)

    @property
    def panels(self) -> tuple[int, ...]:
        """Rounds of Figure 1's panels: the three lowest."""
        return tuple(sorted(self.rounds))[:3]

    @property
    def recipe(self) -> Recipe:
        """The sufficient recipe of the figures about one network."""
        return self.recipe_for(self.data)

    @property
    def insufficient_recipe(self) -> Recipe:
        """The original lottery-ticket paper's: fewer epochs, the rate falls after 2/3 and 5/6 of them (ours:
        read from its 20,000 and 25,000 of 30,000 steps)."""
        few = paper.INSUFFICIENT.arguments(self.insufficient_epochs)
        return self.recipe.with_(epochs=few["epochs"], milestones=few["milestones"])

    def recipe_for(self, data: str) -> Recipe:
        """The sufficient recipe for a data set: of §3.1 (paper.RECIPES), at this scale's length, batch size
        and precision, or at the paper's for those that are `as_paper`."""
        stated = paper.recipe_of(data)
        own = {f: getattr(self, f) for f in ("batch_size", "precision") if not self._as_paper(f, data)}
        found = stated.arguments(0 if self._as_paper("epochs", data) else self.epochs) | own
        found |= {"optimizer": self.optimizer, "clip": self.clip, "decay_norms": self.decay_norms}
        fits = 0 < self.micro_batch < found["batch_size"]
        return Recipe(**found, micro_batch=self.micro_batch if fits else 0)

    def grid_for(self, data: str) -> tuple[float, ...]:
        """Learning rates of the figures that have a grid of them."""
        return paper.grid_of(data) if self._as_paper("grid", data) else self.grid

    def rounds_for(self, network: str, data: str) -> tuple[int, ...]:
        """IMP rounds of the sparsities of an experiment, rising."""
        stated = paper.experiment(network, data) if self._as_paper("rounds", data) else None
        return tuple(sorted(stated.rounds if stated else self.rounds))

    def _as_paper(self, field: str, data: str) -> bool:
        return field in self.as_paper and data in paper.RECIPES

    def with_(self, **changes: object) -> "Scale":
        """The scale with fields changed; None leaves a field as it is.

        Raises InputError for an unknown field or a wrong type.
        """
        require_fields("A scale", changes, FIELDS)
        typed: dict[str, Any] = {
            name: _typed(name, value) for name, value in changes.items() if value is not None
        }
        kept = tuple(field for field in self.as_paper if field not in typed)
        return replace(self, **({"as_paper": kept} | typed))


FIELDS = tuple(field.name for field in dataclasses.fields(Scale) if field.name != "name")

SMOKE = Scale(
    "smoke",
    "resnet8",
    "digits",
    epochs=2,
    insufficient_epochs=1,
    batch_size=50,
    seeds=1,
    grid=(0.005, 0.01, 0.1),  # those of Figure 1, so that the figures share their runs
    surface_points=7,
    surface_images=256,
)
LAPTOP = Scale(
    "laptop",
    "resnet8",
    "digits",
    epochs=paper.CIFAR.epochs,  # in 60, as here before, the small rates are undertrained: ① fails
    insufficient_epochs=paper.INSUFFICIENT.epochs,
    batch_size=50,
    seeds=10,
    grid=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5),
    surface_points=51,
)
DESKTOP = Scale(
    "desktop",
    "resnet20",
    "cifar10-16",
    epochs=paper.CIFAR.epochs,  # each image is seen as often as in the paper
    insufficient_epochs=paper.INSUFFICIENT.epochs,
    batch_size=paper.CIFAR.batch_size,
    seeds=paper.SEEDS,
    grid=(0.005, 0.01, 0.05, 0.1, 0.2),
    train_images=5000,
    experiments=("resnet20/cifar10-16", "resnet20-noskip/cifar10-16"),
    contour_network="resnet20",
    correlation_networks=("resnet20",),
)
PAPER = Scale(
    "paper",
    "resnet20",
    "cifar10",
    epochs=paper.CIFAR.epochs,
    insufficient_epochs=paper.INSUFFICIENT.epochs,
    batch_size=paper.CIFAR.batch_size,
    seeds=paper.SEEDS,
    rounds=paper.ROUNDS,  # the last, s = 0.945, is Figure 4's, and §3.1's largest with a prize
    experiments=tuple(e.name for e in paper.EXPERIMENTS),
    surface_points=51,
    surface_images=5000,
    contour_network="resnet32",
    correlation_networks=paper.FIGURE6.networks,
    as_paper=BY_DATA,
)
SCALES = {scale.name: scale for scale in (SMOKE, LAPTOP, DESKTOP, PAPER)}


def scale(name: str | Scale, /, **changes: object) -> Scale:
    """A scale by name, or one that is given, with fields changed.

    Raises InputError for an unknown name, field or value.
    """
    if isinstance(name, Scale):
        return name.with_(**changes)
    require(
        isinstance(name, str) and name in SCALES,
        f"Unknown scale {name!r}.{suggestion(name, SCALES)} Known: {', '.join(SCALES)}; any field of one can "
        "be changed.",
    )
    return SCALES[name].with_(**changes)


def _typed(name: str, value: object) -> object:
    """A field's value from a command line, a notebook or Python, as the field's type."""
    hint = typing.get_type_hints(Scale)[name]
    item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
    if item is None:
        return _one(name, hint, value)
    if isinstance(value, str):
        value = [v for v in value.replace("[", "").replace("]", "").split(",") if v.strip()]
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's
    if not isinstance(value, list | tuple):
        value = [value]
    return tuple(_one(name, item, v) for v in value)


def _one(name: str, kind: type, value: object) -> object:
    if kind is bool:
        return _switch(name, value)
    try:
        if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
            raise ValueError
        if kind is int and isinstance(value, float) and value != int(value):
            raise ValueError
        return kind(value.strip() if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        what = {int: "whole numbers", float: "numbers", str: "text"}[kind]
        raise InputError(f"{name} is {value!r}; it takes {what}, for example {_example(name)}.") from None


def _switch(name: str, value: object) -> bool:
    known = {"true": True, "false": False}
    said = str(value).strip().lower()
    require(said in known, f"{name} is {value!r}; it must be true or false.")
    return known[said]


def _example(name: str) -> str:
    value = getattr(LAPTOP, name) or getattr(PAPER, name)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
