"""What must hold on a CUDA device. On other machines these tests say that they are skipped."""

import math
from dataclasses import replace

import pytest
import torch
from plain_loop import few_digits, plain_training

from lthpaper import data
from lthpaper.errors import Stopped
from lthpaper.runs.masks import dense_mask, global_magnitude
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import dynamic_sparse, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.training import autotune, loop
from lthpaper.training.autotune import PLAIN_FORMS, Choice, choose
from lthpaper.training.forms import Form
from lthpaper.training.loop import train
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import Start, Weights
from lthpaper.training.stacking import STREAMS
from lthpaper.training.start import initial_weights, start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

GPU = torch.device("cuda:0")
TASK = Task("resnet8", "digits")
PARALLEL = Form(stacked=False, graphed=True, parallel=True)
FORMS = [
    *(Form(), Form(channels_last=True), *PLAIN_FORMS, Form(compiled=True, graphed=True)),
    *(replace(PARALLEL, graphed=False), replace(PARALLEL, compiled=True)),
]
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=25, milestones=(1,))
FEW = few_digits(train=70, test=40)  # the last batch is smaller: a second recording


@pytest.fixture(autouse=True, scope="module")
def _repeatable():
    with repeatable(GPU):
        yield


def runs(count: int = 3, **recipe: object) -> list[Run]:
    return [pretraining(TASK, RECIPE.with_(lr=0.02 * (i + 1), **recipe), i) for i in range(count)]


def starts(of: list[Run], sparsity: float = 0.8) -> list[Start]:
    """Masked by the magnitude of θ0, the first run apart."""
    found = [start(of[0], None)]
    for run in of[1:]:
        weights = initial_weights(run)
        whole = dense_mask(weights, tuple(TASK.prunable_weights))
        mask = global_magnitude(weights, whole, round(sparsity * sum(TASK.prunable_weights.values())))
        found.append(Start({n: w.where(mask[n], 0) if n in mask else w for n, w in weights.items()}, mask))
    return found


OTHERS = {"optimizer": "adamw", "clip": 0.5, "decay_norms": False}


@pytest.mark.parametrize("recipe", [{}, OTHERS], ids=["sgd", "adamw"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_in_float64_every_form_is_the_plain_loop(form, recipe):
    wanted = runs(precision="fp64", **recipe)
    begin = starts(wanted)
    pack = Pack(wanted, begin, FEW, GPU, form)
    means = [pack.train_epoch() for _ in range(2)]
    for i in (0, 2):
        losses, network = plain_training(wanted[i], begin[i].weights, begin[i].mask, FEW)
        last = sum(loss * n for loss, n in zip(losses[3:], (25, 25, 20), strict=True)) / 70
        assert float(means[-1][i]) == pytest.approx(last, rel=1e-8)
        for name, weight in network.named_parameters():
            torch.testing.assert_close(pack.weights(i)[name], weight.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", [Form(), Form(graphed=True), Form(compiled=True, graphed=True)], ids=str)
def test_in_float64_a_vision_transformer_is_the_plain_loop(form):
    task = Task("vit", "digits", width=1 / 8)
    recipe = RECIPE.with_(precision="fp64", lr=0.003, **OTHERS)
    wanted = [pretraining(task, recipe, seed) for seed in range(2)]
    pack = Pack(wanted, [start(run, None) for run in wanted], FEW, GPU, form)
    assert pack.not_stacked == ""
    for _ in range(2):
        pack.train_epoch()
    for i, run in enumerate(wanted):
        _, network = plain_training(run, initial_weights(run), None, FEW)
        for name, weight in network.named_parameters():
            torch.testing.assert_close(pack.weights(i)[name], weight.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_recorded_steps_and_changes_of_the_masks_are_those_of_a_cpu(rule):
    dense = pretraining(TASK, RECIPE.with_(precision="fp64", epochs=4, milestones=(2,)), 0)
    run = dynamic_sparse(dense, 0.8, rule, every=3, drop=0.5, until=1.0)
    here, there = (
        Pack([run, run], [start(run, None)] * 2, FEW, device, form)
        for device, form in ((torch.device("cpu"), None), (GPU, Form(graphed=True)))
    )
    for _ in range(4):
        here.train_epoch()
        there.train_epoch()
    for name, weight in here.weights(0).items():
        torch.testing.assert_close(there.weights(0)[name], weight, rtol=1e-6, atol=1e-9)
    assert all(torch.equal(m, there.mask(0)[name]) for name, m in here.mask(0).items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_pruned_weights_are_zero_at_every_step_even_of_a_diverging_run(form, precision):
    wanted = runs(precision=precision, weight_decay=0.1)
    wanted[1] = wanted[1].with_(recipe=wanted[1].recipe.with_(lr=1e6))
    pack = Pack(wanted, starts(wanted), FEW, GPU, form)
    seen = []
    for _ in range(2):
        pack.train_epoch(lambda: seen.append(int((pack.flat[pack.optimizer.pruned] != 0).sum())))
    assert seen == [0] * 6
    assert math.isnan(float(pack.evaluate()[1][1]))
    assert not math.isnan(float(pack.evaluate()[1][0]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recorded_step_has_the_bits_of_the_step_itself(precision):
    wanted = runs(precision=precision)
    for form in PLAIN_FORMS:
        packs = [Pack(wanted, starts(wanted), FEW, GPU, f) for f in (form, replace(form, graphed=False))]
        for _ in range(2):
            assert torch.equal(*(pack.train_epoch() for pack in packs))
        assert torch.equal(packs[0].flat, packs[1].flat)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_training_twice_has_the_same_bits(precision):
    one, two = (list(train(runs(precision=precision), FEW, device=GPU)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        assert all(torch.equal(a.weights[n], b.weights[n]) for n in a.weights)


def trained(of: list[Run], form: Form) -> dict[Run, Weights]:
    pack = Pack(of, [start(run, None) for run in of], FEW, GPU, form)
    for _ in range(2):
        pack.train_epoch()
    return {run: pack.weights(i) for i, run in enumerate(of)}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("form", [PARALLEL, replace(PARALLEL, channels_last=True)], ids=str)
def test_on_parallel_streams_bits_are_those_of_one_by_one_every_time_and_in_every_place(form, precision):
    wanted = runs(STREAMS + 3, precision=precision)  # some share a stream
    expected = trained(wanted, replace(form, parallel=False))
    for order in (wanted, wanted, wanted[::-1], wanted[3:] + wanted[:3]):
        for run, weights in trained(order, form).items():
            assert all(torch.equal(weights[n], expected[run][n]) for n in weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_neighbour_that_diverges_changes_nothing(precision):
    wanted = runs(precision=precision)
    wild = [wanted[0], wanted[1].with_(recipe=wanted[1].recipe.with_(lr=1e6)), wanted[2]]
    calm, found = (list(train(some, FEW, device=GPU)) for some in (wanted, wild))
    for i in (0, 2):
        assert all(torch.equal(calm[i].weights[n], found[i].weights[n]) for n in calm[i].weights)


def test_stopped_and_resumed_has_the_same_bits(tmp_path):
    wanted, kept, asked = runs(), Checkpoints(tmp_path), []
    undisturbed = list(train(wanted, FEW, device=GPU))
    with pytest.raises(Stopped):
        list(train(wanted, FEW, device=GPU, checkpoints=kept, stop=lambda: asked.append(1) or len(asked) > 4))
    for a, b in zip(train(wanted, FEW, device=GPU, checkpoints=kept), undisturbed, strict=True):
        assert all(torch.equal(a.weights[n], b.weights[n]) for n in a.weights)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("recipe", [{}, OTHERS], ids=["sgd", "adamw"])
def test_no_step_waits_for_the_device(recipe):
    wanted = runs(precision="bf16", schedule="cosine", **recipe)  # every step has its own learning rates
    pack = Pack(wanted, starts(wanted), FEW, GPU, Form(graphed=True))
    pack.train_epoch()  # recordings are made
    batches = list(pack.feed.batches(1, 0))
    try:
        torch.cuda.set_sync_debug_mode("error")
        for pack.step, batch in enumerate(batches):
            pack.train_step(*batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_bf16_learns_as_well_as_fp32():
    digits = data.load("digits", train_images=300)
    recipe = Recipe(epochs=20, lr=0.1, batch_size=50, milestones=(10, 15))
    accuracy = {}
    for precision in ("fp32", "bf16"):
        wanted = [pretraining(TASK, recipe.with_(precision=precision), seed) for seed in range(8)]
        accuracy[precision] = torch.tensor([r.accuracy for r in train(wanted, digits, device=GPU)])
    gap = accuracy["fp32"].mean() - accuracy["bf16"].mean()
    noise = torch.stack(list(accuracy.values())).std(1).mean() / 8**0.5
    assert abs(float(gap)) < 3 * 2**0.5 * float(noise) + 0.5


def test_memory_that_does_not_hold_a_pack_holds_its_parts(monkeypatch):
    many = runs(64)
    monkeypatch.setattr(loop, "choose", lambda run, device, team: Choice(Form(), 64, {}))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(GPU)
    held = torch.cuda.memory_reserved(GPU)  # by what other tests left
    assert {r.pack for r in train(many, FEW, device=GPU)} == {64}
    needed, total = torch.cuda.max_memory_reserved(GPU) - held, torch.cuda.mem_get_info(GPU)[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + 0.6 * needed) / total, GPU)
    try:
        results = list(train(many, FEW, device=GPU))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert {r.run for r in results} == set(many)
    assert max(r.pack for r in results) < 64


def test_what_the_device_chooses_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    autotune._remembered.cache_clear()
    first = choose(runs(1)[0], GPU)
    autotune._remembered.cache_clear()
    again = choose(runs(1)[0], GPU)
    assert first.tried == {k: tuple(v) for k, v in again.tried.items()}
    assert (again.form, again.largest) == (first.form, first.largest)
    assert autotune.choices_file().exists()
