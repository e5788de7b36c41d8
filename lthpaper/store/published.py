"""Read published results: runs as rows of a table, without weights, and measurements as tables beside it.

<results>/<scale>/
    manifest.json    the files' checksums, counts, fingerprints of data sets, versions, the licence
    runs.parquet     one row per run (SCHEMA): description, curves, what its mask left, provenance, checksums
    masks.parquet    masks, also of runs that are still to be trained: one row per layer (MASK_SCHEMA)
    <name>.parquet   the measurements of a name: the columns `digest` and `key`, then their own

A run names its ancestors by digest, and these are rows too. Curves hold the epochs that were tested; losses
are rounded to single precision, accuracies are exact.
"""

import functools
import itertools
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.runs import digest as canonical
from lthpaper.runs.masks import Packed, is_packed, kept, unpacked
from lthpaper.runs.run import Run, rebuilt, runs_in
from lthpaper.store import parquet, results_rows
from lthpaper.store.entry import MASK, WEIGHTS, Damaged, NewerFormat, read_json
from lthpaper.store.measurements import NAME, is_flat
from lthpaper.store.parquet import damaged
from lthpaper.store.results_rows import SCHEMA, VALIDATED
from lthpaper.store.store import Result

MANIFEST, RUNS, MASKS, SUFFIX = "manifest.json", "runs.parquet", "masks.parquet", ".parquet"
FORMAT = 2  # of the files; a reader refuses a newer one. 1: without masks
MOST_LAYERS = 10**5  # rows of masks.parquet
SCALE = re.compile(r"[a-z][a-z0-9-]{0,40}", re.ASCII)  # a folder's name
FILE = re.compile(rf"{NAME.pattern}\.parquet", re.ASCII)  # that a manifest may list
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
ROUNDED = 30  # weights: every round of pruning rounds to whole ones
MASK_SCHEMA = pa.schema(
    {
        "key": pa.string(),  # `mask_key` of the runs that train under the mask
        "layer": pa.string(),
        "shape": pa.list_(pa.int32()),
        "bits": pa.binary(),  # eight weights a byte, as numpy.packbits writes them
    }
)


def mask_key(run: Run) -> str:
    """16 hex digits that name the mask a run starts with: its rule, what that reads, and the network."""
    return canonical.digest({"task": run.description["task"], "mask": run.description["mask"]})


def fits(mask: Packed, run: Run) -> bool:
    """Whether a mask has the shapes of a run's weights and leaves as many as the run's rule."""
    network = dict(networks.skeleton(**run.task.shape).named_parameters())
    names = run.task.prunable_weights
    if {name: shape for name, (shape, _) in mask.items()} != {n: tuple(network[n].shape) for n in names}:
        return False
    total = sum(names.values())
    return abs(1 - kept(unpacked(mask)) / total - run.mask.sparsity) <= ROUNDED / total


def of(folder: Path | None) -> "Published":
    """What is published in a folder, nothing if it does not exist. Read again only if it has changed. Raises
    Unreadable if the disk does not give it now."""
    try:
        found = [] if folder is None else sorted(p.parent for p in Path(folder).glob(f"*/{MANIFEST}"))
        scales = tuple(path for path in found if SCALE.fullmatch(path.name))
        looks = [(path, path.lstat()) for scale in scales for path in sorted(scale.iterdir())]
    except OSError as error:
        raise parquet.unreadable(Path(error.filename or str(folder)), error) from error
    return _of(scales, tuple((path, look.st_mtime_ns, look.st_size) for path, look in looks))


@functools.lru_cache(maxsize=4)
def _of(scales: tuple[Path, ...], seen: tuple) -> "Published":
    return Published({path.name: Scale(path) for path in scales})


class Published:
    """The published results of all scales. Raises Damaged if a file is not what its manifest says."""

    def __init__(self, scales: dict[str, "Scale"]):
        self.scales = scales

    def __contains__(self, digest: str) -> bool:
        return any(digest in scale for scale in self.scales.values())

    def get(self, run: Run) -> Result:
        """Raises KeyError if the run is not published."""
        for scale in self.scales.values():
            if run.digest in scale:
                return scale.get(run)
        raise KeyError(run)

    def measurement(self, digest: str, name: str, key: str) -> pd.DataFrame | None:
        """A measurement of a run from any scale; None if it is not published."""
        found = (scale.measurement(digest, name, key) for scale in self.scales.values() if digest in scale)
        return next((table for table in found if table is not None), None)

    def mask(self, run: Run) -> Packed | None:
        """The mask that a run starts with, whether the run is published or not; None if the mask is not.

        It is that of the scale whose training of the runs before is read, where several have them.
        """
        before = [parent.digest for parent in runs_in(run.mask)]
        there = (scale for scale in self.scales.values() if all(digest in scale for digest in before))
        first = next(there, None)
        return None if first is None else first.mask(run)

    @property
    def runs(self) -> dict[str, Run]:
        """Name -> run, of all scales."""
        return {run.name: run for scale in self.scales.values() for run in scale.runs.values()}


class Scale:
    """What is published of one scale: a folder, whose files are read when they are first needed."""

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """manifest.json. Raises Damaged if it is not a manifest, NewerFormat if a newer lthpaper wrote it,
        Unreadable if the disk does not give it now."""
        path = self.folder / MANIFEST
        try:
            found = read_json(path)
        except Damaged as error:
            raise damaged(path, error.how, type(error)) from error
        version = found.get("format")
        if type(version) is int and version > FORMAT:
            how = "was written by a newer lthpaper (another format)"
            raise NewerFormat.about(path, how, f"{path} {how}: use that one.")
        files = found.get("files")
        if not isinstance(files, dict) or not all(
            FILE.fullmatch(name) and isinstance(about, dict) and SHA256.fullmatch(str(about.get("sha256")))
            for name, about in files.items()
        ):
            raise damaged(path, "is no manifest of results")
        return found

    def read(self, name: str) -> pa.Table:
        """A file that the manifest lists. Raises Damaged if it is not what was written."""
        about = self.manifest["files"].get(name)
        if about is None:
            raise damaged(self.folder / MANIFEST, f"lists no {name}")
        return parquet.read(self.folder / name, about["sha256"])

    @cached_property
    def table(self) -> pa.Table:
        """runs.parquet, with the checks that reading its rows relies on."""
        found, path = self.read(RUNS), self.folder / RUNS
        if not any(found.schema.equals(_schema_read(schema)) for schema in (SCHEMA, VALIDATED)):
            raise damaged(path, f"has other columns than {', '.join(SCHEMA.names)}")
        if what := results_rows.fault(found):
            raise damaged(path, what)
        return found

    @cached_property
    def rows(self) -> dict[str, int]:
        """Digest -> row."""
        return {name[-16:]: row for row, name in enumerate(self.table["name"].to_pylist())}

    def __contains__(self, digest: str) -> bool:
        return digest in self.rows

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, run: Run) -> Result:
        """A run's result. Raises KeyError if it is not published."""
        (at,) = self.table.slice(self.rows[run.digest], 1).to_pylist()
        return Result(
            run,
            results_rows.curves(at),
            kept=at["kept"],
            sparsity=at["sparsity"],
            fingerprint=at["fingerprint"],
            seconds=at["seconds"],
            provenance=self._provenance(at["provenance"]),
            folder=self.folder,
            files={WEIGHTS: at["weights"]} | ({MASK: at["mask"]} if at["mask"] else {}),
            layers=dict(at["layers"]),
        )

    def _provenance(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise damaged(self.folder / RUNS, f"holds a provenance that cannot be read ({error})") from error
        if not isinstance(found, dict):
            raise damaged(self.folder / RUNS, "holds a provenance that is none")
        return found

    @cached_property
    def descriptions(self) -> dict[str, dict[str, Any]]:
        """Digest -> description of the run, as it was written."""
        try:
            texts = self.table["description"].to_pylist()
            return {digest: json.loads(texts[row]) for digest, row in self.rows.items()}
        except (ValueError, RecursionError) as error:
            raise damaged(self.folder / RUNS, f"holds no description ({error})") from error

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Digest -> run, ancestors first. Raises NewerFormat if this version cannot read a description."""
        try:
            return rebuilt(self.descriptions)
        except InputError as error:
            path = self.folder / RUNS
            how = f"describes what this version of lthpaper does not know ({str(error)[:300]})"
            sentence = f"{path} {how}: use the version that wrote it."
            raise NewerFormat.about(path, how, sentence) from error

    # --- masks ---

    def mask(self, run: Run) -> Packed | None:
        """The mask that a run starts with; None if it is not published. Raises Damaged if it does not fit."""
        found = self.masks.get(mask_key(run)) if self.masks else None
        if found is not None and not fits(found, run):
            raise damaged(self.folder / MASKS, f"holds a mask that does not fit {run.name}")
        return found

    @cached_property
    def masks(self) -> dict[str, Packed]:
        """Key -> mask, of all masks that are published."""
        if MASKS not in self.manifest["files"]:
            return {}
        table, path = self.read(MASKS), self.folder / MASKS
        if not table.schema.equals(_schema_read(MASK_SCHEMA)) or any(c.null_count for c in table.columns):
            raise damaged(path, f"has other columns than {', '.join(MASK_SCHEMA.names)}, or lacks values")
        found: dict[str, Packed] = {}
        if table.num_rows > MOST_LAYERS:
            raise damaged(path, f"has {table.num_rows:,} rows; {MOST_LAYERS:,} is the most")
        for row in table.to_pylist():
            bits, (layer, shape) = found.setdefault(row["key"], {}), (row["layer"], tuple(row["shape"]))
            if layer in bits or not is_packed(shape, row["bits"]):
                raise damaged(path, f"holds a mask {row['key'][:16]!r} whose {layer[:40]!r} is none")
            bits[layer] = shape, row["bits"]
        return found

    # --- measurements ---

    @property
    def names(self) -> list[str]:
        """Names of the published measurements."""
        return sorted(n.removesuffix(SUFFIX) for n in self.manifest["files"] if n not in (RUNS, MASKS))

    def measurement(self, digest: str, name: str, key: str) -> pd.DataFrame | None:
        """A measurement of a run; None if it is not published."""
        found = self.measurement_table(digest, name, key)
        return None if found is None else found.to_pandas()

    def measurement_table(self, digest: str, name: str, key: str) -> pa.Table | None:
        """The same, as a pyarrow table."""
        if name not in self.names:
            return None
        table, places = self._measurements(name)
        if (digest, key) not in places:
            return None
        start, count = places[digest, key]
        return table.slice(start, count)

    def keys(self, name: str) -> list[tuple[str, str]]:
        """(digest, key) of every measurement of a name."""
        return list(self._measurements(name)[1])

    @functools.cache  # noqa: B019  a few names; the scales live as long as the process
    def _measurements(self, name: str) -> tuple[pa.Table, dict[tuple[str, str], tuple[int, int]]]:
        """The table without `digest` and `key`; (digest, key) -> its first row and number of rows."""
        path = self.folder / f"{name}{SUFFIX}"
        table = self.read(path.name)
        if table.column_names[:2] != ["digest", "key"] or not is_flat(table):
            raise damaged(path, "holds no measurements")
        both = list(zip(table["digest"].to_pylist(), table["key"].to_pylist(), strict=True))
        places: dict[tuple[str, str], tuple[int, int]] = {}
        start = 0
        for whose, rows in itertools.groupby(both):
            if whose in places:
                raise damaged(path, f"holds a measurement of {whose[0]} twice")
            places[whose] = start, len(list(rows))
            start += places[whose][1]
        return table.drop_columns(["digest", "key"]), places


@functools.cache
def _schema_read(schema: pa.Schema) -> pa.Schema:
    """A schema as it is read back from parquet."""
    return pq.read_table(pa.BufferReader(parquet.content_of(schema.empty_table()))).schema
