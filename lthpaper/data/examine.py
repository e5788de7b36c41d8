"""Images that cannot be used, found before hours of training: a quick look at every file, or all decoded."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lthpaper import cache, data
from lthpaper.data import Card
from lthpaper.data.decode import photograph, pixels
from lthpaper.data.files import Encoded, Files
from lthpaper.errors import InputError

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
THREADS = 16  # they wait for the disk or the network
NAMED = 3  # bad images in a message
SHARE = 64  # images that a process is handed at once


def look(files: Files) -> None:
    """Raise InputError naming images that are empty, cut off or no images at all.

    A file that begins and ends as a JPEG is taken for one; any other is decoded. What is damaged in between
    is named when it is met (or by `every_image`). A copy that passed is not looked at again. Parquet files
    are left out, since a look would read them whole.
    """

    def passes() -> dict[str, np.ndarray]:
        bad = [sentence for part in (files.train, files.test) for sentence in _quick(part)]
        if bad:
            raise InputError(_together(bad))
        return {"images": np.array([len(files.train), len(files.test)])}

    # "looked" were looks that took the end of a small image in a tar file from the file behind it
    cache.arrays("looked-2", files.fingerprint, passes)


def _quick(items: Encoded) -> list[str]:
    if not len(items) or items.ends(0) is None:
        return []
    shares = _shares(items, 1024)
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(partial(_wrong_at_the_ends, items), shares)
        bar = tqdm(found, total=len(shares), desc="looking at the images", disable=None, leave=False)
        return [sentence for share in bar for sentence in share]


def _shares(items: Encoded, size: int) -> list[range]:
    return [range(i, min(i + size, len(items))) for i in range(0, len(items), size)]


def _wrong_at_the_ends(items: Encoded, share: range) -> list[str]:
    found = []
    for i in share:
        try:
            _, start, end = items.ends(i)
            if not start.startswith(JPEG_START) or JPEG_END not in end:
                photograph(*items[i], resize=1)
        except InputError as error:
            found.append(str(error))
    return found


def _together(bad: list[str]) -> str:
    more = f" And {len(bad) - NAMED:,} more images." if len(bad) > NAMED else ""
    return " ".join(bad[:NAMED]) + more


def _wrong_inside(items: Encoded, card: Card, share: range) -> list[str]:
    found = []
    for i in share:
        try:
            name, encoded = items[i]
            if card.streams:
                photograph(name, encoded, card.resize, card.channels)
            else:
                pixels(name, encoded, card.size, card.channels)
        except InputError as error:
            found.append(str(error))
    return found


def every_image(name: str, root: str | Path | None = None, processes: int = 1) -> Iterator[str]:
    """Decode every image of a data set that is read from files; a sentence for each that cannot be used.

    ImageNet takes some four hours of one core. processes: this many share it.
    Raises InputError if the data set is unknown, missing or incomplete.
    """
    found = data.source(name, root).load(data.data_root(root).resolve())
    card = data.source(name, root).card
    data.check(name, card, found, data.data_root(root))
    if not isinstance(found, Files):
        return  # decoded, all of it
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for part in (found.train, found.test):
            for bad in pool.map(partial(_wrong_inside, part, card), _shares(part, SHARE)):
                yield from bad
