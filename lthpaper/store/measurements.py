"""Measurements: small tables that figures compute from a run's weights, kept so that a figure can be drawn
again without the weights.

A measurement has a name ("surface"), the run that it is about, and a key: a hash of everything else that its
numbers depend on, the weights' checksums above all. In a store:

<store>/measurements/<name>/<digest>-<key>-<checksum>.parquet

A file has the checksum of its content in its name, as a snapshot has. A damaged one is computed again if the
weights are there.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from lthpaper.store import parquet
from lthpaper.store.entry import Damaged, Unreadable

if TYPE_CHECKING:
    from lthpaper.runs.run import Run
    from lthpaper.store.store import Store

FOLDER = "measurements"
NAME = re.compile(r"[a-z][a-z0-9-]{0,40}", re.ASCII)
FILE = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{16})\.parquet", re.ASCII)


def key_of(*about: Any) -> str:
    """Hash, as 16 hex digits, of what a measurement depends on besides its run. about: JSON values."""
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def measured(
    store: "Store", run: "Run", name: str, key: str, work_out: Callable[[], pd.DataFrame | None]
) -> pd.DataFrame | None:
    """The measurement of a run: read if it was kept or published, else computed and kept. None if it was not
    kept and `work_out` returns None, since weights are missing."""
    found = store.measurement(run, name, key)
    if found is None and (table := work_out()) is not None:
        found = store.keep_measurement(run, name, key, table)
    return found


def to_arrow(table: pd.DataFrame) -> pa.Table:
    """A table of numbers and text as a pyarrow table, without pandas' metadata."""
    found = pa.Table.from_pandas(table, preserve_index=False)
    columns = [c.cast(pa.string()) if pa.types.is_large_string(c.type) else c for c in found.columns]
    return pa.table(columns, names=found.column_names)


def is_flat(table: pa.Table) -> bool:
    """Whether every column holds numbers or text."""
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_string)
    return all(any(kind(field.type) for kind in kinds) for field in table.schema)


def kept(folder: Path, digest: str, name: str, key: str) -> pd.DataFrame | None:
    """A measurement in a store's folder; None if it is missing or damaged. Raises Unreadable if the disk does
    not give it now: it may be whole, and need not be computed again."""
    for path in sorted((folder / FOLDER / name).glob(f"{digest}-{key}-*.parquet")):
        match = FILE.fullmatch(path.name)
        try:
            table = parquet.read(path, match[3]) if match else None
        except Unreadable:
            raise
        except Damaged:
            continue
        if table is not None and is_flat(table):
            return table.to_pandas()
    return None


def keep(folder: Path, digest: str, name: str, key: str, table: pd.DataFrame) -> pd.DataFrame:
    """Keep a measurement in a store's folder and return it as it will be read. Raises Unwritable."""
    arrow = to_arrow(table)
    content = parquet.content_of(arrow)
    file = f"{digest}-{key}-{parquet.checksum(content)[:16]}.parquet"
    parquet.write(folder / FOLDER / name / file, content)
    return arrow.to_pandas()
