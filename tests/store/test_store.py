"""A result is whole or absent, comes back bit for bit, and nothing damaged is ever taken for one."""

import dataclasses
import json
import math
import multiprocessing
import os
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.runs.masks import dense_mask, global_magnitude
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store import store as store_module
from lthpaper.store.entry import FORMAT, MASK, RESULT, RUN, WEIGHTS
from lthpaper.store.store import Store
from lthpaper.training.result import Trained
from lthpaper.training.start import initial_weights

TASK = Task("resnet8", "digits", width=0.25)
DENSE = pretraining(TASK, Recipe(epochs=2, milestones=(1,)), 0)
SUB = lt_omp(DENSE, 0.6)
FILES = [RESULT, RUN, WEIGHTS, MASK]


def result_of(run: Run, snapshots: tuple[int, ...] = (), accuracy: float = 71.5) -> Trained:
    """What training would leave, with weights that no training was needed for."""
    weights = initial_weights(DENSE)
    noise = torch.Generator().manual_seed(hash(run) % 2**32)
    weights = {
        n: w + torch.rand(w.shape, generator=noise) if w.is_floating_point() else w
        for n, w in weights.items()
    }
    mask = None
    if run.mask is not None:
        whole = dense_mask(weights, tuple(TASK.prunable_weights))
        mask = global_magnitude(weights, whole, round(0.6 * sum(TASK.prunable_weights.values())))
    curves = {"train_loss": [2.0, 1.0], "test_loss": [2.1, 1.2], "test_accuracy": [30.0, accuracy]}
    kept = {epoch: {n: w * epoch for n, w in weights.items()} for epoch in snapshots}
    return Trained(run, weights, mask, curves, kept, seconds=8.0, pack=4, not_stacked="")


def everything_in(store: Store) -> dict[str, bytes]:
    return {str(p.relative_to(store.folder)): p.read_bytes() for p in store.folder.rglob("*") if p.is_file()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(other) or set(one) == set(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        assert tensor.shape == other[name].shape
        assert tensor.numpy().tobytes() == other[name].numpy().tobytes()


def test_a_result_comes_back_bit_for_bit(store):
    trained = result_of(SUB, snapshots=(0, 1))
    assert SUB not in store
    put = store.put(trained, "abc", {"device": "a processor"})
    assert SUB in store
    assert put == store.get(SUB) == next(iter(store))
    assert (put.curves, put.accuracy, put.best_accuracy) == (trained.curves, 71.5, 71.5)
    assert (put.fingerprint, put.seconds, put.provenance["device"]) == ("abc", 2.0, "a processor")
    assert put.kept == sum(int(m.sum()) for m in trained.mask.values())
    total = sum(TASK.prunable_weights.values())
    assert put.sparsity == 1 - put.kept / total == pytest.approx(0.6, abs=1 / total)
    weights, mask = store.weights(SUB)
    assert_same(weights, trained.weights)
    assert_same(mask, trained.mask)
    assert store.snapshots(SUB) == {0, 1}
    for epoch in (0, 1):
        assert_same(store.weights(SUB, epoch)[0], trained.snapshots[epoch])
    assert_same(store.weights(SUB, SUB.recipe.epochs)[0], trained.weights)


def test_a_run_read_from_the_store_alone_is_the_run_with_its_ancestors(store):
    store.put(result_of(SUB), "", {})
    (result,) = store
    assert result.run == SUB
    assert result.run.mask.after == DENSE


def test_what_is_not_there_is_a_key_error(store):
    for look in (lambda: store.get(SUB), lambda: store.weights(SUB)):
        with pytest.raises(KeyError):
            look()
    store.put(result_of(DENSE), "", {})
    with pytest.raises(KeyError, match="after epoch 1"):
        store.weights(DENSE, 1)
    assert list(Store(store.folder / "nothing here")) == []


def test_a_diverged_run_is_kept_as_nan(store):
    trained = result_of(DENSE, accuracy=math.nan)
    trained.curves["train_loss"][1] = math.inf
    first = next(iter(trained.weights))
    trained.weights[first][0] = math.nan
    result = store.put(trained, "", {})
    assert math.isnan(result.accuracy)
    assert math.isnan(result.curves["train_loss"][1])
    assert result.best_accuracy == 30.0
    assert_same(store.weights(DENSE)[0], trained.weights)
    json.loads((result.folder / RESULT).read_text(), parse_constant=pytest.fail)  # NaN is not JSON


def test_a_run_that_was_never_right_has_no_best_accuracy(store):
    trained = dataclasses.replace(result_of(DENSE), curves={"test_accuracy": [math.nan, math.nan]})
    assert math.isnan(store.put(trained, "", {}).best_accuracy)


SHAPES = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@given(shapes=st.lists(SHAPES, min_size=1, max_size=3), seed=st.integers(0, 2**31))
def test_masks_of_any_size_come_back_bit_for_bit(tmp_path_factory, shapes, seed):
    folder = tmp_path_factory.mktemp("mask")
    generator = torch.Generator().manual_seed(seed)
    mask = {f"{i}.weight": torch.rand(shape, generator=generator) < 0.5 for i, shape in enumerate(shapes)}
    store_module.save_mask(mask, folder / MASK)
    files = {MASK: store_module.file_checksum(folder / MASK)}
    assert_same(store_module.load_mask(folder, files), mask)
    on_disk = load_file(folder / MASK)
    assert {n: t.numel() for n, t in on_disk.items()} == {n: -(-m.numel() // 8) for n, m in mask.items()}


# --- whole or absent ---


@pytest.mark.parametrize("at", ["save_tensors", "save_mask", "write_json", "write_result", "sync"])
def test_a_crash_between_two_writes_leaves_no_entry_and_no_draft(store, monkeypatch, at):
    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store_module, at, crash)
        with pytest.raises(KeyboardInterrupt):
            store.put(result_of(SUB, snapshots=(1,)), "", {})
    assert SUB not in store
    assert list(store.folder.iterdir()) == []
    assert store.put(result_of(SUB), "", {}).run == SUB


def test_a_draft_that_a_killed_process_left_is_not_an_entry(store):
    result = store.put(result_of(SUB), "", {})
    result.folder.rename(store.folder / f".draft-{SUB.name}-0123abcd")
    assert SUB not in store
    assert list(store) == []
    assert store.put(result_of(SUB), "", {}).run == SUB


def test_putting_a_run_again_keeps_the_first_result_and_adds_snapshots(store):
    first = store.put(result_of(SUB, snapshots=(0,)), "first", {})
    before = everything_in(store)
    second = store.put(result_of(SUB, snapshots=(1,)), "second", {})
    assert second == first
    assert store.snapshots(SUB) == {0, 1}
    after = everything_in(store)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 1
    store.weights(SUB, 0), store.weights(SUB, 1)


def of_other_bits(run: Run, snapshots: tuple[int, ...]) -> Trained:
    """What training on another device would leave."""
    trained = result_of(run, snapshots, accuracy=60.0)

    def moved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: w + 1 if w.is_floating_point() else w for n, w in weights.items()}

    kept = {epoch: moved(weights) for epoch, weights in trained.snapshots.items()}
    return dataclasses.replace(trained, weights=moved(trained.weights), snapshots=kept)


def set_aside(store: Store) -> list[dict[str, bytes]]:
    return [
        {p.name: p.read_bytes() for p in folder.iterdir()}
        for folder in (store.folder / "replaced").glob(f"*{SUB.name}-*")
    ]


def test_a_snapshot_of_other_bits_comes_with_its_own_result_and_the_first_is_kept_aside(store):
    first = store.put(result_of(SUB, snapshots=(0,)), "first", {})
    before = {p.name: p.read_bytes() for p in first.folder.iterdir()}
    trained = of_other_bits(SUB, snapshots=(1,))
    second = store.put(trained, "second", {})
    assert (second.accuracy, second.fingerprint, store.snapshots(SUB)) == (60.0, "second", {1})
    assert_same(store.weights(SUB)[0], trained.weights)
    assert_same(store.weights(SUB, 1)[0], trained.snapshots[1])
    assert set_aside(store) == [before]
    assert list(store) == [second]


def test_a_training_of_other_bits_that_brings_nothing_new_is_kept_aside(store):
    first = store.put(result_of(SUB, snapshots=(0, 1)), "first", {})
    before = {p.name: p.read_bytes() for p in first.folder.iterdir()}
    alone = Store(store.folder.parent / "alone").put(of_other_bits(SUB, snapshots=(1,)), "second", {})
    assert store.put(of_other_bits(SUB, snapshots=(1,)), "second", {}) == first
    assert {p.name: p.read_bytes() for p in first.folder.iterdir()} == before
    assert set_aside(store) == [{p.name: p.read_bytes() for p in alone.folder.iterdir()}]
    assert list(store) == [first]


def test_an_entry_that_another_process_puts_between_two_steps_loses_no_training(store, monkeypatch):
    """Where the file system has no locks, two processes may train a run to other bits and put it together."""
    store.put(result_of(SUB, snapshots=(0,)), "first", {})
    aside, raced = Store.set_aside, []

    def another_puts_its_own(self, path, where):
        kept = aside(self, path, where)
        if not raced:
            raced.append(path)
            Store(store.folder).put(result_of(SUB, snapshots=(0,)), "third", {})
        return kept

    monkeypatch.setattr(Store, "set_aside", another_puts_its_own)
    trained = of_other_bits(SUB, snapshots=(1,))
    second = store.put(trained, "second", {})
    assert (raced, second.fingerprint, store.snapshots(SUB)) == ([store.path(SUB)], "second", {1})
    assert_same(store.weights(SUB)[0], trained.weights)
    assert len(set_aside(store)) == 2


def test_an_epoch_has_one_snapshot(store):
    first = result_of(SUB, snapshots=(1,))
    store.put(first, "", {})
    second = dataclasses.replace(first, snapshots={0: first.weights, 1: initial_weights(DENSE)})
    store.put(second, "", {})
    assert sorted(p.name[:10] for p in store.path(SUB).glob("epoch-*")) == ["epoch-0000", "epoch-0001"]
    assert_same(store.weights(SUB, 1)[0], first.snapshots[1])


def _put_often(folder: str, gate) -> None:
    gate.wait()
    for epoch in range(5):
        Store(folder).put(result_of(SUB, snapshots=(epoch % 2,)), "", {})


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # quick, and one thread computes here
def test_two_processes_that_put_the_same_run_at_once_leave_one_whole_entry(store):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    gate = context.Barrier(2)
    both = [context.Process(target=_put_often, args=(str(store.folder), gate)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in store.folder.iterdir()] == [SUB.name]
    (result,) = store
    assert result.run == SUB
    for epoch in (None, 0, 1):
        store.weights(SUB, epoch)


# --- damage ---


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    while content[middle : middle + 1].isspace():  # between the words of a JSON file a blank says nothing
        middle += 1
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def emptied(content: bytes) -> bytes:
    return b""


def another(content: bytes) -> bytes:
    return b'{"digest": 3, "files": {}}'


def read_all(store: Store) -> None:
    store.get(SUB)
    list(store)
    store.weights(SUB)


@pytest.mark.parametrize("how", [truncated, flipped, emptied, another])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_and_never_read_as_a_result(store, name, how):
    path = store.put(result_of(SUB), "", {}).folder / name
    path.write_bytes(how(path.read_bytes()))
    with pytest.raises(InputError, match=f"{SUB.name}/{name}") as said:
        read_all(store)
    assert "delete it, and run the same command again" in str(said.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(store, name):
    folder = store.put(result_of(SUB), "", {}).folder
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{SUB.name}.*{name}"):
        read_all(store)


@pytest.mark.parametrize("name", [RUN, WEIGHTS, MASK])
def test_every_bit_counts(store, name):
    path = store.put(result_of(SUB), "", {}).folder / name
    content = path.read_bytes()
    for place in np.linspace(0, len(content) - 1, 25).astype(int):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        with pytest.raises(InputError, match=name):
            read_all(store)
    path.write_bytes(content)
    read_all(store)


@pytest.mark.parametrize(
    "change", [{"kept": 1}, {"curves": {"test_accuracy": [99.0]}}, {"format": 0}, {"files": {}}]
)
def test_an_edited_result_is_refused(store, change):
    path = store.put(result_of(SUB), "", {}).folder / RESULT
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for read in (store.get, store.weights):
        with pytest.raises(InputError, match=RESULT):
            read(SUB)


@pytest.mark.parametrize("how", [truncated, flipped, emptied])
def test_a_damaged_snapshot_is_named_and_the_rest_stays_good(store, how):
    result = store.put(result_of(SUB, snapshots=(1,)), "", {})
    (path,) = result.folder.glob("epoch-0001-*")
    path.write_bytes(how(path.read_bytes()))
    with pytest.raises(InputError, match="epoch-0001"):
        store.weights(SUB, 1)
    read_all(store)


def test_a_file_of_another_run_is_refused(store):
    ours, other = store.put(result_of(SUB), "", {}), store.put(result_of(DENSE), "", {})
    (ours.folder / WEIGHTS).write_bytes((other.folder / WEIGHTS).read_bytes())
    with pytest.raises(InputError, match=WEIGHTS):
        store.weights(SUB)


def test_an_entry_under_another_runs_name_is_refused(store):
    folder = store.put(result_of(SUB), "", {}).folder
    folder.rename(store.path(DENSE))
    with pytest.raises(InputError, match=f"holds the run '{SUB.digest}'"):
        store.get(DENSE)


def test_an_entry_of_a_newer_version_is_refused_as_such(store):
    path = store.put(result_of(SUB), "", {}).folder / RESULT
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    for read in (store.get, store.weights):
        with pytest.raises(
            InputError, match=r"newer lthpaper.*Use the version that wrote it, or move .*--foreign"
        ) as said:
            read(SUB)
        assert "delete" not in str(said.value)


def test_a_store_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(InputError, match="it must be a folder"):
        Store(tmp_path / "store")


# --- names ---


def _own(num_classes: int = 10) -> torch.nn.Module:
    return networks.build("resnet8", num_classes, in_channels=1, width=0.25)


NAMES = ["../../../f", "/f", "..", ".draft-", "", "a b\n\t*?<>|c", "réseau", "x" * 400, "C:\\nul"]


@pytest.mark.parametrize(("module", "attribute"), [("a/../../x", "f"), *(("own", name) for name in NAMES)])
def test_no_name_of_a_network_leaves_the_stores_folder(store, monkeypatch, module, attribute):
    found = types.ModuleType(module)
    setattr(found, attribute, _own)
    monkeypatch.setitem(sys.modules, module, found)
    run = pretraining(Task(f"{module}:{attribute}", "digits"), Recipe(epochs=2, milestones=(1,)))
    folder = store.put(dataclasses.replace(result_of(DENSE), run=run), "", {}).folder
    assert folder.resolve().parent == store.folder.resolve()
    assert list(store.folder.iterdir()) == [folder]
    assert [result.run for result in store] == [run]


def test_names_say_network_data_and_digest():
    assert DENSE.name == f"resnet8-digits-{DENSE.digest}"
    run = pretraining(Task("resnet32-noskip", "cifar10"), Recipe())
    assert run.name == f"resnet32-noskip-cifar10-{run.digest}"


def test_a_store_can_be_a_groups(store):
    before = os.umask(0o022)
    try:
        kept = store.put(result_of(SUB, (0,)), "fingerprint", {})
    finally:
        os.umask(before)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in kept.folder.iterdir())
