"""The parts of docs/findings.md that are computed from results/: `python docs/computed.py` writes them anew.

A part stands between `<!-- computed: NAME -->` and `<!-- end -->`. A test compares each with what the
published results give, so a page that is out of date, or edited by hand, fails.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from lthpaper.figures import FIGURES
from lthpaper.measures import stability
from lthpaper.paper.follow_ups import FOLLOW_UPS
from lthpaper.runs import at_initialisation as masks_of
from lthpaper.runs import controls as runs_of
from lthpaper.runs import siblings
from lthpaper.runs.run import ancestors, setting
from lthpaper.runs.scales import Scale, scale
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.verdicts import at_initialisation, claims, controls, tickets
from lthpaper.verdicts.claims.outcome import Outcome
from lthpaper.verdicts.evidence import NOT_RUN

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "findings.md"
PART = re.compile(r"(<!-- computed: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
NOTHING = "Not published yet.\n"


def written(text: str, store: Store, of: Scale) -> str:
    """The page with its parts computed anew. Raises KeyError for a part of an unknown name."""
    return PART.sub(lambda m: f"{m[1]}{PARTS[m[2]](store, of)}{m[4]}", text)


def by_controls(store: Store, of: Scale) -> str:
    """LT less RR as they are, at equal norms, and what norms, signs and places are worth, over the grid."""
    columns = {
        "LT − RR": ("LT-", "RR-"),
        "at RR's norms": ("LT@RRnorms-", "RR-"),
        "at LT's norms": ("LT-", "RR@LTnorms-"),
        "norms: LT − LT at RR's": ("LT-", "LT@RRnorms-"),
        "signs: LT − LT with RR's": ("LT-", "LT@RRsigns-"),
        "places: RR − shuffled": ("RR-", "LT-shuffled-"),
    }
    found = controls.differences(table(runs_of.of_scale(of), store))
    return _by_mask_and_rate(found, columns, "mask, rate")


def by_rates(store: Store, of: Scale) -> str:
    """LT at twice the learning rate against RR, and against itself at RR's norms."""
    results = table(runs_of.of_scale(of), store)
    higher = controls.at_higher_rates(results, 2)
    plain = controls.differences(results)
    found = pd.concat([plain[plain["lr"].isin(set(higher["lr"]))], higher])
    columns = {
        "LT(η) − RR(η)": ("LT-", "RR-"),
        "LT(2η) − RR(η)": ("LT×2-", "RR-"),
        "LT(2η) − LT at RR's norms (η)": ("LT×2-", "LT@RRnorms-"),
    }
    return _by_mask_and_rate(found, columns, "mask, rate η")


def by_places(store: Store, of: Scale) -> str:
    """Each rule less its own mask shuffled within layers, by start, learning rate and sparsity."""
    trials = masks_of.of_scale(of)
    found = at_initialisation.places(table(trials, store))
    sparsities = sorted({trial.sparsity for trial in trials if trial.sparsity})
    lines = [
        [f"{name}, {lr:g}", *(_cell(cells[cells["sparsity"] == s]) for s in sparsities)]
        for (name, lr), cells in found.groupby(["ours", "lr"], sort=False)
    ]
    return _table(["rule, rate", *(f"s = {s:.3g}" for s in sparsities)], lines) + _seeds(found)


def by_photographs(store: Store, of: Scale, network: str = "resnet20") -> str:
    """Photographs, at desktop scale: LT less RR, as they are and at equal norms, less SDT and pretraining."""
    there = scale("desktop", experiments=f"{network}/cifar10-16", controls="LT@RRnorms")
    results = table(FIGURES["fig3"].trials(there), store)
    results = results.assign(sparsity=results["sparsity"].max())  # so that the dense network pairs, too
    columns = {
        "LT − RR": ("LT-", "RR-"),
        "at RR's norms": ("LT@RRnorms-", "RR-"),
        "LT − SDT": ("LT-", "SDT"),
        "LT − pretraining": ("LT-", "pretraining"),
        "RR − pretraining": ("RR-", "pretraining"),
    }
    found = controls.differences(results, compared=[(*pair, "") for pair in columns.values()])
    return _by_mask_and_rate(found, columns, "mask, rate")


def by_rounds(store: Store, of: Scale) -> str:
    """Photographs, at desktop scale: accuracy after every round of IMP, seed by seed, and RR-IMP's below."""
    there = scale("desktop", experiments="resnet20/cifar10-16")
    trials = [*FIGURES["fig1"].trials(there), *FIGURES["fig3"].trials(there)]
    runs = ancestors(t.run for t in trials if t.setting in ("LT-IMP", "RR-IMP"))
    found: dict[tuple[float, float, int, str], dict[float, float]] = {}
    for run in (run for run in runs if run in store):
        s = run.mask.sparsity if run.mask is not None else 0.0
        name = setting(run).replace("pretraining", "LT-IMP")[:2]
        row = (-run.recipe.epochs, run.recipe.lr, run.seed, name)  # the longer training first
        found.setdefault(row, {})[round(s, 3)] = store.get(run).accuracy
    begun = {row: values for row, values in sorted(found.items()) if set(values) != {0.0}}
    columns = sorted({s for values in begun.values() for s in values})
    lines = [
        [
            f"{name} {lr:g}, {seed}" + ("" if -few == there.recipe.epochs else f", {-few:g} epochs"),
            *(f"{values[s] + 1e-9:.1f}" if s in values else "–" for s in columns),
        ]
        for (few, lr, seed, name), values in begun.items()
    ]
    return _table(["rate, seed", *(f"s = {s:g}" if s else "dense" for s in columns)], lines)


def by_leads(store: Store, of: Scale) -> str:
    """Photographs, desktop: IMP's ticket less RR and less the dense network, at Figure 1's sparsities."""
    there = scale("desktop", experiments="resnet20/cifar10-16")
    results = table(FIGURES["fig1"].trials(there), store)
    results = results[results["accuracy"].notna()]
    sparsities = sorted({s for s in results["sparsity"] if s > 0})
    lines, shown = [], []
    for epochs, after in ((there.recipe.epochs, ""), (there.insufficient_epochs, ", 78 epochs")):
        rows = results[results["epochs"] == epochs]
        dense, sparse = (rows[(rows["setting"] == "pretraining") == is_dense] for is_dense in (True, False))
        paired = pd.concat(
            [sparse, *(dense.assign(sparsity=s) for s in sparsities)]
        )  # the dense network pairs with each
        found = controls.differences(paired, compared=[("LT-", "RR-", ""), ("LT-", "pretraining", "")])
        found = found[(found["mask"] == "IMP") & (found["n"] > 0)]
        shown.append(found)
        lines += [
            [
                f"LT − {against.removesuffix('-IMP')}, {lr:g}{after}",
                *(_cell(cells[cells["sparsity"] == s]) for s in sparsities),
            ]
            for (against, lr), cells in found.groupby(["against", "lr"])
        ]
    return _table(["difference, rate", *(f"s = {s:.3g}" for s in sparsities)], lines) + _seeds(
        pd.concat(shown)
    )


def by_mixed_rates(store: Store, of: Scale) -> str:
    """Photographs, desktop: IMP's last masks of two learning rates trained at all (Table 4), seed by seed."""
    there = scale("desktop", experiments="resnet20/cifar10-16")
    mixed = table(FIGURES["table4"].trials(there), store)
    seeds = sorted(mixed.loc[mixed["accuracy"].notna() & (mixed["sparsity"] > 0), "seed"].unique())
    dense = table([t for t in FIGURES["fig3"].trials(there) if t.setting == "pretraining"], store)
    rates = sorted(dense["lr"].unique())
    lines = []
    for source, rows in [("dense", dense), *mixed[mixed["sparsity"] > 0].groupby("pretraining_lr")]:
        for setting_of, cells in rows.groupby("setting", sort=False):
            name = "dense" if source == "dense" else f"{setting_of[:2]}, mask from {source:g}"
            found = cells.dropna(subset="accuracy").set_index(["lr", "seed"])["accuracy"]
            lines.append([name, *(_each_seed(found, lr, seeds) for lr in rates)])
    *others, last = map(str, seeds or [""])
    said = f"\nPercent, seeds {', '.join(others)} and {last}.\n"
    return _table(["trained at", *(f"{lr:g}" for lr in rates)], lines) + said if seeds else NOTHING


def by_verdict_of_mixed_rates(store: Store, of: Scale) -> str:
    """Photographs, desktop: conditions ① to ⑤ with the mask of one rate at every rate of training."""
    there = scale("desktop", experiments="resnet20/cifar10-16")
    mixed = table(FIGURES["table4"].trials(there), store)
    others = table([t for t in FIGURES["fig3"].trials(there) if t.setting in ("pretraining", "SDT")], store)
    parts = []
    for source, subnetworks in mixed[mixed["sparsity"] > 0].groupby("pretraining_lr"):
        ran = subnetworks.dropna(subset="accuracy")
        if ran.groupby(["setting", "lr"]).ngroups < 2 * len(there.grid):
            continue  # LT or RR lacks a rate
        both = pd.concat([ran, others])
        # each run as one of its own rate: `verdict` leaves runs under the mask of another rate out
        judged = tickets.verdict(both.assign(pretraining_lr=both["lr"]), sufficient_epochs=there.epochs)
        conditions = "\n".join(f"- {c.sentence}" for c in judged.conditions)
        parts.append(f"Masks from {source:g}: {judged.reason}\n\n{conditions}\n")
    return "\n".join(parts) or NOTHING


def _each_seed(found: pd.Series, lr: float, seeds: list[int]) -> str:
    """ "66.4, 65.8"; a dash for a seed that has not run, one for all."""
    said = [f"{found[lr, n] + 1e-9:.1f}" if (lr, n) in found.index else "–" for n in seeds]
    return ", ".join(said) if set(said) != {"–"} else "–"


def by_epochs(store: Store, of: Scale) -> str:
    """The mean barrier of the test error by learning rate and epoch."""
    found = stability.intervals(stability.barriers(siblings.of_scale(of), store))
    epochs = siblings.epochs_of(of.recipe_for(of.data))
    lines = [
        [f"{lr:g}", *(_cell(cells[cells["k"] == k], "mean") for k in epochs)]
        for lr, cells in found.groupby("lr")
    ]
    return _table(["rate", *(f"k = {k}" for k in epochs)], lines) + _seeds(found)


def by_claims(store: Store, of: Scale) -> str:
    """Every later claim: its words, its source, ours with n, its state."""
    stated = {claim.id: claim for claim in FOLLOW_UPS}
    words = {name: f"{claim.text} ({claim.artefact})" for name, claim in stated.items()}
    return _claims(claims.judge(claims.gather_follow_ups(of, store), claims.FOLLOW_UPS), words)


def by_claims_on_photographs(store: Store, of: Scale) -> str:
    """Photographs, at desktop scale: those of the paper's claims of which something has run."""
    found = claims.judge(claims.gather(scale("desktop"), store))
    begun = [outcome for outcome in found if outcome.status != NOT_RUN]
    left = [str(outcome.claim.id) for outcome in found if outcome.status == NOT_RUN]
    words = {name: test.words for name, test in claims.TESTS.items()}
    return _claims(begun, words) + f"\nNot run: {', '.join(left) or 'none'}.\n"


def _claims(outcomes: list[Outcome], words: dict[int | str, str]) -> str:
    lines = []
    for outcome in outcomes:
        name = outcome.claim.id
        means = f", by the means {outcome.by_means}" if outcome.by_means != outcome.status else ""
        state = f"{outcome.status}{means}"
        lines.append([f"{name}. {words[name]}", outcome.ours or "–", outcome.n or "–", state])
    return _table(["claim", "ours", "n", "state"], lines)


PARTS: dict[str, Callable[[Store, Scale], str]] = {
    "photographs": by_photographs,
    "rounds": by_rounds,
    "leads": by_leads,
    "mixed": by_mixed_rates,
    "mixed-verdict": by_verdict_of_mixed_rates,
    "without-shortcuts": partial(by_photographs, network="resnet20-noskip"),
    "claims-on-photographs": by_claims_on_photographs,
    "controls": by_controls,
    "rates": by_rates,
    "at-initialisation": by_places,
    "stability": by_epochs,
    "follow-ups": by_claims,
}


def _by_mask_and_rate(found: pd.DataFrame, columns: dict[str, tuple[str, str]], first: str) -> str:
    lines = []
    for (mask, lr), cells in found.groupby(["mask", "lr"]):
        line = [f"{mask} {lr:g}"]
        for ours, against in columns.values():
            a, b = controls.under(ours, mask), controls.under(against, mask)
            line.append(_cell(cells[(cells["ours"] == a) & (cells["against"] == b)]))
        lines.append(line)
    return _table([first, *columns], lines) + _seeds(found)


def _cell(rows: pd.DataFrame, value: str = "difference") -> str:
    """ "+2.3 (+1.0 … +3.6)" of one row, "–" of none."""
    if rows.empty:
        return "–"
    (row,) = rows.to_dict("records")
    if pd.isna(row[value]):
        return "a seed diverged"
    sign = "+" if value == "difference" else ""
    numbers = [f"{row[name]:{sign}.1f}".replace("-", "−") for name in (value, "low", "high")]
    return numbers[0] if pd.isna(row["low"]) else f"{numbers[0]} ({numbers[1]} … {numbers[2]})"


def _table(head: list[str], lines: list[list[str]]) -> str:
    if not lines:
        return NOTHING
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _seeds(found: pd.DataFrame) -> str:
    """How many seeds the numbers of a table are of."""
    if found.empty:
        return ""
    low, high = int(found["n"].min()), int(found["n"].max())
    return f"\nPoints, 95 % intervals, n = {low if low == high else f'{low} to {high}'}.\n"


if __name__ == "__main__":
    published = Store(ROOT / "no-store", ROOT / "results")
    PAGE.write_text(written(PAGE.read_text(), published, scale("laptop")))
