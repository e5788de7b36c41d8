"""Siblings share θk and differ in the order alone; a barrier is what it is defined as."""

import math

import pandas as pd
import pytest
import torch
from plain_loop import few_digits

from lthpaper import networks
from lthpaper.figures import FIGURES
from lthpaper.measures import stability
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.sweep.plan import plan
from lthpaper.training.loop import train

TASK = Task("resnet8", "digits")
DENSE = pretraining(TASK, Recipe(epochs=3, lr=0.05, batch_size=20, milestones=(2,)), seed=3)
FEW = few_digits(train=40, test=50)
NAMES = [n for n, _ in networks.skeleton(**TASK.shape).named_parameters()]


def test_siblings_differ_in_the_order_alone_and_need_one_snapshot(store):
    first, second = stability.siblings(DENSE, 1)
    assert first != second
    assert first.with_(seed=second.seed) == second
    assert (first.cost, first.parents) == (2, (DENSE,))
    assert plan([first, second], store).keep == {DENSE: frozenset({1})}
    other, _ = stability.siblings(DENSE.with_(seed=4), 1)
    assert other.seed not in (first.seed, second.seed)


def test_the_epochs_are_shares_of_the_recipe_and_leave_something_to_train():
    assert stability.epochs_of(Recipe(epochs=160)) == (0, 2, 8, 32)
    assert stability.epochs_of(Recipe(epochs=2, milestones=(1,))) == (0,)
    assert stability.epochs_of(Recipe(epochs=1, milestones=())) == (0,)


def test_a_line_ends_at_its_ends_and_interpolates_parameters_alone():
    a, b = Fresh(0).weights(TASK), Fresh(0, 1).weights(TASK)
    ends = [stability.line(a, b, alpha, NAMES) for alpha in (1.0, 0.0)]
    assert all(torch.equal(ends[0][n], a[n]) and torch.equal(ends[1][n], b[n]) for n in NAMES)
    middle = stability.line(a, b, 0.25, NAMES)
    assert torch.allclose(middle["conv.weight"], 0.25 * a["conv.weight"] + 0.75 * b["conv.weight"])
    buffers = set(a) - set(NAMES)
    assert buffers
    assert all(middle[n] is a[n] for n in buffers)


def test_batch_norm_statistics_are_estimated_anew_whatever_they_were():
    (done,) = train([DENSE], FEW)
    wrong = {n: w + 5 if "running" in n else w for n, w in done.weights.items()}
    assert stability.errors(TASK, done.weights, FEW) == stability.errors(TASK, wrong, FEW)
    network = networks.build_seeded(0, **TASK.shape)
    network.load_state_dict(done.weights)
    x = stability._normalised(FEW.images.train, FEW)
    right = (network.train()(x).argmax(1) == FEW.images.train_labels).sum()  # one batch: its own statistics
    found, _ = stability.errors(TASK, done.weights, FEW)
    assert found == pytest.approx(100 * (1 - int(right) / 40), abs=2.6)  # variances over n − 1 and n


def test_the_barrier_is_the_highest_error_above_the_mean_of_the_ends():
    assert stability.barrier(pd.Series([10.0, 35.0, 20.0, 14.0])) == 23.0
    assert stability.barrier(pd.Series([10.0, 10.0, 14.0])) == 2.0  # the worse end itself
    assert stability.barrier(pd.Series([10.0, 4.0, 10.0])) == 0.0


def test_a_run_and_itself_have_no_barrier_and_all_siblings_of_the_store_are_measured(store):
    trials = list(stability.stability(TASK, DENSE.recipe, (0.05,), 1))
    dense = trials[0].run
    for done in train([dense], FEW, keep={dense: frozenset({0, 1})}):
        store.put(done, "f", {})
    assert {t.run.init.epoch for t in trials[1:]} == {0, 1}
    for epoch in (0, 1):
        runs = [t.run for t in trials[1:] if t.run.init.epoch == epoch]
        for done in train(runs, FEW, store.weights):
            store.put(done, "f", {})
    same = stability.connection(dense, dense, store, FEW, points=3)
    assert same["test_error"].nunique() == 1
    assert list(same["alpha"]) == [0, 0.5, 1]
    found = stability.barriers(trials, store, FEW, points=3)
    assert list(found["k"]) == [0, 1]
    assert (found[["train", "test"]] >= 0).all(axis=None)
    assert not found.map(lambda v: isinstance(v, float) and math.isnan(v)).any(axis=None)


def test_the_sentence_says_from_which_epoch_on_a_training_is_stable():
    rows = [(0.01, 0, 1.0), (0.01, 8, 0.5), (0.1, 0, 30.0), (0.1, 8, 1.0), (0.2, 0, 30.0), (0.2, 8, 31.0)]
    said = stability.seen(pd.DataFrame(rows, columns=["lr", "k", "test"])).splitlines()
    assert said[0].startswith("Learning rate 0.01: stable from epoch 0 on")
    assert said[1].startswith("Learning rate 0.1: stable from epoch 8 on")
    assert said[2].startswith("Learning rate 0.2: not stable at any k tried")
    assert stability.seen(pd.DataFrame(columns=list(stability.BARRIERS))) == "Nothing has run yet."


def test_the_figure_draws_barriers_and_nothing():
    of, spec = scale("smoke"), FIGURES["stability"]
    nothing = pd.DataFrame(columns=list(stability.BARRIERS))
    assert "nothing has run" in spec.plot(nothing, of).get_suptitle()
    assert spec.tabulate(nothing, of).empty
    rows = [
        ("resnet8", "digits", 160, lr, seed, k, 8.0, 9.0 + seed)
        for lr in (0.01, 0.1)
        for seed in (0, 1)
        for k in (0, 8)
    ]
    table = pd.DataFrame(rows, columns=list(stability.BARRIERS))
    assert "of 2 seeds" in spec.plot(table, of).get_suptitle()
    assert spec.tabulate(table, of).loc["0.1", "k = 8"] == "9.5 ± 0.7"
