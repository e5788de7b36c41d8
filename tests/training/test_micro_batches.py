"""Steps in parts, and mixup: a plain loop's numbers in float64, equal bits in any company and resumed."""

import random

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import batch, few_digits, same_bits
from torch import Tensor, nn

from lthpaper import networks
from lthpaper.data import DataSet
from lthpaper.data.augment import derived_seed, draws, mixing
from lthpaper.errors import Stopped
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.training.loop import train
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import Start, Trained
from lthpaper.training.start import initial_weights

CPU = torch.device("cpu")
TASK = Task("resnet8", "digits")
FEW = few_digits(train=70, test=40)  # 70 = 24 + 24 + 22, and 22 = 8 + 8 + 6: both the last ones are smaller
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=24, milestones=(1,), micro_batch=8)
EXACT = RECIPE.with_(epochs=4, precision="fp64")
RECIPES = {
    "micro-batches": EXACT,
    "mixup": EXACT.with_(micro_batch=0, mixup=0.4),
    "both, smoothing": EXACT.with_(mixup=1.0, label_smoothing=0.1),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with repeatable(CPU):
        yield


def trained(*runs: Run, **ways: object) -> list[Trained]:
    return list(train(runs, FEW, **ways))


class Parts:
    """A plain network's losses and gradients, part by part of a batch, in float64."""

    def __init__(self, run: Run, images: DataSet):
        self.run, self.images = run, images
        self.network = networks.build_seeded(0, **run.task.shape)
        self.network.load_state_dict(initial_weights(run))
        self.network.double().train()
        self.criterion = nn.CrossEntropyLoss(label_smoothing=run.recipe.label_smoothing)

    def loss(self, x: Tensor, y: Tensor, names: tuple[int, ...]) -> Tensor:
        """λ CE(y) + (1 − λ) CE(y′) on λx + (1 − λ)x′; λ = 1 without mixup."""
        if not self.run.recipe.mixup:
            return self.criterion(self.network(x), y)
        seed = derived_seed("mixup", self.run.seed, *names)
        share, partner = mixing(seed, self.run.recipe.mixup, len(y))
        logits = self.network(share * x + (1 - share) * x[partner])
        return share * self.criterion(logits, y) + (1 - share) * self.criterion(logits, y[partner])

    def backward(self, x: Tensor, y: Tensor, epoch: int, step: int) -> float:
        """Gradients of a batch and its loss; running statistics are the mean of what the parts leave."""
        size, whole = self.run.recipe.micro_batch or len(y), 0.0
        before = [b.clone() for b in self.network.buffers()]
        after: list[list[Tensor]] = []
        for part, first in enumerate(range(0, len(y), size)):
            for buffer, value in zip(self.network.buffers(), before, strict=True):
                buffer.copy_(value)
            piece = slice(first, first + size)
            share = len(y[piece]) / len(y)
            loss = share * self.loss(x[piece], y[piece], (epoch, step, *([part] if part else [])))
            loss.backward()
            whole += float(loss.detach())
            after.append([b.clone() for b in self.network.buffers()])
        for buffer, *values in zip(self.network.buffers(), *after, strict=True):
            buffer.copy_(torch.stack(values).double().mean(0))
        return whole


def plain(run: Run, images: DataSet = FEW) -> tuple[list[float], dict[str, Tensor]]:
    """The mean loss of every epoch's images and the weights: nn.Module and torch.optim.SGD."""
    recipe, card, n = run.recipe, images.card, len(images.images.train)
    parts = Parts(run, images)
    optimizer = torch.optim.SGD(
        parts.network.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones), recipe.gamma)
    means = []
    for epoch in range(recipe.epochs):
        order, shift, flip = draws(run.seed, epoch, n, card.pad, card.flip)
        total = 0.0
        for step, first in enumerate(range(0, n, recipe.batch_size)):
            part = slice(first, first + recipe.batch_size)
            labels = images.images.train_labels[order[part]]
            optimizer.zero_grad()
            x = batch(images, order[part], shift[part], flip[part])
            total += parts.backward(x, labels, epoch, step) * len(labels)
            optimizer.step()
        means.append(total / n)
        schedule.step()
    return means, parts.network.state_dict()


# --- float64: the plain loop ---


@pytest.mark.parametrize("name", RECIPES)
def test_in_float64_steps_in_parts_and_mixup_are_those_of_a_plain_loop(name):
    run = pretraining(TASK, RECIPES[name], 3)
    (result,) = trained(run)
    means, weights = plain(run)
    assert result.curves["train_loss"] == pytest.approx(means, rel=1e-11)
    assert result.weights.keys() == weights.keys()
    for key in (k for k in weights if not k.endswith("num_batches_tracked")):  # counts for no one here
        torch.testing.assert_close(result.weights[key], weights[key], rtol=1e-10, atol=1e-10)


def test_the_parts_of_a_batch_change_a_network_by_its_batch_norm_alone():
    for network, equal in (("mlp", True), ("resnet8", False)):
        task = Task(network, "digits")
        (one,) = trained(pretraining(task, EXACT.with_(micro_batch=0), 0))
        (other,) = trained(pretraining(task, EXACT, 0))
        same = (torch.allclose(w, other.weights[n], rtol=1e-9, atol=1e-12) for n, w in one.weights.items())
        assert all(same) == equal


def cumulative(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
    """A batch-norm that divides by its count of batches (momentum=None)."""
    layers = [nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8, momentum=None), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * (size - 2) ** 2, num_classes))


def test_a_network_that_counts_its_batches_counts_steps_and_not_their_parts():
    run = pretraining(Task(f"{__name__}:cumulative", "digits", prunable=("0.weight",)), EXACT, 1)
    (result,) = trained(run)
    means, weights = plain(run)
    assert result.not_stacked != ""
    assert result.curves["train_loss"] == pytest.approx(means, rel=1e-11)
    assert int(result.weights["1.num_batches_tracked"]) == 4 * 3
    torch.testing.assert_close(result.weights["1.running_var"], weights["1.running_var"])


# --- bits ---


class InParts(Pack):
    """A pack whose every step is in parts, be it in one."""

    def train_step(self, x: Tensor, labels: Tensor) -> Tensor:
        self._prepare()
        self.optimizer.gradient.zero_()
        losses = self._in_micro_batches(x, labels, x.shape[1])
        self.optimizer.step()
        return losses


def test_a_micro_batch_of_the_whole_batch_is_the_training_without():
    recipe = RECIPE.with_(mixup=0.4)
    assert recipe.with_(micro_batch=24) == recipe.with_(micro_batch=0)
    runs = [pretraining(TASK, recipe.with_(micro_batch=0), seed) for seed in (0, 1)]
    starts = [Start(initial_weights(run), None) for run in runs]
    whole, parts = Pack(runs, starts, FEW, CPU), InParts(runs, starts, FEW, CPU)
    assert whole.train_epoch().tolist() == pytest.approx(parts.train_epoch().tolist(), rel=1e-12)
    for i in (0, 1):
        assert all(torch.equal(w, parts.weights(i)[n]) for n, w in whole.weights(i).items())
        theirs, _ = parts.optimizer.moments(i)
        assert all(torch.equal(v, theirs[n]) for n, v in whole.optimizer.moments(i)[0].items())


@pytest.fixture(scope="module")
def five() -> list[Run]:
    recipe, rates = RECIPE.with_(mixup=0.4), (0.05, 0.1, 0.01, 1e6, 0.2)  # the fourth diverges
    return [pretraining(TASK, recipe.with_(lr=lr), seed) for seed, lr in enumerate(rates)]


@pytest.fixture(scope="module")
def alone(five) -> Trained:
    return next(train(five[:1], FEW))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_parts_and_mixup_are_a_runs_own_in_any_company(five, alone, size):
    first = trained(*five[:size])[0]
    last = trained(*five[1:size], five[0])[-1]
    assert (first.pack, last.pack) == (size, size)
    assert same_bits(first, alone)
    assert same_bits(last, alone)


def test_stopped_in_the_middle_of_an_epoch_it_ends_with_the_same_bits(five, alone, tmp_path):
    for steps in (2, 4):  # of 3 an epoch
        kept, asked = Checkpoints(tmp_path / str(steps)), iter([False] * steps + [True])
        with pytest.raises(Stopped):
            next(train(five[:1], FEW, checkpoints=kept, stop=lambda: next(asked)))  # noqa: B023
        assert kept.position(five[0]) == divmod(steps, 3)
        (resumed,) = trained(five[0], checkpoints=kept)
        assert same_bits(resumed, alone)


# --- what mixup draws ---


class Drawn(Pack):
    """A pack that writes down what mixup drew."""

    def _mix(self, x: Tensor, labels: Tensor, names: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        mixed = super()._mix(x, labels, names)
        self.__dict__.setdefault("shares", {})[names] = mixed[1].tolist()
        return mixed


def test_mixup_draws_anew_for_every_run_step_and_part_and_leaves_the_global_generators_alone(five):
    pack = Drawn(five[:2], [Start(initial_weights(run), None) for run in five[:2]], FEW, CPU)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for _ in range(2):
        pack.train_epoch()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]
    parts = {(e, s, *([i] if i else [])) for e in range(2) for s in range(3) for i in range(3)}
    assert pack.shares.keys() == parts
    values = [share for shares in pack.shares.values() for share in shares]
    assert len(set(values)) == len(values) == 2 * len(parts)


@given(seed=st.integers(0, 2**63 - 1), alpha=st.sampled_from([0.1, 0.2, 1.0, 8.0]), n=st.integers(1, 40))
def test_a_draw_is_a_share_and_a_partner_for_every_image(seed, alpha, n):
    share, partner = mixing(seed, alpha, n)
    assert 0 <= share <= 1
    assert sorted(partner.tolist()) == list(range(n))
    again = mixing(seed, alpha, n)
    assert again[0] == share
    assert torch.equal(again[1], partner)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_beta_distributed(alpha):
    shares = [mixing(seed, alpha, 1)[0] for seed in range(2000)]
    assert scipy.stats.kstest(shares, "beta", args=(alpha, alpha)).pvalue > 0.01
