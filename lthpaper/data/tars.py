"""Images in tar files in WebDataset's format: `key.jpg` beside `key.cls`, any number of shards.

Nothing is unpacked: each shard is scanned once for the offsets of its images, which are then read directly.
The index is kept in the user's cache.
"""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lthpaper import cache
from lthpaper.cache import Arrays
from lthpaper.data.archives import open_member
from lthpaper.data.decode import SUFFIXES
from lthpaper.data.files import Encoded
from lthpaper.errors import InputError, require


class Tars(Encoded):
    """Images as byte ranges of tar files."""

    def __init__(self, shards: Sequence[Path], index: Arrays):
        self.shards = tuple(map(str, shards))
        self.shard, self.offset, self.sizes = index["shard"], index["offset"], index["size"]
        self.names = index["name"]

    def __len__(self) -> int:
        return len(self.shard)

    def _where(self, i: int) -> str:
        return f"{self.names[i].item().decode(errors='replace')} in {self.shards[self.shard[i]]}"

    def _read(self, i: int, first: int, length: int) -> bytes:
        try:
            with open(self.shards[self.shard[i]], "rb", buffering=0) as file:
                file.seek(int(self.offset[i]) + first)
                return file.read(length)
        except OSError as error:
            raise InputError(f"The image {self._where(i)} cannot be read ({error.strerror}).") from error

    def __getitem__(self, i: int) -> tuple[str, bytes]:
        return self._where(i), self._read(i, 0, int(self.sizes[i]))

    def ends(self, i: int) -> tuple[str, bytes, bytes]:
        size = int(self.sizes[i])
        tail = min(4096, size)  # what follows in the shard is another file's
        return self._where(i), self._read(i, 0, min(16, size)), self._read(i, size - tail, tail)

    def described(self) -> Iterator[bytes]:
        for name in self.names.tolist():
            yield name.rpartition(b"/")[2] + b"\0"
        yield self.sizes.tobytes()


def read(shards: Sequence[Path]) -> tuple[Tars, Tensor]:
    """The images of shards in order, not read yet, and their labels (N,) int64.

    Raises InputError naming a shard that is damaged, or an image without a label.
    """
    about = "\n".join(f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in shards)
    index = cache.arrays("tars", about, lambda: _index(shards))
    return Tars(shards, index), torch.from_numpy(index["label"])


def _index(shards: Sequence[Path]) -> Arrays:
    found: dict[str, list] = {"shard": [], "offset": [], "size": [], "label": [], "name": []}
    for number, shard in enumerate(shards):
        images, labels = _members(shard)
        for key, (name, offset, size) in images.items():
            require(key in labels, f"{shard} has {name} but no {key}.cls with its label.")
            row = (number, offset, size, labels[key], name.encode("utf-8", "surrogateescape"))
            for column, value in zip(found.values(), row, strict=True):
                column.append(value)
        require(bool(images), f"{shard} holds no images ({', '.join(SUFFIXES)}); expected key.jpg, key.cls.")
    kinds = {"name": bytes}
    return {name: np.array(values, dtype=kinds.get(name, np.int64)) for name, values in found.items()}


def _members(shard: Path) -> tuple[dict[str, tuple[str, int, int]], dict[str, int]]:
    """Key -> (name, offset, size) of a shard's images; key -> label."""
    images: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, int] = {}
    length = shard.stat().st_size
    try:
        with tarfile.open(
            shard, "r:"
        ) as tar:  # uncompressed only: a compressed one has no offsets to read at
            for member in tar:
                key, suffix = _parts(member.name)
                if suffix not in (*SUFFIXES, ".cls"):
                    continue
                if not member.isreg() or member.issparse():
                    raise InputError(f"{member.name} in {shard} is not a plain file: replace the shard.")
                if suffix == ".cls":
                    labels[key] = _label(member.name, shard, open_member(tar, member).read(20))
                    continue
                end = member.offset_data + member.size
                require(
                    member.size > 0 and end <= length,
                    f"{member.name} in {shard} is empty or cut off: replace the shard.",
                )
                require(key not in images, f"{shard} has two images of the key {key}: replace the shard.")
                images[key] = (member.name, member.offset_data, member.size)
                tar.members = []  # type: ignore[attr-defined]  # typeshed lacks it. A hundred thousand headers would stay in memory
            _check_end(shard, tar.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(
            f"{shard} is not a whole tar file ({error}); shards must not be compressed (.tar, not .tar.gz): "
            "download it again."
        ) from error
    return images, labels


def _check_end(shard: Path, offset: int) -> None:
    """Two blocks of zeros end a tar file; tarfile does not notice if they are missing."""
    with open(shard, "rb") as file:
        file.seek(offset)
        require(file.read(512) == bytes(512), f"{shard} is cut off: download it again.")


def _parts(name: str) -> tuple[str, str]:
    """WebDataset's rule: the key ends at the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    key, dot, suffix = file.partition(".")
    return folder + slash + key, (dot + suffix).lower()


def _label(name: str, shard: Path, text: bytes) -> int:
    require(
        text.strip().isdigit() and len(text.strip()) < 10,
        f"{name} in {shard} holds {text[:20]!r}; expected the number of a class.",
    )
    return int(text)
