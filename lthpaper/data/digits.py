"""scikit-learn's 1,797 handwritten digits, 8×8: the embedded data set, nothing to download.

300 train and 1,497 test, so that accuracies spread; the split is drawn once, with equal shares of the
ten classes.
"""

from pathlib import Path

import torch

from lthpaper.data import Card, Images, register

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
    """The digits; `root` is not looked at."""
    from sklearn.datasets import load_digits  # seconds to import: only where it is used
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    pixels = torch.tensor(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(-1)
    labels = torch.tensor(bunch.target, dtype=torch.int64)
    train, test = train_test_split(
        range(len(labels)), train_size=CARD.train, stratify=bunch.target, random_state=0
    )
    names = tuple(str(name) for name in bunch.target_names)
    return Images(pixels[train], labels[train], pixels[test], labels[test], names, "scikit-learn")
