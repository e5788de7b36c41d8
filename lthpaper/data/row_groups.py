"""Photographs in parquet files, read a row group at a time when a batch needs them.

Columns as the Hugging Face hub has them: `image` {bytes, path} and `label`. An image cannot be read without
the hundred or so that are stored with it, so `groups` says which these are, and whoever shuffles keeps
them near each other (training/streaming.py).
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthpaper.data import parquet
from lthpaper.data.files import Encoded
from lthpaper.errors import InputError, require

KEPT_BYTES = 512 << 20  # of row groups that a process remembers


class RowGroups(Encoded):
    """A row of a parquet file an image."""

    def __init__(self, shards: Sequence[Path], rows: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]]):
        """rows, sizes: of each row group of each shard, images and stored bytes."""
        self.shards = tuple(map(str, shards))
        self.shard = np.repeat(np.arange(len(rows)), [len(each) for each in rows])  # of each group
        self.number = np.concatenate([np.arange(len(each)) for each in rows])  # of a group in its shard
        self.rows = np.concatenate(rows).astype(np.int64)
        self.sizes = np.concatenate(sizes).astype(np.int64)
        self.first = np.cumsum(self.rows) - self.rows
        self.groups: np.ndarray = np.repeat(np.arange(len(self.rows)), self.rows)
        self._kept: OrderedDict = OrderedDict()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_kept": OrderedDict()}

    def __len__(self) -> int:
        return len(self.groups)

    def _group(self, g: int):
        """The images of a row group, an arrow array of bytes; the last ones used are kept."""
        if g in self._kept:
            self._kept.move_to_end(g)
            return self._kept[g]
        path = Path(self.shards[self.shard[g]])
        with parquet.opened(path, "label", image="image") as file:
            table = file.read_row_group(int(self.number[g]), columns=["image.bytes"])
        self._kept[g] = table["image"].combine_chunks().field("bytes")
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


def read(shards: Sequence[Path]) -> tuple[RowGroups, Tensor, tuple[str, ...]]:
    """The images of shards in order, their labels (N,) int64, and the classes if the files name them.

    Raises InputError if a file is damaged, of another layout, or has a row without a label.
    """
    rows: list[list[int]] = []
    sizes: list[list[int]] = []
    labels: list[Tensor] = []
    classes: tuple[str, ...] = ()
    for path in shards:
        with parquet.opened(path, "label", classes, "image") as file:
            about = [file.metadata.row_group(g) for g in range(file.num_row_groups)]
            column = file.read(columns=["label"])["label"]
            require(column.null_count == 0, f"{path} has rows without a label; replace the file.")
            rows.append([group.num_rows for group in about])
            sizes.append([group.total_byte_size for group in about])
            labels.append(torch.from_numpy(column.to_numpy().astype(np.int64)))
            classes = classes or parquet.names(file.schema_arrow, "label")
    return RowGroups(shards, rows, sizes), torch.cat(labels), classes
