"""A store's results into the published format: merged with what is published, never dropping any of it."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from lthpaper.errors import require
from lthpaper.figures import FIGURES
from lthpaper.runs.masks import Packed
from lthpaper.runs.run import Run, ancestors
from lthpaper.runs.scales import Scale
from lthpaper.store import published
from lthpaper.store.check import existing
from lthpaper.store.entry import MASK, WEIGHTS, Unreadable, is_there, mask_checksum
from lthpaper.store.measurements import to_arrow
from lthpaper.store.parquet import damaged
from lthpaper.store.published import MANIFEST
from lthpaper.store.results_files import files_of, manifest_of, to_row, write
from lthpaper.store.results_masks import masks_of
from lthpaper.store.store import Result, Store

LONGEST = 3  # conflicts that are named


@dataclass(frozen=True)
class Exported:
    """What an export did. runs, masks, measurements: that are published now; new: of these, by this export.

    no_room: masks beyond MOST_BYTES of them. lacking: runs of the figures that are not trained yet; left_out:
    results whose ancestors are neither in the store nor published.
    """

    folder: Path
    runs: int
    new: int
    masks: int
    no_room: int
    measurements: dict[str, int]
    lacking: int
    left_out: tuple[Run, ...]
    bytes: int


class Noting(Store):
    """A store that reads each result once, and notes the measurements that are asked of it."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.noted: dict[tuple[str, str, str], pd.DataFrame] = {}
        self._results: dict[Run, Result] = {}

    def get(self, run: Run) -> Result:
        if run not in self._results:
            self._results[run] = super().get(run)
        return self._results[run]

    def measurement(self, run: Run, name: str, key: str) -> pd.DataFrame | None:
        found = super().measurement(run, name, key)
        if found is not None:
            self.noted[name, run.digest, key] = found
        return found

    def keep_measurement(self, run: Run, name: str, key: str, table: pd.DataFrame) -> pd.DataFrame:
        self.noted[name, run.digest, key] = super().keep_measurement(run, name, key, table)
        return self.noted[name, run.digest, key]


def export(
    names: Iterable[str], scale: Scale, store: Store, out: Path, data_root: str | Path | None = None
) -> Exported:
    """Publish what a store has of these figures at a scale, in `out`/<scale>, beside what is there already.

    Missing measurements are worked out where the weights are. So are masks, also of runs that are still to
    be trained: anyone goes on from here without training an ancestor again. Raises InputError where there is
    nothing to publish or a run is published with other bits, Damaged where a file is not what was written
    or cannot be read now.
    """
    folder = out / scale.name
    existing(store.folder)
    there = _published(folder)
    specs = [FIGURES[name] for name in names]
    trials = [trial for spec in specs for trial in spec.trials(scale)]
    runs = list(ancestors(dict.fromkeys(trial.run for trial in trials)))
    own = Noting(store.folder)
    results = {run: own.get(run) for run in runs if run in own}
    ours = _with_ancestors(runs, results, there)
    require(
        bool(ours) or there is not None,
        f"The store {store.folder} has no finished run of these figures at the {scale.name} scale: there is "
        f"nothing to publish. `lthpaper plan --scale {scale.name}` says what they take.",
    )
    if there is not None:
        _check_conflicts([results[run] for run in ours], there)
    whole = {run: results[run] for run in ours}
    masks, no_room = masks_of(runs, whole, own, there)
    every = {} if there is None else {run: there.get(run) for run in there.runs.values()}
    _check_masks(masks, {**every, **whole})
    _measure(results, scale, own, data_root)
    rows = {} if there is None else {row["name"]: row for row in there.table.to_pylist()}
    new = [run for run in ours if run.name not in rows]
    rows |= {run.name: to_row(results[run], own.layers(run)) for run in new}
    kept = {} if there is None else _measurements_of(there)
    known = {name[-16:] for name in rows}
    noted = {
        (name, digest, key): to_arrow(table)
        for (name, digest, key), table in own.noted.items()
        if digest in known and (name, digest, key) not in kept
    }
    files = files_of(rows, masks, kept | noted)
    costs = (there.runs if there is not None else {}) | {run.digest: run for run in new}
    network_epochs = sum(run.cost for run in costs.values())
    manifest = manifest_of(scale.name, rows, files, kept | noted, network_epochs, len(masks))
    _check_copies(manifest["data"])
    size = write(folder, files, manifest)
    return Exported(
        folder,
        runs=len(rows),
        new=len(new),
        masks=len(masks),
        no_room=no_room,
        measurements=dict(sorted(Counter(name for name, *_ in kept | noted).items())),
        lacking=sum(run not in results and run.name not in rows for run in runs),
        left_out=tuple(run for run in results if run not in ours),
        bytes=size,
    )


def _published(folder: Path) -> published.Scale | None:
    """What is published in a scale's folder already. Raises Unreadable if that cannot be said now."""
    try:
        return published.Scale(folder) if is_there(folder / MANIFEST) else None
    except Unreadable as error:
        raise damaged(folder / MANIFEST, error.how, Unreadable) from error


def _with_ancestors(runs: list[Run], results: dict[Run, Result], there: published.Scale | None) -> list[Run]:
    """Runs with results all of whose ancestors have one, here or published. runs: parents first."""
    whole: set[Run] = set()
    for run in runs:
        is_there = run in results or (there is not None and run.digest in there)
        if is_there and all(parent in whole for parent in run.parents):
            whole.add(run)
    return [run for run in runs if run in whole and run in results]


def _check_conflicts(results: list[Result], there: published.Scale) -> None:
    """Raise InputError if a run is published from a training with other bits."""
    found = []
    for result in results:
        if result.run.digest in there:
            theirs = there.get(result.run)
            if any(result.files.get(file) != theirs.files.get(file) for file in (WEIGHTS, MASK)):
                both = f"{_said(theirs)} published, {_said(result)} here"
                found.append(f"{result.run.name} ({both})")
    more = f" and {len(found) - LONGEST} more" if len(found) > LONGEST else ""
    require(
        not found,
        f"{len(found)} of {len(results)} runs are published with other weights than this store has: "
        f"{'; '.join(found[:LONGEST])}{more}. Runs of two trainings are not mixed, and nothing was written. "
        "`lthpaper results audit` says whether the two agree; export these with --out into another folder.",
    )


def _check_masks(masks: dict[str, Packed], results: Mapping[Run, Result]) -> None:
    """Raise InputError if a run was trained under another mask than the one that is published for it."""
    sums = {key: mask_checksum(mask) for key, mask in masks.items()}
    wrong = []
    for run, result in results.items():
        if run.mask is not None and run.topology is None:
            key = published.mask_key(run)
            if sums.get(key, result.files[MASK]) != result.files[MASK]:
                wrong.append(f"{run.name} ({_said(result)})")
    require(
        not wrong,
        f"{len(wrong)} runs were trained under another mask than others of the same rule, since the weights "
        f"behind it had other bits: {'; '.join(wrong[:LONGEST])}. Runs of two trainings are not mixed, and "
        "nothing was written: export these with --out into another folder.",
    )


def _check_copies(fingerprints: Mapping[str, list[str]]) -> None:
    """Raise InputError if results of several copies of a data set would be published together.

    fingerprints: data set -> those of its copies.
    """
    several = [f"{name} ({', '.join(found)})" for name, found in fingerprints.items() if len(found) > 1]
    require(
        not several,
        f"The results would come from several copies of {'; '.join(several)}, and nothing was written. "
        "Results of different copies do not mix: export these with --out into another folder.",
    )


def _said(result: Result) -> str:
    return f"{result.accuracy:.2f} % on {result.provenance.get('device', 'an unknown device')}"


def _measure(runs: Container[Run], scale: Scale, store: Noting, data_root: str | Path | None) -> None:
    """Ask for every measurement of these runs, whichever figure shows it."""
    for spec in FIGURES.values():
        if spec.measurement:
            here = [trial for trial in spec.trials(scale) if trial.run in runs]
            if here:
                spec.measure(here, store, scale, data_root)


def _measurements_of(there: published.Scale) -> dict[tuple[str, str, str], pa.Table]:
    return {
        (name, digest, key): there.measurement_table(digest, name, key)
        for name in there.names
        for digest, key in there.keys(name)
    }
