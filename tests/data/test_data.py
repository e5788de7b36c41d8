"""Data sets: where they are looked for, what is checked of each, and custom ones."""

import gc
import re
import statistics
import weakref
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from pictures import noise, write_parquet

from lthpaper import data, locations
from lthpaper.data import Images, own
from lthpaper.errors import InputError
from lthpaper.torchvision_compat import torchvision


def test_every_card_fits_the_paper():
    known = {name: source.card for name, source in data.SOURCES.items()}
    assert [known["tiny-imagenet"].num_classes, known["tiny-imagenet"].size] == [200, 64]
    for card in known.values():
        assert len(card.mean) == len(card.std) == card.channels
        assert card.streams or 0 < card.pad < card.size


def test_the_argument_goes_before_the_environment_and_that_before_the_folder_data(monkeypatch):
    assert locations.data_folder() == Path.cwd() / "data"
    monkeypatch.setenv("LTHPAPER_DATA", "elsewhere")
    assert locations.data_folder() == Path.cwd() / "elsewhere"
    assert locations.data_folder("here") == Path.cwd() / "here"


def test_a_notebook_looks_for_data_where_the_project_has_them(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert locations.data_folder() == tmp_path / "data"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "tiny-imagenet"])
def test_a_missing_data_set_says_where_it_was_looked_for_and_what_to_do(name, tmp_path):
    with pytest.raises(
        InputError, match=rf"{name} was not found: looked for .* below {re.escape(str(tmp_path))}.*To get"
    ):
        data.load(name, tmp_path)
    with pytest.raises(InputError, match="is not a folder: name another"):
        data.load(name, tmp_path / "nowhere")


def test_an_incomplete_copy_is_refused_by_its_number_of_images(tmp_path):
    for part in ("train", "test"):
        write_parquet(
            tmp_path / f"cifar10/{part}-00000-of-00001.parquet", noise(10), list(range(10)), "label"
        )
    for read in (data.look_for, data.load):
        with pytest.raises(InputError, match=r"training images of cifar10 .* \(10, 32, 32, 3\); expected"):
            read("cifar10", tmp_path)


def test_labels_beyond_the_classes_are_refused():
    digits = data.load("digits").images
    wrong = replace(digits, test_labels=digits.test_labels + 1)
    with pytest.raises(InputError, match=r"test labels .* run from 1 to 10; expected 0 to 9"):
        data.check("digits", data.card("digits"), wrong, Path())
    with pytest.raises(InputError, match="9 classes; expected 10"):
        data.check("digits", data.card("digits"), replace(digits, classes=digits.classes[1:]), Path())


def test_the_embedded_data_set_needs_no_files(tmp_path):
    digits = data.load("digits", tmp_path, train_images=100)
    assert digits.images.train.shape == (100, 8, 8, 1)
    assert digits.images.test.shape == (1497, 8, 8, 1)
    assert digits.fingerprint == data.load("digits", tmp_path).fingerprint


def test_the_digits_are_split_as_those_of_the_published_results():
    assert data.load("digits").fingerprint == "fedf7da5465a3f7f"


def test_the_fingerprint_tells_one_pixel_and_the_order():
    digits = data.load("digits").images
    pixels = digits.train.clone()
    pixels[0, 0, 0, 0] += 1
    prints = {
        digits.fingerprint,
        replace(digits, train=pixels).fingerprint,
        replace(digits, train=digits.train.flip(0), train_labels=digits.train_labels.flip(0)).fingerprint,
    }
    assert len(prints) == 3


OWN = """
from dataclasses import replace
import torch
from lthpaper.data import Card, Images, Source
calls = 0
def _images(n=6):
    labels = torch.arange(n) % 3
    pixels = torch.zeros(n, 16, 16, 2, dtype=torch.uint8)
    pixels[: n // 2, ..., 0], pixels[..., :8, 1] = 255, 51
    return Images(pixels, labels, pixels[:3], labels[:3], ("a", "b", "c"), "mine")
def stripes():
    global calls
    calls += 1
    return _images()
def rooted(root):
    return Images(**{**vars(_images()), "origin": str(root)})
def floats():
    return Images(**{**vars(_images()), "train": torch.zeros(6, 16, 16, 2)})
def beyond():
    return Images(**{**vars(_images()), "train_labels": torch.arange(6)})
def untested():
    return Images(**{**vars(_images()), "test": torch.zeros(0, 16, 16, 2, dtype=torch.uint8),
                     "test_labels": torch.zeros(0, dtype=torch.int64)})
def nothing():
    return None
def none_trained():
    return Images(**{**vars(_images()), "train": torch.zeros(0, 16, 16, 2, dtype=torch.uint8),
                     "train_labels": torch.zeros(0, dtype=torch.int64)})
def counted():
    return Images(**{**vars(_images()), "classes": 3})
card = Card(3, 2, 16, 6, 3, (0.5, 0.1), (0.5, 0.1))
no_card = Source({"size": 16}, lambda root: _images())
no_spread = Source(replace(card, std=(0.0, 0.1)), lambda root: _images())
unscaled = Source(replace(card, mean=(127.0, 25.0)), lambda root: _images())
one_mean = Source(replace(card, mean=(0.5,), std=(0.5,)), lambda root: _images())
bordered = Source(replace(card, resize=14), lambda root: _images())
broken = Source(card, lambda root: 1 / 0)
tuples = Source(card, lambda root: (1, 2))
def _counted(root):
    global calls
    calls += 1
    return replace(_images(), test=_images().test.clone())  # no view of the training images
decoded = Source(card, _counted)
fewer = Source(replace(card, train=5), lambda root: _images())
known = Source(Card(3, 2, 16, 6, 3, (0.5, 0.1), (0.5, 0.1), pad=1, flip=False), lambda root: _images())
number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> str:
    module = f"own_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return module


def test_the_card_of_ones_own_data_is_worked_out_from_its_images(mine, tmp_path):
    loaded = data.load(f"{mine}:stripes", tmp_path)
    assert loaded.card == replace(
        loaded.card, num_classes=3, channels=2, size=16, train=6, test=3, pad=2, flip=True
    )
    assert loaded.card.mean == pytest.approx((0.5, 0.1))
    assert loaded.card.std == pytest.approx((0.5, 0.1))
    again = data.load(f"{mine}:stripes", tmp_path, train_images=2)
    assert again.images.train.shape == (2, 16, 16, 2)
    assert __import__(mine).calls == 1
    assert data.load(f"{mine}:rooted", tmp_path).images.origin == str(tmp_path)


def test_the_card_of_ones_own_data_is_the_same_to_the_last_digit_on_every_processor():
    pixels, labels = torch.from_numpy(noise(50, 8)), torch.arange(50) % 2
    card = own.card_of(Images(pixels, labels, pixels, labels, ("a", "b"), "drawn"))
    for mean, std, channel in zip(card.mean, card.std, pixels.unbind(-1), strict=True):
        values = channel.flatten().tolist()
        exact = Fraction(sum(values), 255 * len(values))
        assert mean == float(exact)
        assert std == pytest.approx(statistics.pstdev(value / 255 for value in values), rel=1e-15)


def test_a_source_of_ones_own_brings_its_card(mine, tmp_path):
    assert data.card(f"{mine}:known").pad == 1
    assert not data.load(f"{mine}:known", tmp_path).card.flip


def test_what_was_looked_for_is_not_decoded_again(mine, tmp_path):
    name = f"{mine}:decoded"
    data.look_for(name, tmp_path)
    data.look_for(name, tmp_path)
    whole = data.load(name, tmp_path)
    part = data.load(name, tmp_path, train_images=2)
    assert __import__(mine).calls == 1
    assert whole.images.train.shape == (6, 16, 16, 2)
    assert part.images.train.shape == (2, 16, 16, 2)


def test_of_a_part_of_the_training_images_the_rest_is_not_held(mine, tmp_path):
    pixels = weakref.ref(data._whole(f"{mine}:decoded", tmp_path.resolve())[1].train)
    part = data.load(f"{mine}:decoded", tmp_path, train_images=2)
    gc.collect()
    assert pixels() is None
    assert part.fingerprint == data.load(f"{mine}:decoded", tmp_path).fingerprint


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "cannot be imported"),
        ("number", "is a int, not a Source or a function"),
        ("nothing", "returned NoneType"),
        ("floats", "expected uint8"),
        ("untested", "has no test images; a network is trained on some and tested on others"),
        ("none_trained", r"\(0, 16, 16, 2\); expected .* at least one image"),
        ("counted", "classes of these images is 3; it must be the names"),
        ("no_card", "is a dict, not a data.Card"),
        ("no_spread", "std is above 0"),
        ("unscaled", r"of pixels scaled to \[0, 1\]"),
        ("one_mean", r"a number per channel \(2\)"),
        ("bordered", "resize must be at least size"),
        ("beyond", "labels .* run from 0 to 5; expected 0 to 2"),
    ],
)
def test_what_is_no_data_set_is_refused(name, said, mine, tmp_path):
    with pytest.raises(InputError, match=said):
        own.own_source(f"{mine}:{name}", tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", r"failed \(ZeroDivisionError: .*line"),
        ("tuples", "returned tuple"),
        ("fewer", "All images must be as its card says"),
    ],
)
def test_a_loader_of_ones_own_that_fails_is_named(name, said, mine, tmp_path):
    with pytest.raises(InputError, match=said):
        data.load(f"{mine}:{name}", tmp_path)


def test_torchvision_can_be_imported_whatever_torch_is_beside_it():
    module = torchvision()
    assert module is torchvision()
    assert hasattr(torch.ops.torchvision, "nms")
    assert module.models.resnet18(num_classes=2).fc.out_features == 2
