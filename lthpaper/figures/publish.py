"""A figure as files: PNG, PDF and SVG that carry their provenance and an alternative text, the table drawn,
and a JSON sidecar."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures.marks import PLACE, marks
from lthpaper.figures.means import converged
from lthpaper.provenance import git_revision, versions
from lthpaper.runs.settings import Trial
from lthpaper.store.store import Store

DPI = 200  # of the PNG


def sources(name: str, scale: Any, trials: Sequence[Trial], store: Store) -> dict[str, Any]:
    """What a figure was drawn from: runs (all by a hash of their digests), data, devices, seeds, versions."""
    runs = sorted({trial.run.digest for trial in trials})
    results = [store.get(trial.run) for trial in trials if trial.run in store]
    data = sorted({r.run.task.data for r in results})
    return {
        "figure": name,
        "scale": dataclasses.asdict(scale),
        "runs": len(runs),
        "runs_hash": hashlib.sha256("\n".join(runs).encode()).hexdigest()[:16],
        "results": len({r.run.digest for r in results}),
        "data": {d: sorted({r.fingerprint for r in results if r.run.task.data == d}) for d in data},
        "devices": sorted({str(r.provenance.get("device")) for r in results}),
        "trained_at_revision": sorted({str(r.provenance.get("revision")) for r in results}),
        "seeds": sorted({trial.run.seed for trial in trials}),
        "drawn_at_revision": git_revision(),
        "versions": versions(),
    }


def fingerprint_warning(about: dict[str, Any]) -> str:
    """A sentence where results of different copies of a data set meet in one figure; else ""."""
    mixed = [name for name, prints in about["data"].items() if len(prints) > 1]
    return f"Results from different copies of {', '.join(mixed)} meet here. " if mixed else ""


def alternative(title: str, table: pd.DataFrame) -> str:
    """One or two sentences for those who do not see the figure: what it shows, and what its table says.

    Settings are compared by their best mean over learning rates at the highest sparsity; a table of other
    columns is described by what it is about.
    """
    sentences = [f"{title.rstrip('.')}{_subject(table)}."]
    if {"setting", "lr", "accuracy", "sparsity"} <= set(table.columns):
        sentences.append(_bests(table))
    elif {"status", "claim"} <= set(table.columns):
        counts = table.drop_duplicates("claim")["status"].value_counts()
        states = ", ".join(f"{n} {state}" for state, n in counts.items())
        sentences.append(f"Of {counts.sum()} claims, {states}.")
    return " ".join(filter(None, sentences))


def _subject(table: pd.DataFrame) -> str:
    """ ": resnet8 and vgg-small on digits", from the columns that a table has."""
    names = {c: [str(v) for v in table[c].dropna().unique()] for c in ("network", "data") if c in table}
    if not all(names.get(c) for c in ("network", "data")):
        return ""
    said = [few if len(few) <= 3 else [*few[:2], f"{len(few) - 2} more"] for few in names.values()]
    return f": {enumerated(said[0])} on {enumerated(said[1])}"


def _bests(table: pd.DataFrame) -> str:
    """The best mean accuracy of each setting, at the highest sparsity and the most epochs of a network."""
    rows = converged(table)
    if rows.empty:
        return "Nothing has run yet." * (not table.empty)
    where = ""
    if {"network", "data"} <= set(rows.columns):
        network, data = rows.iloc[0][["network", "data"]]
        rows, where = rows[(rows["network"] == network) & (rows["data"] == data)], f" of {network}"
    if "epochs" in rows:
        rows = rows[rows["epochs"] == rows["epochs"].max()]
    s = rows["sparsity"].max()
    rows = rows[rows["sparsity"].isin((0.0, s))]
    cells = rows.groupby([c for c in PLACE if c in rows], dropna=False)["accuracy"].mean().reset_index()
    best = cells.sort_values("accuracy", ascending=False).drop_duplicates("setting").head(4)
    said = [f"{cell.setting} {cell.accuracy:.1f} % (learning rate {cell.lr:g})" for cell in best.itertuples()]
    return f"Best mean accuracies{where} at sparsity {s:.3g}: {', '.join(said)}."


def enumerated(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def publish(
    fig: Figure,
    table: pd.DataFrame,
    about: dict[str, Any],
    folder: Path,
    tabulated: pd.DataFrame | None = None,
    title: str = "",
) -> None:
    """Write <figure>.png, .pdf, .svg, .csv and .json into the folder; of a table also .md and .tex. The JSON
    holds `about`, the alternative text, and where in the PNG the means of which runs are drawn (marks.py).

    title: what the figure shows, the start of its alternative text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / about["figure"]
    about = about | {"alt": alternative(title or about["figure"], table)}
    said = json.dumps(about, sort_keys=True)
    name = f"lthpaper {about['figure']}"
    png = {"Title": name, "Description": said, "Comment": about["alt"]}
    pdf = {"Title": name, "Subject": said, "Keywords": about["alt"]}
    svg = {"Title": name, "Description": about["alt"], "Date": None}
    with laid_out(fig, DPI):
        fig.savefig(base.with_suffix(".png"), dpi=DPI, metadata=png)
        fig.savefig(base.with_suffix(".pdf"), metadata=pdf)
        fig.savefig(base.with_suffix(".svg"), metadata=svg)
        lines = [json.dumps(mark) for mark in marks(fig, table)]  # one mark per line
    table.to_csv(base.with_suffix(".csv"), index=False)
    text = json.dumps(about | {"marks": []}, indent=1, sort_keys=True)
    text = text.replace('"marks": []', '"marks": [\n  ' + ",\n  ".join(lines) + "\n ]") if lines else text
    base.with_suffix(".json").write_text(text + "\n")
    if tabulated is not None:
        base.with_suffix(".md").write_text(markdown(tabulated))
        base.with_suffix(".tex").write_text(tabulated.to_latex(escape=True))


@contextmanager
def laid_out(fig: Figure, dpi: float) -> Iterator[None]:
    """Within, every drawing of the figure has the layout of this resolution, which is computed once."""
    engine, own = fig.get_layout_engine(), fig.dpi
    if engine is None or not fig.axes:
        yield
        return
    fig.set_dpi(dpi)
    engine.execute(fig)
    fig.set_dpi(own)
    fig.set_layout_engine(None)  # with "none", matplotlib would still draw all of it twice
    try:
        yield
    finally:
        fig.set_layout_engine(engine)


def markdown(table: pd.DataFrame) -> str:
    """A DataFrame as a Markdown table, its index first."""
    rows = [[str(i), *map(str, values)] for i, values in zip(table.index, table.to_numpy(), strict=True)]
    head = [table.index.name or "", *map(str, table.columns)]
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
