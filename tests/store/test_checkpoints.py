"""A training that was stopped, at whatever step, ends with the bits of one that never was."""

import errno
import gc
import json
import math
import shutil
import time
import weakref
from dataclasses import replace
from pathlib import Path

import plain_loop
import pytest
import torch
from plain_loop import bits, few_digits
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lthpaper.errors import InputError, Stopped
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store import checkpoints
from lthpaper.store.checkpoints import DESCRIPTION, Checkpoints
from lthpaper.training import loop
from lthpaper.training.loop import train, where
from lthpaper.training.result import Trained

FEW = few_digits(train=70, test=40)  # three steps an epoch, the last one smaller
TASK = Task("resnet8", "digits")
SHORT = Recipe(epochs=3, lr=0.05, batch_size=25, milestones=(2,))


def same_bits(one: Trained, other: Trained) -> bool:
    """θT, batch-norm statistics, curves and snapshots; NaN equals NaN."""
    snapshots = [{epoch: bits(w) for epoch, w in t.snapshots.items()} for t in (one, other)]
    return plain_loop.same_bits(one, other) and snapshots[0] == snapshots[1]


def runs(count: int, **recipe: object) -> list[Run]:
    return [pretraining(TASK, SHORT.with_(lr=0.01 * (seed + 1), **recipe), seed) for seed in range(count)]


class After:
    """Says "stop" when it was asked so many times."""

    def __init__(self, steps: int):
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def stopped(wanted: list[Run], folder: Path, steps: int, **options: object) -> Checkpoints:
    """Train for so many steps, stop, and give back what is kept."""
    kept = Checkpoints(folder)
    with pytest.raises(Stopped):
        list(train(wanted, FEW, checkpoints=kept, stop=After(steps), **options))
    return kept


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def three(request) -> list[Run]:
    return runs(3, precision=request.param)


@pytest.fixture(scope="module")
def undisturbed(three) -> list[Trained]:
    return list(train(three, FEW, keep=dict.fromkeys(three, frozenset({0, 1, 3}))))


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_a_pack_stopped_at_any_step_ends_with_the_same_bits(three, undisturbed, steps, tmp_path):
    keep = dict.fromkeys(three, frozenset({0, 1, 3}))
    kept = stopped(three, tmp_path, steps, keep=keep)
    assert {kept.position(run) for run in three} == {divmod(steps, 3)}
    again = list(train(three, FEW, keep=keep, checkpoints=kept))
    for result, expected in zip(again, undisturbed, strict=True):
        assert same_bits(result, expected)
        assert result.resumed == (where(torch.device("cpu")),)
        assert expected.resumed == ()


def test_so_does_one_that_is_stopped_at_every_step(three, undisturbed, tmp_path):
    for _ in range(8):
        stopped(three[:1], tmp_path, 1)
    (result,) = train(three[:1], FEW, checkpoints=Checkpoints(tmp_path))
    assert same_bits(result, replace(undisturbed[0], snapshots={}))


def test_runs_go_on_in_other_company(three, undisturbed, tmp_path):
    kept = stopped(three, tmp_path, 4)
    (alone,) = train(three[1:2], FEW, checkpoints=kept)
    other = three[0].with_(seed=99)  # has no checkpoint: cannot share their pack
    found = {r.run: r for r in train([three[2], other, three[0]], FEW, checkpoints=kept)}
    assert same_bits(alone, replace(undisturbed[1], snapshots={}))
    for i in (0, 2):
        assert same_bits(found[three[i]], replace(undisturbed[i], snapshots={}))
    assert [found[r].pack for r in (three[0], three[2], other)] == [2, 2, 1]


def test_masks_momentum_mixup_and_micro_batches_go_on_too(tmp_path):
    (dense,) = runs(1)
    (trained,) = train([dense], FEW)
    recipe = SHORT.with_(mixup=0.4, micro_batch=5, weight_decay=0.01)
    sub = lt_omp(dense, 0.8).with_(recipe=recipe)
    options = {"load": lambda run, epoch: (trained.weights, trained.mask)}
    (expected,) = train([sub], FEW, **options)
    kept = stopped([sub], tmp_path, 4, **options)
    (result,) = train([sub], FEW, checkpoints=kept, **options)
    assert same_bits(result, expected)
    assert all((result.weights[n][~m] == 0).all() for n, m in result.mask.items())


def test_a_run_that_has_diverged_goes_on_diverging(tmp_path):
    (run,) = runs(1)
    run = run.with_(recipe=run.recipe.with_(lr=1e6))
    (expected,) = train([run], FEW)
    (result,) = train([run], FEW, checkpoints=stopped([run], tmp_path, 5))
    assert math.isnan(result.accuracy)
    assert same_bits(result, expected)


def test_a_run_whose_parent_was_trained_again_with_other_bits_begins_anew(tmp_path):
    (dense,) = runs(1)
    (first,) = train([dense], FEW)
    (second,) = train([dense.with_(seed=7)], FEW)  # as another device would give
    sub = lt_omp(dense, 0.8)
    kept = stopped([sub], tmp_path, 4, load=lambda run, epoch: (first.weights, first.mask))
    options = {"load": lambda run, epoch: (second.weights, second.mask)}
    (result,) = train([sub], FEW, checkpoints=kept, **options)
    (expected,) = train([sub], FEW, **options)
    assert result.resumed == ()
    assert same_bits(result, expected)
    assert all((result.weights[n][~m] == 0).all() for n, m in result.mask.items())


@pytest.mark.parametrize(("steps", "resumed"), [(2, True), (3, True), (4, False), (7, False)])
def test_a_checkpoint_that_is_past_weights_that_are_wanted_now_is_not_gone_on_from(steps, resumed, tmp_path):
    (run,) = runs(1)
    keep = {run: frozenset({1})}
    (expected,) = train([run], FEW, keep=keep)
    (result,) = train([run], FEW, keep=keep, checkpoints=stopped([run], tmp_path, steps))
    assert same_bits(result, expected)
    assert bool(result.resumed) == resumed


def test_a_packs_memory_is_free_when_its_training_ends(monkeypatch):
    made = []

    class Seen(loop.Pack):
        def __init__(self, *args: object):
            super().__init__(*args)
            made.append(weakref.ref(self))

    monkeypatch.setattr(loop, "Pack", Seen)
    gc.disable()  # no cycle holds it: a GPU's memory would be full before the collector comes
    try:
        list(train(runs(9), FEW))
        assert [seen() for seen in made] == [None, None]
    finally:
        gc.enable()


def test_the_time_of_all_trainings_is_counted(tmp_path):
    (run,) = runs(1)
    kept = stopped([run], tmp_path, 4)
    before = kept.load(run, FEW.fingerprint)
    kept.save(run, replace(before, seconds=1000.0), FEW.fingerprint)
    began = time.perf_counter()
    (result,) = train([run], FEW, checkpoints=kept)
    assert 1000 < result.seconds < 1000 + (time.perf_counter() - began)


def test_checkpoints_come_by_time_and_not_sooner(tmp_path, monkeypatch):
    (run,) = runs(1)

    def seen(folder: Path) -> set[tuple[int, int]]:
        kept, places = Checkpoints(folder), set()
        list(train([run], FEW, checkpoints=kept, on_epoch=lambda _: places.add(kept.position(run))))
        return places

    assert seen(tmp_path / "rare") == {(0, 0)}  # two minutes have not passed
    monkeypatch.setenv("LTHPAPER_CHECKPOINT_SECONDS", "1e-9")
    monkeypatch.setattr("lthpaper.training.loop.SHARE_OF_CHECKPOINTS", math.inf)
    assert seen(tmp_path / "often") == {(0, 2), (1, 2), (2, 2)}  # before the last step of each epoch


def test_a_checkpoint_of_another_copy_of_the_data_is_refused(tmp_path):
    (run,) = runs(1)
    kept = stopped([run], tmp_path, 4)
    with pytest.raises(InputError, match="another copy of digits"):
        list(train([run], replace(FEW, fingerprint="another"), checkpoints=kept))


def damaged_by(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "a bit":
        middle = len(content) * 3 // 4
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif how == "another run's":
        shutil.copy(next(p for p in path.parent.glob("*.safetensors") if p != path), path)
    else:
        with safe_open(path, "pt") as file:
            described = json.loads(file.metadata()[DESCRIPTION])
        described |= {"format": 99} if how == "newer" else {"epoch": 2}
        save_file(load_file(path), path, metadata={DESCRIPTION: json.dumps(described)})


@pytest.mark.parametrize("how", ["cut", "emptied", "a bit", "another run's", "newer", "edited"])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_begins_anew(how, tmp_path):
    one, other = runs(2)
    kept = stopped([one, other], tmp_path, 4)
    damaged_by(kept.path(one), how)
    assert kept.load(one, FEW.fingerprint) is None
    assert not kept.path(one).exists()
    assert [p.name for p in (kept.folder / "damaged").iterdir()] == [kept.path(one).name]
    (result,) = train([one], FEW, checkpoints=kept)
    assert result.resumed == ()
    assert same_bits(result, next(train([one], FEW)))


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale file handle"), MemoryError()])
def test_a_checkpoint_that_cannot_be_read_now_stays_where_it_is(error, tmp_path, monkeypatch):
    def failing(*args: object) -> None:
        raise error

    (run,) = runs(1)
    kept = stopped([run], tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "safe_open", failing)
        with pytest.raises(type(error)):
            kept.load(run, FEW.fingerprint)
    assert kept.load(run, FEW.fingerprint).step == 1


def test_a_result_names_the_code_of_every_training_that_it_went_on_from(tmp_path, monkeypatch):
    (run,) = runs(1)
    for revision in ("one", "other"):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "git_revision", lambda revision=revision: revision)
            stopped([run], tmp_path, 1)
    (result,) = train([run], FEW, checkpoints=Checkpoints(tmp_path))
    assert result.resumed == tuple(f"cpu, torch {torch.__version__}, revision {r}" for r in ("one", "other"))


def test_a_dropped_checkpoint_is_gone_and_dropping_again_is_no_error(tmp_path):
    (run,) = runs(1)
    kept = stopped([run], tmp_path, 4)
    for _ in range(2):
        kept.drop(run)
        assert kept.position(run) == (0, 0)
    assert list(kept.folder.iterdir()) == []


def test_memory_that_does_not_hold_a_pack_holds_its_halves(monkeypatch):
    sizes = []

    class Small(loop.Pack):
        def train_step(self, *batch):
            if len(self.runs) > 2 and self.epoch == 1:
                raise torch.OutOfMemoryError
            sizes.append(len(self.runs))
            return super().train_step(*batch)

    wanted = runs(9)  # a pack of eight, and one
    expected = list(train(wanted, FEW))
    monkeypatch.setattr(loop, "Pack", Small)
    found = {r.run: r for r in train(wanted, FEW)}
    assert all(same_bits(found[r.run], r) for r in expected)
    assert set(sizes) == {8, 4, 2}  # the smallest pack of digits: the ninth run is beside its copy
    assert sorted(r.pack for r in found.values()) == [1, *[2] * 8]
