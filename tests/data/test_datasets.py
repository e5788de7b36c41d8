"""Data sets as a PyTorch script has them become images: pixels, labels and classes are the same."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from lthpaper.data import Card, Images, Source, card, load
from lthpaper.data.own import local
from lthpaper.errors import InputError

PIXELS = torch.randint(0, 256, (6, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
WIDE = PIXELS.permute(0, 2, 3, 1)[:, :3]


def listed(images) -> list[tuple[object, int]]:
    return list(zip(images, LABELS.tolist(), strict=True))


AS_ARRAYS = [image.permute(1, 2, 0).numpy() for image in PIXELS]


@pytest.mark.parametrize(
    "data",
    [
        TensorDataset(PIXELS, LABELS),
        TensorDataset(PIXELS / 255, LABELS),
        TensorDataset(PIXELS.double() / 255, LABELS),
        listed(AS_ARRAYS),
        listed([image.astype(np.float32) / 255 for image in AS_ARRAYS]),
        listed([Image.fromarray(image) for image in AS_ARRAYS]),
    ],
    ids=["uint8 tensors", "float tensors", "double tensors", "arrays", "float arrays", "PIL images"],
)
def test_every_form_of_an_image_gives_the_same_pixels(data):
    images = Images.of(data, data)
    assert torch.equal(images.train, PIXELS.permute(0, 2, 3, 1))
    assert torch.equal(images.train_labels, LABELS)
    assert torch.equal(images.test, images.train)
    assert images.classes == ("0", "1", "2")


def test_grey_images_have_one_channel_and_classes_keep_their_names():
    class Named(list):
        classes = ("a", "b", "c")

    images = Images.of(
        Named(listed(PIXELS[:, 0])), listed([Image.fromarray(p.numpy()) for p in PIXELS[:, 0]])
    )
    assert images.train.shape == images.test.shape == (6, 4, 4, 1)
    assert torch.equal(images.train, images.test)
    assert images.classes == ("a", "b", "c")


class Augmented:
    """An image that is another one each time."""

    def __init__(self):
        self.read = 0

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        self.read += 1
        return PIXELS[i].roll(self.read, -1), i % 3


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (TensorDataset(PIXELS / 64 - 2, LABELS), "values from -.* Leave Normalize out"),
        (TensorDataset(PIXELS.float(), LABELS), "float values from .* Divide them by 255"),
        (listed([*PIXELS[:5], PIXELS[5, :, :2, :2]]), r"several sizes .*\(2, 2, 3\), \(4, 4, 3\)"),
        (Augmented(), "leave random transforms out"),
        (iter([]), "has no length"),
        ([], "training data are empty"),
        (PIXELS, "Number 0 of the training data is no pair"),
        (TensorDataset(PIXELS, LABELS + 0.5), "no whole number"),
        (TensorDataset(PIXELS, LABELS + 1), r"No training image has the label 0\. .* from 0"),
        (TensorDataset(PIXELS, LABELS - 1), r"A label is -1\. .*return_inverse=True"),
        (TensorDataset(PIXELS, 2 * LABELS), r"label 1, 3\. .*return_inverse=True"),
        (TensorDataset(PIXELS, LABELS % 2), r"label 2\. .* cannot be learned"),
        (
            TensorDataset(PIXELS.permute(0, 2, 3, 1), LABELS),
            r"is a tensor \(4, 4, 3\); a tensor is \(C, H, W\)",
        ),
        (listed(PIXELS.numpy()), r"is an array \(3, 4, 4\); .*an array \(H, W, C\)"),
        (listed(["cat.jpg"] * 6), "A training image is a str"),
        (listed([Image.new("CMYK", (4, 4))] * 6), r"mode 'CMYK': convert it by \.convert"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_in_a_sentence(data, sentence):
    with pytest.raises(InputError, match=sentence):
        Images.of(data, TensorDataset(PIXELS, LABELS))


def test_data_of_this_process_are_named_by_their_content():
    def mine() -> Images:
        return Images.of(TensorDataset(PIXELS, LABELS), TensorDataset(PIXELS, LABELS))

    name = local(mine)
    assert name.startswith("local:mine_")
    assert card(name).num_classes == 3
    assert torch.equal(load(name).images.train, PIXELS.permute(0, 2, 3, 1))
    assert local(mine) == name
    assert local(mine()).split("_")[-1] == name.split("_")[-1]

    def mine() -> Images:  # edited, as a notebook's cell is
        return Images.of(TensorDataset(255 - PIXELS, LABELS), TensorDataset(PIXELS, LABELS))

    assert local(mine) != name
    assert torch.equal(load(name).images.train, PIXELS.permute(0, 2, 3, 1))  # runs of before keep theirs
    flipped = Card(num_classes=3, channels=3, size=4, train=6, test=6, mean=(0.5,) * 3, std=(0.3,) * 3)
    assert card(local(Source(flipped, lambda root: mine()))) == flipped


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((PIXELS, LABELS), r"The data set is a tuple; .* Images\.of\(train, test\)"),
        (lambda: (PIXELS, LABELS), r"returned tuple, .*Images\.of\(train, test\) makes"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (
            lambda: Images.of(TensorDataset(PIXELS, 0 * LABELS), TensorDataset(PIXELS, 0 * LABELS)),
            "has 1 class; a network needs images of two or more",
        ),
        (Images(PIXELS, LABELS, PIXELS, LABELS, ("a", "b", "c"), "here"), r"channels last.* Images\.of"),
        (Images(WIDE, LABELS, WIDE, LABELS, ("a", "b", "c"), "here"), r"images are 3 × 4 pixels .* square"),
    ],
)
def test_other_data_are_refused_with_the_way_to_make_images(given, sentence):
    with pytest.raises(InputError, match=sentence):
        local(given)


def test_data_of_another_process_are_asked_for_again():
    with pytest.raises(
        InputError, match="'local:gone_1234' was handed over in another process; give it again"
    ):
        card("local:gone_1234")
