"""Is it a winning ticket? Conditions ① to ⑤ of §2.2 over the whole learning-rate grid.

Formally (Appendix C is unavailable to us; this statement is ours). Let A_X(η) be the expected test accuracy
after T epochs of setting X at initial learning rate η of its grid H_X, over initial weights and data
order; γ the clear gap, ε the similarity, s0 and T0 what is non-trivial and sufficient.

    ①  s > s0  and  T ≥ T0
    ②  max_η A_LT(η) − max_η A_SDT(η) > γ
    ③  max_η A_LT(η) − max_η A_RR(η)  > γ          ⇔  ∃η ∀η′: A_LT(η) > A_RR(η′) + γ
    ④  max_η (A_LT(η) − A_P(η))       ≥ −ε,  η ∈ H_LT ∩ H_P
    ⑤  max_η A_LT(η) − max_η A_P(η)   ≥ −ε

with P for pretraining. ①–⑤: Jackpot. ①–④ without ⑤: secondary prize. ①–④ not all: none. As the paper
has it, each condition may hold at a learning rate of its own; ⑤ implies ④ on a common grid. The text
gives a number to the gap of ③ only; ② uses the same.

Rewinding (Appendix B is unavailable to us; this reading is ours): `subnetwork="WR"` puts A_WR, the
subnetwork trained from θt ⊙ m, in the place of A_LT, everywhere; "FT" the one from θT ⊙ m.
It is still compared with RR, SDT and pretraining from scratch.

With validation images (a task's `validation_images`) these choose the learning rates: η is the one that
is best there, in ④ the one of the best pair, and A its accuracy on the test images.

Two readings stand side by side. `holds`, the paper's: means over seeds against thresholds. `holds_ours`:
the same answer where the seeds give it a confidence of `level` (lthpaper.verdicts.uncertainty), else
"undecided"; also where runs are missing that could overturn it. A ticket that is called has every
condition called, so it is wrong with probability at most 1 − level. "None" rests on one condition that
fails, and any of ② to ④ could by luck: the surest of m is held against 1 − (1 − level)/m (Holm), so
"none" is wrong as seldom. Confidence is about seeds: the test set is the test set.

① is checked where the table says how the training loss went (lthpaper.runs.convergence): pretraining that has
not converged where the ticket rests on it makes T insufficient, whatever was assumed.

Raising LT never loses a ticket. In the paper's reading: raising any LT accuracies by any amounts, since
②–⑤ rise with every A_LT(η). In ours: raising all by the same amount; raising one seed alone widens
the spread and may make undecided what was decided.

pruning=None judges IMP and OMP together: LT is the better of the two at whatever learning rate, and
has to beat RR under either mask.

Where controls have been trained (lthpaper.runs.controls), ③ is asked of each of them in RR's place. Of
shuffled masks it is ③m: does LT beat masks that keep as many weights of every layer, at random places? The
kind of ticket is the paper's and does not ask it.

    ③m  max_η A_LT(η) − max_η A_shuffled(η) > γ
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lthpaper.errors import require
from lthpaper.paper import Thresholds
from lthpaper.paper import thresholds as of_paper
from lthpaper.runs.controls import BESIDE, settings_of
from lthpaper.runs.recipe import epochs_said
from lthpaper.verdicts import cells
from lthpaper.verdicts.cells import Side
from lthpaper.verdicts.conditions import (
    Condition,
    condition,
    doubt,
    first,
    imply,
    is_trivial,
    unfulfilled,
    unknown,
)
from lthpaper.verdicts.evidence import NO, NOT_RUN, UNDECIDED, YES
from lthpaper.verdicts.probabilities import Probabilities, probabilities

JACKPOT, SECONDARY, NONE = "Jackpot", "secondary prize", "none"
EITHER = "secondary prize or Jackpot"  # a ticket, ⑤ being open
SUBNETWORKS = ("LT", "WR", "FT")
SHUFFLED = "LT-shuffled"


@dataclass(frozen=True)
class Verdict:
    """Conditions ① to ⑤ and the kind of ticket in both readings; `reason` says why, in a sentence.

    diverged: (setting, learning rate) where a seed diverged, which is then out for that setting. edges:
    (setting, learning rate) of a best at the grid's edge: a wider grid may change it. probabilities: of the
    three kinds (lthpaper.verdicts.probabilities); None where a setting has not run or seeds show no spread.
    beside: ③ against every other control that has been trained, ③m first. seeds: the fewest behind the best
    of a setting, of those that ran.
    """

    network: str
    data: str
    epochs: int
    sparsity: float
    pruning: str | None
    thresholds: Thresholds
    conditions: tuple[Condition, ...]
    kind: str
    kind_ours: str
    reason: str
    diverged: tuple[tuple[str, float], ...] = ()
    edges: tuple[tuple[str, float], ...] = ()
    probabilities: Probabilities | None = None
    beside: tuple[Condition, ...] = ()
    seeds: int = 0

    def __getitem__(self, number: int) -> Condition:
        """verdict[3] is condition ③."""
        return self.conditions[number - 1]

    def __str__(self) -> str:
        """The verdict in a sentence, and one line per condition."""
        return "\n".join((self.sentence, *(f"  {c.sentence}" for c in self.judged)))

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        lines = "".join(f"<li>{html.escape(c.sentence)}</li>" for c in self.judged)
        items = f'<ul style="list-style: none; padding-left: 1em">{lines}</ul>'
        return f"<div><b>{html.escape(self.sentence)}</b>{items}</div>"

    @property
    def judged(self) -> tuple[Condition, ...]:
        """① to ⑤, with those `beside` behind ③."""
        return (*self.conditions[:3], *self.beside, *self.conditions[3:])

    @property
    def shuffled(self) -> Condition | None:
        """③m; None where no shuffled mask has been trained."""
        return next((c for c in self.beside if c.mark == "m"), None)

    @property
    def about(self) -> str:
        """What was judged: "resnet8 on digits, s = 0.832, IMP"."""
        mask = self.pruning or "IMP and OMP together"
        return f"{self.network} on {self.data}, s = {self.sparsity:.3f}, {mask}"

    @property
    def sentence(self) -> str:
        """What was judged, and the kind of ticket in both readings."""
        return f"{self.about}: {self.reason}"

    @property
    def lrs(self) -> tuple[float, ...]:
        """Learning rates at which the ticket is similar to pretraining: ⑤'s (Jackpot) or ④'s; else none."""
        return {JACKPOT: self[5].lrs, SECONDARY: self[4].lrs, EITHER: self[4].lrs}.get(self.kind, ())


def verdict(
    table: pd.DataFrame,
    thresholds: Thresholds | None = None,
    pruning: str | None = "IMP",
    subnetwork: str = "LT",
    sufficient_epochs: int | None = None,
    level: float = 0.95,
    quick: bool = False,
) -> Verdict:
    """Judges a tidy table of one network, data set, number of epochs and sparsity, pretraining included.

    thresholds: the paper's for the data set unless given. pruning: "IMP", "OMP", or None for both.
    sufficient_epochs: what ① asks of T; unless given, T is assumed to be sufficient if pretraining has
    converged, and ① and the reason say so. level: of our reading. quick: without bounds and probabilities,
    which take most of the time.
    Raises InputError for a table that is about several things.
    """
    require(0.5 < level < 1, f"level is {level}; it must be between 0.5 and 1.")
    require(subnetwork in SUBNETWORKS, f"subnetwork is {subnetwork!r}; it must be one of {SUBNETWORKS}.")
    table = cells.checked(table)
    cells.one_experiment(table)
    about = table.iloc[0]
    limits = thresholds or of_paper(about["data"])
    sparsities = cells.by_sparsity(table)
    require(bool(sparsities), "The table holds pretraining only; a verdict needs a subnetwork.")
    s, epochs = sparsities[0][0], int(about["epochs"])
    four = sides(table, pruning, subnetwork)
    second, third, fourth, fifth = comparisons(four, limits, level, bounds=not quick)
    why, sure = doubt(cells.unconverged(table), four[0], four[3], fourth, level)
    enough = first(s, epochs, limits, sufficient_epochs, why, sure)
    if enough.holds == YES and four[3].ran and not four[3].cells:
        enough = unknown(limits)
    conditions = (enough, second, third, fourth, fifth)
    assumed = f" (T = {epochs_said(epochs)} assumed sufficient)" if sufficient_epochs is None else ""
    kind = _kind([c.holds for c in conditions], NO in [c.holds for c in conditions[:4]])
    kind_ours = _kind([c.holds_ours for c in conditions], unfulfilled(conditions[:4]) >= level)
    diverged = tuple(found for side in four for found in side.diverged)
    edges = tuple(side.edge for side in four if side.edge)
    experiment = (about["network"], about["data"], epochs, s, pruning, limits)
    likely = None if quick else probabilities(*four, limits, conditions[0].holds == YES)
    trivial = f"s = {s:.3f} is not above {limits.sparsity:g}" * is_trivial(s, limits)
    why = ", and ".join(filter(None, (trivial, why)))
    reason = _reason(conditions, kind, kind_ours, assumed, why, table["seed"].nunique())
    torn = [cell.place for side in four for cell in side.torn]
    reason += _caveats(conditions, kind, edges, torn) + (f" {likely}." if likely else "")
    beside = tuple(
        condition(3, four[0], side, limits.gap, level, not quick).marked(mark)
        for mark, side in control_sides(table, four[0]).items()
    )
    seeds = min((side.best.seeds for side in four if side.cells), default=0)
    return Verdict(*experiment, conditions, kind, kind_ours, reason, diverged, edges, likely, beside, seeds)


def comparisons(
    four: Sequence[Side], limits: Thresholds, level: float, bounds: bool = True
) -> tuple[Condition, Condition, Condition, Condition]:
    """Conditions ② to ⑤ of LT, RR, SDT and pretraining. bounds: Comparison's, which take most of the time."""
    lt, rr, sdt, dense = four
    second, third = (condition(n, lt, side, limits.gap, level, bounds) for n, side in ((2, sdt), (3, rr)))
    fourth, fifth = (condition(n, lt, dense, -limits.similar, level, bounds) for n in (4, 5))
    return second, third, *imply(fourth, fifth, lt, dense)


def verdicts(
    table: pd.DataFrame,
    thresholds: Thresholds | None = None,
    sufficient_epochs: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """One row per network, data set, number of epochs, sparsity and pruning.

    Columns: these five, kind, kind_ours, lrs, reason; p_jackpot, p_secondary, p_none (NaN where there are
    none); for n = 2 … 5 difference_n and confidence_n, for n = 1 … 5 holds_n and ours_n, the same with
    n = 3m for ③m; verdict, the Verdict itself. sufficient_epochs: unless given, the largest of the network
    and data set, which is then assumed to be sufficient.
    """
    rows = []
    table = cells.checked(table)
    for _, experiment in table.groupby(["network", "data"], sort=True):
        most = experiment["epochs"].max()
        for epochs, same in experiment.groupby("epochs", sort=True):
            assumed = sufficient_epochs is None and epochs == most
            enough = None if assumed else sufficient_epochs or most
            for _, rest in cells.by_sparsity(same):
                rows += [verdict(rest, thresholds, p, "LT", enough, level) for p in prunings_of(rest)]
    return pd.DataFrame([_row(v) for v in rows], columns=list(COLUMNS))


OF_A_CONDITION = ("holds", "ours", "difference", "confidence")
PROBABILITIES = ("p_jackpot", "p_secondary", "p_none")
COLUMNS = (
    *("network", "data", "epochs", "sparsity", "pruning", "kind", "kind_ours", "lrs", "reason"),
    *(f"{what}_{n}" for n in ("1", "2", "3", "3m", "4", "5") for what in OF_A_CONDITION),
    *PROBABILITIES,
    "verdict",
)


def _row(v: Verdict) -> dict[str, object]:
    row = {name: getattr(v, name) for name in COLUMNS[:9]} | {"verdict": v}
    p = v.probabilities
    values = (p.jackpot, p.secondary, p.none) if p else (math.nan,) * 3
    row |= dict(zip(PROBABILITIES, values, strict=True)) | {"holds_3m": NOT_RUN, "ours_3m": NOT_RUN}
    for c in v.judged:
        found = (c.holds, c.holds_ours, c.difference, c.confidence)
        row |= {f"{what}_{c.number}{c.mark}": one for what, one in zip(OF_A_CONDITION, found, strict=True)}
    return row


def prunings_of(table: pd.DataFrame, subnetwork: str = "LT") -> list[str]:
    """Labels of the masks in the table that a ticket may have: IMP, OMP. Masks made of these are controls."""
    names = [s.partition("-") for s in table["setting"].unique()]
    found = {label for start, _, label in names if start in (subnetwork, "RR") and label}
    return sorted(label for label in found if label.partition("-")[0] not in ("shuffled", "permuted"))


def mask_of(setting: str) -> str:
    """The label of the mask that a setting has or is made of: IMP of LT-IMP and of LT-shuffled-IMP."""
    return setting.partition("-")[2].removeprefix("shuffled-").removeprefix("permuted-")


def sides(table: pd.DataFrame, pruning: str | None, subnetwork: str) -> tuple[Side, Side, Side, Side]:
    """LT, RR, SDT and pretraining of a table of one experiment."""
    labels = [pruning] if pruning else prunings_of(table, subnetwork)
    if not pruning:  # under a mask without RR, ③ could not be asked
        there = set(table["setting"])
        labels = [p for p in labels if {f"{subnetwork}-{p}", f"RR-{p}"} <= there] or labels
    lt, rr = ([f"{start}-{label}" for label in labels] or [start] for start in (subnetwork, "RR"))
    lt_side, rr_side, sdt, dense = (
        cells.side(table, *settings) for settings in (lt, rr, ["SDT"], ["pretraining"])
    )
    return lt_side, rr_side, sdt, dense


def control_sides(table: pd.DataFrame, lt: Side) -> dict[str, Side]:
    """What has been trained beside RR under LT's masks, by the mark that ③ has against it: "m" for shuffled
    masks, " (random-erk)" for one."""
    masks = sorted({c.setting.partition("-")[2] for c in lt.cells})
    there = set(table["setting"])
    found: dict[str, Side] = {}
    for name in sorted(BESIDE, key=lambda name: name != SHUFFLED):
        settings = settings_of(name, masks)
        if there & set(settings):
            side = cells.side(table, *settings)
            found |= {"m" if name == SHUFFLED else f" ({name})": side} if side.ran else {}
    return found


def _kind(holds: Sequence[str], none: bool) -> str:
    if none:
        return NONE
    if any(h != YES for h in holds[:4]):
        return UNDECIDED
    return {YES: JACKPOT, NO: SECONDARY}.get(holds[4], EITHER)


def _reason(
    conditions: Sequence[Condition], kind: str, kind_ours: str, assumed: str, why: str, seeds: int
) -> str:
    def named(*verdicts: str, ours: bool = False) -> str:
        return "".join(c.symbol for c in conditions if (c.holds_ours if ours else c.holds) in verdicts)

    words = {
        NONE: f"no ticket: {named(NO)} fail{'s' * (len(named(NO)) == 1)}{f' ({why})' * bool(why)}",
        UNDECIDED: f"undecided: {named(NOT_RUN, UNDECIDED)} cannot be judged",
        SECONDARY: "secondary prize: ① to ④ hold, ⑤ fails",
        EITHER: "a ticket, a Jackpot if ⑤ holds, which cannot be judged",
        JACKPOT: "Jackpot: ① to ⑤ hold",
    }
    text = f"By the means {words[kind]}{assumed if kind in (SECONDARY, EITHER, JACKPOT) else ''}."
    if seeds == 1 and kind_ours != NONE:  # ① alone may fail for sure
        return f"{text} One seed cannot support a verdict."
    failing = named(NO, ours=True)
    if kind_ours == kind == NONE and failing != named(NO):
        return f"{text} The seeds support that {failing} fail{'s' * (len(failing) == 1)}."
    if kind_ours == kind:
        return text + " The seeds support it." if kind != UNDECIDED else text
    if kind_ours == UNDECIDED and kind == NONE and failing:
        return (
            f"{text} By the seeds it is undecided: {failing} would fail if tested alone, but one of several "
            "conditions may fail by luck."
        )
    return f"{text} By the seeds {kind_ours}: {named(NOT_RUN, UNDECIDED, ours=True)} undecided."


def _caveats(
    conditions: Sequence[Condition],
    kind: str,
    edges: Sequence[tuple[str, float]],
    torn: Sequence[tuple[str, float]],
) -> str:
    """What else a reader has to know: no one learning rate serves, some seeds of a cell diverged, bests at
    the grid's edge."""
    third, fourth = conditions[2:4]
    said = ""
    if kind in (SECONDARY, EITHER, JACKPOT) and third.lrs and not set(third.lrs) & set(fourth.lrs):
        at, there = (", ".join(f"{lr:g}" for lr in c.lrs) for c in (third, fourth))
        said += f" ③ holds at {at} and ④ at {there}: no one learning rate serves both."
    if torn:
        where = ", ".join(f"{setting} ({lr:g})" for setting, lr in torn)
        said += f" Some seeds diverged, and the rate is out for the setting: {where}."
    if edges:
        where = ", ".join(f"{setting} ({lr:g})" for setting, lr in edges)
        said += f" The best of {where} lies at the grid's edge: a wider grid may change the verdict."
    return said
