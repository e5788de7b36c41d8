"""Image data sets as the Hugging Face hub stores them: parquet files of encoded images and labels.

`train-00000-of-00001.parquet`, `test-….parquet`, any number of shards; columns `img` {bytes, path} and a
column of whole-number labels.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from lthpaper.data import Images
from lthpaper.data.decode import decode
from lthpaper.errors import InputError, require

LARGEST_GROUP = 2**30  # bytes that a row group may unpack to: one is read at a time
_SHARD = re.compile(r"-(\d+)-of-(\d+)")


def home(folders: Sequence[Path]) -> Path | None:
    """The first of these folders that holds parquet files."""
    return next((folder for folder in folders if any(folder.glob("*.parquet"))), None)


def shards(folder: Path, part: str) -> list[Path]:
    """The files of one part ("train", "test") in order. Raises InputError if there are none or one lacks."""
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
def opened(path: Path, label: str, classes: Sequence[str] = (), image: str = "img") -> Iterator:
    """The pyarrow ParquetFile of a shard. Raises InputError unless it is whole and has the two columns, also
    if reading from it fails. classes: what its labels should mean."""
    import pyarrow  # here, since listing the data sets must not wait for it
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
                "write it anew with smaller ones.",
            )
            if classes:
                _check_classes(path, names(schema, label), classes)
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        with open(path, "rb") as start:
            pointer = start.read(20).startswith(b"version https://git")
        raise InputError(
            f"{path} is a git-lfs pointer, not the data: run `git lfs pull` where it came from."
            if pointer
            else f"{path} is not a whole parquet file ({_first_line(error)}): download it again."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def names(schema, label: str) -> tuple[str, ...]:
    """What a file says that its labels mean; nothing if it does not say."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return tuple(map(str, about["info"]["features"][label]["names"]))
    except (ValueError, KeyError, TypeError):
        return ()


def _check_classes(path: Path, found: Sequence[str], classes: Sequence[str]) -> None:
    if found and list(found) != list(classes):
        raise InputError(f"The classes in {path} are not the expected ones in their order: another data set.")


def _rows(path: Path, file, label: str) -> Iterator[tuple[str, bytes, int]]:
    row = 0
    for batch in file.iter_batches(batch_size=1000, columns=["img.bytes", label]):
        images, labels = batch["img"].field("bytes").to_pylist(), batch[label].to_pylist()
        for encoded, number in zip(images, labels, strict=True):
            row += 1
            if encoded is None or number is None:
                raise InputError(f"Row {row} of {path} has no image bytes or no label; replace the file.")
            yield f"in row {row} of {path}", encoded, number


def read_file(
    path: Path, label: str, size: int, channels: int, classes: Sequence[str], most: int = 10**7
) -> tuple[Tensor, Tensor]:
    """One file -> images (N, size, size, channels) uint8, labels (N,) int64. most: rows that it may have.

    Raises InputError if it is damaged, too large or of another layout.
    """
    with opened(path, label, classes) as file:
        rows = file.metadata.num_rows
        require(rows <= most, f"{path} has {rows} rows; expected at most {most}: another data set.")
        labels: list[int] = []

        def images() -> Iterator[tuple[str, bytes]]:
            for name, encoded, number in _rows(path, file, label):
                labels.append(number)
                yield name, encoded

        return decode(images(), rows, size, channels), torch.tensor(labels, dtype=torch.int64)


def read(
    folder: Path, label: str, size: int, channels: int, classes: Sequence[str], most: int = 10**7
) -> Images:
    """Both parts of a data set. most: images in a file. Raises InputError if a file lacks, is damaged or of
    another layout."""

    def joined(part: str) -> tuple[Tensor, Tensor]:
        files = [read_file(path, label, size, channels, classes, most) for path in shards(folder, part)]
        return torch.cat([images for images, _ in files]), torch.cat([labels for _, labels in files])

    (train, train_labels), (test, test_labels) = joined("train"), joined("test")
    origin = f"parquet files in {folder.name}/"
    return Images(train, train_labels, test, test_labels, tuple(classes), origin)
