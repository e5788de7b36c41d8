"""The rows of published results, runs.parquet: their columns, what may be wrong with them, their curves."""

import math
from typing import Any

import pyarrow as pa

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
CURVE_COLUMNS = ("train_loss", "tested", "test_loss", "test_accuracy")


def fault(table: pa.Table) -> str:
    """What is wrong with the rows, "" if nothing is."""
    names = table["name"].to_pylist()
    if any(column.null_count for column in table.columns):
        return "lacks values"
    if not all(ENTRY.fullmatch(name) for name in names):
        return "holds names that no run can have"
    if len({name[-16:] for name in names}) < len(names):
        return "holds a run twice"
    column = {name: column_of(table[name]) for name in ("epochs", *CURVE_COLUMNS)}
    validated = column_of(table[VALIDATION]) if VALIDATION in table.column_names else lambda row: []
    for row in range(len(names)):
        epochs, loss, tested, test_loss, accuracy = (column[name](row) for name in ("epochs", *CURVE_COLUMNS))
        if (
            len(loss) not in (0, epochs)
            or len(test_loss) not in (0, len(tested))
            or len(accuracy) != len(tested)
            or len(validated(row)) not in (0, len(tested))
            or not all(0 <= place < epochs for place in tested)
        ):
            return f"holds curves of {names[row]} that do not fit its epochs"
    return ""


def curves(at: dict[str, Any]) -> dict[str, list[float]]:
    """Curves, NaN where nothing was tested; curves that the run never had are left out."""
    epochs, tested = at["epochs"], at["tested"]
    found = {"train_loss": at["train_loss"]} if len(at["train_loss"]) else {}
    validated = (VALIDATION,) if len(at.get(VALIDATION, ())) else ()
    for name in ("test_loss", "test_accuracy", *validated):
        if len(at[name]) == len(tested):  # else the run diverged at once and has none
            curve = [math.nan] * epochs
            for place, value in zip(tested, at[name], strict=True):
                curve[place] = value
            found[name] = curve
    return found


def column_of(column: pa.ChunkedArray) -> Any:
    """A fast function from row to value: a figure may read thousands."""
    values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_map(values.type):
        begins = values.offsets.to_numpy()
        keys, items = values.keys.to_pylist(), values.items.to_pylist()
        return lambda row: dict(zip(*(v[begins[row] : begins[row + 1]] for v in (keys, items)), strict=True))
    if pa.types.is_list(values.type):
        begins, flat = values.offsets.to_numpy(), values.values.to_numpy(zero_copy_only=False)
        return lambda row: flat[begins[row] : begins[row + 1]].tolist()
    plain = values.to_pylist()
    return plain.__getitem__
