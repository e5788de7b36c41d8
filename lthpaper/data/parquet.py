"""Image data sets as the Hugging Face hub stores them: parquet files of encoded images and labels.

`train-00000-of-00001.parquet`, `test-….parquet`, any number of shards; columns `img` {bytes, path} and a
column of whole-number labels.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lthpaper.data import Images
from lthpaper.data.decode import decode
from lthpaper.errors import InputError

_SHARD = re.compile(r"-(\d+)-of-(\d+)")


def home(folders: Sequence[Path]) -> Path | None:
    """The first of these folders that holds parquet files."""
    return next((folder for folder in folders if any(folder.glob("*.parquet"))), None)


def shards(folder: Path, part: str) -> list[Path]:
    """The files of one part ("train", "test") in order. Raises InputError if there are none or one lacks."""
    files = sorted(folder.glob(f"{part}-*.parquet"))
    if not files:
        raise InputError(f"{folder} has parquet files but none named {part}-*.parquet; put them there too.")
    numbered = [_SHARD.search(file.name) for file in files]
    if all(numbered):
        totals = {int(found[2]) for found in numbered}
        present = sorted(int(found[1]) for found in numbered)
        if len(totals) > 1 or present != list(range(max(totals))):
            raise InputError(
                f"{folder} holds shards {', '.join(map(str, present))} of {' and '.join(map(str, totals))} "
                f"of the {part} files (counted from 0); keep exactly one whole set of them."
            )
    return files


def _check_classes(path: Path, schema, label: str, classes: Sequence[str]) -> None:
    """Where the file says what its labels mean, it has to be what we take them for."""
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = about.get("info", {}).get("features", {}).get(label, {}).get("names")
    if names is not None and list(names) != list(classes):
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
    path: Path, label: str, size: int, channels: int, classes: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """One file -> images (N, size, size, channels) uint8, labels (N,) int64. Raises InputError."""
    import pyarrow  # here, since listing the data sets must not wait for it
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            fields = {field.name: field.type for field in schema}
            image = fields.get("img")
            if (
                label not in fields
                or not pyarrow.types.is_struct(image)
                or image.get_field_index("bytes") < 0
            ):
                raise InputError(
                    f"{path} has the columns {', '.join(fields)}; expected img {{bytes, path}} and {label}."
                )
            _check_classes(path, schema, label, classes)
            labels: list[int] = []

            def images() -> Iterator[tuple[str, bytes]]:
                for name, encoded, number in _rows(path, file, label):
                    labels.append(number)
                    yield name, encoded

            return decode(images(), file.metadata.num_rows, size, channels), torch.tensor(labels)
    except (pyarrow.ArrowException, OSError) as error:
        with open(path, "rb") as start:
            pointer = start.read(20).startswith(b"version https://git")
        raise InputError(
            f"{path} is a git-lfs pointer, not the data: run `git lfs pull` where it came from."
            if pointer
            else f"{path} is not a whole parquet file ({str(error).splitlines()[0]}): download it again."
        ) from error


def read(folder: Path, label: str, size: int, channels: int, classes: Sequence[str]) -> Images:
    """Both parts of a data set. Raises InputError if a file lacks, is damaged or of another layout."""
    parts = []
    for part in ("train", "test"):
        files = [read_file(path, label, size, channels, classes) for path in shards(folder, part)]
        parts += [torch.cat(tensors) for tensors in zip(*files, strict=True)]
    return Images(*parts, tuple(classes), f"parquet files in {folder.name}/")
