"""Audit published results: train a random sample of them again and compare.

If the bits are equal, there is nothing to test. If not (other vector instructions add float32 sums in
another order, and training is chaotic), the run trained again counts as another draw: its accuracy should
differ from the published one no more than those of two seeds do. Two tests check this, one for the run that
differs most and one for the mean; each raises a false alarm once in a thousand audits (the second in up to
five, where one of a few cells scatters ten times as much as the others).
"""

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy

from lthpaper import data
from lthpaper.errors import require
from lthpaper.provenance import as_elsewhere, device_name, versions
from lthpaper.runs import digest as canonical
from lthpaper.runs.run import Run, ancestors, setting
from lthpaper.store.entry import WEIGHTS
from lthpaper.store.published import Published, Scale
from lthpaper.store.store import Result, Store
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import plan

NOWHERE = Path(os.devnull) / "store"  # a store that has nothing
LEVEL = 0.001  # of each of the two tests


@dataclass(frozen=True)
class Audited:
    """A run trained again. published, here: accuracies, percent; spread: standard deviation over the `seeds`
    published runs of its cell, those that differ from it in their seeds alone."""

    run: Run
    published: float
    here: float
    equal: bool  # θT bit for bit
    spread: float
    seeds: int
    cell_diverges: bool  # some seed of the cell diverged

    @property
    def difference(self) -> float:
        return self.here - self.published


@dataclass(frozen=True)
class Report:
    """audited: the sample; also: ancestors that had to be trained for it. published_on, here_on: processors
    and versions of torch."""

    audited: tuple[Audited, ...]
    also: tuple[Audited, ...]
    published_on: tuple[str, ...]
    here_on: str


def choose(runs: Iterable[Run], count: int, seed: int, masks: Scale | None = None) -> list[Run]:
    """A random sample without replacement. A run's weight is one over the network-epochs that it and what has
    to be trained before it take: every run can be chosen, but long chains of IMP rounds seldom are, which
    keeps an audit cheap. masks: published results whose masks are used (`audit`)."""
    require(count >= 1, f"The sample is {count} runs; it must be one or more.")
    found = sorted(runs, key=lambda run: run.digest)
    uniform = np.random.default_rng(seed).random(len(found))
    # Efraimidis and Spirakis: the largest u^(1/w)
    place = [math.log(u) * cost_of(run, masks) for u, run in zip(uniform, found, strict=True)]
    return [found[i] for i in np.argsort(place)[::-1][:count]]


def cost_of(run: Run, masks: Scale | None = None) -> int:
    """Network-epochs of a run and of all that has to be trained before it."""
    return sum(r.cost for r in needed([run], masks))


def needed(runs: Iterable[Run], masks: Scale | None = None) -> tuple[Run, ...]:
    """What an audit of these runs trains: them and their ancestors, but none of a run whose mask is used."""
    return tuple(ancestors(runs)) if masks is None else plan(runs, _store(NOWHERE, masks)).todo


def _store(folder: Path, masks: Scale | None) -> Store:
    return Store(folder, masks=None if masks is None else Published({masks.folder.name: masks}))


def audit(
    scale: Scale,
    chosen: Sequence[Run],
    data_root: str | Path | None = None,
    device: str = "cpu",
    workers: int | None = None,
    quiet: bool = False,
    masks: bool = False,
) -> Report:
    """Train these runs and the ancestors that they need, in a folder that is deleted afterwards.

    masks: a run whose mask is published starts from that instead of training its ancestors, so each link of
    a chain is audited by itself, and the making of its mask is not.

    Raises InputError if the images here are another copy than the published runs were trained on.
    """
    cells = spread_of_cells(scale)
    _check_images(chosen, scale, data_root)
    with tempfile.TemporaryDirectory(prefix="lthpaper-audit-") as folder:
        store = _store(Path(folder), scale if masks else None)
        execute(chosen, store, data_root, device, workers, quiet=quiet, curve_points=1)
        compared = {run: _compared(store.get(run), scale, cells) for run in ancestors(chosen) if run in store}
    origins = [scale.get(run).provenance for run in compared]
    found = {(str(o.get("device")), str((o.get("versions") or {}).get("torch"))) for o in origins}
    return Report(
        tuple(compared[run] for run in chosen),
        tuple(one for run, one in compared.items() if run not in set(chosen)),
        published_on=tuple(f"{where} with torch {torch}" for where, torch in sorted(found)),
        here_on=f"{device_name(device)} with torch {versions()['torch']}",
    )


def _check_images(chosen: Sequence[Run], scale: Scale, root: str | Path | None) -> None:
    needed = {(run.task.data, *run.task.division): scale.get(run).fingerprint for run in chosen}
    for (name, *division), published in needed.items():
        here = data.load(name, root, *division).fingerprint
        require(
            here == published,
            f"The published runs were trained on another copy of {name} (fingerprint {published}; the copy "
            f"here has {here}): an audit would compare images, not trainings. Bring that copy here.",
        )


def _compared(here: Result, scale: Scale, cells: pd.DataFrame) -> Audited:
    there, cell = scale.get(here.run), cells.loc[here.run.digest]
    return Audited(
        here.run,
        there.accuracy,
        here.accuracy,
        here.files[WEIGHTS] == there.files[WEIGHTS],
        float(cell["spread"]),
        int(cell["seeds"]),
        bool(cell["diverges"]),
    )


def spread_of_cells(scale: Scale) -> pd.DataFrame:
    """One row per published run, indexed by digest. Columns, over the runs that differ from it in their seeds
    alone: spread (standard deviation of the accuracy, NaN for one seed), seeds, diverges (some did)."""
    same = _cells(scale.runs.values())
    rows = [(d, same[d], scale.get(run).accuracy) for d, run in scale.runs.items()]
    table = pd.DataFrame(rows, columns=["digest", "cell", "accuracy"]).set_index("digest")
    by_cell = table.groupby("cell")["accuracy"]
    found = {"spread": by_cell.std(ddof=1), "seeds": by_cell.count()}
    found["diverges"] = by_cell.agg(lambda a: bool(a.isna().any()))
    return pd.DataFrame(found).loc[table["cell"]].set_axis(table.index)


def _cells(runs: Iterable[Run]) -> dict[str, str]:
    """Digest -> a hash of the description without seeds. runs: ancestors first."""
    found: dict[str, str] = {}

    def of_field(value: dict) -> dict | None:
        """A run by its hash; a nested init or rule without seeds."""
        return {"run": found[value["run"]]} if "run" in value else without_seeds(value)

    def without_seeds(part: dict | None) -> dict | None:
        if part is None:
            return None
        named = {k: of_field(v) if isinstance(v, dict) else v for k, v in part.items()}
        return named | ({"seed": 0} if "seed" in named else {})

    for run in runs:
        described = run.description
        parts = {name: without_seeds(described[name]) for name in ("init", "mask")}
        found[run.digest] = canonical.digest({**described, **parts, "seed": 0})
    return found


# --- the verdict ---


@dataclass(frozen=True)
class Verdict:
    """consistent: whether the runs trained here support what is published, as far as the sample can tell."""

    consistent: bool
    sentence: str


def verdict(report: Report) -> Verdict:
    """The verdict of an audit, with its reasons."""
    sample = report.audited
    other = [a for a in sample if not a.equal]
    total = f"{len(sample)} run{'s' * (len(sample) != 1)}"
    if not other:
        all_of_them = f"all {total} were" if len(sample) > 1 else "the one run was"
        return Verdict(True, f"Consistent: {all_of_them} trained here with the published bits.")
    where = f"published on {', '.join(report.published_on)}; here {report.here_on}"
    begin = f"{len(sample) - len(other)} of {total} trained here with the published bits ({where})."
    lost = [a for a in other if math.isnan(a.published) != math.isnan(a.here) and not a.cell_diverges]
    if lost:
        names = ", ".join(a.run.name for a in lost)
        return Verdict(False, f"Not consistent: {begin} {names} diverged in one place and not in the other.")
    judged = [a for a in other if math.isfinite(a.difference) and a.seeds >= 2]
    if not judged:
        alone = "no published run of the others has a second seed to say how much accuracies vary"
        return Verdict(True, f"Not decided: {begin} Of the rest, {alone}.")
    farthest, p_far = _farthest(judged)
    mean, error, p_mean = _shift(judged)
    words = (
        f"The others differ by {mean:+.2f} points on average, where the seeds' spread explains "
        f"± {error:.2f} (p = {p_mean:.2g}); the farthest, {farthest.run.name}, by "
        f"{farthest.difference:+.2f}, where two seeds differ by ± {_scale(farthest):.2f} (p = {p_far:.2g}, "
        f"corrected for {len(judged)})."
    )
    fine = min(p_far, p_mean) >= LEVEL
    return Verdict(fine, f"{'Consistent' if fine else 'Not consistent'}: {begin} {words}")


def advice(report: Report) -> str:
    """What may give the published bits on this processor; "" where nothing is known that would."""
    return "" if all(a.equal for a in report.audited) else as_elsewhere(report.here_on, report.published_on)


def _scale(audited: Audited) -> float:
    """Standard deviation of the difference of two draws of a cell, points; no less than one test image."""
    return math.sqrt(2) * max(audited.spread, 100 / data.card(audited.run.task.data).test)


def _farthest(judged: Sequence[Audited]) -> tuple[Audited, float]:
    """The run that is farthest off for its cell, and its p-value with Bonferroni's correction.

    A spread over n seeds is itself uncertain, hence Student's t with n − 1 degrees of freedom.
    """
    chances = [2 * scipy.stats.t.sf(abs(a.difference) / _scale(a), a.seeds - 1) for a in judged]
    least = int(np.argmin(chances))
    return judged[least], min(1.0, float(chances[least]) * len(judged))


def _shift(judged: Sequence[Audited]) -> tuple[float, float, float]:
    """(mean difference, its standard error by the seeds' spread, the p-value of the mean).

    Degrees of freedom by Welch and Satterthwaite.
    """
    variances = np.array([_scale(a) ** 2 for a in judged])
    degrees = variances.sum() ** 2 / (variances**2 / [a.seeds - 1 for a in judged]).sum()
    mean, error = float(np.mean([a.difference for a in judged])), math.sqrt(variances.sum()) / len(judged)
    return mean, error, float(2 * scipy.stats.t.sf(abs(mean) / error, degrees))


def rows(report: Report) -> pd.DataFrame:
    """The sample as a table."""
    return pd.DataFrame(
        {
            "run": a.run.name,
            "setting": setting(a.run),
            "lr": a.run.recipe.lr,
            "seed": a.run.seed,
            "published": a.published,
            "here": a.here,
            "bits": "equal" if a.equal else "other",
            "difference": a.difference,
            "seeds' spread": f"{a.spread:.2f} (n = {a.seeds})",
        }
        for a in report.audited
    )
