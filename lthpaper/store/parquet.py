"""Small tables as parquet files: equal tables give equal bytes, and a file is read only if it is intact.

A file may come from a stranger: sizes are checked before memory is allocated, and any fault raises
`Damaged`, with one sentence; `Unreadable`, one of its kinds, where the disk does not give the file now.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lthpaper.errors import first_line, printable
from lthpaper.store.entry import NOT_AS_WRITTEN, Damaged, Unreadable, plain, replacing, writing

LEVEL = 19  # of zstd: the files are written once and stay in git
LARGEST = 64 * 2**20  # bytes of a file
LARGEST_READ = 2**30  # bytes of its values
MOST_ROWS, MOST_VALUES = 10**7, 10**8
NO_TABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError)


def damaged(path: Path, how: str, kind: type[Damaged] = Damaged) -> Damaged:
    """The error that names a damaged file of tables and says what to do."""
    sentence = (
        f"{printable(f'{path} {how}')}, and cannot be trusted. Bring it back from where it came (with git: "
        f"`git checkout -- {printable(path.name)}` in its folder), or move the folder away to do without."
    )
    if kind is Unreadable:
        sentence = (
            f"{printable(f'{path} {how}')}. It may be whole: run the same command again when it can be read."
        )
    return kind.about(path, how, sentence)


def unreadable(path: Path, error: OSError) -> Damaged:
    """The error for a file of tables that cannot be read now."""
    return damaged(path, f"cannot be read now ({error.strerror or error})", Unreadable)


def content_of(table: pa.Table, plain: Sequence[str] = ()) -> bytes:
    """A table as the bytes of a parquet file: equal tables give equal bytes. plain: columns of floats whose
    values seldom repeat, encoded by byte-stream split instead of a dictionary."""
    table = table.replace_schema_metadata(None).combine_chunks()
    leaves = _leaves(table.schema)
    split = [leaf for leaf in leaves if leaf.partition(".")[0] in plain]
    out = io.BytesIO()
    pq.write_table(
        table,
        out,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=[leaf for leaf in leaves if leaf not in split],
        use_byte_stream_split=split,
        row_group_size=max(1, table.num_rows),
        store_schema=False,
        write_statistics=False,
    )
    return out.getvalue()


def _leaves(schema: pa.Schema) -> list[str]:
    """Paths of the columns as parquet has them."""
    out = io.BytesIO()
    pq.write_table(schema.empty_table(), out)
    described = pq.ParquetFile(io.BytesIO(out.getvalue())).schema
    return [described.column(i).path for i in range(len(described))]


def checksum(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes) -> None:
    """Write a file so that it is whole or absent: it is on the disk before it gets its name."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(content)


def content_at(path: Path, expected: str) -> bytes:
    """The bytes of a file whose SHA-256 begins with `expected`. Raises Damaged if it does not, Unreadable if
    that cannot be said now."""
    try:
        if plain(path).lstat().st_size > LARGEST:
            raise damaged(path, f"is larger than {LARGEST:,} bytes")
        content = path.read_bytes()
    except Damaged as error:  # what `plain` says of an entry
        raise damaged(path, error.how, type(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not expected or not checksum(content).startswith(expected):
        raise damaged(path, NOT_AS_WRITTEN)
    return content


def read(path: Path, expected: str) -> pa.Table:
    """The table in a file whose SHA-256 begins with `expected`. Raises Damaged if there is none,
    Unreadable if that cannot be said now."""
    content = content_at(path, expected)
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            _check_sizes(file.metadata)
            table = file.read().combine_chunks()
            table.validate(full=True)
    except NO_TABLE as error:
        raise damaged(path, f"holds no table ({first_line(error)[:200]})") from error
    return table


def _check_sizes(about: pq.FileMetaData) -> None:
    """Raise ValueError if, by its own metadata, a file would take more memory than any of ours."""
    values = size = 0
    for g in range(about.num_row_groups):
        group = about.row_group(g)
        for c in range(group.num_columns):
            column = group.column(c)
            values, size = values + column.num_values, size + column.total_uncompressed_size
    if not (about.num_rows <= MOST_ROWS and values <= MOST_VALUES and size <= LARGEST_READ):
        raise ValueError(f"it is too large: {about.num_rows:,} rows, {values:,} values, {size:,} bytes")
