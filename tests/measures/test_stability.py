"""Siblings share θk and differ in the order alone; a barrier is what it is defined as."""

import math
import shutil

import pandas as pd
import pytest
import torch
from plain_loop import few_digits

import lthpaper as lth
from lthpaper import networks
from lthpaper.data import load
from lthpaper.data.augment import as_tested
from lthpaper.figures import FIGURES
from lthpaper.measures import stability
from lthpaper.report.results_export import export
from lthpaper.runs import siblings
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Rewind
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import lt_omp, pretraining, rewound
from lthpaper.runs.task import Task
from lthpaper.store.published import Scale as Published
from lthpaper.store.results_check import faults
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import plan
from lthpaper.training.loop import train

TASK = Task("resnet8", "digits")
DENSE = pretraining(TASK, Recipe(epochs=3, lr=0.05, batch_size=20, milestones=(2,)), seed=3)
FEW = few_digits(train=40, test=50)
NAMES = [n for n, _ in networks.skeleton(**TASK.shape).named_parameters()]


def test_siblings_differ_in_the_order_alone_and_need_one_snapshot(store):
    first, second = siblings.siblings(DENSE, 1)
    assert first != second
    assert first.with_(seed=second.seed) == second
    assert (first.cost, first.parents) == (2, (DENSE,))
    assert plan([first, second], store).keep == {DENSE: frozenset({1})}
    other, _ = siblings.siblings(DENSE.with_(seed=4), 1)
    assert other.seed not in (first.seed, second.seed)


def test_the_epochs_are_shares_of_the_recipe_and_leave_something_to_train():
    assert siblings.epochs_of(Recipe(epochs=160)) == (0, 2, 8, 32)
    assert siblings.epochs_of(Recipe(epochs=2, milestones=(1,))) == (0,)
    assert siblings.epochs_of(Recipe(epochs=1, milestones=())) == (0,)


def test_seeds_are_counted_without_siblings_whose_seeds_are_orders():
    trials = siblings.of_scale(TINY.with_(seeds=2))
    assert {trial.run.seed for trial in trials if not siblings.is_sibling(trial)} == {0, 1}


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
    x = as_tested(FEW.images.train, FEW.card, torch.float32)
    right = (network.train()(x).argmax(1) == FEW.images.train_labels).sum()  # one batch: its own statistics
    found, _ = stability.errors(TASK, done.weights, FEW)
    assert found == pytest.approx(100 * (1 - int(right) / 40), abs=2.6)  # variances over n − 1 and n


def test_the_barrier_is_the_highest_error_above_the_mean_of_the_ends():
    assert stability.barrier(pd.Series([10.0, 35.0, 20.0, 14.0])) == 23.0
    assert stability.barrier(pd.Series([10.0, 10.0, 14.0])) == 2.0  # the worse end itself
    assert stability.barrier(pd.Series([10.0, 4.0, 10.0])) == 0.0


TINY = scale("smoke", learning_rates=(0.05,), epochs=2, train_images=60, seeds=1, rounds=(1,))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The pretraining, both siblings from epoch 0 and a ticket, at a tiny scale, through the real path."""
    store = Store(tmp_path_factory.mktemp("siblings"))
    spec = FIGURES["stability"]
    runs = [trial.run for trial in spec.trials(TINY)]
    execute(runs, store, workers=1, keep=spec.keep(TINY), quiet=True, curve_points=1)
    return store


def measured(store):
    spec = FIGURES["stability"]
    return spec.measure(spec.trials(TINY), store, TINY, None)


def test_a_run_and_itself_have_no_barrier(trained):
    dense = siblings.of_scale(TINY)[0].run
    same = stability.connection(dense, dense, trained, load("digits"), points=3)
    assert same["test_error"].nunique() == 1
    assert list(same["alpha"]) == [0, 0.5, 1]


def test_a_barrier_is_worked_out_of_weights_once_and_then_published_without_them(trained, tmp_path):
    trials = siblings.of_scale(TINY)
    copied = Store(shutil.copytree(trained.folder, tmp_path / "store"))
    assert stability.barriers(trials, copied).empty  # without images nothing is worked out
    first = measured(copied)
    assert len(first) == 1
    assert (first[["train", "test"]] >= 0).all(axis=None)
    export(["stability"], TINY, copied, tmp_path / "results")
    published = Store(tmp_path / "nothing", tmp_path / "results")
    assert measured(published).equals(first)
    assert stability.barriers(trials, published).equals(first)
    assert FIGURES["stability"].lacking(TINY, published) == {}
    assert plan([t.run for t in trials], published, FIGURES["stability"].lacking(TINY, published)).todo == ()
    assert list(faults(Published(tmp_path / "results" / "smoke"))) == []
    more = TINY.with_(seeds=2)  # published siblings stand beside others that are still to be trained
    assert len(FIGURES["stability"].lacking(more, published)) == 2


def test_whether_stability_says_where_a_ticket_matches_is_judged_on_the_figures_own_runs(trained, tmp_path):
    page = lth.study(
        "stability", TINY, store=shutil.copytree(trained.folder, tmp_path / "s"), out=tmp_path / "out"
    )
    found = page.findings()
    assert found[0].head == "4 of 4 runs are in the store, of 1 seed."
    (claim,) = (finding for finding in found if finding.head.startswith("Claim "))
    assert claim.head.startswith("Claim F7, subnetworks match where training is stable: undecided")
    assert "LT-IMP at 0.05" in claim.sentence


def test_siblings_of_which_one_lacks_or_diverged_have_no_barrier(trained, tmp_path):
    trials = siblings.of_scale(TINY)
    first, second = siblings.pairs(t.run for t in trials)[0]
    halved = Store(shutil.copytree(trained.folder, tmp_path / "half"))
    shutil.rmtree(halved.path(second))
    assert measured(halved).empty
    assert set(FIGURES["stability"].lacking(TINY, halved)) == {first, second}
    (done,) = train([second], load("digits", None, 60, 0), trained.weights, curve_points=1)
    done.curves["test_accuracy"][-1] = math.nan
    halved.put(done, trained.get(first).fingerprint, {})
    found = measured(halved)
    assert found[["train", "test"]].isna().all(axis=None)
    assert FIGURES["stability"].lacking(TINY, halved) == {}
    assert stability.seen(found).endswith("k = 0: every pair diverged; 1 pair diverged.")


def test_a_pair_is_both_siblings_whichever_is_asked_for():
    first, second = siblings.siblings(DENSE, 1)
    both = [(first, second)]
    assert siblings.pairs([first, second]) == siblings.pairs([second]) == both
    others = [DENSE, rewound(lt_omp(DENSE, 0.5), DENSE, 1), DENSE.with_(init=Rewind(DENSE, 1))]
    assert siblings.pairs(others) == []


def rows_of(lr, means, spread=0.5):
    return [(lr, seed, k, mean + spread * (seed - 1)) for k, mean in means.items() for seed in range(3)]


def test_the_sentences_say_from_which_epoch_on_a_training_is_stable_and_how_sure_that_is():
    tried = rows_of(0.01, {0: 0.6, 8: 0.5}) + rows_of(0.1, {0: 30, 8: 1.9, 32: 0.5})
    tried += rows_of(0.2, {0: 1.0, 8: 31})
    columns = ["lr", "seed", "k", "test"]
    said = stability.seen(pd.DataFrame(tried, columns=columns).assign(data="digits")).splitlines()
    assert "is stable from epoch 0 on, with 95 % confidence from 0 on" in said[0]
    assert (
        "in points (and its 95 % interval): k = 0: 0.6 (0.0 … 1.8), n = 3" in said[0]
    )  # 0.6 ± 4.303 · 0.5 / √3, and no barrier is below 0
    assert "is stable from epoch 8 on, with 95 % confidence from 32 on" in said[1]
    assert "is stable at no k tried" in said[2]
    one = stability.seen(pd.DataFrame([(0.1, 0, 0, 1.0)], columns=columns).assign(data="digits"))
    assert one.endswith(
        "training is stable from epoch 0 on; mean barrier of the test error in points: k = 0: 1.0, n = 1."
    )
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


def test_pairs_that_diverged_are_no_number():
    about = {"network": "resnet8", "data": "digits", "epochs": 4, "lr": 0.1, "train": 1.0}
    tests = {0: (float("nan"), float("nan")), 2: (3.0, float("nan"))}
    rows = [about | {"seed": i, "k": k, "test": test} for k, of in tests.items() for i, test in enumerate(of)]
    table = pd.DataFrame(rows)
    assert stability.seen(table).endswith("k = 0: every pair diverged, k = 2: 3.0, n = 1; 3 pairs diverged.")
    assert FIGURES["stability"].tabulate(table, TINY).loc["0.1"].tolist() == ["3.0"]
