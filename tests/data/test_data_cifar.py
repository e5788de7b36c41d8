"""CIFAR in torchvision's layout: nothing is unpickled or unpacked that is not the published file."""

import io
import pickle
import shutil
import tarfile
from http.client import BadStatusLine
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import md5, noise

from lthpaper import data
from lthpaper.data import archives, cifar, cifar10_16
from lthpaper.data.cifar10 import CIFAR10
from lthpaper.data.cifar100 import CIFAR100
from lthpaper.errors import InputError

BOTH = pytest.mark.parametrize("which", [CIFAR10, CIFAR100], ids=lambda which: which.name)


def old_pickle(value: object) -> bytes:
    """As Python 2 and the NumPy of 2009 wrote it: the two booleans of a dtype as the numbers 0 and 1."""
    return pickle.dumps(value, protocol=2).replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


def small_batches(root: Path, which: cifar.Cifar) -> type:
    """A few images in torchvision's layout, and torchvision's class with their checksums for published."""
    published = cifar.vision_class(which)
    folder = root / published.base_folder
    folder.mkdir(parents=True)
    key = "labels" if which is CIFAR10 else "fine_labels"
    sums = {}
    for seed, (name, _) in enumerate(published.train_list + published.test_list):
        pixels = noise(4, seed=seed).transpose(0, 3, 1, 2).reshape(4, -1)  # channels first, flat
        content = old_pickle({"data": pixels, key: [seed, 1, 2, 3]})
        (folder / name).write_bytes(content)
        sums[name] = md5(content)
    content = old_pickle({published.meta["key"]: list(which.classes)})
    (folder / published.meta["filename"]).write_bytes(content)
    lists = {
        part: [[name, sums[name]] for name, _ in getattr(published, part)]
        for part in ("train_list", "test_list")
    }
    return type("Small", (published,), {**lists, "meta": {**published.meta, "md5": md5(content)}})


def small_archive(root: Path, vision: type, extra=()) -> type:
    """The folder packed into the archive's name and removed; the class with the archive's checksum."""
    archive = root / vision.filename
    with tarfile.open(archive, "w:gz") as tar:
        for member, content in extra:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        tar.add(root / vision.base_folder, vision.base_folder)
    shutil.rmtree(root / vision.base_folder)
    return type("Packed", (vision,), {"tgz_md5": md5(archive.read_bytes()), "url": archive.as_uri()})


@BOTH
def test_torchvisions_batches_give_their_pixels_and_fine_labels(which, tmp_path):
    images = cifar.from_batches(tmp_path, small_batches(tmp_path, which))
    files = 5 if which is CIFAR10 else 1
    assert np.array_equal(images.train.numpy(), np.concatenate([noise(4, seed=s) for s in range(files)]))
    assert np.array_equal(images.test.numpy(), noise(4, seed=files))
    assert images.train_labels.tolist() == [x for s in range(files) for x in (s, 1, 2, 3)]
    assert images.test_labels.tolist() == [files, 1, 2, 3]
    assert images.classes == which.classes
    assert len(set(which.classes)) == which.card.num_classes
    assert list(which.classes) == sorted(which.classes)  # as class folders would order them


@BOTH
def test_the_names_looked_for_are_torchvisions(which):
    published = cifar.vision_class(which)
    assert (which.batches, which.archive) == (published.base_folder, published.filename)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@BOTH
def test_an_altered_batch_is_never_unpickled(which, tmp_path):
    vision = small_batches(tmp_path, which)
    sprung = tmp_path / "sprung"
    for name in ("test", "meta") if which is CIFAR100 else ("test_batch", "batches.meta"):
        path = tmp_path / which.batches / name
        content = path.read_bytes()
        path.write_bytes(pickle.dumps(Trap(sprung)))
        with pytest.raises(InputError, match=f"{name} is not the published file"):
            cifar.from_batches(tmp_path, vision)
        assert not sprung.exists()
        pickle.loads(path.read_bytes())  # the trap works
        assert sprung.exists()
        sprung.unlink()
        path.write_bytes(content)


def test_bad_copies_of_torchvisions_layout_are_named(tmp_path):
    folder = tmp_path / CIFAR10.batches
    vision = small_batches(tmp_path, CIFAR10)
    (folder / "data_batch_3").write_bytes((folder / "data_batch_3").read_bytes()[:100])
    with pytest.raises(InputError, match="data_batch_3 is not the published file"):
        cifar.from_batches(tmp_path, vision)
    (folder / "data_batch_3").unlink()
    with pytest.raises(InputError, match="lacks data_batch_3"):
        cifar.from_batches(tmp_path, vision)
    inner = tmp_path / "inner"
    folder.rename(inner)
    folder.mkdir()
    with pytest.raises(InputError, match="holds nothing"):
        data.load("cifar10", tmp_path)
    inner.rename(folder / CIFAR10.batches)
    with pytest.raises(InputError, match="move the inner folder"):
        data.load("cifar10", tmp_path)
    with pytest.raises(InputError, match="name the folder above"):
        data.load("cifar10", folder / CIFAR10.batches)
    folder.rename(tmp_path / "other")
    with pytest.raises(InputError, match=r"There is .*other/cifar-10-batches-py: move it up"):
        data.load("cifar10", tmp_path)


def test_a_published_archive_is_unpacked_once(tmp_path):
    vision = small_archive(tmp_path, small_batches(tmp_path, CIFAR10))
    packed = cifar.from_batches(tmp_path, vision)
    (tmp_path / vision.filename).unlink()
    assert cifar.from_batches(tmp_path, vision).fingerprint == packed.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == [vision.base_folder]


def test_an_archive_cannot_write_outside_its_folder(tmp_path):
    root = tmp_path / "root"
    vision = small_batches(root, CIFAR10)
    link = tarfile.TarInfo("cifar-10-batches-py/link")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    names = (
        "../evil",
        "cifar-10-batches-py/../../evil",
        str(tmp_path / "evil"),
        "cifar-10-batches-py/link/evil",
    )
    vision = small_archive(root, vision, [(link, b""), *((tarfile.TarInfo(name), b"evil") for name in names)])
    images = cifar.from_batches(root, vision)
    assert len(images.train) == 20
    assert not list(tmp_path.rglob("evil"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root"]
    assert not (root / vision.base_folder / "link").is_symlink()


def test_an_archive_with_a_link_for_a_batch_is_refused(tmp_path):
    vision = small_batches(tmp_path, CIFAR10)
    link = tarfile.TarInfo("cifar-10-batches-py/test_batch")
    link.type, link.linkname = tarfile.SYMTYPE, "../../elsewhere"
    vision = small_archive(tmp_path, vision, [(link, b"")])
    with pytest.raises(InputError, match=r"test_batch .* is not a plain file"):
        cifar.from_batches(tmp_path, vision)
    assert [path.name for path in tmp_path.iterdir()] == [vision.filename]


def test_a_half_downloaded_archive_is_refused(tmp_path):
    vision = small_archive(tmp_path, small_batches(tmp_path, CIFAR10))
    archive = tmp_path / vision.filename
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(InputError, match="incomplete or not the published archive"):
        cifar.from_batches(tmp_path, vision)
    with pytest.raises(InputError, match="incomplete or not the published archive"):
        data.load("cifar10", tmp_path)


def test_a_download_arrives_whole_or_not_at_all(tmp_path):
    source = tmp_path / "source"
    vision = small_archive(source, small_batches(source, CIFAR10))
    cifar.download(tmp_path / "data", vision)
    assert len(cifar.from_batches(tmp_path / "data", vision).test) == 4
    with pytest.raises(InputError, match="not the published file"):
        archives.download(vision.url, tmp_path / "other" / "file", "0" * 32)
    with pytest.raises(InputError, match="could not be downloaded"):
        archives.download((tmp_path / "absent").as_uri(), tmp_path / "other" / "file", "0" * 32)
    assert not list((tmp_path / "other").iterdir())


class Cut(io.BytesIO):
    """A response that ends before its last bytes have come."""

    length = 7


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: BadStatusLine("hello"), r"in 1 try \(hello\); try again"),
        (lambda: Cut(b"abc"), "in 1 try .*ended after 3 of 7 bytes"),
    ],
    ids=["no HTTP", "cut off"],
)
def test_what_goes_wrong_with_a_connection_is_a_sentence(answer, said, tmp_path, monkeypatch):
    def urlopen(*_, **__):
        given = answer()
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(archives, "WAITS", ())
    monkeypatch.setattr(archives.urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError, match=f"could not be downloaded .*{said}"):
        archives.download("http://example.org/file", tmp_path / "file", "0" * 32)
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_cannot_be_fetched_says_so(tmp_path):
    with pytest.raises(InputError, match="tiny-imagenet cannot be downloaded"):
        data.download("tiny-imagenet", tmp_path)


def test_a_halved_pixel_is_the_mean_of_four_rounded_half_up():
    images = torch.from_numpy(noise(3, size=32, seed=1))
    halved = cifar10_16.halved(images)
    means = images.double().numpy().reshape(3, 16, 2, 16, 2, 3).mean((2, 4))
    assert halved.dtype == torch.uint8
    assert np.array_equal(halved.numpy(), np.floor(means + 0.5))


def test_cifar10_16_is_the_same_photographs_and_labels_in_the_same_order(tmp_path, monkeypatch):
    vision = small_batches(tmp_path, CIFAR10)
    monkeypatch.setattr(cifar, "vision_class", lambda which: vision)
    whole, halved = (data.source(name).load(tmp_path) for name in ("cifar10", "cifar10-16"))
    assert torch.equal(halved.train, cifar10_16.halved(whole.train))
    assert torch.equal(halved.test_labels, whole.test_labels)
    assert halved.classes == whole.classes
