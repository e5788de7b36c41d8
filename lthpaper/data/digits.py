"""scikit-learn's 1,797 handwritten digits, 8×8: installed with it, so there is nothing to download.

Only 300 images train and 1,497 test, so that accuracies differ visibly. The split is random, stratified by
class, and always the same.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch

from lthpaper.data import Card, Images, register

FILE = "datasets/data/digits.csv.gz"  # in scikit-learn's folder
CARD = Card(
    num_classes=10,
    channels=1,
    size=8,
    train=300,
    test=1497,
    mean=(0.305,),
    std=(0.376,),
    pad=1,
    flip=False,  # a mirrored digit is another sign
)


@register("digits", CARD)
def load(root: Path) -> Images:
    """The digits; `root` is ignored."""
    table = _table()  # (1797, 65): 64 pixels from 0 to 16, then the digit
    pixels = torch.tensor(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).round().to(torch.uint8)
    labels = torch.tensor(table[:, -1], dtype=torch.int64)
    train, test = (torch.from_numpy(index) for index in split(table[:, -1], CARD.train))
    names = tuple(str(digit) for digit in range(CARD.num_classes))
    return Images(pixels[train], labels[train], pixels[test], labels[test], names, "scikit-learn")


def _table() -> np.ndarray:
    """scikit-learn's file, read where it lies: to import scikit-learn takes a process more than a second."""
    spec = importlib.util.find_spec("sklearn")
    folders = (spec.submodule_search_locations if spec else None) or []
    path = next((f for f in (Path(p) / FILE for p in folders) if f.is_file()), None)
    if path is not None:
        return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits  # a release that keeps the file elsewhere

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(float)


def split(classes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `count` things that train and of the rest, each in random order, with every class's share in
    both: what scikit-learn's train_test_split(stratify=classes, random_state=0) gives."""
    random = np.random.RandomState(0)
    counts = np.bincount(classes.astype(int))
    by_class = np.split(np.argsort(classes, kind="mergesort"), np.cumsum(counts)[:-1])
    taken = _shares(counts, count, random)
    rest = _shares(counts - taken, int(counts.sum()) - count, random)
    train, test = [], []
    for members, first, second in zip(by_class, taken, rest, strict=True):
        shuffled = members[random.permutation(len(members))]
        train.append(shuffled[:first])
        test.append(shuffled[first : first + second])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _shares(counts: np.ndarray, total: int, random: np.random.RandomState) -> np.ndarray:
    """`total` in whole numbers, in proportion to counts: the largest remainders round up, ties by lot."""
    exact = counts / counts.sum() * total
    whole = np.floor(exact)
    remainders, missing = exact - whole, int(total - whole.sum())
    for remainder in np.unique(remainders)[::-1]:
        if not missing:
            break
        (tied,) = np.where(remainders == remainder)
        lifted = random.choice(tied, size=min(len(tied), missing), replace=False)
        whole[lifted] += 1
        missing -= len(lifted)
    return whole.astype(int)
