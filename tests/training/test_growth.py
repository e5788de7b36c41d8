"""Dynamic sparse training: SET and RigL by definition, exact counts at every step, one run's own bits."""

import math

import pytest
import torch
from hand_made import S8, results, rows
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import batch, few_digits, optimizer_of, same_bits
from torch import nn

from lthpaper import networks
from lthpaper.data.augment import derived_seed, draws
from lthpaper.errors import InputError, Stopped
from lthpaper.runs import controls
from lthpaper.runs.pruning.random import Random
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run, from_json, setting, to_json
from lthpaper.runs.settings import dynamic_sparse, lt_imp, lt_omp, pretraining, small_dense
from lthpaper.runs.shape import shape_key
from lthpaper.runs.task import Task
from lthpaper.runs.topology import Topology
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute
from lthpaper.training.growth import changed
from lthpaper.training.loop import train
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.start import start
from lthpaper.verdicts import controls as compared

CPU = torch.device("cpu")
FEW = few_digits(train=70, test=40)  # three steps an epoch
TASK = Task("mlp", "digits", width=0.1, prunable=("fc*.weight",))  # 1,920 + 300 + 100 weights
RECIPE = Recipe(epochs=6, lr=0.05, batch_size=25, milestones=(4,))
ADAMW = RECIPE.with_(optimizer="adamw", lr=0.003, clip=1.0)


def sparse(seed: int = 0, rule: str = "rigl", recipe: Recipe = RECIPE, s: float = 0.8, task=TASK) -> Run:
    return dynamic_sparse(pretraining(task, recipe, seed), s, rule, every=4, drop=0.5, until=0.9)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with repeatable(CPU):
        yield


# --- the definition, by brute force ---


@given(st.data())
def test_a_layer_drops_its_smallest_weights_and_grows_the_most_wished_of_the_others(data):
    n = data.draw(st.integers(2, 8))
    numbers = st.floats(-2, 2).map(lambda v: round(v, 1))
    weights, wish = (data.draw(st.lists(numbers, min_size=n, max_size=n)) for _ in range(2))
    kept = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    count = data.draw(st.integers(0, sum(kept)))
    wish = [abs(w) for w in wish]
    ours = changed(torch.tensor(weights), torch.tensor(kept), count, torch.tensor(wish))
    left = sorted((i for i in range(n) if kept[i]), key=lambda i: (abs(weights[i]), i))[count:]
    others = sorted((i for i in range(n) if i not in left), key=lambda i: (-wish[i], i))
    assert set(ours.nonzero().flatten().tolist()) == {*left, *others[:count]}


def test_a_diverged_layer_keeps_its_count():
    nan, inf = math.nan, math.inf
    weights, kept = torch.tensor([nan, inf, 1.0, 0.0, nan]), torch.tensor([True, True, True, False, False])
    for wish in ([nan] * 5, [inf, nan, 0.0, 0.0, 0.0]):
        for count in range(4):
            assert int(changed(weights, kept, count, torch.tensor(wish)).sum()) == 3


@pytest.mark.parametrize(
    ("every", "until", "steps"), [(100, 0.75, 1000), (4, 0.9, 18), (7, 1.0, 21), (1, 0.5, 9)]
)
def test_masks_change_every_so_many_steps_until_a_share_of_training_and_ever_less(every, until, steps):
    topology = Topology("set", every, 0.3, until)
    shares = [topology.share(step, steps) for step in range(steps)]
    at = [step for step, share in enumerate(shares) if share > 0]
    assert at == [step for step in range(every, steps, every) if step < until * steps]
    for step in at:
        assert shares[step] == pytest.approx(0.15 * (1 + math.cos(math.pi * step / (until * steps))))
    assert [topology.changes_before(step, steps) for step in range(steps)] == [
        sum(a < step for a in at) for step in range(steps)
    ]


def by_hand(run: Run) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Algorithm 1 of Evci et al. (2020) with torch.optim, in float64, weight by weight."""
    recipe, topology, n = run.recipe, run.topology, len(FEW.images.train)
    begin = start(run, None)
    network = networks.build_seeded(0, **run.task.shape)
    network.load_state_dict(begin.weights)
    network.double()
    parameters, mask = dict(network.named_parameters()), {k: m.clone() for k, m in begin.mask.items()}
    optimizer, per_epoch = optimizer_of(network, recipe), -(-n // recipe.batch_size)
    steps, t = recipe.epochs * per_epoch, 0
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * (0.1 if epoch >= recipe.milestones[0] else 1)
        order, shift, flip = draws(run.seed, epoch, n, FEW.card.pad, FEW.card.flip)
        for first in range(0, n, recipe.batch_size):
            part = slice(first, first + recipe.batch_size)
            optimizer.zero_grad()
            logits = network(batch(FEW, order[part], shift[part], flip[part]))
            nn.functional.cross_entropy(logits, FEW.images.train_labels[order[part]]).backward()
            if t > 0 and t % topology.every == 0 and t < topology.until * steps:
                share = topology.drop / 2 * (1 + math.cos(math.pi * t / (topology.until * steps)))
                for name, m in mask.items():
                    generator = torch.Generator().manual_seed(derived_seed("grow", run.seed, name, t))
                    weight, moments = parameters[name].data, optimizer.state[parameters[name]]
                    wish = parameters[name].grad.abs()
                    if topology.rule == "set":
                        wish = torch.rand(weight.shape, generator=generator, dtype=torch.float64)
                    here = sorted((float(weight.view(-1)[i].abs()), int(i)) for i in m.view(-1).nonzero())
                    k = math.floor(share * len(here))
                    left = {i for _, i in here[k:]}
                    free = sorted((-float(wish.view(-1)[i]), i) for i in range(m.numel()) if i not in left)
                    m.zero_().view(-1)[sorted(left | {i for _, i in free[:k]})] = True
                    for tensor in (weight, *(v for v in moments.values() if v.shape == weight.shape)):
                        tensor[~m] = 0
            else:
                for name, m in mask.items():
                    parameters[name].grad[~m] = 0
                if recipe.clip:
                    nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
                optimizer.step()
                for name, m in mask.items():
                    parameters[name].data[~m] = 0
            t += 1
    return network, mask


@pytest.mark.parametrize("recipe", [RECIPE, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_in_float64_a_pack_trains_as_the_algorithm_does_by_hand(rule, recipe):
    exact = recipe.with_(precision="fp64")
    runs = [
        sparse(i, rule, exact.with_(lr=recipe.lr * f), s) for i, (f, s) in enumerate(((1, 0.8), (0.3, 0.5)))
    ]
    results = {r.run: r for r in train(runs, FEW)}
    for run in runs:
        network, mask = by_hand(run)
        assert all(torch.equal(results[run].mask[name], m) for name, m in mask.items())
        for name, weight in network.named_parameters():
            torch.testing.assert_close(results[run].weights[name], weight.detach(), rtol=1e-6, atol=1e-9)


def half_frozen(num_classes: int = 10) -> nn.Module:
    layers = nn.Flatten(), nn.Linear(64, 12), nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, num_classes)
    network = nn.Sequential(*layers)
    network[2].weight.requires_grad_(False)
    return network


def test_the_mask_of_a_weight_that_the_network_has_frozen_stays():
    task = Task(f"{__name__}:half_frozen", "digits")
    run = sparse(rule="set", recipe=RECIPE.with_(epochs=2, milestones=()), s=0.5, task=task)
    (result,) = train([run], FEW)
    begun = start(run, None).mask
    assert torch.equal(result.mask["2.weight"], begun["2.weight"])
    assert not torch.equal(result.mask["3.weight"], begun["3.weight"])


# --- every step ---


@pytest.mark.parametrize("recipe", [RECIPE, ADAMW, RECIPE.with_(lr=1e30)], ids=["sgd", "adamw", "diverging"])
@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_the_count_of_every_layer_is_exact_at_every_step_and_growth_begins_at_zero(rule, recipe):
    runs = [sparse(i, rule, recipe, s) for i, s in enumerate((0.8, 0.9))]
    starts = [start(run, None) for run in runs]
    grown = []

    class Watched(Pack):
        def train_step(self, *images):
            of = self.optimizer
            before = of.pruned.clone()
            losses = super().train_step(*images)
            for i, begin in enumerate(starts):
                assert {n: int(m.sum()) for n, m in self.mask(i).items()} == {
                    n: int(m.sum()) for n, m in begin.mask.items()
                }
            state = [t for t in (of.flat, of.velocity, of.square) if t is not None]
            new = before & ~of.pruned
            assert all(bool((t[of.pruned] == 0).all()) and bool((t[new] == 0).all()) for t in state)
            grown.append(int(new.sum()))
            return losses

    pack = Watched(runs, starts, FEW, CPU)
    for _ in range(recipe.epochs):
        pack.train_epoch()
    assert [step for step, count in enumerate(grown) if count] == [4, 8, 12, 16][
        : len([g for g in grown if g])
    ]
    assert grown[4] > 0


def test_rigl_grows_where_the_gradient_is_and_set_does_not():
    results = list(train([sparse(rule="rigl")], FEW)) + list(train([sparse(rule="set")], FEW))
    masks = [result.mask for result in results]
    begin = start(sparse(), None).mask
    assert not any(all(torch.equal(m[n], begin[n]) for n in m) for m in masks)
    assert not all(torch.equal(masks[0][n], masks[1][n]) for n in begin)


# --- bits ---


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_bits_do_not_depend_on_the_pack(rule):
    recipe = ADAMW.with_(precision="fp32")
    runs = [sparse(i, rule, recipe.with_(lr=0.001 * (i + 1)), 0.8 - i / 10) for i in range(4)]
    alone = next(train(runs[:1], FEW))
    last = list(train([*runs[1:], runs[0]], FEW))[-1]
    assert last.pack == 4
    assert same_bits(alone, last)
    assert all(torch.equal(alone.mask[n], last.mask[n]) for n in alone.mask)


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_stopped_and_resumed_it_ends_with_the_same_bits_and_mask(rule, tmp_path):
    run, kept = sparse(rule=rule, recipe=ADAMW), Checkpoints(tmp_path)
    (undisturbed,) = train([run], FEW)
    for steps in (6, 5):
        asked = iter([False] * steps + [True])
        with pytest.raises(Stopped):
            list(train([run], FEW, checkpoints=kept, stop=lambda: next(asked)))  # noqa: B023
    (resumed,) = train([run], FEW, checkpoints=kept)
    assert same_bits(undisturbed, resumed)
    assert all(torch.equal(undisturbed.mask[n], resumed.mask[n]) for n in resumed.mask)


# --- a value like every other ---


def test_a_topology_is_part_of_a_run_and_absent_from_those_without():
    dense = pretraining(TASK, RECIPE, 0)
    still = dense.with_(mask=Random(0.8, "erk", 0))
    assert "topology" not in still.description
    changing = [sparse(rule=rule) for rule in ("set", "rigl")]
    assert len({run.digest for run in (still, *changing)}) == 3
    for run in (*changing, lt_omp(changing[0], 0.9)):
        assert from_json(to_json(run)) == run
    assert [setting(run) for run in changing] == ["SET-random-erk", "RigL-random-erk"]
    assert setting(lt_imp(dense, 1).with_(topology=Topology())) == "RigL-LT-IMP"
    assert changing[0].with_(mask=None) == dense
    assert small_dense(changing[0]).topology is None
    assert len({shape_key(run) for run in (still, *changing)}) == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rule": "rig"}, "'rig'; it must be one of set, rigl.* Did you mean 'rigl'"),
        ({"rule": ["set"]}, "must be one of set, rigl"),
        ({"every": 0}, "every is 0"),
        ({"every": 2.0}, "every is 2.0"),
        ({"drop": 0}, "drop is 0.0"),
        ({"drop": 1.5}, "drop is 1.5"),
        ({"until": math.nan}, "until is nan"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        Topology(**fields)


def test_a_topology_without_a_mask_is_refused():
    with pytest.raises(InputError, match="the run has none"):
        pretraining(TASK, RECIPE, 0).with_(topology=Topology())


def test_dynamic_sparse_training_stands_beside_the_other_controls_where_it_is_asked_for():
    asked = ("LT-IMP", "SET-random-erk", "RigL-random-erk")
    found = list(controls.controls(TASK, RECIPE, (0.05,), (4,), 1, asked))
    assert [trial.setting for trial in found] == ["LT-IMP", "SET-random-erk", "RigL-random-erk"]
    assert len({trial.sparsity for trial in found}) == 1
    assert all(setting(trial.run) == trial.setting for trial in found)
    assert not any("random-erk" in name and name != "random-erk" for name in controls.SETTINGS)


def test_a_ticket_is_judged_against_dynamic_sparse_training_where_that_was_trained():
    made = rows("pretraining", {0.01: 90.0}) + rows("LT-IMP", {0.01: 88.0}, S8)
    without = compared.verdicts(results(made).table)
    found = compared.verdicts(results(made, rows("RigL-random-erk", {0.01: 86.0}, S8)).table)
    assert "RigL-random-erk" not in set(without.get("control", ()))
    (row,) = found[found["control"] == "RigL-random-erk"].to_dict("records")
    assert row["ticket"] == "LT-IMP"
    assert row["difference of the bests"] == pytest.approx(2.0)
    assert row["by the means"] == "yes"


def test_the_store_keeps_the_mask_that_training_ended_with(tmp_path):
    task = Task("mlp", "digits", train_images=60, prunable=("fc*.weight",))
    recipe = Recipe(epochs=2, lr=0.05, batch_size=20, milestones=())
    run, store = dynamic_sparse(pretraining(task, recipe), 0.9, every=2), Store(tmp_path)
    execute([run], store, workers=1, quiet=True)
    weights, mask = store.weights(run)
    begin = start(run, None).mask
    assert {n: int(m.sum()) for n, m in mask.items()} == {n: int(m.sum()) for n, m in begin.items()}
    assert not all(torch.equal(mask[n], begin[n]) for n in mask)
    assert all((weights[n][~m] == 0).all() for n, m in mask.items())
