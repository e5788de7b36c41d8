"""Parquet files and class folders: the images that lie there, and a bad copy is named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded, noise, write_parquet

from lthpaper.data import cifar, folders, parquet
from lthpaper.data.cifar10 import CIFAR10
from lthpaper.data.cifar100 import CIFAR100
from lthpaper.errors import InputError

BOTH = pytest.mark.parametrize("which", [CIFAR10, CIFAR100], ids=lambda which: which.name)


@BOTH
@pytest.mark.parametrize("deeper", [False, True])
def test_parquet_shards_are_read_in_order(which, deeper, tmp_path):
    folder = tmp_path / which.name / (which.parquet_folder if deeper else "")
    train = noise(6)
    write_parquet(folder / "train-00001-of-00002.parquet", train[4:], [7, 8], which.label)
    write_parquet(
        folder / "train-00000-of-00002.parquet", train[:4], [1, 2, 3, 4], which.label, which.classes
    )
    write_parquet(folder / "test-00000-of-00001.parquet", noise(2, seed=1), [5, 6], which.label)
    images = cifar.load(tmp_path, which)
    assert np.array_equal(images.train.numpy(), train)
    assert np.array_equal(images.test.numpy(), noise(2, seed=1))
    assert images.train_labels.tolist() == [1, 2, 3, 4, 7, 8]
    assert images.test_labels.tolist() == [5, 6]


def test_bad_parquet_copies_are_named(tmp_path):
    folder = tmp_path / "cifar10"
    write_parquet(folder / "train-00000-of-00002.parquet", noise(2), [0, 1], "label")
    with pytest.raises(InputError, match="shards 0 of 2 of the train files"):
        cifar.load(tmp_path, CIFAR10)
    whole = folder / "train-00000-of-00001.parquet"
    (folder / "train-00000-of-00002.parquet").rename(whole)
    with pytest.raises(InputError, match="none named test-"):
        cifar.load(tmp_path, CIFAR10)
    test = folder / "test-00000-of-00001.parquet"
    for content, said in [
        (whole.read_bytes()[:-20], "not a whole parquet file"),
        (b"", "not a whole parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git-lfs pointer"),
    ]:
        test.write_bytes(content)
        with pytest.raises(InputError, match=rf"test-00000-of-00001.parquet is .*{said}|{said}"):
            cifar.load(tmp_path, CIFAR10)
    write_parquet(test, noise(2), [0, 1], "fine_label")
    with pytest.raises(InputError, match="has the columns img, fine_label; expected"):
        cifar.load(tmp_path, CIFAR10)
    write_parquet(test, noise(2), [0, 1], "label", names=reversed(CIFAR10.classes))
    with pytest.raises(InputError, match=r"classes in .* are not the expected"):
        cifar.load(tmp_path, CIFAR10)
    write_parquet(test, noise(2), [0, None], "label")
    with pytest.raises(InputError, match=r"Row 2 of .* no label"):
        cifar.load(tmp_path, CIFAR10)
    write_parquet(test, noise(2, size=28), [0, 1], "label")
    with pytest.raises(InputError, match=r"row 1 of .* is 28×28"):
        cifar.load(tmp_path, CIFAR10)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="cifar10 holds nothing; expected train"):
        cifar.load(tmp_path, CIFAR10)


@pytest.mark.skipif("LTHPAPER_TEST_DATA" not in os.environ, reason="LTHPAPER_TEST_DATA names no CIFAR-10")
def test_the_real_test_images_are_a_thousand_a_class():
    root = Path(os.environ["LTHPAPER_TEST_DATA"])
    folder = parquet.home((root / "cifar10", root / "cifar10/plain_text"))
    found = parquet.files(folder, "test", "img", classes=CIFAR10.classes).decoded(32, 3)
    pixels, labels = found.test, found.test_labels
    assert labels.bincount().tolist() == [1000] * 10
    mean = pixels.double().mean((0, 1, 2)) / 255
    assert torch.allclose(mean, torch.tensor(CIFAR10.card.mean, dtype=torch.float64), atol=0.01)


def write_folders(folder: Path, classes=("bird", "cat"), each: int = 2) -> np.ndarray:
    """Train and test alike; the images in the order that they should be read in."""
    images = noise(len(classes) * each)
    for part in ("train", "test"):
        for c, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for i in range(each):
                (folder / part / name / f"{i}.png").write_bytes(encoded(images[c * each + i]))
    return images


def test_class_folders_are_read_in_sorted_order(tmp_path):
    expected = write_folders(tmp_path / "cifar10")
    (tmp_path / "cifar10" / "train" / ".hidden").mkdir()
    (tmp_path / "cifar10" / "train" / "cat" / "notes.txt").write_text("not an image")
    images = cifar.load(tmp_path, CIFAR10)
    assert np.array_equal(images.train.numpy(), expected)
    assert images.train_labels.tolist() == images.test_labels.tolist() == [0, 0, 1, 1]
    assert images.classes == ("bird", "cat")


def test_bad_class_folders_are_named(tmp_path):
    folder = tmp_path / "set"
    write_folders(folder)
    shutil.rmtree(folder / "test" / "cat")
    with pytest.raises(InputError, match="same classes; only one of them has cat"):
        folders.read(folder, 32, 3)
    (folder / "test" / "cat").mkdir()
    with pytest.raises(InputError, match="test/cat holds nothing; expected images"):
        folders.read(folder, 32, 3)
    shutil.rmtree(folder / "test")
    with pytest.raises(InputError, match="no folder test/ or val/; it holds train"):
        folders.read(folder, 32, 3)
    (folder / "train").rename(folder / "nested")
    (folder / "train").mkdir()
    (folder / "nested").rename(folder / "train" / "train")
    shutil.copytree(folder / "train", folder / "test")
    with pytest.raises(InputError, match="train/train holds bird, cat; expected images"):
        folders.read(folder, 32, 3)


def test_an_image_that_would_be_left_out_is_named(tmp_path):
    write_folders(tmp_path)
    other = tmp_path / "train" / "cat" / "2.webp"
    other.touch()
    with pytest.raises(InputError, match=r"cat/2.webp is none of .png, .jpg, .jpeg: convert it"):
        folders.files(tmp_path)
    other.unlink()
    (tmp_path / "train" / "cat" / "2.png").symlink_to(tmp_path / "moved" / "2.png")
    with pytest.raises(InputError, match=r"cat/2.png cannot be read \(No such file .*if it is a link"):
        folders.files(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"GIF89a nonsense", "not a PNG or JPEG"), (None, "truncated|broken|damaged")],
)
def test_a_damaged_image_is_reported_by_name(content, said, tmp_path):
    write_folders(tmp_path)
    bad = tmp_path / "train" / "cat" / "1.png"
    bad.write_bytes(bad.read_bytes()[:300] if content is None else content)
    with pytest.raises(InputError, match=rf"cat/1.png is damaged \(.*({said})"):
        folders.read(tmp_path, 32, 3)
