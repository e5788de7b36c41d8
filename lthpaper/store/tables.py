"""Small tables as parquet files: written to equal bytes, read only if they are what was written.

What is read may come from a stranger: sizes are looked at before memory is asked for, and whatever is wrong
ends in `Damaged`, in one sentence.
"""

import hashlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lthpaper.errors import printable
from lthpaper.store.entry import NOT_AS_WRITTEN, Damaged, is_file, replacing, writing

LEVEL = 19  # of zstd: the files are written once and lie in git for ever
LARGEST = 64 * 2**20  # bytes of a file
LARGEST_READ = 2**30  # bytes of its values
MOST_ROWS, MOST_VALUES = 10**7, 10**8
DIGEST = re.compile(r"[0-9a-f]{16}", re.ASCII)
NO_TABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError)


def unreadable(path: Path, how: str) -> Damaged:
    """The error that names a file of tables, and what to do."""
    error = Damaged(
        f"{printable(f'{path} {how}')}, and cannot be trusted. Bring it back from where it came (with git: "
        f"`git checkout -- {printable(path.name)}` in its folder), or move the folder away to do without."
    )
    error.path, error.how = path, how
    return error


def content_of(table: pa.Table, plain: Sequence[str] = ()) -> bytes:
    """The file of a table: equal tables give equal bytes. plain: columns of floats whose values seldom
    repeat, which are packed byte by byte instead of by a dictionary."""
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
    """A file that is whole or absent, on the disk before it has its name."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(content)


def content_at(path: Path, expected: str, largest: int = LARGEST) -> bytes:
    """The bytes of a file that has this SHA-256, or whose begins so. Raises Damaged if it has not."""
    if not is_file(path):
        raise unreadable(path, "is not a file" if os.path.lexists(path) else "is missing")
    try:
        if path.lstat().st_size > largest:
            raise unreadable(path, f"is larger than {largest:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, f"cannot be read ({error})") from error
    if not expected or not checksum(content).startswith(expected):
        raise unreadable(path, NOT_AS_WRITTEN)
    return content


def read(path: Path, expected: str) -> pa.Table:
    """The table of a file that has this SHA-256, or whose begins so. Raises Damaged if it holds none."""
    content = content_at(path, expected)
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            _check_sizes(file.metadata)
            table = file.read().combine_chunks()
            table.validate(full=True)
    except NO_TABLE as error:
        raise unreadable(path, f"holds no table ({_first_line(error)})") from error
    return table


def _check_sizes(about: pq.FileMetaData) -> None:
    """Raises ValueError if a file would take more memory than any of ours, by what it says of itself."""
    values = size = 0
    for g in range(about.num_row_groups):
        group = about.row_group(g)
        for c in range(group.num_columns):
            column = group.column(c)
            values, size = values + column.num_values, size + column.total_uncompressed_size
    if not (about.num_rows <= MOST_ROWS and values <= MOST_VALUES and size <= LARGEST_READ):
        raise ValueError(f"it is too large: {about.num_rows:,} rows, {values:,} values, {size:,} bytes")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
