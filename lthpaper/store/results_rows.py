"""The rows of published results, runs.parquet: their columns, what may be wrong with them, their curves."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lthpaper.store.entry import ENTRY
from lthpaper.training.result import VALIDATION

SCHEMA = pa.schema(
    {
        "name": pa.string(),  # network-data-digest, as the store names an entry
        "description": pa.string(),  # JSON of Run.description: ancestors by their digests
        "epochs": pa.int32(),  # of the curves
        "train_loss": pa.list_(pa.float32()),  # of every epoch
        "tested": pa.list_(pa.int32()),  # places in the curves, from 0
        "test_loss": pa.list_(pa.float32()),
        "test_accuracy": pa.list_(pa.float64()),  # percent; exact, since claims compare it with thresholds
        "kept": pa.int64(),
        "layers": pa.map_(pa.string(), pa.int64()),
        "sparsity": pa.float64(),
        "fingerprint": pa.string(),
        "seconds": pa.float32(),
        "provenance": pa.string(),  # JSON
        "weights": pa.string(),  # SHA-256 of weights.safetensors
        "mask": pa.string(),  # of mask.safetensors; "" without a mask
    }
)
VALIDATED = SCHEMA.append(pa.field(VALIDATION, pa.list_(pa.float64())))  # where some runs hold images out
LISTS = ("train_loss", "tested", "test_loss", "test_accuracy", VALIDATION)


def fault(table: pa.Table) -> str:
    """What is wrong with the rows, "" if nothing is."""
    names = table["name"].to_pylist()
    lists = {name: table[name] for name in LISTS if name in table.column_names}
    inside = {name: pc.list_flatten(column) for name, column in lists.items()}
    if any(column.null_count for column in (*table.columns, *inside.values())):
        return "lacks values"
    if not all(ENTRY.fullmatch(name) for name in names):
        return "holds names that no run can have"
    if len({name[-16:] for name in names}) < len(names):
        return "holds a run twice"
    lengths = {name: pc.list_value_length(column).to_numpy() for name, column in lists.items()}
    epochs, tested = table["epochs"].to_numpy(), lengths["tested"]
    fits = lengths["test_accuracy"] == tested
    for name, expected in (("train_loss", epochs), ("test_loss", tested), (VALIDATION, tested)):
        if name in lengths:
            fits &= (lengths[name] == 0) | (lengths[name] == expected)
    places, row = inside["tested"].to_numpy(), np.repeat(np.arange(len(names)), tested)
    fits[row[(places < 0) | (places >= epochs[row])]] = False
    return "" if fits.all() else f"holds curves of {names[fits.argmin()]} that do not fit its epochs"


def curves(at: dict[str, Any]) -> dict[str, list[float]]:
    """Curves, NaN where nothing was tested; curves that the run never had are left out."""
    epochs, tested = at["epochs"], at["tested"]
    found = {"train_loss": at["train_loss"]} if len(at["train_loss"]) else {}
    validated = (VALIDATION,) if len(at.get(VALIDATION, ())) else ()
    for name in ("test_loss", "test_accuracy", *validated):
        if len(at[name]) == len(tested):  # a result without test losses has none
            curve = [math.nan] * epochs
            for place, value in zip(tested, at[name], strict=True):
                curve[place] = value
            found[name] = curve
    return found
