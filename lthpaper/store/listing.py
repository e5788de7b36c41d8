"""Every run of a store in one table, for pandas, a spreadsheet or another program."""

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lthpaper.errors import require
from lthpaper.runs.run import Rewind, setting
from lthpaper.store.store import Result
from lthpaper.store.table import pretrained

COLUMNS = [
    *("run", "setting", "network", "data", "width", "train_images", "epochs", "lr", "pretraining_lr"),
    *("sparsity", "seed", "draw", "rewind", "accuracy", "best_accuracy", "train_loss", "test_loss"),
    *("kept", "seconds", "device", "fingerprint", "digest"),
]
WRITERS = {".csv": "to_csv", ".parquet": "to_parquet"}


def table(results: Iterable[Result]) -> pd.DataFrame:
    """One row a run, in the columns COLUMNS. Accuracies in percent after the last (and the best) epoch."""
    frame = pd.DataFrame([_row(result) for result in results], columns=COLUMNS)
    return frame.sort_values(["network", "data", "setting", "sparsity", "lr", "seed"], ignore_index=True)


def write(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a table in the format that the file's ending names. Raises InputError for an unknown ending."""
    path = Path(path)
    require(
        path.suffix in WRITERS,
        f"{path} ends in {path.suffix or 'nothing'}; it must be {' or '.join(WRITERS)}.",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    getattr(frame, WRITERS[path.suffix])(path, index=False)
    return path


def _row(result: Result) -> dict[str, object]:
    run, before = result.run, pretrained(result.run)
    return {
        "run": run.name,
        "setting": setting(run),
        "network": run.task.network,
        "data": run.task.data,
        "width": run.task.width,
        "train_images": run.task.train_images,
        "epochs": run.recipe.epochs,
        "lr": run.recipe.lr,
        "pretraining_lr": math.nan if before is None else before.recipe.lr,
        "sparsity": result.sparsity,
        "seed": run.seed,
        "draw": getattr(run.init, "draw", math.nan),
        "rewind": run.init.epoch if isinstance(run.init, Rewind) else math.nan,
        "accuracy": result.accuracy,
        "best_accuracy": result.best_accuracy,
        "train_loss": result.curves["train_loss"][-1],
        "test_loss": result.curves["test_loss"][-1],
        "kept": result.kept,
        "seconds": result.seconds,
        "device": str(result.provenance.get("device", "")),
        "fingerprint": result.fingerprint,
        "digest": run.digest,
    }
