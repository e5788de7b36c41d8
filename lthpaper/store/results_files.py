"""Write published results: the content of the files that published.py reads, and their manifest."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lthpaper.errors import require
from lthpaper.runs.masks import Packed
from lthpaper.store import parquet
from lthpaper.store.entry import MASK, WEIGHTS
from lthpaper.store.published import FORMAT, MANIFEST, MASK_SCHEMA, MASKS, RUNS, SUFFIX
from lthpaper.store.results_rows import SCHEMA, VALIDATED
from lthpaper.store.store import Result
from lthpaper.training.result import VALIDATION

LICENCE = "data: CC BY 4.0; code: MIT"
PLAIN = ("train_loss", "test_loss", "x", "y", "loss")  # columns whose values seldom repeat


def schema_of(rows: Iterable[dict[str, Any]]) -> pa.Schema:
    """Of a table of these rows (`to_row`): a column more if any run holds images out."""
    return VALIDATED if any(len(row.get(VALIDATION, ())) for row in rows) else SCHEMA


def to_row(result: Result, layers: dict[str, int]) -> dict[str, Any]:
    """A result as a row of `schema_of`."""
    curves = {name: np.asarray(curve, dtype=float) for name, curve in result.curves.items()}
    accuracy = curves["test_accuracy"]
    loss = curves.get("test_loss", np.full(len(accuracy), np.nan))
    tested = np.flatnonzero(~(np.isnan(accuracy) & np.isnan(loss)))
    return {
        "name": result.run.name,
        "description": json.dumps(result.run.description, sort_keys=True, separators=(",", ":")),
        "epochs": len(accuracy),
        "train_loss": curves.get("train_loss", np.empty(0)).astype(np.float32),
        "tested": tested,
        "test_loss": loss[tested].astype(np.float32) if "test_loss" in curves else np.empty(0, np.float32),
        "test_accuracy": accuracy[tested],
        "kept": result.kept,
        "layers": list(layers.items()),
        "sparsity": result.sparsity,
        "fingerprint": result.fingerprint,
        "seconds": result.seconds,
        "provenance": json.dumps(result.provenance, sort_keys=True, separators=(",", ":")),
        "weights": result.files[WEIGHTS],
        "mask": result.files.get(MASK, ""),
        VALIDATION: curves[VALIDATION][tested] if VALIDATION in curves else np.empty(0),
    }


def files_of(
    rows: dict[str, dict[str, Any]],
    masks: dict[str, Packed],
    measurements: dict[tuple[str, str, str], pa.Table],
) -> dict[str, bytes]:
    """File name -> its bytes: rows in the order of their names, measurements of runs and keys."""
    ordered = [{VALIDATION: [], **rows[name]} for name in sorted(rows)]
    table = pa.Table.from_pylist(ordered, schema=schema_of(ordered))
    found = {RUNS: parquet.content_of(table, PLAIN)}
    if masks:
        layers = [
            {"key": key, "layer": layer, "shape": shape, "bits": bits}
            for key in sorted(masks)
            for layer, (shape, bits) in sorted(masks[key].items())
        ]
        found[MASKS] = parquet.content_of(pa.Table.from_pylist(layers, schema=MASK_SCHEMA))
    for name in sorted({name for name, *_ in measurements}):
        parts = [_named(measurements[of], of[1], of[2]) for of in sorted(measurements) if of[0] == name]
        together = pa.concat_tables(parts, promote_options="permissive")
        found[f"{name}{SUFFIX}"] = parquet.content_of(together, PLAIN)
    return found


def _named(table: pa.Table, digest: str, key: str) -> pa.Table:
    """A measurement with the columns that tell whose it is."""
    text = [pa.array([value] * table.num_rows, pa.string()) for value in (digest, key)]
    return table.add_column(0, "key", text[1]).add_column(0, "digest", text[0])


def manifest_of(
    scale: str,
    rows: dict[str, dict[str, Any]],
    files: dict[str, bytes],
    measurements: Iterable[tuple[str, str, str]],
    network_epochs: int,
    masks: int,
) -> dict[str, Any]:
    """What manifest.json says of these files. network_epochs, masks: how many there are in all."""
    origins = [json.loads(row["provenance"]) for row in rows.values()]
    described = [json.loads(row["description"]) for row in rows.values()]
    fingerprints: dict[str, set[str]] = {}
    for about, row in zip(described, rows.values(), strict=True):
        fingerprints.setdefault(about["task"]["data"], set()).add(row["fingerprint"])
    versions = [origin.get("versions") for origin in origins]
    return {
        "format": FORMAT if masks else 1,
        "scale": scale,
        "runs": len(rows),
        "seeds": len({about["seed"] for about in described}),
        "network_epochs": network_epochs,
        **({"masks": masks} if masks else {}),
        "measurements": dict(Counter(name for name, *_ in measurements)),
        "data": {name: sorted(found) for name, found in fingerprints.items()},
        "devices": _counted(origin.get("device") for origin in origins),
        "revisions": _counted(origin.get("revision") for origin in origins),
        "torch": _counted(v.get("torch") if isinstance(v, dict) else None for v in versions),
        "licence": LICENCE,
        "files": {
            name: {"sha256": parquet.checksum(of_file), "bytes": len(of_file)}
            for name, of_file in files.items()
        },
    }


def _counted(values: Iterable[Any]) -> dict[str, int]:
    """Value -> how many runs have it."""
    return dict(Counter(str(value or "unknown") for value in values))


def write(folder: Path, files: dict[str, bytes], manifest: dict[str, Any]) -> int:
    """Write files, then the manifest that lists them, and return how many bytes these are.

    Raises InputError, before anything is written, if a file would be larger than a reader takes.
    """
    content = files | {MANIFEST: (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()}
    for name, of_file in content.items():
        require(
            len(of_file) <= parquet.LARGEST,
            f"{folder / name} would be larger than {parquet.LARGEST:,} bytes, which no reader takes, and "
            "nothing was written: export fewer figures into this folder.",
        )
    for name, of_file in content.items():  # the manifest last: what it lists is there
        parquet.write(folder / name, of_file)
    return sum(map(len, content.values()))
