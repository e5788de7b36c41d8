"""What the engine computes: the plain loop's numbers in float64, equal bits in any company, exact masks."""

import importlib
import linecache
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import bits, few_digits, plain_training, same_bits

from lthpaper import networks
from lthpaper.data import DataSet
from lthpaper.errors import InputError
from lthpaper.runs.masks import dense_mask, global_magnitude
from lthpaper.runs.masks import kept as kept_weights
from lthpaper.runs.pruning.omp import Omp
from lthpaper.runs.recipe import Recipe, is_tested
from lthpaper.runs.run import Rewind, Run
from lthpaper.runs.settings import (
    fine_tuned,
    lt_imp,
    lt_omp,
    pretraining,
    random_reinit,
    rewound,
    small_dense,
)
from lthpaper.runs.task import Task
from lthpaper.training import loop
from lthpaper.training.loop import train
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import Start, Trained
from lthpaper.training.start import initial_weights, start

CPU = torch.device("cpu")
TASK = Task("resnet8", "digits")
DIGITS = few_digits()
FEW = few_digits(train=70, test=40)  # 70 = 25 + 25 + 20: the last batch is smaller
SHORT = Recipe(epochs=2, lr=0.05, batch_size=25, milestones=(1,))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with repeatable(CPU):
        yield


class Recorded(Pack):
    """A pack that writes down every step's losses."""

    def train_step(self, *batch):
        losses = super().train_step(*batch)
        self.__dict__.setdefault("losses", []).append(losses)
        return losses


def trained(*runs: Run, images: DataSet = FEW, keep=None, done: dict | None = None) -> list[Trained]:
    """Train runs after their ancestors, without a store."""
    done = {} if done is None else done

    def load(run: Run, epoch: int | None):
        result = done[run]
        at_end = epoch is None or epoch == run.recipe.epochs
        return (result.weights if at_end else result.snapshots[epoch]), result.mask

    for run in runs:
        if run not in done:
            trained(*run.parents, images=images, keep=keep, done=done)
            (done[run],) = train([run], images, load, keep=keep)
    return [done[run] for run in runs]


# --- float64: the plain loop ---


def starts_of(runs: list[Run], sparsities: list[float]) -> list[Start]:
    """Starts under masks by the magnitude of θ0: any mask will do here."""
    starts = []
    for run, s in zip(runs, sparsities, strict=True):
        weights = initial_weights(run)
        if not s:
            starts.append(Start(weights, None))
            continue
        whole = dense_mask(weights, tuple(TASK.prunable_weights))
        mask = global_magnitude(weights, whole, round(s * sum(TASK.prunable_weights.values())))
        starts.append(Start({n: w.where(mask[n], 0) if n in mask else w for n, w in weights.items()}, mask))
    return starts


FIVE_BATCHES = few_digits(train=76)  # of 16, the last of 12
SIXTY = Recipe(epochs=12, batch_size=16, milestones=(6, 9), precision="fp64")  # steps in all
RECIPES = {
    "step": SIXTY,
    "cosine, warm-up, smoothing": SIXTY.with_(schedule="cosine", warmup_epochs=3, label_smoothing=0.1),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("size", [1, 8])
def test_in_float64_sixty_steps_are_those_of_the_plain_loop(name, size):
    rates = [0.1, 0.005, 0.01, 0.2, 0.05, 0.1, 0.02, 0.001][:size]
    sparsities = [0.914, 0.0, 0.59, 0.832, 0.2, 0.0, 0.96, 0.5][:size]
    runs = [pretraining(TASK, RECIPES[name].with_(lr=lr), seed) for seed, lr in enumerate(rates)]
    starts = starts_of(runs, sparsities)
    pack = Recorded(runs, starts, FIVE_BATCHES, CPU)
    means = [pack.train_epoch() for _ in range(12)]
    losses = torch.stack(pack.losses, 1)  # (K, 60)
    assert pack.not_stacked == ""
    for i in {0, size - 1, size // 2}:
        expected, network = plain_training(runs[i], starts[i].weights, starts[i].mask, FIVE_BATCHES)
        assert len(expected) == 60
        assert losses[i].tolist() == pytest.approx(expected, rel=1e-12)
        of_images = np.average(expected[-5:], weights=[16, 16, 16, 16, 12])
        assert float(means[-1][i]) == pytest.approx(of_images, rel=1e-12)
        final = pack.weights(i)
        theirs = network.state_dict()
        assert final.keys() == theirs.keys()
        for key in (k for k in final if not k.endswith("num_batches_tracked")):  # counts for no one here
            torch.testing.assert_close(final[key], theirs[key], rtol=1e-9, atol=1e-11)


def test_flips_and_wider_padding_are_the_plain_loops_too():
    images = few_digits(train=50, flip=True, pad=2)
    run = pretraining(TASK, SIXTY.with_(epochs=2, batch_size=20, milestones=()), 3)
    pack = Recorded([run], starts_of([run], [0.5]), images, CPU)
    for _ in range(2):
        pack.train_epoch()
    begin = starts_of([run], [0.5])[0]
    expected, _ = plain_training(run, begin.weights, begin.mask, images)
    assert torch.cat(pack.losses).tolist() == pytest.approx(expected, rel=1e-12)


def test_evaluation_is_the_trained_networks_own():
    run = pretraining(TASK, SHORT.with_(precision="fp64"), 1)
    (result,) = trained(run)
    _, network = plain_training(run, initial_weights(run), None, FEW)
    network.eval()
    pixels = FEW.images.test.permute(0, 3, 1, 2).double() / 255
    with torch.no_grad():
        logits = network((pixels - FEW.card.mean[0]) / FEW.card.std[0])
    right = (logits.argmax(1) == FEW.images.test_labels).double().mean()
    assert result.accuracy == pytest.approx(100 * float(right))
    loss = torch.nn.functional.cross_entropy(logits, FEW.images.test_labels)
    assert result.curves["test_loss"][-1] == pytest.approx(float(loss), rel=1e-10)


# --- float32 and bf16: bits do not depend on company ---


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def eight(request) -> list[Run]:
    recipe = SHORT.with_(precision=request.param)
    rates = (0.05, 0.1, 0.01, 0.2, 0.05, 0.5, 0.001, 0.1)
    return [pretraining(TASK, recipe.with_(lr=lr), seed) for seed, lr in enumerate(rates)]


@pytest.fixture(scope="module")
def alone(eight) -> Trained:
    return next(train(eight[:1], FEW))


@pytest.mark.parametrize("size", range(2, 9))
def test_bits_do_not_depend_on_the_size_of_the_pack_or_the_slot(eight, alone, size):
    first = next(train(eight[:size], FEW))
    last = list(train([*eight[1:size], eight[0]], FEW))[-1]
    assert (first.pack, last.pack) == (size, size)
    assert same_bits(first, alone)
    assert same_bits(last, alone)


ODD = [("resnet8", 0.1), ("resnet8", 0.3), ("resnet8", 0.9), ("mlp", 0.33), ("mobilenet-v1", 0.11)]


@pytest.mark.parametrize(("network", "width"), ODD)
def test_nor_where_channels_do_not_fill_a_vector_of_the_processor(network, width):
    # SDT has such widths. Rounding differs at the end of a vector loop and at addresses off a boundary.
    task = Task(network, "digits", width=width)
    runs = [pretraining(task, SHORT.with_(epochs=1, milestones=()), seed) for seed in range(8)]
    alone = next(train(runs[:1], FEW))
    for size in (3, 4, 7, 8):
        first = next(train(runs[:size], FEW))
        last = list(train([*runs[1:size], runs[0]], FEW))[-1]
        assert (first.not_stacked, first.pack) == ("", size)
        assert same_bits(first, alone)
        assert same_bits(last, alone)


def test_a_neighbour_that_diverges_to_nan_changes_nothing(eight, alone):
    wild = eight[1].with_(recipe=eight[1].recipe.with_(lr=1e6))
    for pack in ([eight[0], wild], [wild, eight[0]], [*eight[2:5], wild, eight[0]]):
        results = {r.run: r for r in train(pack, FEW)}
        assert math.isnan(results[wild].accuracy)
        assert not all(t.isfinite().all() for t in results[wild].weights.values())
        assert same_bits(results[eight[0]], alone)


def test_pack_mates_with_masks_change_nothing(eight, alone):
    sub = lt_omp(eight[2], 0.914)
    done = {eight[2]: next(train([eight[2]], FEW))}
    results = list(train([eight[0], sub], FEW, lambda run, epoch: (done[run].weights, done[run].mask)))
    assert same_bits(results[0], alone)


def test_more_runs_than_a_pack_holds_are_trained_in_several(eight, alone):
    results = list(train([*eight[1:], eight[1].with_(seed=99), eight[0]], FEW))
    assert [r.pack for r in results] == [8] * 8 + [1]
    assert same_bits(results[-1], alone)


def test_two_trainings_give_the_same_bits_and_leave_the_global_generators_alone(eight, alone):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    again = next(train(eight[:1], FEW))
    torch.manual_seed(1)
    torch.set_rng_state(before[0])
    assert same_bits(again, alone)
    third = next(train(eight[:1], FEW))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]
    assert same_bits(third, alone)


def test_runs_of_other_shapes_cannot_share_a_pack(eight):
    with pytest.raises(ValueError, match="differ in more than"):
        next(train([eight[0], eight[1].with_(recipe=eight[1].recipe.with_(batch_size=24))], FEW))


# --- masks ---


@pytest.mark.parametrize(
    ("precision", "lr"),
    [
        ("fp32", 0.1),
        ("bf16", 0.1),
        ("fp64", 0.1),
        ("fp32", 1e6),
        ("bf16", 1e6),
        ("fp32", 1e39),
        ("fp64", 1e200),
    ],
)
def test_a_pruned_weight_and_its_velocity_are_zero_at_every_step_even_of_a_run_that_diverges(precision, lr):
    recipe = SHORT.with_(lr=lr, precision=precision, weight_decay=0.1)
    runs = [pretraining(TASK, recipe, seed) for seed in (0, 1, 2)]
    starts = starts_of(runs, [0.914, 0.0, 0.59])
    zero_at = []

    class Watched(Pack):
        def train_step(self, *batch):
            losses = super().train_step(*batch)
            pruned, velocity = self.optimizer.pruned, self.optimizer.velocity
            zero_at.append(bool((self.flat[pruned] == 0).all() and (velocity[pruned] == 0).all()))
            assert int(pruned.sum()) == sum(
                sum(TASK.prunable_weights.values()) - kept_weights(s.mask) for s in starts if s.mask
            )
            return losses

    pack = Watched(runs, starts, FEW, CPU)
    for _ in range(2):
        pack.train_epoch()
    assert zero_at == [True] * 6
    for i in (0, 2):
        final = pack.weights(i)
        for name, mask in starts[i].mask.items():
            assert (final[name][~mask] == 0).all()
        if lr > 1:
            assert any(final[name].isnan().any() for name in starts[i].mask)
    assert math.isnan(float(pack.evaluate()[1][0])) == (lr > 1)


def test_the_mask_comes_from_the_last_epoch_not_from_the_best():
    recipe = SHORT.with_(epochs=6, lr=0.5, milestones=())
    dense = pretraining(TASK, recipe, 1)
    done = {}
    (result,) = trained(dense, keep={dense: frozenset(range(7))}, done=done)
    best = int(np.argmax(result.curves["test_accuracy"])) + 1
    assert best < 6  # else this shows nothing: take another seed
    (sub,) = trained(lt_omp(dense, 0.9), done=done)
    whole = dense_mask(result.weights, tuple(TASK.prunable_weights))
    count = round(0.9 * sum(TASK.prunable_weights.values()))
    last = global_magnitude(result.weights, whole, count)
    other = global_magnitude(result.snapshots[best], whole, count)
    assert all(torch.equal(sub.mask[n], last[n]) for n in last)
    assert not all(torch.equal(sub.mask[n], other[n]) for n in last)


def test_each_imp_round_prunes_what_the_round_before_trained():
    dense = pretraining(TASK, SHORT, 0)
    one, two = lt_imp(dense, 1), lt_imp(dense, 2)
    done = {}
    first, second = trained(one, two, done=done)
    left = sum(TASK.prunable_weights.values())
    assert kept_weights(first.mask) == left - round(0.2 * left)
    assert kept_weights(second.mask) == kept_weights(first.mask) - round(0.2 * kept_weights(first.mask))
    expected = global_magnitude(first.weights, first.mask, round(0.2 * kept_weights(first.mask)))
    assert all(torch.equal(second.mask[n], expected[n]) for n in expected)
    assert not any((second.mask[n] & ~first.mask[n]).any() for n in expected)


def test_a_run_that_diverged_still_gives_a_mask_of_the_right_size():
    dense = pretraining(TASK, SHORT.with_(lr=1e6), 0)
    (sub,) = trained(lt_omp(dense, 0.9))
    total = sum(TASK.prunable_weights.values())
    assert kept_weights(sub.mask) == total - round(0.9 * total)


# --- where trainings start ---


def test_lt_starts_from_the_dense_runs_theta0_bit_for_bit():
    dense = pretraining(TASK, SHORT, 5)
    sub = lt_imp(dense, 2)
    done = {}
    (of_dense, of_sub) = trained(dense, sub, keep={dense: frozenset({0}), sub: frozenset({0})}, done=done)
    theta0, begin = of_dense.snapshots[0], of_sub.snapshots[0]
    assert bits(theta0) == bits(initial_weights(dense))
    for name, weight in begin.items():
        expected = theta0[name].where(of_sub.mask[name], 0) if name in of_sub.mask else theta0[name]
        assert bits({name: weight}) == bits({name: expected})


def test_rr_draws_independently_under_the_same_mask():
    dense = pretraining(TASK, SHORT, 5)
    lt = lt_imp(dense, 1)
    rr = random_reinit(lt)
    keep = {run: frozenset({0}) for run in (lt, rr)}
    winning, drawn = trained(lt, rr, keep=keep)
    ours, theirs = [], []
    for name, mask in winning.mask.items():
        assert torch.equal(mask, drawn.mask[name])
        assert (drawn.snapshots[0][name][~mask] == 0).all()
        ours.append(winning.snapshots[0][name][mask])
        theirs.append(drawn.snapshots[0][name][mask])
    ours, theirs = torch.cat(ours), torch.cat(theirs)
    assert not (ours == theirs).any()
    assert abs(float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])) < 4 / math.sqrt(len(ours))


def test_sdt_trains_without_a_mask_at_the_count_of_the_subnetworks_non_zeros():
    sub = lt_imp(pretraining(TASK, SHORT, 0), 4)
    sdt = small_dense(sub)
    (result,) = trained(sdt)
    names = {n for n in result.weights if "running" not in n and "num_batches" not in n}
    count = sum(result.weights[n].numel() for n in names)
    assert result.mask is None
    assert count == sdt.task.parameters
    wanted = TASK.parameters - round((1 - 0.8**4) * sum(TASK.prunable_weights.values()))
    assert abs(count - wanted) / wanted < 0.02


def test_a_snapshot_at_epoch_0_is_the_start_and_at_the_last_the_end():
    run = pretraining(TASK, SHORT, 2)
    (result,) = trained(run, keep={run: frozenset({0, 1, 2})})
    assert bits(result.snapshots[0]) == bits(initial_weights(run))
    assert bits(result.snapshots[2]) == bits(result.weights)
    assert bits(result.snapshots[1]) not in (bits(result.snapshots[0]), bits(result.weights))


def test_asking_for_snapshots_changes_nothing():
    run = pretraining(TASK, SHORT, 2)
    (asked,) = trained(run, keep={run: frozenset({0, 1})})
    (unasked,) = trained(run)
    assert same_bits(asked, unasked)
    assert unasked.snapshots == {}


def test_rewinding_without_pruning_or_momentum_goes_on_exactly_as_the_dense_run_did():
    # All that a rewound training lacks of the original is the momentum of the epochs before.
    dense = pretraining(TASK, SHORT.with_(epochs=3, momentum=0.0), 4)
    again = rewound(lt_omp(dense, 0.0), dense, 1)
    done = {}
    whole, rest = trained(dense, again, keep={dense: frozenset({1})}, done=done)
    assert bits(rest.weights) == bits(whole.weights)
    assert rest.curves == {name: curve[1:] for name, curve in whole.curves.items()}


def test_rewinding_restarts_the_momentum_and_nothing_else():
    # The first step from θt is the same but for the velocity, so its loss is the dense run's.
    dense = pretraining(TASK, SHORT.with_(epochs=3), 4)
    again = rewound(lt_omp(dense, 0.0), dense, 1)
    done = {}
    whole, rest = trained(dense, again, keep={dense: frozenset({1}), again: frozenset({1})}, done=done)
    assert bits(rest.snapshots[1]) == bits(whole.snapshots[1])
    assert bits(rest.weights) != bits(whole.weights)
    load = {dense: (whole.snapshots[1], None)}
    pack = Recorded([again], [start(again, lambda run, epoch: load[run])], FEW, CPU)
    other = Recorded([dense], [start(dense, None)], FEW, CPU)
    for _ in range(2):
        other.train_epoch()
    pack.train_epoch()
    assert pack.epoch == other.epoch == 2
    assert torch.allclose(pack.losses[0], other.losses[3], rtol=1e-5)
    assert not torch.allclose(pack.losses[2], other.losses[5], rtol=1e-5)


def test_fine_tuning_starts_from_theta_t_with_the_whole_schedule():
    dense = pretraining(TASK, SHORT, 4)
    tuned = fine_tuned(lt_omp(dense, 0.5), dense)
    done = {}
    (result,) = trained(tuned, keep={tuned: frozenset({0})}, done=done)
    assert len(result.curves["test_accuracy"]) == SHORT.epochs
    for name, mask in result.mask.items():
        assert torch.equal(result.snapshots[0][name], done[dense].weights[name].where(mask, 0))


def test_a_training_with_nothing_to_train_is_refused():
    dense = pretraining(TASK, SHORT, 0)
    for init, recipe in ((Rewind(dense, 2), SHORT), (Rewind(dense, 2), SHORT.with_(epochs=1, milestones=()))):
        run = dense.with_(init=init, recipe=recipe, mask=Omp(after=dense, sparsity=0.5))
        with pytest.raises(InputError, match="nothing is left to train"):
            next(train([run], FEW))


def test_progress_comes_after_every_epoch_with_the_curves_so_far():
    run = pretraining(TASK, SHORT, 0)
    seen = []
    (result,) = train(
        [run], FEW, on_epoch=lambda p: seen.append((p.epoch, len(p.runs), list(p.curves[run]["train_loss"])))
    )
    losses = result.curves["train_loss"]
    assert seen == [(1, 1, losses[:1]), (2, 1, losses)]


def test_testing_seldom_changes_the_curves_and_nothing_else():
    run = pretraining(TASK, SHORT)
    (often,), (seldom,) = train([run], FEW), train([run], FEW, curve_points=1)
    assert bits(often.weights) == bits(seldom.weights)
    assert often.curves["train_loss"] == seldom.curves["train_loss"]
    for name in ("test_loss", "test_accuracy"):
        assert np.isnan(seldom.curves[name][:-1]).all()
        assert seldom.curves[name][-1] == often.curves[name][-1]


@given(epochs=st.integers(1, 400), points=st.integers(1, 50))
def test_a_curve_has_at_most_so_many_points_and_always_the_last(epochs, points):
    tested = [epoch for epoch in range(1, epochs + 1) if is_tested(epoch, epochs, points)]
    assert len(tested) <= points
    assert tested[-1] == epochs


def test_a_run_given_twice_is_trained_once():
    run = pretraining(TASK, SHORT, 0)
    (result,) = train([run, run], FEW)
    assert len(result.curves["train_loss"]) == SHORT.epochs


def test_digits_are_learnt():
    run = pretraining(TASK, Recipe(epochs=12, lr=0.1, batch_size=50, milestones=(6, 9)), 0)
    (result,) = train([run], DIGITS)
    assert result.accuracy > 80
    assert result.curves["train_loss"][-1] < 0.5 * result.curves["train_loss"][0]


def test_the_number_of_threads_is_as_before():
    before = torch.get_num_threads()
    with loop.repeatable(CPU):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_masks_are_made_with_one_thread_since_every_core_has_a_worker():
    (dense,) = trained(pretraining(TASK, SHORT, 0))
    threads = []

    def load(run: Run, epoch: int | None):
        threads.append(torch.get_num_threads())
        return dense.weights, None

    torch.set_num_threads(2)
    try:
        list(train([lt_omp(dense.run, 0.5)], FEW, load))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert threads == [1]


def test_a_network_of_ones_own_that_was_edited_is_another_task(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = (
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, n):\n"
        "        super().__init__()\n"
        "        self.a, self.b, self.c = nn.Linear(64, 9), nn.Linear(9, 9), nn.Linear(9, n)\n"
        "    def forward(self, x):\n"
        "        return self.c(self.b(self.a(x.flatten(1))){then})\n"
        "def make(num_classes):\n"
        "    return Net(num_classes)\n"
    )
    written = tmp_path / "edited_net.py"
    written.write_text(source.format(then=""))
    before = Task("edited_net:make", "digits")
    written.write_text(source.format(then=" * -1"))
    importlib.invalidate_caches()
    sys.modules.pop("edited_net")
    linecache.clearcache()
    networks.architecture.cache_clear()
    after = Task("edited_net:make", "digits")
    assert before.architecture != after.architecture
    with pytest.raises(InputError, match="has changed since"):
        next(train([Run(before, Recipe(epochs=1, milestones=()))], DIGITS))


MIXED = """
import torch
from lthpaper.errors import InputError
from lthpaper.training.pack import repeatable

torch.backends.cuda.matmul.fp32_precision = "tf32"
torch.backends.cudnn.conv.fp32_precision = "ieee"
with repeatable(torch.device("cpu")):
    print(torch.get_num_threads())
try:
    with repeatable(torch.device("cuda")):
        pass
except InputError as error:
    print(error)
"""


def test_tf32_set_by_the_newer_names_stops_no_training_on_a_cpu_and_is_said_on_a_gpu():
    done = subprocess.run([sys.executable, "-c", MIXED], capture_output=True, text=True)  # it is global
    assert done.returncode == 0, done.stderr
    threads, said = done.stdout.splitlines()
    assert threads == "1"
    assert "Set it by allow_tf32 alone" in said
