"""Test how well plans are predicted: predict them, train them with two workers, and compare the times."""

import json
import os
import resource
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from lthpaper.figures import FIGURES
from lthpaper.runs.run import Run
from lthpaper.runs.scales import scale
from lthpaper.store.store import Store
from lthpaper.sweep import simulate
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import plan

WORKERS = 2
# (figure, scale, changes of it): what takes seconds, and a part of what takes a laptop half an hour
PLANS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("fig1", "smoke", {}),
    ("fig3", "smoke", {}),
    ("fig1", "laptop", {"seeds": 1}),
    ("fig3", "laptop", {"seeds": 1, "grid": (0.01,), "experiments": ("resnet8/digits",)}),
)
COLUMNS = ["plan", "runs", "network-epochs", "packs", "predicted, s", "real, s", "error"]
COLUMNS += ["work predicted, s", "work, s", "error of work", "cores got"]


def compare(
    plans: Iterable[tuple[str, str, dict[str, object]]] = PLANS, workers: int = WORKERS
) -> pd.DataFrame:
    """One row per plan: predicted and real makespan in seconds, error as a share of the real one.

    work: processor seconds of all workers, which other programs on the machine change little. cores got:
    work over what the workers' cores could have done meanwhile; what is missing, other programs took or
    the workers waited for.
    """
    rows = []
    for figure, name, changes in plans:
        runs = [trial.run for trial in FIGURES[figure].trials(scale(name, **changes))]
        rows.append(_row(f"{figure}, {name}{_said(changes)}", runs, workers))
    return pd.DataFrame(rows, columns=COLUMNS)


def _said(changes: dict[str, object]) -> str:
    return "".join(f", {field} {value}" for field, value in changes.items())


def _row(name: str, runs: Sequence[Run], workers: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        todo = plan(runs, store)
        found = simulate.here(todo, "cpu", workers)
        began, before = time.perf_counter(), _processor_seconds()
        execute(runs, store, device="cpu", workers=workers, quiet=True)
        real, busy = time.perf_counter() - began, _processor_seconds() - before
    return {
        "plan": name,
        "runs": len(todo.todo),
        "network-epochs": todo.network_epochs,
        "packs": found.packs,
        "predicted, s": found.makespan,
        "real, s": real,
        "error": found.makespan / real - 1,
        "work predicted, s": found.busy,
        "work, s": busy,
        "error of work": found.busy / busy - 1,
        "cores got": busy / real / min(workers, os.cpu_count() or 1),
    }


def _processor_seconds() -> float:
    """Of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def report(rows: pd.DataFrame) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * (len(COLUMNS) - 1)]
    for row in rows.to_dict("records"):
        shown = [f"{row[name]:,}" for name in ("runs", "network-epochs", "packs")]
        shown += [f"{row['predicted, s']:.1f}", f"{row['real, s']:.1f}", f"{row['error']:+.0%}"]
        shown += [f"{row['work predicted, s']:.1f}", f"{row['work, s']:.1f}", f"{row['error of work']:+.0%}"]
        lines.append("| " + " | ".join([row["plan"], *shown, f"{row['cores got']:.0%}"]) + " |")
    return "\n".join(lines) + "\n"


def write(rows: pd.DataFrame, folder: str | Path) -> Path:
    """plans.md and plans.json in the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(json.loads(rows.to_json(orient="records")), indent=1))
    (folder / "plans.md").write_text(report(rows))
    return folder / "plans.md"


if __name__ == "__main__":
    rows = compare()
    print(report(rows))
    print(f"Written to {write(rows, 'runs/bench')}")
