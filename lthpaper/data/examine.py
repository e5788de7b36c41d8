"""Find images that cannot be used before hours of training: a quick look at every file, or a full decode."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lthpaper import cache, data, locations
from lthpaper.data import Card
from lthpaper.data.decode import photograph, pixels
from lthpaper.data.files import Encoded, Files
from lthpaper.errors import InputError

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
THREADS = 16  # more than cores, since they wait for the disk or the network
NAMED = 3  # bad images that a message names
SHARE = 64  # images that a process gets at once


def look(files: Files) -> None:
    """Raise InputError naming images that are empty, cut off or not images at all.

    A file that begins and ends like a JPEG passes; any other is decoded. Damage in between is found when the
    image is used (or by `every_image`). A copy that passed is not checked again. Parquet files are skipped,
    since checking them would read them whole.
    """

    def passes() -> dict[str, np.ndarray]:
        bad = [sentence for part in (files.train, files.test) for sentence in _quick(part)]
        if bad:
            raise InputError(_together(bad))
        return {"images": np.array([len(files.train), len(files.test)])}

    # "looked" was the cache of a check that read past the end of small images in tar files
    cache.arrays("looked-2", files.fingerprint, passes)


def _quick(items: Encoded) -> list[str]:
    if not len(items) or items.ends(0) is None:
        return []
    shares = _shares(items, 1024)
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(partial(_wrong, _look_at_the_ends, items), shares)
        bar = tqdm(found, total=len(shares), desc="checking the images", disable=None, leave=False)
        return [sentence for share in bar for sentence in share]


def _shares(items: Encoded, size: int) -> list[range]:
    return [range(i, min(i + size, len(items))) for i in range(0, len(items), size)]


def _wrong(look_at: Callable[[Encoded, int], None], items: Encoded, share: range) -> list[str]:
    """A sentence for each image of a share that `look_at` refuses."""
    found = []
    for i in share:
        try:
            look_at(items, i)
        except InputError as error:
            found.append(str(error))
    return found


def _look_at_the_ends(items: Encoded, i: int) -> None:
    ends = items.ends(i)
    if ends is None or not ends[1].startswith(JPEG_START) or JPEG_END not in ends[2]:
        photograph(*items[i], resize=1)


def _look_inside(card: Card, items: Encoded, i: int) -> None:
    if card.streams:
        photograph(*items[i], card.resize, card.channels)
    else:
        pixels(*items[i], card.size, card.channels)


def _together(bad: list[str]) -> str:
    more = f" And {len(bad) - NAMED:,} more images." if len(bad) > NAMED else ""
    return " ".join(bad[:NAMED]) + more


def every_image(name: str, root: str | Path | None = None, processes: int = 1) -> Iterator[str]:
    """Decode every image of a data set that is read from files; a sentence for each that cannot be used.

    ImageNet takes about four core-hours. processes: how many share the work.
    Raises InputError if the data set is unknown, missing or incomplete.
    """
    source = data.source(name, None if root is None else Path(root))
    folder, card = locations.data_folder(root), source.card
    found = source.load(folder.resolve())
    data.check(name, card, found, folder)
    if not isinstance(found, Files):
        return  # all of it was decoded already
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for part in (found.train, found.test):
            for bad in pool.map(partial(_wrong, partial(_look_inside, card), part), _shares(part, SHARE)):
                yield from bad
