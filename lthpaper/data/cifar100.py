"""CIFAR-100 (Krizhevsky, 2009): CIFAR-10's sibling with 100 ("fine") classes."""

from pathlib import Path

from lthpaper.data import Card, Images, cifar, register

CARD = Card(
    num_classes=100,
    channels=3,
    size=32,
    train=50_000,
    test=10_000,
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)
_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
    can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
    lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
    pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
    seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
    tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
    worm
    """
CLASSES = tuple(_NAMES.split())
CIFAR100 = cifar.Cifar(
    name="cifar100",
    card=CARD,
    classes=CLASSES,
    torchvision_name="CIFAR100",
    batches="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    label="fine_label",
    parquet_folder="cifar100",
)


def download(root: Path) -> None:
    """Download the published archive (169 MB) and unpack it below root."""
    cifar.download(root, cifar.vision_class(CIFAR100))


@register("cifar100", CARD, download)
def load(root: Path) -> Images:
    """CIFAR-100 below root, in any of the layouts of `cifar`."""
    return cifar.load(root, CIFAR100)
