"""What the paper states, as data: definitions, recipes, grids, every number quoted, its claims.

"Sanity Checks for Lottery Tickets: Does Your Winning Ticket Really Win the Jackpot?" (Ma et al.,
NeurIPS 2021, arXiv 2107.00166). Accuracies are in percent; a sparsity is the share of prunable weights that
are removed. Choices of ours, where the text leaves one open, are marked `ours` or by a comment. This module
does not depend on the rest of the package.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

# --- §2.2: when is it a ticket? -----------------------------------------------------------------


@dataclass(frozen=True)
class Thresholds:
    """What "similar", "clear gap" and "non-trivial" mean, in points and as a sparsity (§2.2).

    similar: at most this many points below is similar. gap: more points than this are a clear gap (the text
    defines it for ③; we use it for ② too). sparsity: above this it is non-trivial ("approximately 60 %").
    ours: True if the text names no value for the data set.
    """

    similar: float = 0.5
    gap: float = 0.5
    sparsity: float = 0.6
    ours: bool = False


THRESHOLDS = {
    "cifar10": Thresholds(similar=0.5),
    "cifar100": Thresholds(similar=1.0),
    "tiny-imagenet": Thresholds(similar=1.0),
    "imagenet": Thresholds(similar=1.5),
}


def thresholds(data: str) -> Thresholds:
    """The paper's thresholds for a data set; for one that it does not use, CIFAR-10's, marked `ours`."""
    return THRESHOLDS.get(data, Thresholds(ours=True))


PRUNED_PER_ROUND = 0.2  # IMP removes 20 % of the weights that remain (Table 1)
SPARSITIES = {0.59: 4, 0.832: 8, 0.914: 11, 0.945: 13}  # sparsity, rounded as in the text -> IMP rounds
ROUNDS = tuple(SPARSITIES.values())


# --- §3.1: how is it trained? --------------------------------------------------------------------


@dataclass(frozen=True)
class PaperRecipe:
    """A training recipe's numbers; `ours` names the fields that neither the text nor the authors' code gives.

    Each is a field of `lthpaper.runs.recipe.Recipe`, where the learning rate and what the paper does not name
    stand beside them.
    """

    epochs: int
    schedule: str = "step"
    milestones: tuple[int, ...] = ()
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    precision: str = "fp32"
    ours: tuple[str, ...] = ()

    def arguments(self, epochs: int = 0) -> dict[str, Any]:
        """Arguments for `lthpaper.runs.recipe.Recipe`: these fields.

        epochs: another length (0: the stated one); milestones, rounded down, and warm-up scale with it.
        """
        stated = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "ours"}
        length = epochs or self.epochs
        moved = {m * length // self.epochs for m in self.milestones}
        return stated | {
            "epochs": length,
            "milestones": tuple(sorted(m for m in moved if m >= 1)),
            "warmup_epochs": self.warmup_epochs * length / self.epochs,
        }


CIFAR = PaperRecipe(epochs=160, milestones=(80, 120))
# Frankle & Carbin drop the rate after two thirds and five sixths of their training. Their 30,000 steps are 77
# epochs in batches of 128; here both recipes of Figure 1 have CIFAR's batch.
INSUFFICIENT = PaperRecipe(epochs=78, milestones=(52, 65), ours=("batch_size", "milestones"))
IMAGENET = PaperRecipe(
    epochs=90,
    schedule="cosine",
    batch_size=1024,
    momentum=0.875,
    weight_decay=2**-15,
    warmup_epochs=5.0,
    label_smoothing=0.1,
    mixup=0.2,
    precision="bf16",
    ours=("precision",),
)
# The text gives Tiny-ImageNet no recipe: CIFAR's.
TINY_IMAGENET = replace(CIFAR, ours=tuple(f.name for f in fields(PaperRecipe) if f.name != "ours"))

RECIPES = {"cifar10": CIFAR, "cifar100": CIFAR, "tiny-imagenet": TINY_IMAGENET, "imagenet": IMAGENET}
SEEDS = 3  # "each experiment is run three times"


def recipe_of(data: str) -> PaperRecipe:
    """The paper's recipe for a data set; for one that it does not use, CIFAR's, with all fields `ours`."""
    return RECIPES.get(data, TINY_IMAGENET)


# --- §3.1: with which learning rates, at which sparsities? ---------------------------------------


@dataclass(frozen=True)
class Rate:
    """A learning rate of a grid; `ours` unless the text names it."""

    lr: float
    ours: bool


NAMED_RATES = (0.005, 0.01, 0.1)  # the only ones in the text; Figure 1 uses these three


def _grid(*rates: float, named: tuple[float, ...] = NAMED_RATES) -> tuple[Rate, ...]:
    return tuple(Rate(lr, ours=lr not in named) for lr in rates)


# "From extremely small to normal, then to very large based on the network and dataset" (§3.1).
SMALL_DATA_GRID = _grid(0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5)
# Of the authors' code. At batch 1024 normal rates are higher; the rates that the text names are CIFAR's.
IMAGENET_GRID = _grid(0.2048, 0.4, 1.024, 1.6, 2.048, named=())
SMALL_RATES, LARGE_RATES = (0.005, 0.01), (0.1,)  # what claims 1 and 2 call small and large


@dataclass(frozen=True)
class Experiment:
    """A network on a data set in Figure 3, Appendix F and Table 3; its recipe is that of its data.

    network: this package's name for it. shown: IMP rounds of Figure 3's panel. rounds: those of Appendix
    F's sparsities (we could not see the appendix and take the four that the text uses). ours: which of
    `shown` and `rounds` the text does not state; each rate of the grid has its own mark.
    """

    network: str
    data: str
    shown: int = ROUNDS[-1]
    rounds: tuple[int, ...] = ROUNDS
    grid: tuple[Rate, ...] = SMALL_DATA_GRID
    ours: tuple[str, ...] = ("rounds", "shown")

    @property
    def name(self) -> str:
        """network/data."""
        return f"{self.network}/{self.data}"


# Table 2 has MobileNet-v1 on both CIFARs, but the text speaks of it on CIFAR-10 alone. Which experiments
# Figure 3 shows, its caption says in part (CIFAR-10's by size; ResNet-50 on ImageNet-1K). So MobileNet-v1 on
# CIFAR-100 is left out here, which is ours.
EXPERIMENTS = (
    Experiment("resnet20", "cifar10", shown=SPARSITIES[0.914], ours=("rounds",)),  # §3.1
    Experiment("resnet32", "cifar10"),
    Experiment("mobilenet-v1", "cifar10", shown=SPARSITIES[0.832], ours=("rounds",)),  # §3.1
    Experiment("resnet18", "cifar10"),
    Experiment("vgg16", "cifar10", shown=SPARSITIES[0.914], ours=("rounds",)),  # §3.1
    Experiment("resnet20", "cifar100", shown=SPARSITIES[0.914]),
    Experiment("resnet32", "cifar100"),
    Experiment("resnet18", "cifar100"),
    Experiment("vgg16", "cifar100", shown=SPARSITIES[0.914]),
    Experiment("resnet18-tiny", "tiny-imagenet"),
    Experiment("resnet50-tiny", "tiny-imagenet"),
    Experiment("resnet18-imagenet", "imagenet", grid=IMAGENET_GRID),
    Experiment("resnet50", "imagenet", grid=IMAGENET_GRID),
)


def experiment(network: str, data: str) -> Experiment | None:
    """The paper's experiment with this network and data set; None if there is none."""
    return next((e for e in EXPERIMENTS if (e.network, e.data) == (network, data)), None)


def shown_rounds(network: str, data: str) -> int:
    """IMP rounds of Figure 3's panel; for other data sets, those of the network's first experiment."""
    first = next((e.shown for e in EXPERIMENTS if e.network == network), ROUNDS[-1])
    found = experiment(network, data)
    return found.shown if found else first


def grid_of(data: str) -> tuple[float, ...]:
    """The learning rates for a data set: those of its experiments, else those for small data."""
    found = next((e.grid for e in EXPERIMENTS if e.data == data), SMALL_DATA_GRID)
    return tuple(rate.lr for rate in found)


@dataclass(frozen=True)
class Correlation:
    """Figure 6: the networks, their data set, IMP rounds of the masks, share p.

    The text names the networks, the sparsity and p; that the data are CIFAR-10 and the masks IMP's is ours.
    """

    networks: tuple[str, ...] = ("resnet20", "vgg16")
    data: str = "cifar10"
    rounds: int = SPARSITIES[0.832]
    share: float = 0.1


FIGURE6 = Correlation()

# --- Table 2 -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkRow:
    """A network of Table 2. printed: millions of parameters, as in the table. count: the exact number behind
    it, with a head of `classes` outputs; `note` explains a head that is not the data set's own."""

    network: str
    data: tuple[str, ...]
    printed: float
    count: int
    classes: int
    width: float = 1.0
    note: str = ""


_SMALL = ("cifar10", "cifar100")
TABLE2 = (
    NetworkRow("resnet20", _SMALL, 0.27, 272_474, 10),
    NetworkRow("resnet32", _SMALL, 1.86, 1_860_522, 10, note="widths 32/64/128: twice the usual"),
    NetworkRow("mobilenet-v1", _SMALL, 3.21, 3_217_226, 10, note="printed cut, not rounded"),
    NetworkRow("resnet18", _SMALL, 11.22, 11_220_132, 100, note="a 100-class head; 10 classes: 11,173,962"),
    NetworkRow("vgg16", _SMALL, 14.72, 14_724_042, 10),
    NetworkRow(
        "resnet18",
        ("tiny-imagenet",),
        11.68,
        11_689_512,
        1000,
        note="a 1000-way head, printed cut, not rounded; with a 3×3 stem it would be 11,681,832",
    ),
    NetworkRow("resnet50", ("tiny-imagenet",), 25.56, 25_557_032, 1000, note="a 1000-way head"),
    NetworkRow("resnet18", ("imagenet",), 11.69, 11_689_512, 1000),
    NetworkRow("resnet50", ("imagenet",), 25.56, 25_557_032, 1000),
)


@dataclass(frozen=True)
class DataColumn:
    """A data set of Table 2: image counts, classes, side length in pixels."""

    data: str
    train: int
    test: int
    classes: int
    side: int


TABLE2_DATA = (
    DataColumn("cifar10", 50_000, 10_000, 10, 32),
    DataColumn("cifar100", 50_000, 10_000, 100, 32),
    DataColumn("tiny-imagenet", 100_000, 10_000, 200, 64),
    DataColumn("imagenet", 1_280_000, 50_000, 1000, 224),
)

# --- The claims ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A claim, in our words, that results support, contradict or leave undecided.

    id: 1 to 14 for the paper's, "F1" and on for those of later work (paper.follow_ups). artefact: where it is
    made, a figure or table of the paper or another source.
    """

    id: int | str
    text: str
    artefact: str


CLAIMS = (
    Claim(
        1,
        "ResNet-20 at a small learning rate (0.005, 0.01): LT-IMP is clearly above RR-IMP, and close to "
        "pretraining at sparsities of 0.5 and more.",
        "Figure 1",
    ),
    Claim(
        2, "ResNet-20 at learning rate 0.1: LT-IMP is like RR-IMP and not close to pretraining.", "Figure 1"
    ),
    Claim(
        3,
        "ResNet-20 at learning rate 0.005, s = 0.914: 78 epochs make a winning ticket in the old sense that "
        "160 epochs unmake.",
        "Figure 1",
    ),
    Claim(
        4,
        "ResNet-20: pretraining at learning rate 0.1 for 160 epochs is far above the insufficient recipe.",
        "Figure 1",
    ),
    Claim(5, "No experiment has a clear Jackpot ticket.", "Figure 3"),
    Claim(6, "Small data have secondary prizes, up to a sparsity that grows with the network.", "Figure 3"),
    Claim(
        7,
        "With residual connections IMP is better than OMP; without them the two are alike.",
        "Table 3",
    ),
    Claim(
        8,
        "With residual connections the subnetwork prefers the smaller learning rate, without, the larger.",
        "Table 3",
    ),
    Claim(
        9,
        "Where the subnetwork prefers large learning rates, θ0 and θ0′ give similar accuracy.",
        "Table 3",
    ),
    Claim(
        10,
        "R_p(θ0⊙m, θT⊙m) is above p at small learning rates and about p at large ones; "
        "R_p(θ0′⊙m, θT⊙m) is about p throughout.",
        "Figure 6",
    ),
    Claim(11, "On larger data OMP is above IMP and small learning rates are not preferred.", "Table 3"),
    Claim(12, "Weight rewinding improves the subnetwork's accuracy throughout.", "Appendix D"),
    Claim(
        13,
        "Different learning rates in pretraining and subnetwork training improve accuracy slightly.",
        "Table 4",
    ),
    Claim(
        14,
        "In ResNet-32 IMP's loss contours are smoother, with a larger basin, than OMP's; without residual "
        "connections there is little difference.",
        "Figures 4 and 5",
    ),
)
