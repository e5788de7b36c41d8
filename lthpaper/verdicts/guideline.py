"""The guideline of §3.2: which learning rate, pruning and sparsity to try, for a network and its data.

    print(guideline("resnet20", "cifar10"))

Residual connections are counted in the network. Where the text stops at words (small data, a redundant
network) the rules are those of `characteristics.py`. Given a table of results, each advice says
beside the paper's evidence what ours are for this very network and data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lthpaper.paper import SPARSITIES, grid_of, thresholds
from lthpaper.verdicts.characteristics import (
    NOT_REDUNDANT,
    REDUNDANT,
    Characteristics,
    characteristics,
    large_rates,
    small_rates,
)
from lthpaper.verdicts.evidence import NOT_RUN, UNDECIDED
from lthpaper.verdicts.observations import ALIKE, IMP, LARGE, LT, OMP, RR, SMALL, lead, observations
from lthpaper.verdicts.paper_beside_ours import in_captions
from lthpaper.verdicts.tickets import EITHER, JACKPOT, SECONDARY

UP_TO, REDUNDANT_UP_TO = sorted(SPARSITIES)[-2:]  # 0.914 and 0.945: ResNet-20's and the larger networks'
BARE = "resnet32-noskip"
NOTHING_YET = "no results yet"


@dataclass(frozen=True)
class Advice:
    """question, answer: in words. evidence: the paper's, with its place. ours: what our results say."""

    question: str
    answer: str
    evidence: str
    place: str
    ours: str = NOTHING_YET


@dataclass(frozen=True)
class Guideline:
    """What to try. learning_rates: of the grid, the recommended ones. pruning: "IMP" or "OMP".

    sparsities: (above, up to); up to is None where the paper found no clear ticket at any.
    """

    about: Characteristics
    learning_rates: tuple[float, ...]
    pruning: str
    sparsities: tuple[float, float | None]
    advice: tuple[Advice, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row per advice."""
        rows = {
            a.question: {"try": a.answer, "why": a.evidence, "place": a.place, "our results": a.ours}
            for a in self.advice
        }
        frame = pd.DataFrame.from_dict(rows, orient="index")
        frame.index.name = f"{self.about.network} on {self.about.data}"
        return frame

    def __str__(self) -> str:
        lines = [f"{self.about.network} on {self.about.data}: {described(self.about)}"]
        lines += [f"{a.question}: {a.answer}. {a.evidence} ({a.place}). Ours: {a.ours}." for a in self.advice]
        return "\n".join(lines)


def guideline(
    network: str,
    data: str,
    table: pd.DataFrame | None = None,
    grid: Sequence[float] = (),
    train_images: int = 0,
) -> Guideline:
    """What §3.2 recommends for a network and a data set, by name, or by dotted path for custom ones.

    table: our results, tidy (store.table.COLUMNS); those of this network and data are quoted. grid: the
    learning rates to choose from, the paper's unless given. train_images: 0 means all. Raises InputError
    for an unknown name.
    """
    about = characteristics(network, data, train_images)
    small = about.residual and not about.large_data
    grid = grid or grid_of(data)
    rates = small_rates(grid, data) if small else large_rates(grid, data)
    pruning = IMP if small else OMP
    above = thresholds(data).sparsity
    up_to = None if about.large_data else REDUNDANT_UP_TO if about.redundant else UP_TO
    found = _ours(table, network, data)
    advice = (
        _rate(about, rates, found),
        _pruning(about, found),
        _sparsity(about, above, up_to, found),
        _start(small, found),
    )
    return Guideline(about, rates, pruning, (above, up_to), advice)


def described(about: Characteristics) -> str:
    """The characteristics in words."""
    n = about.residual_connections
    return (
        f"{n or 'no'} residual connection{'s' * (n != 1)}, {'large' if about.large_data else 'small'} data "
        f"({about.images:,} training images, {about.classes} classes), {about.parameters:,} parameters, "
        f"{about.redundancy:.2g} an image and class: {'redundant' if about.redundant else 'not redundant'}"
    )


def _rate(about: Characteristics, rates: Sequence[float], found: pd.DataFrame) -> Advice:
    listed = ", ".join(f"{lr:g}" for lr in rates) or "none in the grid"
    if about.large_data:
        answer, place = "large", "§3.1, dataset size"
        why = "On Tiny-ImageNet and ImageNet-1K small learning rates are not preferable, for any ResNet"
    elif about.residual:
        answer, place = "small", "§3.2, 2; Fig. 4"
        why = (
            "With residual connections the subnetwork prefers a relatively small learning rate: ResNet-32, "
            f"s = 0.945, {_at_both('IMP')}"
        )
    else:
        answer, place = "large", "§3.2, 2; Fig. 5"
        why = (
            "Without residual connections a small learning rate is not preferable: ResNet-32 without them, "
            f"s = 0.945, {_at_both('OMP', BARE)}"
        )
    words = {SMALL: "small", LARGE: "large", ALIKE: "alike"}
    return Advice("learning rate", f"{answer}: {listed}", why, place, _said(found, "rate", words))


def _pruning(about: Characteristics, found: pd.DataFrame) -> Advice:
    if about.large_data:
        answer, place = "OMP", "§3.1, dataset size"
        why = "On Tiny-ImageNet and ImageNet-1K OMP outperforms IMP, for any ResNet"
    elif about.residual:
        answer, place = "IMP", "§3.2, 1; Fig. 4"
        why = (
            f"With residual connections IMP is better than OMP: ResNet-32, s = 0.945, best "
            f"{max(in_captions('LT-IMP'))} against {max(in_captions('LT-OMP'))}"
        )
    else:
        answer, place = "OMP: as good, and one pretraining instead of a chain", "§3.2, 1; Fig. 5"
        why = (
            "Without residual connections IMP has no advantages: ResNet-32 without them, s = 0.945, best "
            f"{max(in_captions('LT-IMP', BARE))} against OMP's {max(in_captions('LT-OMP', BARE))}"
        )
    words = {IMP: "IMP", OMP: "OMP", ALIKE: "alike"}
    return Advice("pruning", answer, why, place, _said(found, "pruning", words))


def _sparsity(about: Characteristics, above: float, up_to: float | None, found: pd.DataFrame) -> Advice:
    place = "§3.1; §3.2, 3"
    if up_to is None:
        answer = f"above {above:g}, but expect no clear ticket"
        why = "On Tiny-ImageNet and ImageNet-1K no clear ticket was found with ResNet-18 or ResNet-50"
    else:
        redundant = f"{about.redundancy:.2g} parameters an image and class"
        known = f"ResNet-20 on CIFAR-10 has {NOT_REDUNDANT:.2g}, ResNet-32 {REDUNDANT:.2g}"
        answer = f"above {above:g}, up to {up_to:g}{' or higher' if about.redundant else ''}"
        limit = "ResNet-32, ResNet-18, VGG-16 have prizes at 0.945 or higher"
        if not about.redundant:
            limit = "ResNet-20 has prizes up to 0.914"
        why = f"The more redundant, the sparser a ticket can be: {redundant} ({known}); {limit}"
    return Advice("sparsity", answer, why, place, _prizes(found))


def _start(small: bool, found: pd.DataFrame) -> Advice:
    if small:
        answer, why = (
            "θ0: keep it",
            "Secondary prizes are found at small learning rates, where θ0 is remembered",
        )
    else:
        answer, why = "any draw", "Where large learning rates are preferred, any initial weights do alike"
    words = {LT: "θ0 matters", ALIKE: "any draw alike", RR: "a new draw is better"}
    return Advice("initial weights", answer, why, "§3.1; §3.2, 4", _said(found, "theta0", words))


def _at_both(pruning: str, network: str = "resnet32") -> str:
    """What the captions of Figures 4 and 5 state, "IMP 92.1 at 0.01, 91.5 at 0.1"."""
    small, large = in_captions(f"LT-{pruning}", network)
    return f"{pruning} {small} at 0.01, {large} at 0.1"


def _ours(table: pd.DataFrame | None, network: str, data: str) -> pd.DataFrame:
    """Observations of this network and data at non-trivial sparsities and the most epochs; may be empty."""
    if table is None or table.empty:
        return pd.DataFrame()
    rows = table[(table["network"] == network) & (table["data"] == data)]
    if rows["accuracy"].isna().all() or (rows["setting"] == "pretraining").all():
        return pd.DataFrame()
    found = observations(rows)
    most = found["epochs"] == found["epochs"].max()
    return found[most & (found["sparsity"] > thresholds(data).sparsity)]


def _said(found: pd.DataFrame, question: str, words: dict[str, str]) -> str:
    """Our answers "0.832: small (+1.0)" by sparsity, by the means; a question mark where the seeds leave it
    undecided. In brackets: `observations.lead`."""
    said = []
    for row in found.itertuples():
        answer, ours = getattr(row, question), getattr(row, f"{question}_ours")
        if answer in (NOT_RUN, UNDECIDED):
            continue
        doubt = "" if ours == answer else "?"
        by = lead(question, answer, getattr(row, f"{question}_difference"))
        said.append(f"{row.sparsity:.3f}: {words.get(answer, answer)}{doubt}{by}")
    return "; ".join(said) or NOTHING_YET


def _prizes(found: pd.DataFrame) -> str:
    """The largest sparsity with a ticket by the means, and whether the seeds support it."""
    said, judged = [], False
    for pruning in (IMP, OMP):
        columns = ["sparsity", f"kind_{pruning}", f"kind_{pruning}_ours"]
        kinds = [] if found.empty else list(found[columns].itertuples(index=False))
        judged = judged or any(kind != NOT_RUN for _, kind, _ in kinds)
        prizes = [k for k in kinds if k[1] in (SECONDARY, EITHER, JACKPOT)]
        if prizes:
            s, kind, ours = max(prizes)
            said.append(f"{pruning} {kind} at {s:.3f}{'' if ours == kind else '?'}")
    return "; ".join(said) or ("no ticket" if judged else NOTHING_YET)


def by_name(*networks: str) -> pd.DataFrame:
    """What the rules give by name alone, without results, on CIFAR-10: facts, and the first three answers."""
    rows = []
    for network in networks:
        found = guideline(network, "cifar10")
        facts = (found.about.network, found.about.residual_connections, found.about.redundancy)
        rows.append((*facts, *(advice.answer for advice in found.advice[:3])))
    columns = ["network", "residual connections", "redundancy", "learning rate", "pruning", "sparsity"]
    return pd.DataFrame(rows, columns=columns).set_index("network")
