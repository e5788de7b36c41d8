"""Streamed, sent from the host or resident, a batch is the same; photographs are cropped by torchvision."""

import multiprocessing
import os
import signal
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from pictures import encoded, noise, write_parquet
from PIL import Image

from benchmarks import loading
from lthpaper import data, memory
from lthpaper.data import Card, DataSet, Images, folders, own, parquet
from lthpaper.data.augment import derived_seed, normalised
from lthpaper.data.files import Files
from lthpaper.errors import InputError
from lthpaper.measures.surfaces import sample
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.task import Task
from lthpaper.torchvision_compat import torchvision
from lthpaper.training import batches as feeds
from lthpaper.training import streaming
from lthpaper.training.batches import HostFeed, ResidentFeed, feed, placed
from lthpaper.training.streaming import StreamedFeed

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_limits(monkeypatch):
    for name in (memory.RESIDENT, memory.HOST):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(streaming.LOADERS, "0")


def run(seed: int = 0, batch: int = 8) -> Run:
    return Run(Task("resnet8", "digits"), Recipe(epochs=3, batch_size=batch), seed=seed)


def folder_of(tmp_path: Path, images: np.ndarray | list[np.ndarray], each: int, kind: str = "PNG") -> Path:
    """Class folders of `each` images a class, the same ones for training and testing."""
    for part in ("train", "val"):
        for i, image in enumerate(images):
            folder = tmp_path / "set" / part / f"n{i // each:02}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i:03}.JPEG").write_bytes(encoded(image, kind))
    return tmp_path / "set"


def photographs(tmp_path: Path, n: int = 42) -> DataSet:
    """Pictures of several sizes, every third grey, as JPEG."""
    draw = np.random.default_rng(0)
    shapes = [(draw.integers(30, 60), draw.integers(30, 60), 1 if i % 3 == 2 else 3) for i in range(n)]
    pictures = [draw.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    files = folders.files(folder_of(tmp_path, pictures, each=n // 6, kind="JPEG"))
    card = replace(own.card_of(files), size=24, resize=28)
    return DataSet("photographs", card, files, files.fingerprint)


@pytest.fixture
def small(tmp_path) -> DataSet:
    return photographs(tmp_path)


def batches(feed: feeds.Feed, epoch: int = 0, first: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(feed.batches(epoch, first))


def assert_same(one: list, other: list) -> None:
    assert len(one) == len(other)
    for (x, labels), (x_, labels_) in zip(one, other, strict=True):
        assert torch.equal(x, x_)
        assert x.stride() == x_.stride()  # another layout, another convolution, other rounding
        assert torch.equal(labels, labels_)


def test_a_batch_is_the_same_for_any_number_of_loaders_and_from_any_step(small, monkeypatch):
    alone = StreamedFeed([run(batch=40)], small, CPU, torch.float32)
    expected = [batches(alone, 0), batches(alone, 1), list(alone.test_batches())]
    state = torch.get_rng_state()
    for count in (1, 2):
        monkeypatch.setenv(streaming.LOADERS, str(count))
        feed = StreamedFeed([run(batch=40)], small, CPU, torch.float32)
        begun = feed.batches(0, 0)
        assert_same([next(begun)], expected[0][:1])  # the rest of the epoch is dropped, as by a stop
        assert_same(batches(feed, 1), expected[1])
        assert_same(list(feed.test_batches()), expected[2])
        assert_same(batches(feed, 0, first=1), expected[0][1:])
        with pytest.raises(RuntimeError, match="another epoch"):
            next(begun)
        feed.close()
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(expected[0][0][0], expected[1][0][0])


def test_training_photographs_are_torchvisions_random_crops_of_all_images_once(small):
    v2 = torchvision().transforms.v2
    transform = v2.Compose([v2.RandomResizedCrop(24), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    feed = StreamedFeed([run(seed=5)], small, CPU, torch.float64)
    x = torch.cat([x[0] for x, _ in batches(feed, epoch=2)])
    labels = torch.cat([labels[0] for _, labels in batches(feed, epoch=2)])
    order = streaming.order(small.images.train, seed=5, epoch=2)
    assert torch.equal(order.sort().values, torch.arange(42))
    assert torch.equal(labels, small.images.train_labels[order])
    for place, i in enumerate(order.tolist()):
        with Image.open(small.images.train.path(i)) as image, torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed("image", 5, 2, place))
            expected = transform(image.convert("RGB"))
        assert torch.equal(x[place], normalised(expected, feed.mean, feed.std, torch.float64))


def test_test_photographs_are_the_middle_in_order(small):
    v2 = torchvision().transforms.v2
    transform = v2.Compose([v2.Resize(28), v2.CenterCrop(24), v2.PILToTensor()])
    feed = StreamedFeed([run()], small, CPU, torch.float32)
    x, labels = (torch.cat(parts) for parts in zip(*feed.test_batches(), strict=True))
    assert torch.equal(labels, small.images.test_labels)
    for i in range(len(labels)):
        with Image.open(small.images.test.path(i)) as image:
            expected = transform(image.convert("RGB"))
        assert torch.equal(x[i], normalised(expected, feed.mean, feed.std, torch.float32))
        assert torch.equal(
            streaming.test_pixels(small.images.test, [i], small.card)[0].permute(2, 0, 1), expected
        )


@pytest.fixture
def three_ways(tmp_path) -> tuple[Card, Images, Files]:
    """Images of one size, in memory and in files."""
    files = folders.files(folder_of(tmp_path, noise(90, 12), each=30))
    images = files.decoded(12, 3)
    return replace(own.card_of(images), pad=2), images, files


def test_resident_sent_from_the_host_and_streamed_give_the_same_bits(three_ways):
    card, images, files = three_ways
    runs = [run(seed, batch=40) for seed in (1, 2)]
    whole, lazy = DataSet("set", card, images, ""), DataSet("set", card, files, "")
    halves, last = lambda n: torch.arange(n // 2, n), lambda n: torch.arange(min(n, 20), n)
    for part in (None, halves, last):  # the last has no part of the third batch, of 10
        resident = ResidentFeed(runs, whole, CPU, torch.float32, part)
        for other in (
            HostFeed(runs, whole, CPU, torch.float32, part),
            StreamedFeed(runs, lazy, CPU, torch.float32, part),
        ):
            for epoch, first in ((0, 0), (1, 1)):
                assert_same(batches(resident, epoch, first), batches(other, epoch, first))
            x, labels = (torch.cat(parts) for parts in zip(*resident.test_batches(), strict=True))
            x_, labels_ = (torch.cat(parts) for parts in zip(*other.test_batches(), strict=True))
            assert torch.equal(x, x_)
            assert torch.equal(labels, labels_)


def test_a_set_just_below_the_limit_is_resident_and_one_just_above_is_not(three_ways, monkeypatch):
    card, images, _ = three_ways
    whole = DataSet("set", card, images, "")
    bytes_needed = 90 * 16 * 16 * 3 + 90 * 12 * 12 * 3 + 8 * 180
    for limit, place, kind in (
        (bytes_needed, "resident", ResidentFeed),
        (bytes_needed - 1, "host", HostFeed),
    ):
        monkeypatch.setenv(memory.RESIDENT, str(limit))
        found, why = placed(whole, CPU)
        assert found == place
        assert "set: 0.11 MB of images, 0.11 MB allowed (by LTHPAPER_RESIDENT_BYTES)" in why
        made = feed([run()], whole, CPU, torch.float32)
        assert (type(made), made.why) == (kind, why)
    monkeypatch.delenv(memory.RESIDENT)
    assert placed(whole, CPU)[0] == "resident"
    assert "half of the" in placed(whole, CPU)[1]
    monkeypatch.setenv(memory.RESIDENT, "a lot")
    with pytest.raises(InputError, match="LTHPAPER_RESIDENT_BYTES is 'a lot'"):
        placed(whole, CPU)


OWN = """
from pathlib import Path
from lthpaper.data import Card, Source, folders
def files(root): return folders.files(root / "set")
card = Card(3, 3, 12, 90, 90, (0.5,) * 3, (0.5,) * 3, pad=2)
noise = Source(card, files)
"""


def test_what_the_host_cannot_hold_stays_in_its_files(three_ways, tmp_path, monkeypatch):
    module = f"own_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    in_memory = 180 * 12 * 12 * 3
    monkeypatch.setenv(memory.HOST, str(in_memory))
    assert isinstance(data.load(f"{module}:noise", tmp_path).images, Images)
    data._load.cache_clear()
    monkeypatch.setenv(memory.HOST, str(in_memory - 1))
    found = data.load(f"{module}:noise", tmp_path, train_images=40)
    assert isinstance(found.images, Files)
    assert placed(found, CPU) == (
        "streamed",
        f"{module}:noise: 130 images, more than the host's memory is to hold: streamed from files",
    )
    data._load.cache_clear()
    monkeypatch.delenv(memory.HOST)
    same = data.load(f"{module}:noise", tmp_path, train_images=40)
    assert found.fingerprint == same.fingerprint  # one copy, whatever memory is free
    streamed, resident = (feed([run()], d, CPU, torch.float32) for d in (found, same))
    assert [type(each) for each in (streamed, resident)] == [StreamedFeed, ResidentFeed]
    assert_same(batches(streamed), batches(resident))


def test_images_of_one_size_in_parquet_files_have_the_order_that_they_have_in_memory(tmp_path):
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-00000-of-00001.parquet", noise(40, 12), [0, 1] * 20, "label")
    files = parquet.files(tmp_path, image="img")
    images = files.decoded(12, 3)
    card = replace(own.card_of(images), pad=2)
    resident = ResidentFeed([run()], DataSet("set", card, images, ""), CPU, torch.float32)
    streamed = StreamedFeed([run()], DataSet("set", card, files, ""), CPU, torch.float32)
    assert_same(batches(resident), batches(streamed))


@pytest.mark.parametrize("count", ["0", "1"])
def test_a_bad_image_met_while_training_is_named(count, small, monkeypatch):
    path = Path(small.images.train.path(3))
    path.write_bytes(path.read_bytes()[:400])
    monkeypatch.setenv(streaming.LOADERS, count)
    feed = StreamedFeed([run()], small, CPU, torch.float32)
    with pytest.raises(InputError, match=r"n00/003.JPEG is damaged \(Truncated File Read\); replace it"):
        batches(feed)
    path.unlink()
    with pytest.raises(InputError, match=r"n00/003.JPEG cannot be read \(No such file"):
        batches(feed)
    feed.close()


def new_processes(before: list[BaseProcess]) -> list[BaseProcess]:
    """Processes of this one that were not there before: a feed's loaders."""
    return [process for process in multiprocessing.active_children() if process not in before]


def test_loader_processes_end_with_their_feed(small, monkeypatch):
    monkeypatch.setenv(streaming.LOADERS, "1")
    for end in ("closed", "forgotten"):
        before = multiprocessing.active_children()
        feed = StreamedFeed([run()], small, CPU, torch.float32)
        next(feed.batches(0, 0))
        (process,) = new_processes(before)
        assert process.is_alive()
        if end == "closed":
            feed.close()
        del feed
        process.join(600)
        assert not process.is_alive()


def test_loader_processes_do_not_run_a_script_without_a_guard_again(small, tmp_path, monkeypatch):
    script, mark = tmp_path / "mine.py", tmp_path / "it ran"
    script.write_text(f"open({str(mark)!r}, 'w').close()")
    main = ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)
    streamed = StreamedFeed([run()], small, CPU, torch.float32, processes=1)
    assert len(next(iter(streamed.batches(0, 0)))) == 2
    streamed.close()
    assert sys.modules["__main__"] is main
    assert not mark.exists()


def test_images_whose_class_stands_in_the_script_stream(small, tmp_path, monkeypatch):
    script = tmp_path / "mine.py"
    script.write_text("from lthpaper.data.files import Chosen\nclass Mine(Chosen): pass\n")
    main = ModuleType("__main__")
    main.__file__ = str(script)
    exec(script.read_text(), vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    train = small.images.train
    mine = replace(small, images=replace(small.images, train=main.Mine(train, np.arange(len(train)))))
    streamed = StreamedFeed([run()], mine, CPU, torch.float32, processes=1)
    assert len(next(iter(streamed.batches(0, 0)))) == 2
    streamed.close()


def test_a_loader_that_is_killed_ends_the_training_with_a_sentence(small, monkeypatch):
    monkeypatch.setenv(streaming.LOADERS, "1")
    before = multiprocessing.active_children()
    feed = StreamedFeed([run()], small, CPU, torch.float32)
    begun = feed.batches(0, 0)
    next(begun)
    (process,) = new_processes(before)
    process.kill()
    process.join()
    with pytest.raises(InputError, match="LTHPAPER_LOADERS"):
        list(begun)
    feed.close()


def train_and_die(folder: Path, pid: Connection) -> None:
    """A training that is killed when its first batch is there; says who its loader process is."""
    files = folders.files(folder)
    feed = StreamedFeed([run()], DataSet("set", own.card_of(files), files, ""), CPU, torch.float32)
    next(feed.batches(0, 0))
    (process,) = new_processes([])
    pid.send(process.pid)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_loader_processes_end_with_a_killed_training(tmp_path, monkeypatch):
    monkeypatch.setenv(streaming.LOADERS, "1")
    folder = folder_of(tmp_path, noise(4), each=2)
    context = streaming.processes_context()
    here, there = context.Pipe(duplex=False)
    training = context.Process(target=train_and_die, args=(folder, there))
    training.start()
    training.join(600)
    assert training.exitcode == -signal.SIGKILL
    status = Path("/proc", str(here.recv()), "status")

    def alive() -> bool:
        try:
            return "State:\tZ" not in status.read_text()  # ended, if nobody has asked how
        except OSError:
            return False

    deadline = time.monotonic() + 600
    while alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive()


def test_the_bench_compares_with_torchvision_on_ones_own_photographs(small, tmp_path, monkeypatch):
    monkeypatch.setenv(streaming.LOADERS, "many")  # it says itself how many processes there are
    theirs, ours = loading.rows(tmp_path / "set", images=50, rounds=1, counts=(0,))
    assert theirs["ratio"] == 1
    assert ours["ratio"] == ours["images_per_s"] / theirs["images_per_s"] > 0


def test_the_number_of_loaders_is_one_a_core_shared_by_a_team(monkeypatch):
    monkeypatch.delenv(streaming.LOADERS)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    all_of_them = streaming.loaders()
    assert all_of_them >= 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * all_of_them))
    assert streaming.loaders() == 1
    monkeypatch.setenv(streaming.LOADERS, "many")
    with pytest.raises(InputError, match="LTHPAPER_LOADERS is 'many'"):
        streaming.loaders()


def test_a_surfaces_images_are_the_same_from_files(three_ways):
    card, images, streamed = three_ways
    one, other = (sample(DataSet("made", card, part, "f"), 5) for part in (images, streamed))
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
