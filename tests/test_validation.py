"""Learning rates may be chosen on images held out of the training images instead of on the test images."""

import math

import pandas as pd
import pytest
import torch

from lthpaper import data
from lthpaper.checks import check
from lthpaper.data.files import Encoded, Files
from lthpaper.errors import InputError, Stopped
from lthpaper.figures import FIGURES
from lthpaper.report.results_export import export
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import Trial, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.published import Scale
from lthpaper.store.results_check import faults
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.sweep.execute import execute
from lthpaper.training.batches import HostFeed, ResidentFeed
from lthpaper.training.loop import train
from lthpaper.training.pack import Pack
from lthpaper.training.start import start
from lthpaper.training.streaming import StreamedFeed
from lthpaper.verdicts.evidence import UNDECIDED
from lthpaper.verdicts.tickets import JACKPOT, SECONDARY, verdict

CPU = torch.device("cpu")
TASK = Task("mlp", "digits", train_images=120, validation_images=40)
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=30, milestones=())


def rows_of(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("used", [0, 120])
def test_no_image_is_both_trained_on_and_held_out(used):
    whole, divided = data.load("digits", train_images=used), data.load("digits", None, used, 40)
    train, held = rows_of(divided.images.train), rows_of(divided.images.validation)
    assert not train & held
    assert train | held == rows_of(whole.images.train)
    assert len(divided.images.train) == Task("mlp", "digits", 1.0, used, validation_images=40).images
    assert torch.equal(divided.images.test, whole.images.test)
    assert divided.fingerprint == whole.fingerprint  # of the copy, which the division does not change


def test_without_images_held_out_a_task_is_described_as_it_always_was():
    off, on = Task("mlp", "digits"), Task("mlp", "digits", validation_images=40)
    assert "validation_images" not in pretraining(off, RECIPE).description["task"]
    assert pretraining(on, RECIPE).description["task"]["validation_images"] == 40
    assert pretraining(on, RECIPE).digest != pretraining(off, RECIPE).digest


@pytest.mark.parametrize("held", [-1, 2.5, True, 120, 300])
def test_images_held_out_must_leave_some_to_train_on(held):
    with pytest.raises(InputError, match=r"validation_images is .*; it must"):
        Task("mlp", "digits", train_images=120, validation_images=held)


def test_training_records_the_accuracy_on_images_held_out_beside_the_tests():
    images = data.load("digits", None, *TASK.division)
    run = pretraining(TASK, RECIPE)
    (trained,) = train([run], images)
    assert set(trained.curves) == {"train_loss", "test_loss", "test_accuracy", "validation_accuracy"}
    pack = Pack([run], [start(run, None)], images, CPU)
    for name, value in pack.state.items():
        value.data.copy_(trained.weights[name])
    network = pack.forward
    mean, std = (torch.tensor(v) for v in (images.card.mean, images.card.std))
    pixels = (images.images.validation.permute(0, 3, 1, 2) / 255 - mean) / std
    right = network(pack.state, pixels[None], False)[0].argmax(1) == images.images.validation_labels
    assert trained.curves["validation_accuracy"][-1] == pytest.approx(100 * right.double().mean().item())
    (alone,) = train([run], images, curve_points=1)
    assert math.isnan(alone.curves["validation_accuracy"][0])  # tested where the test is
    assert alone.curves["validation_accuracy"][-1] == trained.curves["validation_accuracy"][-1]


class InMemory(Encoded):
    """Images as they lie, in the place of encoded files."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return str(i), self.images[i]

    def described(self):
        return iter(())


def test_every_feed_gives_the_same_images_held_out(monkeypatch):
    found = data.load("digits", None, 120, 40)
    run = pretraining(TASK, RECIPE)
    feeds = [kind([run], found, CPU, torch.float32) for kind in (ResidentFeed, HostFeed)]
    expected, other = (list(one.test_batches(part="validation")) for one in feeds)
    assert all(
        torch.equal(x, y) for a, b in zip(expected, other, strict=True) for x, y in zip(a, b, strict=True)
    )
    assert feeds[0].tested("validation") == 40

    whole = data.load("digits").images
    files = Files(
        InMemory(whole.train), whole.train_labels, InMemory(whole.test), whole.test_labels, whole.classes, ""
    )
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:120]
    files = files.held_out(shuffled[80:]).chosen(shuffled[:80])
    monkeypatch.setattr(
        "lthpaper.data.loader_process.decode", lambda some, *_: torch.stack([image for _, image in some])
    )
    streamed = StreamedFeed(
        [run], data.DataSet("digits", found.card, files, ""), CPU, torch.float32, processes=0
    )
    joined = [torch.cat(parts) for parts in zip(*streamed.test_batches(part="validation"), strict=True)]
    assert all(torch.equal(x, y) for x, y in zip(joined, expected[0], strict=True))


def test_a_stopped_training_goes_on_with_its_validation_curve(tmp_path):
    images, run, steps = data.load("digits", None, *TASK.division), pretraining(TASK, RECIPE), iter(range(9))
    kept = Checkpoints(tmp_path)
    with pytest.raises(Stopped):
        list(train([run], images, checkpoints=kept, stop=lambda: next(steps) == 4))
    assert len(kept.load(run, images.fingerprint).curves["validation_accuracy"]) == 1
    (resumed,), (straight,) = train([run], images, checkpoints=kept), train([run], images)
    assert resumed.curves == straight.curves


def test_results_keep_the_validation_curve_and_publish_it(tmp_path):
    runs = [pretraining(TASK, RECIPE.with_(lr=lr)) for lr in (0.05, 0.1)]
    store = Store(tmp_path / "store")
    execute(runs, store, workers=1, quiet=True)
    kept = [store.get(run).curves["validation_accuracy"] for run in runs]
    images = data.load("digits", None, *TASK.division)
    assert kept == [one.curves["validation_accuracy"] for one in train(runs, images)]
    shown = table([Trial("", 0.0, run) for run in runs], store)
    assert shown["validation_accuracy"].tolist() == [curve[-1] for curve in kept]

    tiny = {"train_images": 60, "epochs": 1, "learning_rates": (0.05,), "rounds": (1,), "network": "mlp"}
    plain, held = (scale("smoke", validation_images=held, **tiny) for held in (0, 20))
    for one in (plain, held):  # a table of both: only some runs have the curve
        execute([trial.run for trial in FIGURES["fig1"].trials(one)], store, workers=1, quiet=True)
        export(["fig1"], one, store, tmp_path / "results")
    layer = Store(tmp_path / "empty", tmp_path / "results")
    for run in {trial.run for one in (plain, held) for trial in FIGURES["fig1"].trials(one)}:
        assert layer.get(run).curves.get("validation_accuracy") == store.get(run).curves.get(
            "validation_accuracy"
        )
    assert not list(faults(Scale(tmp_path / "results" / "smoke")))


def rows(setting, test, validation):
    """Three steady seeds at each learning rate: accuracies on test and on validation images."""
    s = 0.0 if setting == "pretraining" else 0.832
    about = {"network": "resnet20", "data": "cifar10", "epochs": 160, "setting": setting, "sparsity": s}
    return [
        about | {"lr": lr, "seed": i, "accuracy": test[lr] + off, "validation_accuracy": validation[lr] + off}
        for lr in test
        for i, off in enumerate((-0.05, 0.0, 0.05))
    ]


def test_the_rate_that_is_best_on_validation_is_judged_by_its_test_accuracy():
    # LT looks best on the test images at 0.1, on validation images at 0.01
    lt = {0.01: 91.0, 0.1: 92.9}
    other = [
        *rows("pretraining", {0.01: 91.2, 0.1: 93.0}, {0.01: 91.0, 0.1: 93.0}),
        *rows("RR-IMP", {0.01: 85.0, 0.1: 88.0}, {0.01: 85.0, 0.1: 88.0}),
        *rows("SDT", {0.01: 84.0, 0.1: 87.0}, {0.01: 84.0, 0.1: 87.0}),
    ]
    held = verdict(pd.DataFrame([*other, *rows("LT-IMP", lt, {0.01: 92.0, 0.1: 90.0})]))
    assert held[3].best == ("LT-IMP", 0.01)
    assert held[3].difference == pytest.approx(91.0 - 88.0)
    assert "on validation images" in held[3].sentence
    assert held.kind == SECONDARY
    tested = verdict(
        pd.DataFrame([*other, *rows("LT-IMP", lt, {0.01: 92.0, 0.1: 90.0})]).drop(
            columns="validation_accuracy"
        )
    )
    assert tested[3].best == ("LT-IMP", 0.1)
    assert "validation" not in tested[3].sentence


def test_a_choice_by_the_same_seeds_is_called_only_where_all_rates_together_call_it():
    """⑤ fails at the rate that validation chose, and holds at another: the seeds cannot settle it."""
    table = [
        *rows("pretraining", {0.01: 91.2, 0.1: 93.0}, {0.01: 91.0, 0.1: 93.0}),
        *rows("LT-IMP", {0.01: 91.0, 0.1: 92.9}, {0.01: 92.0, 0.1: 90.0}),
    ]
    fifth = verdict(pd.DataFrame(table))[5]
    assert (fifth.holds, fifth.holds_ours) == ("no", "undecided")
    assert fifth.confidence < 0.5


@pytest.mark.parametrize(("dense", "sure"), [(92.0, True), (92.78, False)])
def test_where_the_fifth_condition_holds_the_fourth_does_though_its_chosen_pair_fails(dense, sure):
    """At 0.001 LT is far above pretraining on validation images, and below it on the test images."""
    table = [
        *rows("LT-IMP", {0.001: 60.0, 0.1: 92.3}, {0.001: 61.5, 0.1: 92.3}),
        *rows("pretraining", {0.001: 61.3, 0.1: dense}, {0.001: 60.0, 0.1: dense}),
        *rows("RR-IMP", {0.001: 55.0, 0.1: 88.0}, {0.001: 55.0, 0.1: 88.0}),
        *rows("SDT", {0.001: 50.0, 0.1: 87.0}, {0.001: 50.0, 0.1: 87.0}),
    ]
    judged = verdict(pd.DataFrame(table))
    assert judged[4].difference == pytest.approx(-1.3)
    assert judged[4].holds == judged[5].holds == "yes"
    assert judged[4].confidence == judged[5].confidence
    assert judged[4].holds_ours == judged[5].holds_ours == ("yes" if sure else "undecided")
    assert (judged.kind, judged.kind_ours) == (JACKPOT, JACKPOT if sure else UNDECIDED)


def test_a_check_holds_images_out_for_all_its_runs(tmp_path):
    how = {"learning_rates": (0.05, 0.1), "rounds": (1,), "seeds": 1, "train_images": 120}
    places = {"store": tmp_path / "store", "out": tmp_path, "device": "cpu", "workers": 1}
    mine = check("mlp", recipe=RECIPE, **how, validation_images=40, **places)
    assert {run.task.validation_images for run in mine.runs} == {40}
    mine.train(quiet=True)
    assert mine.results["validation_accuracy"].notna().all()
    sentences = [c.sentence for c in mine.verdicts["verdict"][0].conditions]
    assert any("on validation images" in sentence for sentence in sentences)
