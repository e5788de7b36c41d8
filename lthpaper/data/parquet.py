"""Image data sets as the Hugging Face hub stores them: parquet files of encoded images and labels.

`train-00000-of-00001.parquet`, `test-….parquet`, any number of shards; a column of images {bytes, path} and
one of whole-number labels. A row group is read when a batch needs one of its images. An image cannot be read
without the hundred or so that are stored with it, so `groups` says which these are, and a shuffle keeps them
close together (training/streaming.py).
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthpaper.data.files import Encoded, Files
from lthpaper.errors import InputError, first_line, require

KEPT_BYTES = 512 << 20  # of row groups that a process keeps in memory
MOST_ROWS = 10**7  # of a shard
LARGEST_GROUP = 2**30  # bytes that a row group may unpack to, since one is read at a time
_SHARD = re.compile(r"-(\d+)-of-(\d+)")


def home(folders: Sequence[Path]) -> Path | None:
    """The first of these folders that holds parquet files."""
    return next((folder for folder in folders if any(folder.glob("*.parquet"))), None)


def shards(folder: Path, part: str) -> list[Path]:
    """The files of one part ("train", "test") in order. Raises InputError if one, or all, are missing."""
    files = sorted(folder.glob(f"{part}-*.parquet"))
    if not files:
        raise InputError(f"{folder} has parquet files but none named {part}-*.parquet; put them there too.")
    numbered = [found for file in files if (found := _SHARD.search(file.name))]
    if len(numbered) == len(files):
        totals = {int(found[2]) for found in numbered}
        present = sorted(int(found[1]) for found in numbered)
        if len(totals) > 1 or present != list(range(max(totals))):
            raise InputError(
                f"{folder} holds shards {', '.join(map(str, present))} of {' and '.join(map(str, totals))} "
                f"of the {part} files (counted from 0); keep exactly one whole set of them."
            )
    return files


@contextmanager
def opened(path: Path, image: str, label: str) -> Iterator:
    """The pyarrow ParquetFile of a shard. Raises InputError unless it is whole and has the two columns, also
    if reading from it fails."""
    import pyarrow  # here, since listing the data sets should not wait for it
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            fields = {field.name: field.type for field in schema}
            if (
                not pyarrow.types.is_integer(fields.get(label, pyarrow.null()))
                or not pyarrow.types.is_struct(fields.get(image, pyarrow.null()))
                or fields[image].get_field_index("bytes") < 0
            ):
                raise InputError(
                    f"{path} has the columns {', '.join(fields)}; expected {image} {{bytes, path}} and whole "
                    f"numbers in {label}."
                )
            groups = (file.metadata.row_group(g) for g in range(file.num_row_groups))
            largest = max((group.total_byte_size for group in groups), default=0)
            require(
                largest <= LARGEST_GROUP,
                f"{path} has a row group of {largest:,} bytes; at most {LARGEST_GROUP:,} are read at once: "
                "write it again with smaller ones.",
            )
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        with open(path, "rb") as start:
            pointer = start.read(20).startswith(b"version https://git")
        raise InputError(
            f"{path} is a git-lfs pointer, not the data: run `git lfs pull` where it came from."
            if pointer
            else f"{path} is not a whole parquet file ({first_line(error)}): download it again."
        ) from error


def names(schema, label: str) -> tuple[str, ...]:
    """The names of the classes that a file gives; empty if it gives none."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return tuple(map(str, about["info"]["features"][label]["names"]))
    except (ValueError, KeyError, TypeError):
        return ()


class RowGroups(Encoded):
    """Images as rows of parquet files."""

    def __init__(
        self, shards: Sequence[Path], about: Sequence[Sequence[tuple[int, int]]], columns: tuple[str, str]
    ):
        """about: (images, stored bytes) of each row group of each shard. columns: of images, of labels."""
        self.shards, self.columns = tuple(map(str, shards)), columns
        self.shard = np.repeat(np.arange(len(about)), [len(each) for each in about])  # of each group
        self.number = np.concatenate([np.arange(len(each)) for each in about])  # of a group in its shard
        pairs = np.array([pair for each in about for pair in each], dtype=np.int64).reshape(-1, 2)
        self.rows, self.sizes = pairs[:, 0].copy(), pairs[:, 1].copy()
        self.first = np.cumsum(self.rows) - self.rows
        self.groups: np.ndarray = np.repeat(np.arange(len(self.rows)), self.rows)
        self._kept: OrderedDict = OrderedDict()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_kept": OrderedDict()}

    def __len__(self) -> int:
        return len(self.groups)

    def _group(self, g: int):
        """The images of a row group, an arrow array of bytes; the groups used last are kept."""
        if g in self._kept:
            self._kept.move_to_end(g)
            return self._kept[g]
        image, label = self.columns
        with opened(Path(self.shards[self.shard[g]]), image, label) as file:
            table = file.read_row_group(int(self.number[g]), columns=[f"{image}.bytes"])
        require(
            table.num_rows == self.rows[g], f"{self.shards[self.shard[g]]} is damaged: download it again."
        )
        self._kept[g] = table[image].combine_chunks().field("bytes")
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return self._kept[g]

    def __getitem__(self, i: int) -> tuple[str, bytes]:
        g = int(self.groups[i])
        row = i - int(self.first[g])
        where = f"in row {row + 1} of row group {self.number[g] + 1} of {self.shards[self.shard[g]]}"
        encoded = self._group(g)[row].as_py()
        if encoded is None:
            raise InputError(f"The image {where} has no bytes; replace the file.")
        return where, encoded

    def described(self) -> Iterator[bytes]:
        yield self.rows.tobytes()
        yield self.sizes.tobytes()


def files(
    folder: Path,
    test: str = "test",
    image: str = "image",
    label: str = "label",
    classes: Sequence[str] = (),
    most: int = MOST_ROWS,
) -> Files:
    """Both parts of a data set, no image read yet. test: how the names of its test files begin. image, label:
    columns. classes: what the labels should mean, if that is known. most: rows that a shard may have.

    Raises InputError if a file is missing, damaged, too large or of another layout, or a row has no label.
    """
    train, train_labels, named = _read(shards(folder, "train"), (image, label), classes, most)
    tests, test_labels, named = _read(shards(folder, test), (image, label), named, most)
    known = named or tuple(str(i) for i in range(int(train_labels.max()) + 1))
    return Files(train, train_labels, tests, test_labels, known, f"parquet files in {folder.name}/")


def _read(
    paths: Sequence[Path], columns: tuple[str, str], classes: Sequence[str], most: int
) -> tuple[RowGroups, Tensor, tuple[str, ...]]:
    """The images of shards in order, their labels (N,) int64, and the classes if the files name them."""
    about: list[list[tuple[int, int]]] = []
    labels: list[Tensor] = []
    for path in paths:
        with opened(path, *columns) as file:
            rows, found = file.metadata.num_rows, names(file.schema_arrow, columns[1])
            require(rows <= most, f"{path} has {rows} rows; expected at most {most}: another data set.")
            classes = classes or found
            require(
                not found or found == tuple(classes),
                f"The classes in {path} are not the expected ones in their order: another data set.",
            )
            column = file.read(columns=[columns[1]])[columns[1]]
            require(len(column) == rows, f"{path} is damaged: download it again.")
            if column.null_count:
                row = column.is_null().index(True).as_py() + 1
                raise InputError(f"Row {row} of {path} has no label; replace the file.")
            groups = [file.metadata.row_group(g) for g in range(file.num_row_groups)]
            about.append([(group.num_rows, group.total_byte_size) for group in groups])
            labels.append(torch.from_numpy(column.to_numpy().astype(np.int64)))
    return RowGroups(paths, about, columns), torch.cat(labels), tuple(classes)
