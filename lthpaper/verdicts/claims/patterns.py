"""Claims 7, 8, 9 and 11: which pruning, which learning rate, and whether θ0 matters (Table 3).

Sides and margins are those of `verdicts.observations`, at every non-trivial sparsity. Small and large
learning rates lie on either side of a fixed border, as in claims 1, 2 and 10.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from lthpaper.paper import CLAIMS, Thresholds, thresholds
from lthpaper.paper.quotes import QUOTES
from lthpaper.verdicts.cells import Side, side
from lthpaper.verdicts.characteristics import Characteristics, characteristics, large_rates, small_rates
from lthpaper.verdicts.claims.outcome import Outcome, ranges
from lthpaper.verdicts.claims.results import Results
from lthpaper.verdicts.evidence import NO, NOT_RUN, YES, least, signed
from lthpaper.verdicts.paper_beside_ours import in_captions
from lthpaper.verdicts.relations import ABOVE, LIKE, NOT_ABOVE, Part, relate

LT, RR = ("LT-IMP", "LT-OMP"), ("RR-IMP", "RR-OMP")


@dataclass(frozen=True)
class Experiment:
    """One network, data set and sparsity with its rows, pretraining included."""

    known: Characteristics
    about: dict[str, Any]
    table: pd.DataFrame

    def side(self, *settings: str) -> Side:
        """Over all learning rates that were planned for subnetworks."""
        return side(self.table, *settings, lrs=self.grid)

    @property
    def limits(self) -> Thresholds:
        return thresholds(self.known.data)

    @property
    def grid(self) -> tuple[float, ...]:
        planned = self.table[self.table["setting"] != "pretraining"]
        return tuple(sorted(planned["lr"].unique()))

    def small_and_large(self) -> tuple[Side, Side] | None:
        """LT at small and at large learning rates; None if the grid has none of either."""
        small, large = small_rates(self.grid, self.known.data), large_rates(self.grid, self.known.data)
        if not (small and large):
            return None
        return (
            side(self.table, *LT, lrs=small, name="LT at small rates"),
            side(self.table, *LT, lrs=large, name="LT at large rates"),
        )


def experiments(results: Results) -> Iterator[Experiment]:
    """Every network, data set and non-trivial sparsity of the scale that has any results."""
    for network, data in results.experiments():
        for s in results.sparsities(network, data):
            yield _experiment(results, network, data, s)


def pairs(results: Results) -> Iterator[Experiment]:
    """The same, and Figures 4 and 5's network with and without residual connections."""
    seen = set()
    for e in experiments(results):
        seen.add((e.known.network, e.known.data, round(e.about["sparsity"], 3)))
        yield e
    table = results.table.dropna(subset="accuracy")
    epochs = {data: results.scale.recipe_for(data).epochs for data in table["data"].unique()}
    table = table[(table["epochs"] == table["data"].map(epochs)) & table["setting"].isin(LT)]
    for network, data, s in table[["network", "data", "sparsity"]].drop_duplicates().itertuples(index=False):
        if s > thresholds(data).sparsity and (network, data, round(s, 3)) not in seen:
            yield _experiment(results, network, data, s)


def _experiment(results: Results, network: str, data: str, s: float) -> Experiment:
    epochs = results.scale.recipe_for(data).epochs
    about = {"network": network, "data": data, "epochs": epochs, "sparsity": float(s)}
    known = characteristics(network, data, results.scale.train_images)
    return Experiment(known, about, results.experiment(network, data, s))


def claim_7(results: Results) -> Outcome:
    """Small data. Residual connections: IMP clearly above OMP. None: not ("no advantages", §3.2)."""
    parts = []
    for e in pairs(results):
        if not e.known.large_data:
            relation = ABOVE if e.known.residual else NOT_ABOVE
            part = relate(e.side("LT-IMP"), relation, e.side("LT-OMP"), e.limits.gap, e.about)
            parts.append(_labelled(part, e, "IMP − OMP"))
    paper = "; ".join(
        f"{network} {signed(max(in_captions('LT-IMP', network)) - max(in_captions('LT-OMP', network)), 1)}"
        for network in ("resnet32", "resnet32-noskip")
    )
    return Outcome(CLAIMS[6], _contrast(parts), ranges(parts), f"IMP − OMP: {paper} (Figs. 4, 5)")


def claim_8(results: Results) -> Outcome:
    """Small data. Residual connections: LT clearly better at small learning rates. None: at large ones."""
    parts = [_prefers(e, small=e.known.residual) for e in experiments(results) if not e.known.large_data]
    paper = "; ".join(
        f"{network} {signed(small - large, 1)}"
        for network in ("resnet32", "resnet32-noskip")
        for small, large in [in_captions("LT-IMP", network)]
    )
    paper = f"LT-IMP at 0.01 − at 0.1: {paper} (Figs. 4, 5)"
    return Outcome(CLAIMS[7], _contrast(parts), ranges(parts), paper)


def claim_9(results: Results) -> Outcome:
    """Where LT is clearly better at large learning rates, LT and RR are similar."""
    parts = []
    for e in experiments(results):
        prefers = _prefers(e, small=False)
        alike = relate(e.side(*LT), LIKE, e.side(*RR), e.limits.similar, e.about, "LT − RR")
        if prefers.by_means == YES:  # elsewhere the claim says nothing
            if alike.by_means == NO:  # which contradicts it only as surely as large rates are preferred
                sure = least([prefers.confidence, alike.confidence])
                alike = replace(alike, confidence=sure)
            parts.append(replace(alike, open=alike.open + prefers.open))
    note = "" if parts else "No experiment was found in which the subnetwork prefers large learning rates."
    vgg = next(q for q in QUOTES if q.network == "vgg16" and q.minus == "RR")
    paper = f"{vgg.network}, s = {vgg.sparsity}: LT − RR {vgg.relation} {vgg.difference}"
    return Outcome(CLAIMS[8], tuple(parts), ranges(parts), paper, note)


def claim_11(results: Results) -> Outcome:
    """Larger data: OMP clearly above IMP, and small learning rates not clearly better."""
    parts = []
    for e in experiments(results):
        if e.known.large_data:
            part = relate(e.side("LT-OMP"), ABOVE, e.side("LT-IMP"), e.limits.gap, e.about, "OMP − IMP")
            parts += [part, _prefers(e, small=True, negated=True)]
    note = "" if parts else "No results on larger data (Tiny-ImageNet, ImageNet-1K)."
    return Outcome(CLAIMS[10], tuple(parts), ranges(parts), "", note)


def _prefers(e: Experiment, small: bool, negated: bool = False) -> Part:
    """LT clearly better at small (else large) rates; `negated`: not so."""
    sides = e.small_and_large()
    label = f"LT, {'small' if small else 'large'} − {'large' if small else 'small'} rates"
    if sides is None:
        sentence = "The grid has no small learning rate, or no large one."
        return _labelled(Part(label, "", NOT_RUN, sentence, e.about), e, label)
    first, second = sides if small else sides[::-1]
    relation = NOT_ABOVE if negated else ABOVE
    return _labelled(relate(first, relation, second, e.limits.gap, e.about), e, label)


def _labelled(part: Part, e: Experiment, label: str) -> Part:
    return replace(part, label=f"{label}, {'residual' if e.known.residual else 'no residual'}")


def _contrast(parts: list[Part]) -> tuple[Part, ...]:
    """With a part that is not run for the kind of network that was not tried: a contrast needs both."""
    ran = [part.label for part in parts if part.by_means != NOT_RUN]
    lacking = [
        Part(kind, "", NOT_RUN, f"No network with {kind} connections has results.")
        for kind in ("residual", "no residual")
        if ran and not any(label.endswith(f", {kind}") for label in ran)
    ]
    return (*parts, *lacking)
