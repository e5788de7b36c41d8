"""Every number that the paper's text states, each with its place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quote:
    """One statement of the text.

    Accuracy statements have `setting`, `lr` (None: the best over all) and `accuracy`, percent.
    Differences have `minus`, the setting subtracted from `setting`, and compare `setting − minus` by
    `relation` ("=", "<", ">", "≈") with `difference`, points; "LT" and "RR" without a pruning are §3.1's: the
    better of IMP and OMP. All others have only `statement`, and bounds on a sparsity also `sparsity` with its
    `relation`.
    """

    place: str
    network: str
    statement: str
    data: str = "cifar10"
    setting: str = ""
    lr: float | None = None
    sparsity: float | None = None  # 0.0 for pretraining
    epochs: int | None = 160
    accuracy: float | None = None
    minus: str = ""
    relation: str = "="
    difference: float | None = None
    note: str = ""


def _accuracies(epochs: int, pretraining: float, lt: float, rr: float) -> tuple[Quote, ...]:
    rows = (
        ("pretraining", "", 0.0, pretraining),
        ("LT-IMP", ", s = 0.914", 0.914, lt),
        ("RR-IMP", ", s = 0.914", 0.914, rr),
    )
    return tuple(
        Quote(
            "§2.1, Fig. 1c",
            "resnet20",
            f"{setting} reaches {accuracy} after {epochs} epochs at learning rate 0.005{where}",
            setting=setting,
            lr=0.005,
            sparsity=sparsity,
            epochs=epochs,
            accuracy=accuracy,
        )
        for setting, where, sparsity, accuracy in rows
    )


def _contours(place: str, network: str, *reached: tuple[str, float, float]) -> tuple[Quote, ...]:
    return tuple(
        Quote(
            place,
            network,
            f"the {pruning} subnetwork of s = 0.945 reaches {accuracy} at learning rate {lr}",
            setting=f"LT-{pruning}",
            lr=lr,
            sparsity=0.945,
            accuracy=accuracy,
        )
        for pruning, lr, accuracy in reached
    )


_LARGE = tuple((n, d) for d in ("tiny-imagenet", "imagenet") for n in ("resnet18", "resnet50"))

QUOTES = (
    *_accuracies(78, 88.0, 87.1, 80.3),
    *_accuracies(160, 89.6, 87.4, 82.9),
    Quote(
        "§2.1",
        "resnet20",
        "pretraining at learning rate 0.1 reaches 92.3",
        setting="pretraining",
        lr=0.1,
        sparsity=0.0,
        accuracy=92.3,
    ),
    Quote(
        "§3.1",
        "resnet20",
        "at s = 0.914 the best LT-IMP is more than 0.5 below the best pretraining",
        setting="LT-IMP",
        minus="pretraining",
        sparsity=0.914,
        relation="<",
        difference=-0.5,
    ),
    Quote(
        "§3.1",
        "resnet20",
        "at s = 0.914 learning rate 0.005 has a secondary prize: LT is similar to pretraining there",
        setting="LT",
        minus="pretraining",
        lr=0.005,
        sparsity=0.914,
        relation=">",
        difference=-0.5,
        note="at odds with §2.1, where LT-IMP (87.4) is 2.2 below pretraining (89.6) at that learning rate",
    ),
    Quote(
        "§3.1",
        "resnet20",
        "at s = 0.914 LT is more than 0.5 above RR",
        setting="LT",
        minus="RR",
        sparsity=0.914,
        relation=">",
        difference=0.5,
    ),
    Quote(
        "§3.1",
        "vgg16",
        "at s = 0.914 LT is similar to pretraining",
        setting="LT",
        minus="pretraining",
        sparsity=0.914,
        relation=">",
        difference=-0.5,
    ),
    Quote(
        "§3.1",
        "vgg16",
        "at s = 0.914 LT is less than 0.5 above RR: no ticket",
        setting="LT",
        minus="RR",
        sparsity=0.914,
        relation="<",
        difference=0.5,
        note="at odds with its largest sparsity with a secondary prize, 0.945 or higher",
    ),
    Quote(
        "§3.1",
        "mobilenet-v1",
        "at s = 0.832 LT is about 0.5 below pretraining: on the Jackpot's boundary",
        setting="LT",
        minus="pretraining",
        sparsity=0.832,
        relation="≈",
        difference=-0.5,
    ),
    Quote(
        "§3.1",
        "mobilenet-v1",
        "at s = 0.832 LT is about 0.5 above RR: on the Jackpot's boundary",
        setting="LT",
        minus="RR",
        sparsity=0.832,
        relation="≈",
        difference=0.5,
    ),
    Quote("§3.1", "resnet20", "the largest sparsity with a secondary prize is 0.914", sparsity=0.914),
    *(
        Quote(
            "§3.1",
            network,
            "the largest sparsity with a secondary prize is 0.945 or higher",
            sparsity=0.945,
            relation=">",
            note="0.945 itself counts"
            + (
                "; at odds with §3.1 itself, where VGG-16 has no ticket at 0.914 (LT − RR < 0.5)"
                if network == "vgg16"
                else ""
            ),
        )
        for network in ("resnet32", "resnet18", "vgg16")
    ),
    *(
        Quote(
            "§3.1",
            network,
            "no clear secondary prize; OMP above IMP; small learning rates not preferred",
            data=data,
            epochs=90 if data == "imagenet" else 160,
            note="" if data == "imagenet" else "the epochs are ours",
        )
        for network, data in _LARGE
    ),
    *_contours(
        "Fig. 4", "resnet32", ("IMP", 0.01, 92.9), ("IMP", 0.1, 91.4), ("OMP", 0.01, 91.8), ("OMP", 0.1, 91.6)
    ),
    *_contours(
        "Fig. 5",
        "resnet32-noskip",
        ("IMP", 0.01, 89.4),
        ("IMP", 0.1, 89.6),
        ("OMP", 0.01, 89.7),
        ("OMP", 0.1, 90.7),
    ),
    Quote(
        "§1",
        "",
        "about 90 % sparsity takes 11 IMP rounds: 1,760 epochs at 160 each",
        sparsity=0.914,
        epochs=1760,
        note="the rounds' trainings; the last subnetwork's own training comes on top",
    ),
)
"""All of them, in the order of the paper's artefacts."""
