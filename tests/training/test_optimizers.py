"""Optimizers and clipping in packs: torch's numbers in float64, exact masks, equal bits in any company."""

import math

import numpy as np
import pytest
import torch
from plain_loop import bits, few_digits, plain_training, same_bits
from torch import nn

from lthpaper.errors import Stopped
from lthpaper.networks import skeleton
from lthpaper.runs.masks import dense_mask, global_magnitude
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.training.loop import train
from lthpaper.training.optimizers import undecayed
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import Start, Trained
from lthpaper.training.start import initial_weights

CPU = torch.device("cpu")
TASK = Task("resnet8", "digits")
FEW = few_digits(train=70, test=40)  # 70 = 25 + 25 + 20: the last batch is smaller
SGD = Recipe(epochs=4, lr=0.05, batch_size=25, milestones=(2,), weight_decay=0.05)
ADAMW = SGD.with_(optimizer="adamw", lr=0.003, weight_decay=0.1)
RECIPES = {
    "nesterov": SGD.with_(optimizer="nesterov"),
    "adamw": ADAMW,
    "adamw, other beta, warm-up, cosine": ADAMW.with_(momentum=0.8, schedule="cosine", warmup_epochs=1),
    "clipped": SGD.with_(clip=0.5),
    "all": ADAMW.with_(clip=0.5, decay_norms=False, label_smoothing=0.1),
    "nesterov, norms not decayed": SGD.with_(optimizer="nesterov", decay_norms=False),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with repeatable(CPU):
        yield


def masked(run: Run, s: float) -> Start:
    """A start under a mask by the magnitude of θ0."""
    weights = initial_weights(run)
    if not s:
        return Start(weights, None)
    whole = dense_mask(weights, tuple(run.task.prunable_weights))
    mask = global_magnitude(weights, whole, round(s * sum(run.task.prunable_weights.values())))
    return Start({n: w.where(mask[n], 0) if n in mask else w for n, w in weights.items()}, mask)


def four(recipe: Recipe) -> tuple[list[Run], list[Start]]:
    runs = [pretraining(TASK, recipe.with_(lr=f * recipe.lr), i) for i, f in enumerate((1, 0.1, 3, 10))]
    return runs, [masked(run, s) for run, s in zip(runs, (0.9, 0.0, 0.5, 0.8), strict=True)]


# --- float64: torch.optim and clip_grad_norm_ ---


@pytest.mark.parametrize("name", RECIPES)
def test_in_float64_a_pack_of_several_learning_rates_steps_as_torch_s_optimizer_does(name):
    runs, starts = four(RECIPES[name].with_(precision="fp64"))
    pack = Pack(runs, starts, FEW, CPU)
    means = [pack.train_epoch() for _ in range(4)]
    for i, run in enumerate(runs):
        losses, network = plain_training(run, starts[i].weights, starts[i].mask, FEW)
        expected = np.average(losses[-3:], weights=[25, 25, 20])
        assert float(means[-1][i]) == pytest.approx(expected, rel=1e-8)
        for key, weight in network.named_parameters():
            torch.testing.assert_close(pack.weights(i)[key], weight.detach(), rtol=1e-6, atol=1e-9)


def test_a_gradient_is_clipped_by_its_own_network_s_norm_and_never_by_a_neighbour_s():
    runs, starts = four(SGD.with_(precision="fp64", weight_decay=0.0, momentum=0.0, clip=1e-3))
    pack = Pack(runs, starts, FEW, CPU)
    before = [pack.weights(i) for i in range(4)]
    pack.train_step(*next(pack.feed.batches(0, 0)))
    for i, run in enumerate(runs):
        after = pack.weights(i)
        moved = torch.cat(
            [(after[n] - before[i][n]).flatten() for n in after if n in pack.optimizer.layout.shapes]
        )
        assert float(moved.norm()) == pytest.approx(run.recipe.lr * 1e-3, rel=1e-2)


class Gated(nn.Module):
    """A gate of no axes."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, num_classes)
        self.gate = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.last(self.gate * self.first(x.flatten(1)))


def test_a_parameter_of_no_axes_is_trained_and_clipped():
    recipe = SGD.with_(epochs=1, milestones=(), clip=0.1, precision="fp64")
    runs = [pretraining(Task(f"{__name__}:Gated", "digits"), recipe, seed) for seed in (0, 1)]
    for run, result in zip(runs, train(runs, FEW), strict=True):
        _, trained = plain_training(run, initial_weights(run), None, FEW)
        torch.testing.assert_close(result.weights["gate"], trained.gate.detach())


def test_a_gradient_below_the_limit_is_left_alone():
    (plain,) = train([pretraining(TASK, SGD, 0)], FEW)
    (clipped,) = train([pretraining(TASK, SGD.with_(clip=1e6), 0)], FEW)
    assert bits(plain.weights) == bits(clipped.weights)


class Normed(nn.Module):
    """A norm over images has parameters of three axes, and they are a norm's all the same."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.LayerNorm([4, 6, 6])
        self.attention, self.batch = nn.MultiheadAttention(4, 2), nn.BatchNorm1d(4)


def test_decay_leaves_out_the_parameters_of_norms_and_all_biases():
    assert undecayed(Normed()) == {
        *("conv.bias", "norm.weight", "norm.bias", "batch.weight", "batch.bias"),
        *("attention.in_proj_bias", "attention.out_proj.bias"),
    }


def test_with_decay_norms_off_only_the_other_weights_shrink():
    recipe = ADAMW.with_(lr=1e-9, weight_decay=1e6, decay_norms=False, epochs=1, milestones=())
    run = pretraining(TASK, recipe, 0)
    (result,) = train([run], FEW)
    begin = initial_weights(run)
    for name in TASK.prunable_weights:
        assert float(result.weights[name].norm()) < 0.9999 * float(begin[name].norm())
    for name in undecayed(skeleton(**TASK.shape)):
        torch.testing.assert_close(result.weights[name], begin[name], atol=1e-7, rtol=0)


# --- masks ---


@pytest.mark.parametrize("lr", [1, 1e30])
@pytest.mark.parametrize("name", RECIPES)
def test_a_pruned_weight_and_its_moments_are_zero_at_every_step_even_of_a_run_that_diverges(name, lr):
    runs, starts = four(RECIPES[name].with_(epochs=2, milestones=()))
    runs = [run.with_(recipe=run.recipe.with_(lr=lr * run.recipe.lr)) for run in runs]
    seen = []

    class Watched(Pack):
        def train_step(self, *batch):
            losses = super().train_step(*batch)
            of = self.optimizer
            state = [t for t in (of.flat, of.velocity, of.square) if t is not None]
            seen.append(all(bool((t[of.pruned] == 0).all()) for t in state))
            return losses

    pack = Watched(runs, starts, FEW, CPU)
    for _ in range(2):
        pack.train_epoch()
    assert seen == [True] * 6
    for i in (0, 2, 3):
        final = pack.weights(i)
        assert all((final[n][~m] == 0).all() for n, m in starts[i].mask.items())
    assert math.isfinite(float(pack.evaluate()[1][1])) or lr > 1


# --- bits ---


@pytest.mark.parametrize("width", [1.0, 0.33])
@pytest.mark.parametrize("name", ["all", "adamw", "clipped", "nesterov"])
def test_bits_do_not_depend_on_the_size_of_the_pack_or_the_slot(name, width):
    recipe = RECIPES[name].with_(epochs=1, milestones=())
    task = Task("resnet8", "digits", width=width)
    runs = [pretraining(task, recipe.with_(lr=recipe.lr * (i + 1)), i) for i in range(8)]
    alone = next(train(runs[:1], FEW))
    for size in (2, 3, 5, 8):
        first = next(train(runs[:size], FEW))
        last = list(train([*runs[1:size], runs[0]], FEW))[-1]
        assert (first.not_stacked, first.pack) == ("", size)
        assert same_bits(first, alone)
        assert same_bits(last, alone)


def test_a_neighbour_that_diverges_to_nan_changes_nothing_where_gradients_are_clipped():
    recipe = RECIPES["all"]
    runs = [pretraining(TASK, recipe.with_(lr=lr), i) for i, lr in enumerate((0.003, 1e30))]
    (alone,), both = train(runs[:1], FEW), list(train(runs, FEW))
    assert math.isnan(both[1].accuracy)
    assert same_bits(alone, both[0])


@pytest.mark.parametrize("name", ["all", "nesterov"])
def test_stopped_at_any_step_and_resumed_a_training_ends_with_the_same_bits(name, tmp_path):
    dense = pretraining(TASK, RECIPES[name], 0)
    load = {"load": lambda run, epoch: (initial_weights(run), None)}
    run = lt_omp(dense, 0.8)
    (undisturbed,) = train([run], FEW, **load)
    kept = Checkpoints(tmp_path)
    for steps in (1, 4, 3):
        asked = iter([False] * steps + [True])
        with pytest.raises(Stopped):
            list(train([run], FEW, checkpoints=kept, stop=lambda: next(asked), **load))  # noqa: B023
    assert kept.position(run) == (2, 2)
    (resumed,) = train([run], FEW, checkpoints=kept, **load)
    assert same_bits(resumed, undisturbed)


def test_steps_in_parts_count_once_for_the_optimizer():
    """In a network without batch-norm the parts of a batch change nothing but rounding."""
    task = Task("mlp", "digits")
    recipe = RECIPES["all"].with_(precision="fp64", label_smoothing=0.0)
    results: list[Trained] = []
    for micro in (0, 5):
        results += train([pretraining(task, recipe.with_(micro_batch=micro), 0)], FEW)
    for name, weight in results[0].weights.items():
        torch.testing.assert_close(results[1].weights[name], weight, rtol=1e-7, atol=1e-10)
