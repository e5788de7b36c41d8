"""The runs behind figures, for a page that shows them: which runs make a point, and what each run was."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from lthpaper.figures.marks import PLACE
from lthpaper.runs.run import Run, setting
from lthpaper.store.store import Result, Store


def points(results: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict per point of a figure: its place, mean and deviation over seeds, and the runs' digests.

    results: store.table.COLUMNS. A run that is not there is counted in "missing", one that diverged, or has
    its mask from a run that did, in "diverged": mean and deviation are of the others.
    """
    found, once = [], results.drop_duplicates(["digest", *PLACE])
    for place, rows in once.groupby(list(PLACE), dropna=False, sort=False):
        there = rows[rows["fingerprint"].fillna("") != ""]
        accuracies = there["accuracy"].dropna()
        found.append(
            {name: _plain(value) for name, value in zip(PLACE, place, strict=True)}
            | {
                "mean": _plain(accuracies.mean()),
                "deviation": _plain(accuracies.std(ddof=1)),
                "runs": list(there["digest"]),
                "missing": len(rows) - len(there),
                "diverged": len(there) - len(accuracies),
            }
        )
    return found


def runs(wanted: Iterable[Run], store: Store) -> dict[str, Any]:
    """What a page says of runs: {"where": [a provenance, …], "runs": {digest: {…, "where": its index}}}.

    A run that the store lacks is left out. Its curve is [(epoch, test accuracy), …] where it was tested.
    """
    where: dict[str, int] = {}
    found: dict[str, Any] = {}
    for run in dict.fromkeys(wanted):
        if run in store:
            result = store.get(run)
            index = where.setdefault(_where(result), len(where))
            found[run.digest] = _about(result) | {"where": index}
    return {"where": list(where), "runs": found}


def _about(result: Result) -> dict[str, Any]:
    run = result.run
    tested = enumerate(result.curves["test_accuracy"], run.first_epoch + 1)
    return {
        "name": run.name,
        "setting": setting(run),
        "recipe": f"{run.recipe.epochs} epochs, learning rate {run.recipe.lr:g}",
        "seed": run.seed,
        "sparsity": round(result.sparsity, 4),
        "accuracy": _plain(result.accuracy),
        "seconds": round(result.seconds, 1),
        "curve": [(epoch, round(accuracy, 2)) for epoch, accuracy in tested if not math.isnan(accuracy)],
    }


def _where(result: Result) -> str:
    """Device, versions, revision and data of a training, in a line."""
    about: Mapping[str, Any] = result.provenance
    versions = about.get("versions") or {}
    said = [f"trained on {about.get('device', 'an unknown device')}"]
    said += [f"{name} {versions[name]}" for name in ("lthpaper", "torch") if name in versions]
    said += [f"revision {about['revision']}"] if about.get("revision") else []
    return ", ".join([*said, f"data {result.fingerprint[:12]}"])


def _plain(value: Any) -> Any:
    """A number or text as JSON has it; None for what is missing."""
    value = getattr(value, "item", lambda: value)()
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
