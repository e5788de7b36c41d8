"""scikit-learn's 1,797 handwritten digits, 8×8: installed with it, so there is nothing to download.

Only 300 images train and 1,497 test, so that accuracies differ visibly. The split is random, stratified by
class, and always the same.
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
    """The digits; `root` is ignored."""
    from sklearn.datasets import load_digits  # here, since the import takes seconds
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    pixels = torch.tensor(bunch.images * (255 / 16)).round().to(torch.uint8).unsqueeze(-1)
    labels = torch.tensor(bunch.target, dtype=torch.int64)
    train, test = train_test_split(
        range(len(labels)), train_size=CARD.train, stratify=bunch.target, random_state=0
    )
    names = tuple(str(name) for name in bunch.target_names)
    return Images(pixels[train], labels[train], pixels[test], labels[test], names, "scikit-learn")
