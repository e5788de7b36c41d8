"""Scales: how large the same figures are computed. A scale is a value; any field can be changed."""

import dataclasses
import typing
from dataclasses import dataclass, replace

from lthpaper.errors import InputError, require
from lthpaper.masks import check_sparsity
from lthpaper.recipe import Recipe
from lthpaper.runs import Task


@dataclass(frozen=True)
class Scale:
    """What the figures are computed on. rounds: IMP rounds k of the sparsities 1 − 0.8^k shown.

    epochs, insufficient_epochs: the sufficient and the insufficient recipe of §2.1. learning_rates:
    Figure 1's; grid: Figure 3's. train_images: 0 means all. precision: of every training. experiments:
    the networks and data sets of Figure 3 and Table 3, each "network/data".
    """

    name: str
    network: str
    data: str
    epochs: int
    insufficient_epochs: int
    batch_size: int
    seeds: int
    learning_rates: tuple[float, ...] = (0.005, 0.01, 0.1)
    grid: tuple[float, ...] = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5)
    rounds: tuple[int, ...] = (4, 8, 11)
    train_images: int = 0
    precision: str = "fp32"
    experiments: tuple[str, ...] = ("resnet8/digits", "vgg-small/digits")

    def __post_init__(self):
        require(
            type(self.seeds) is int and self.seeds >= 1,
            f"seeds is {self.seeds!r}; it must be a whole number from 1.",
        )
        require(
            bool(self.learning_rates) and bool(self.grid) and bool(self.rounds),
            "learning_rates, grid and rounds must each hold at least one value.",
        )
        require(
            all(type(k) is int and 1 <= k <= 30 for k in self.rounds),
            f"rounds is {self.rounds}; each must be a whole number of IMP rounds from 1 to 30.",
        )
        for field in ("learning_rates", "grid", "rounds"):  # else its runs would count twice in a mean
            values = getattr(self, field)
            require(len(set(values)) == len(values), f"{field} is {values}; each value may stand there once.")
        for lr in (*self.learning_rates, *self.grid):
            self.recipe.with_(lr=lr)
        _ = self.insufficient_recipe, self.task, self.tasks  # whatever they refuse is refused here

    @property
    def task(self) -> Task:
        """The network and data of the figures about one network."""
        return Task(self.network, self.data, train_images=self.train_images)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The networks and data sets of the figures about many."""
        for name in self.experiments:
            require("/" in name, f"experiments has {name!r}; each is network/data, resnet20/cifar10 for one.")
        pairs = [name.rpartition("/")[::2] for name in self.experiments]
        return tuple(Task(network, data, train_images=self.train_images) for network, data in pairs)

    @property
    def panels(self) -> tuple[int, ...]:
        """Rounds of Figure 1's panels: the three lowest."""
        return tuple(sorted(self.rounds))[:3]

    @property
    def recipe(self) -> Recipe:
        """The sufficient recipe of §3.1: ÷10 after half and three quarters of the epochs."""
        half, three_quarters = self.epochs // 2, self.epochs * 3 // 4
        milestones = tuple(sorted({m for m in (half, three_quarters) if m >= 1}))
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            milestones=milestones,
            precision=self.precision,
        )

    @property
    def insufficient_recipe(self) -> Recipe:
        """The original lottery-ticket paper's: fewer epochs, ÷10 after 2/3 and 5/6 of them (ours: read
        from its 20,000 and 25,000 of 30,000 steps)."""
        epochs = self.insufficient_epochs
        milestones = tuple(sorted({m for m in (epochs * 2 // 3, epochs * 5 // 6) if m >= 1}))
        return self.recipe.with_(epochs=epochs, milestones=milestones)

    def with_(self, **changes: object) -> "Scale":
        """The scale with fields changed. Raises InputError for an unknown field or a wrong type."""
        return replace(self, **{name: _typed(name, value) for name, value in changes.items()})


SMOKE = Scale("smoke", "resnet8", "digits", epochs=2, insufficient_epochs=1, batch_size=50, seeds=1)
LAPTOP = Scale(
    "laptop",
    "resnet8",
    "digits",
    epochs=60,
    insufficient_epochs=29,
    batch_size=50,
    seeds=3,
    grid=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5),
)
PAPER = Scale(
    "paper",
    "resnet20",
    "cifar10",
    epochs=160,
    insufficient_epochs=78,
    batch_size=64,
    seeds=3,
    rounds=(4, 8, 11, 13),  # the last, s = 0.945, is Figure 4's, and §3.1's largest with a prize
    experiments=(
        *(
            "resnet20/cifar10",
            "resnet32/cifar10",
            "mobilenet-v1/cifar10",
            "resnet18/cifar10",
            "vgg16/cifar10",
        ),
        *("resnet20/cifar100", "resnet32/cifar100", "resnet18/cifar100", "vgg16/cifar100"),
        *("resnet18-tiny/tiny-imagenet", "resnet50-tiny/tiny-imagenet"),
    ),  # ImageNet-1K is not among them yet: it streams
)
SCALES = {scale.name: scale for scale in (SMOKE, LAPTOP, PAPER)}


def scale(name: str, /, **changes: object) -> Scale:
    """A scale by name, with fields changed. Raises InputError for an unknown name, field or value."""
    require(
        name in SCALES,
        f"Unknown scale {name!r}. Known: {', '.join(SCALES)}; any field of one can be changed.",
    )
    return SCALES[name].with_(**changes)


def sparsities(of: Scale) -> tuple[float, ...]:
    """s = 1 − 0.8^k of the scale's rounds."""
    values = tuple(1 - 0.8**k for k in of.rounds)
    for value in values:
        check_sparsity(value)
    return values


def _typed(name: str, value: object) -> object:
    """A field's value from a command line, a notebook or Python, as the field's type."""
    hints = typing.get_type_hints(Scale)
    fields = [f.name for f in dataclasses.fields(Scale) if f.name != "name"]
    if name not in fields:
        raise InputError(f"A scale has no field {name!r}. Known: {', '.join(fields)}.")
    hint = hints[name]
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
    try:
        if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
            raise ValueError
        return kind(value.strip() if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        what = {int: "whole numbers", float: "numbers", str: "text"}[kind]
        raise InputError(f"{name} is {value!r}; it takes {what}, for example {_example(name)}.") from None


def _example(name: str) -> str:
    value = getattr(LAPTOP, name)
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
