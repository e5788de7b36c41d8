"""CIFAR-10 (Krizhevsky, 2009): 50,000 and 10,000 colour photographs of 32×32 in ten classes."""

from pathlib import Path

from lthpaper.data import Card, Images, cifar, register

CARD = Card(
    num_classes=10,
    channels=3,
    size=32,
    train=50_000,
    test=10_000,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),  # the mean of the images' stds, as the authors use; over pixels it is 0.247
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10 = cifar.Cifar(
    name="cifar10",
    card=CARD,
    classes=CLASSES,
    torchvision_name="CIFAR10",
    batches="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    label="label",
    parquet_folder="plain_text",
)


def download(root: Path) -> None:
    """Download the published archive (170 MB) and unpack it below root."""
    cifar.download(root, cifar.vision_class(CIFAR10))


@register("cifar10", CARD, download)
def load(root: Path) -> Images:
    """CIFAR-10 below root, in any of the layouts of `cifar`."""
    return cifar.load(root, CIFAR10)
