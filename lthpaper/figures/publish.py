"""A figure as files: PNG and PDF that carry their provenance, the table drawn, and a JSON sidecar."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.provenance import git_revision, versions
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store


def sources(name: str, scale: Any, trials: Sequence[Trial], store: Store) -> dict[str, Any]:
    """What a figure was drawn from: runs (all by a hash of their digests), data, devices, seeds, versions."""
    runs = sorted({trial.run.digest for trial in trials})
    results = [store.get(trial.run) for trial in trials if trial.run in store]
    return {
        "figure": name,
        "scale": dataclasses.asdict(scale),
        "runs": len(runs),
        "runs_hash": hashlib.sha256("\n".join(runs).encode()).hexdigest()[:16],
        "results": len({r.run.digest for r in results}),
        "data": {d: sorted({r.fingerprint for r in results if r.run.task.data == d}) for d in _data(results)},
        "devices": sorted({str(r.provenance.get("device")) for r in results}),
        "trained_at_revision": sorted({str(r.provenance.get("revision")) for r in results}),
        "seeds": sorted({trial.run.seed for trial in trials}),
        "drawn_at_revision": git_revision(),
        "versions": versions(),
    }


def _data(results: list[Any]) -> list[str]:
    return sorted({r.run.task.data for r in results})


def fingerprint_warning(about: dict[str, Any]) -> str:
    """A sentence where results of different copies of a data set meet in one figure; else ""."""
    mixed = [name for name, prints in about["data"].items() if len(prints) > 1]
    return f"Results from different copies of {', '.join(mixed)} meet here. " if mixed else ""


def publish(
    fig: Figure,
    table: pd.DataFrame,
    about: dict[str, Any],
    folder: Path,
    tabulated: pd.DataFrame | None = None,
) -> None:
    """Write <figure>.png, .pdf, .csv and .json into the folder; of a table also .md and .tex."""
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / about["figure"]
    said = json.dumps(about, sort_keys=True)
    title = f"lthpaper {about['figure']}"
    fig.savefig(base.with_suffix(".png"), dpi=200, metadata={"Title": title, "Description": said})
    fig.savefig(base.with_suffix(".pdf"), metadata={"Title": title, "Subject": said})
    table.to_csv(base.with_suffix(".csv"), index=False)
    base.with_suffix(".json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    if tabulated is not None:
        base.with_suffix(".md").write_text(markdown(tabulated))
        base.with_suffix(".tex").write_text(tabulated.to_latex(escape=True))


def markdown(table: pd.DataFrame) -> str:
    """A DataFrame as a Markdown table, its index first."""
    rows = [[str(i), *map(str, values)] for i, values in zip(table.index, table.to_numpy(), strict=True)]
    head = [table.index.name or "", *map(str, table.columns)]
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
