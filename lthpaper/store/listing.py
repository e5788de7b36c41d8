"""Every run of a store in one table, for pandas, a spreadsheet or another program."""

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from lthpaper.errors import require
from lthpaper.store.store import Result
from lthpaper.store.table import described, reached

COLUMNS = [
    *("run", "setting", "network", "data", "width", "train_images", "epochs", "lr", "pretraining_lr"),
    *("sparsity", "seed", "draw", "rewind", "accuracy", "best_accuracy", "train_loss", "test_loss"),
    *("kept", "seconds", "device", "fingerprint", "digest"),
]
WRITERS = {".csv": "to_csv", ".parquet": "to_parquet"}


def table(results: Iterable[Result]) -> pd.DataFrame:
    """One row per run, in the columns COLUMNS. Accuracies in percent after the last (and the best) epoch."""
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
    run = result.run
    return (
        described(run)
        | reached(result)
        | {
            "run": run.name,
            "train_images": run.task.train_images,
            "sparsity": result.sparsity,
            "draw": getattr(run.init, "draw", math.nan),
            "kept": result.kept,
            "seconds": result.seconds,
            "device": str(result.provenance.get("device", "")),
            "fingerprint": result.fingerprint,
        }
    )
