"""ImageNet in its three layouts gives the same photographs; a bad copy is named before it is trained on."""

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pictures import encoded, md5, noise
from scipy.io import savemat

from lthpaper import cache, data
from lthpaper.data import examine, folders, imagenet, own, tars
from lthpaper.data.files import Files
from lthpaper.errors import InputError
from lthpaper.training import streaming

WNIDS = ("n01", "n02", "n03")


@pytest.fixture
def pictures() -> dict[str, list[tuple[str, bytes, int]]]:
    """Part -> (name, JPEG, label), in the order of class folders; four training images a class."""
    made = [encoded(image, "JPEG") for image in noise(18, 24)]
    train = [(f"{WNIDS[i // 4]}_{i:02}.JPEG", made[i], i // 4) for i in range(12)]
    labels = (2, 0, 1, 0, 2, 1)  # of the validation images in the order of their names
    val = [(f"ILSVRC2012_val_{i:08}.JPEG", made[12 + i], label) for i, label in enumerate(labels)]
    return {"train": train, "val": sorted(val, key=lambda row: row[2])}


def write_folders(root: Path, pictures, flat: bool = False) -> Path:
    for part, rows in pictures.items():
        for name, content, label in rows:
            folder = root / "imagenet" / part / ("" if flat and part == "val" else WNIDS[label])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return root / "imagenet"


def write_kit(folder: Path, pictures, monkeypatch) -> None:
    """A development kit: numbers of classes in another order than that of the wnids, as in the real one."""
    number = {label: 3 - label for label in range(3)}
    kind = [("ILSVRC2012_ID", object), ("WNID", object), ("num_children", object)]
    synsets = np.array([(number[i], wnid, 0) for i, wnid in enumerate(WNIDS)] + [(4, "n9", 3)], dtype=kind)
    mat = io.BytesIO()
    savemat(mat, {"synsets": synsets[:, None]})
    truth = "\n".join(str(number[label]) for _, _, label in sorted(pictures["val"]))
    members = {"ILSVRC2012_validation_ground_truth.txt": truth.encode(), "meta.mat": mat.getvalue()}
    path = folder / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(imagenet, "_published", lambda: md5(path.read_bytes()))


def write_parquet(root: Path, pictures, names: tuple[str, ...] = WNIDS) -> Path:
    """The hub's layout: two training shards, row groups of two images."""
    folder = root / "imagenet" / "data"
    folder.mkdir(parents=True)
    features = {"info": {"features": {"label": {"names": names}}}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parts = {
        "train-00000-of-00002": pictures["train"][:5],
        "train-00001-of-00002": pictures["train"][5:],
        "validation-00000-of-00001": pictures["val"],
        "test-00000-of-00001": [(name, content, -1) for name, content, _ in pictures["val"]],
    }
    for name, rows in parts.items():
        images = pa.array([{"bytes": content, "path": name} for name, content, _ in rows], kind)
        table = pa.table({"image": images, "label": pa.array([row[2] for row in rows], pa.int64())})
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=2)
    return folder


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_tars(root: Path, pictures) -> Path:
    folder = root / "imagenet"
    folder.mkdir()
    parts = {
        "imagenet1k-train-0000": pictures["train"][:5],
        "imagenet1k-train-0001": pictures["train"][5:],
        "imagenet1k-validation-00": pictures["val"],
    }
    for shard, rows in parts.items():
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for name, content, label in rows:
                key = Path(name).stem
                add(tar, f"{key}.cls", str(label).encode())
                add(tar, f"{key}.jpg", content)
                add(tar, f"{key}.json", b"{}")
    return folder


def assert_read(files: Files, pictures) -> None:
    for items, labels, rows in (
        (files.train, files.train_labels, pictures["train"]),
        (files.test, files.test_labels, pictures["val"]),
    ):
        assert [content for _, content in items] == [content for _, content, _ in rows]
        assert labels.tolist() == [label for _, _, label in rows]
        assert labels.dtype == torch.int64


def test_every_layout_gives_the_photographs_and_labels(pictures, tmp_path, monkeypatch):
    sorted_, flat, shards, columns = (tmp_path / name for name in ("sorted", "flat", "tars", "parquet"))
    write_folders(sorted_, pictures)
    write_kit(write_folders(flat, pictures, flat=True), pictures, monkeypatch)
    shards.mkdir()
    write_tars(shards, pictures)
    write_parquet(columns, pictures)
    found = [imagenet.load(root) for root in (sorted_, flat, shards, columns)]
    for files in found:
        assert_read(files, pictures)
    assert [files.classes for files in found] == [WNIDS, WNIDS, ("0", "1", "2"), WNIDS]
    assert found[0].fingerprint == found[1].fingerprint  # the same files, however they are sorted
    assert_read(imagenet.load(shards), pictures)  # from the remembered index


def test_a_remembered_index_that_is_damaged_is_made_again(pictures, tmp_path):
    shards = [write_tars(tmp_path, pictures) / "imagenet1k-validation-00.tar"]
    tars.read(shards)
    index = max(cache.place("").glob("tars-*"), key=lambda path: path.stat().st_mtime_ns)
    whole, array = index.read_bytes(), io.BytesIO()
    np.save(array, np.arange(3))
    for content in (b"", whole[:-50], whole[:200] + whole[300:], b"{}", array.getvalue()):
        index.write_bytes(content)
        items, labels = tars.read(shards)
        assert [content for _, content in items] == [content for _, content, _ in pictures["val"]]
        assert labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert index.read_bytes() == whole


def test_the_card_is_imagenets():
    card = data.card("imagenet")
    assert (card.num_classes, card.train, card.test) == (1000, 1_281_167, 50_000)
    assert (card.size, card.resize, card.streams) == (224, 256, True)


def test_an_incomplete_imagenet_is_refused(pictures, tmp_path):
    write_folders(tmp_path, pictures)
    with pytest.raises(InputError, match=r"has 12 training images; expected 1,281,167\. .* custom data set"):
        data.load("imagenet", tmp_path)


def test_the_fingerprint_tells_a_label_an_order_and_a_content(pictures, tmp_path):
    files = imagenet.from_folders(write_folders(tmp_path, pictures))
    some = files.chosen(torch.tensor([5, 3]))
    assert [content for _, content in some.train] == [pictures["train"][i][1] for i in (5, 3)]
    assert some.train_labels.tolist() == [1, 0]
    prints = {files.fingerprint}
    path = tmp_path / "imagenet/train/n01/n01_00.JPEG"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    prints |= {
        some.fingerprint,
        files.chosen(torch.tensor([3, 5])).fingerprint,
        replace(files, train_labels=files.train_labels.flip(0)).fingerprint,
        imagenet.from_folders(tmp_path / "imagenet").fingerprint,
    }
    assert len(prints) == 5


def test_images_stored_together_are_shuffled_among_their_neighbours(pictures, tmp_path, monkeypatch):
    write_parquet(tmp_path, pictures)
    items = imagenet.load(tmp_path).train
    assert items.groups.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6]
    monkeypatch.setattr(streaming, "MIXED", 4)
    orders = [streaming.order(items, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len(set(map(tuple, orders))) == 3
    for order in orders:
        assert sorted(order) == list(range(12))
        together = [{int(items.groups[i]) for i in order[first : first + 4]} for first in (0, 4, 8)]
        assert max(map(len, together)) <= 4
    assert streaming.order(items, 0, 0).tolist() == orders[0]


def test_bad_class_folders_are_named(pictures, tmp_path, monkeypatch):
    folder = write_folders(tmp_path, pictures, flat=True)
    with pytest.raises(InputError, match=r"no class folders: put ILSVRC2012_devkit_t12.tar.gz .* or sort"):
        imagenet.load(tmp_path)
    kit = folder / "ILSVRC2012_devkit_t12.tar.gz"
    kit.write_bytes(b"half")
    with pytest.raises(InputError, match="incomplete or not the published archive"):
        imagenet.load(tmp_path)
    write_kit(folder, pictures, monkeypatch)
    extra = folder / "val" / "more.JPEG"
    extra.write_bytes(pictures["val"][0][1])
    with pytest.raises(InputError, match="holds 7 images, and the development kit has labels of 6"):
        imagenet.load(tmp_path)
    extra.unlink()
    (folder / "train" / "n03").rename(tmp_path / "n03")
    with pytest.raises(InputError, match="does not have the 3 classes"):
        imagenet.load(tmp_path)
    (folder / "train" / "n03").mkdir()
    with pytest.raises(InputError, match="train/n03 holds nothing; expected images"):
        imagenet.load(tmp_path)
    (folder / "train" / "train").mkdir()
    with pytest.raises(InputError, match="holds another train: move the inner one up"):
        imagenet.load(tmp_path)


def test_bad_places_are_named(tmp_path):
    with pytest.raises(InputError, match=r"imagenet was not found: .* To get it, register"):
        imagenet.load(tmp_path)
    folder = tmp_path / "imagenet"
    folder.mkdir()
    (folder / "ILSVRC2012_img_train.tar").touch()
    with pytest.raises(InputError, match=r"torchvision.datasets.ImageNet unpacks the published archives"):
        imagenet.load(tmp_path)
    (folder / "train").mkdir()
    with pytest.raises(InputError, match="train holds nothing; expected class folders"):
        imagenet.load(tmp_path)


def test_bad_parquet_shards_are_named(pictures, tmp_path):
    folder = write_parquet(tmp_path, pictures)
    shard = folder / "train-00001-of-00002.parquet"
    whole = shard.read_bytes()
    shard.unlink()
    with pytest.raises(InputError, match="shards 0 of 2 of the train files"):
        imagenet.load(tmp_path)
    shard.write_bytes(whole[:-30])
    with pytest.raises(InputError, match=r"train-00001-of-00002.parquet is not a whole parquet file"):
        imagenet.load(tmp_path)
    pq.write_table(pa.table({"img": [1], "label": [2]}), shard)
    with pytest.raises(InputError, match=r"has the columns img, label; expected image \{bytes, path\}"):
        imagenet.load(tmp_path)
    shard.write_bytes(whole)
    for path in folder.glob("validation-*"):
        path.unlink()
    with pytest.raises(InputError, match="none named validation-"):
        imagenet.load(tmp_path)


def test_bad_tar_shards_are_named(pictures, tmp_path):
    folder = write_tars(tmp_path, pictures)
    shard = folder / "imagenet1k-train-0001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"train-0001.tar .*cut off"):
        imagenet.load(tmp_path)

    def with_members(*members: tuple[str, bytes]) -> list[Path]:
        with tarfile.open(shard, "w") as tar:
            for name, content in members:
                add(tar, name, content)
        return [shard]

    for members, said in (
        ([("a.jpg", b"x")], "has a.jpg but no a.cls"),
        ([("a.jpg", b"x"), ("a.cls", b"cat")], "a.cls in .* holds b'cat'; expected the number"),
        ([("a.jpg", b"x"), ("a.png", b"y"), ("a.cls", b"1")], "two images of the key a"),
        ([("a.jpg", b""), ("a.cls", b"1")], "a.jpg in .* is empty or cut off"),
        ([("a.txt", b"x")], "holds no images"),
    ):
        with pytest.raises(InputError, match=said):
            tars.read(with_members(*members))
    with tarfile.open(shard, "w") as tar:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(InputError, match=r"a.jpg in .* is not a plain file"):
        tars.read([shard])
    items, _ = tars.read(with_members(("../../a.jpg", b"outside"), ("../../a.cls", b"0")))
    assert items[0][1] == b"outside"  # read from where it lies, never written
    with tarfile.open(shard, "w:gz") as tar:
        add(tar, "a.jpg", b"x")
    with pytest.raises(InputError, match=r"is not a whole tar file .*shards must not be compressed"):
        tars.read([shard])


def test_bad_images_are_named_before_training(pictures, tmp_path):
    folder = write_folders(tmp_path, pictures)
    train = folder / "train"
    (train / "n01" / "n01_00.JPEG").write_bytes(pictures["train"][0][1][:-300])
    (train / "n01" / "n01_01.JPEG").write_bytes(b"<html>not found</html>")
    (train / "n02" / "n02_04.JPEG").write_bytes(encoded(noise(1, 24)[0], "PNG"))  # it may be
    with pytest.raises(InputError) as caught:
        examine.look(imagenet.from_folders(folder))
    assert "n01_00.JPEG is damaged (image file is truncated" in str(caught.value)
    assert "n01_01.JPEG is damaged (not a PNG or JPEG image)" in str(caught.value)
    assert "n02" not in str(caught.value)
    for i in (0, 1):
        (train / "n01" / f"n01_{i:02}.JPEG").write_bytes(pictures["train"][i][1])
    files = imagenet.from_folders(folder)
    examine.look(files)
    (train / "n01" / "n01_00.JPEG").write_bytes(b"")
    with pytest.raises(InputError, match=r"n01_00.JPEG is damaged \(the file is empty\)"):
        imagenet.from_folders(folder)


def test_a_small_image_in_a_shard_is_looked_at_to_its_own_end(pictures, tmp_path):
    contents = [content for _, content, _ in pictures["train"][:3]]
    contents[0] = contents[0][:-300]  # the next image ends within the 4,096 bytes from where it begins
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for key, content in zip("abc", contents, strict=True):
            add(tar, f"{key}.jpg", content)
        for key in "abc":
            add(tar, f"{key}.cls", b"0")
    items, labels = tars.read([tmp_path / "a.tar"])
    with pytest.raises(InputError, match=r"a.jpg in .*a.tar is damaged \(image file is truncated"):
        examine.look(Files(items, labels, items, labels, ("0",), "tar files"))
    assert [items.ends(i)[1:] for i in range(3)] == [(content[:16], content) for content in contents]


def test_of_a_large_image_in_a_shard_the_last_4096_bytes_are_looked_at(tmp_path):
    content = encoded(noise(1, 64)[0])
    assert len(content) > 2 * 4096
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for key in "ab":
            add(tar, f"{key}.cls", b"0")
            add(tar, f"{key}.png", content)
    items, _ = tars.read([tmp_path / "a.tar"])
    assert [items.ends(i)[1:] for i in (0, 1)] == [(content[:16], content[-4096:])] * 2


OWN = """
from lthpaper.data import folders
def photographs(root): return folders.files(root / "imagenet")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> str:
    module = f"own_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{module}:photographs"


def test_photographs_of_ones_own_are_one_function(pictures, mine, tmp_path):
    write_folders(tmp_path, pictures)
    found = data.load(mine, tmp_path, train_images=7)
    assert found.card == replace(imagenet.CARD, num_classes=3, train=12, test=6)
    assert found.card.streams
    assert len(found.images.train) == len(found.images.train_labels) == 7
    assert found.fingerprint == data.load(mine, tmp_path).fingerprint
    assert list(examine.every_image(mine, tmp_path)) == []


def test_every_image_can_be_decoded_once(pictures, mine, tmp_path):
    folder = write_folders(tmp_path, pictures)
    content = pictures["train"][5][1]
    hole = content[: len(content) // 2] + content[-2:]  # begins and ends as it should
    (folder / "train" / "n02" / "n02_05.JPEG").write_bytes(hole)
    data.load(mine, tmp_path)
    (sentence,) = examine.every_image(mine, tmp_path)
    assert "n02_05.JPEG is damaged (" in sentence


REAL = Path(os.environ.get("LTHPAPER_TEST_DATA", "nowhere")) / "imagenet-sample"


@pytest.mark.skipif(not REAL.is_dir(), reason="LTHPAPER_TEST_DATA names no imagenet-sample")
def test_real_photographs_are_read(monkeypatch):
    files = folders.files(REAL)
    examine.look(files)
    card = own.card_of(files)
    assert card.num_classes == len(files.train) > 30
    pixels = streaming.test_pixels(files.test, range(len(files.test)), card)
    assert pixels.shape == (len(files.test), 224, 224, 3)
    assert pixels.dtype == torch.uint8
    means = pixels.double().mean((0, 1, 2)) / 255
    assert torch.allclose(means, torch.tensor(card.mean, dtype=torch.float64), atol=0.1)
    grey = [torch.equal(image[..., 0], image[..., 1]) for image in pixels]
    assert 1 <= sum(grey) < len(grey) / 2
