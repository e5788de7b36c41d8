"""Fashion-MNIST and Tiny-ImageNet in their own layouts; a bad copy is named."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded, md5, noise
from PIL import Image

from lthpaper import data
from lthpaper.data import fashion_mnist, tiny_imagenet
from lthpaper.errors import InputError
from lthpaper.torchvision_compat import torchvision


def write_idx(folder: Path, packed: bool) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Four small files; their contents' checksums and arrays."""
    folder.mkdir(parents=True)
    sums, arrays = {}, {}
    for seed, name in enumerate(fashion_mnist.MD5):
        array = noise(5, 28, 1, seed)[..., 0] if "images" in name else np.arange(5, dtype=np.uint8)
        content = (
            bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        )
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
        sums[name], arrays[name] = md5(content), array
    return sums, arrays


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_give_their_pixels(packed, tmp_path):
    sums, arrays = write_idx(tmp_path / "raw", packed)
    images = fashion_mnist.from_folder(tmp_path / "raw", sums)
    assert np.array_equal(images.train[..., 0].numpy(), arrays["train-images-idx3-ubyte"])
    assert np.array_equal(images.test[..., 0].numpy(), arrays["t10k-images-idx3-ubyte"])
    assert images.test_labels.tolist() == [0, 1, 2, 3, 4]
    assert images.train_labels.dtype == torch.int64


def test_bad_copies_of_fashion_mnist_are_named(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    sums, _ = write_idx(folder, packed=True)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz is not the published file"):
        data.load("fashion-mnist", tmp_path)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte.gz is damaged or half-copied"):
        fashion_mnist.from_folder(folder, sums)
    path.unlink()
    with pytest.raises(InputError, match=r"lacks t10k-labels-idx1-ubyte.gz"):
        fashion_mnist.from_folder(folder, sums)
    folder.rename(tmp_path / "FashionMNIST" / "FashionMNIST")
    with pytest.raises(InputError, match="expected the folder raw/"):
        data.load("fashion-mnist", tmp_path)


def test_an_interrupted_download_of_fashion_mnist_goes_on_where_downloads_are_allowed(tmp_path, monkeypatch):
    published = {f"{name}.gz": name.encode() for name in fashion_mnist.MD5}
    for name, content in published.items():
        (tmp_path / name).write_bytes(content)
    vision = torchvision().datasets.FashionMNIST
    monkeypatch.setattr(vision, "mirrors", [f"{tmp_path.as_uri()}/"])
    monkeypatch.setattr(vision, "resources", [(name, md5(content)) for name, content in published.items()])
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("LTHPAPER_DOWNLOAD", "1")
    last = tmp_path / "t10k-labels-idx1-ubyte.gz"
    last.rename(tmp_path / "kept")
    with pytest.raises(InputError, match="could not be downloaded"):
        fashion_mnist.load(tmp_path / "data")
    monkeypatch.delenv("LTHPAPER_DOWNLOAD")
    with pytest.raises(InputError, match=r"lacks t10k-labels.* or set LTHPAPER_DOWNLOAD=1"):
        fashion_mnist.from_folder(tmp_path / "data" / "FashionMNIST" / "raw", {last.stem: ""})
    monkeypatch.setenv("LTHPAPER_DOWNLOAD", "1")
    (tmp_path / "kept").rename(last)
    with pytest.raises(InputError, match="is damaged"):  # all four are there, and the first is no gzip file
        fashion_mnist.load(tmp_path / "data")
    assert not fashion_mnist.lacking(tmp_path / "data" / "FashionMNIST" / "raw")


@pytest.mark.skipif(
    not fashion_mnist.DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_debians_copy_is_the_published_one(tmp_path):
    images = data.load("fashion-mnist", tmp_path).images
    assert images.train_labels.bincount().tolist() == [6000] * 10


@pytest.fixture
def tiny(tmp_path) -> Path:
    """Two classes of two training images, three validation images; one is grey."""
    folder = tmp_path / "tiny-imagenet-200"
    pictures = noise(7, 64)
    for c, wnid in enumerate(("n02", "n01")):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        for i in range(2):
            path = folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG"
            grey = (c, i) == (0, 0)
            path.write_bytes(encoded(pictures[2 * c + i][..., :1] if grey else pictures[2 * c + i], "JPEG"))
    (folder / "val" / "images").mkdir(parents=True)
    lines = []
    for i, wnid in enumerate(("n02", "n01", "n02")):
        (folder / "val" / "images" / f"val_{i}.JPEG").write_bytes(encoded(pictures[4 + i], "JPEG"))
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    return folder


def test_tiny_imagenet_takes_its_labels_from_folders_and_annotations(tiny):
    images = tiny_imagenet.read(tiny).decoded(64, 3)
    assert images.classes == ("n01", "n02")
    assert images.train.shape == (4, 64, 64, 3)
    assert images.train_labels.tolist() == [0, 0, 1, 1]
    assert images.test_labels.tolist() == [1, 0, 1]
    for i in range(3):  # sorted by name, whatever the order of the annotations
        with Image.open(tiny / "val" / "images" / f"val_{i}.JPEG") as picture:
            assert np.array_equal(images.test[i].numpy(), np.asarray(picture))
    grey = images.train[2]  # n02_0
    assert torch.equal(grey[..., 0], grey[..., 1])
    assert torch.equal(grey[..., 0], grey[..., 2])
    assert not torch.equal(images.train[3][..., 0], images.train[3][..., 1])


def test_bad_copies_of_tiny_imagenet_are_named(tiny, tmp_path):
    notes = tiny / "val" / "val_annotations.txt"
    good = notes.read_text()
    for line, said in [
        ("val_3.JPEG\tn03\t0\t0\t1\t1\n", "Line 4 of .*one of the 2 classes"),
        ("../../train/n01/images/n01_0.JPEG\tn01\t0\t0\t1\t1\n", "Line 4 of .*new file name"),
        ("val_9.JPEG\tn01\t0\t0\t1\t1\n", "do not match: 1 files .* such as val_9.JPEG"),
    ]:
        notes.write_text(good + line)
        with pytest.raises(InputError, match=said):
            tiny_imagenet.load(tmp_path)
    notes.write_text(good)
    bad = tiny / "train" / "n01" / "images" / "n01_1.JPEG"
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"n01/images/n01_1.JPEG is damaged \(.*truncated"):
        tiny_imagenet.load(tmp_path).decoded(64, 3)
    bad.write_bytes(b"")
    with pytest.raises(InputError, match=r"n01/images/n01_1.JPEG is damaged \(the file is empty"):
        tiny_imagenet.load(tmp_path)
    bad.write_bytes(content)
    with pytest.raises(InputError, match="has 4 training images; expected 100,000"):
        data.load("tiny-imagenet", tmp_path)
    notes.unlink()
    with pytest.raises(InputError, match=r"val holds images; expected .*not sorted into classes"):
        tiny_imagenet.load(tmp_path)
    shutil.rmtree(tiny / "train")
    with pytest.raises(InputError, match="holds val; expected train"):
        tiny_imagenet.load(tmp_path)
    tiny.rename(tmp_path / "inner")
    tiny.mkdir()
    (tmp_path / "inner").rename(tiny / tiny.name)
    with pytest.raises(InputError, match="move the inner folder up"):
        tiny_imagenet.load(tmp_path)
    shutil.rmtree(tiny)
    (tmp_path / "tiny-imagenet-200.zip").touch()
    with pytest.raises(InputError, match="To get it, unzip"):
        tiny_imagenet.load(tmp_path)
