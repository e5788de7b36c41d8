"""Masks at initialisation are what their papers define, weight by weight, with exact counts."""

import itertools
import json
import random

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import few_digits
from torch import nn

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.report.results_export import export
from lthpaper.runs import at_initialisation as masks_of
from lthpaper.runs import pruning
from lthpaper.runs.controls import shuffled
from lthpaper.runs.inits.norms import NormMatched
from lthpaper.runs.masks import dense_mask, kept, prunable
from lthpaper.runs.pruning.grasp import Grasp
from lthpaper.runs.pruning.magnitude import Magnitude
from lthpaper.runs.pruning.seen import Seen
from lthpaper.runs.pruning.snip import Snip
from lthpaper.runs.pruning.synflow import Synflow
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Rewind, from_json, setting, to_json
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import lt_omp, pretraining, random_reinit
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.sweep.plan import plan
from lthpaper.training.loop import train
from lthpaper.training.start import start
from lthpaper.verdicts import at_initialisation

RECIPE = Recipe(epochs=2, lr=0.05, batch_size=20, milestones=(1,))
FEW = few_digits(train=30, test=20)
DENSE = pretraining(Task("resnet8", "digits"), RECIPE, seed=3)
RULES = {"magnitude": Magnitude, "snip": Snip, "grasp": Grasp, "synflow": Synflow}
SMALL = {"snip": {"images": 20}, "grasp": {"images": 20}, "synflow": {"rounds": 5}, "magnitude": {}}


def rule(name: str, s: float, **more):
    return RULES[name](at=Fresh(3), sparsity=s, **(SMALL[name] | more))


class Tiny(nn.Module):
    """64 -> 6 -> 5 -> 10 without biases: thirty prunable weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(i, o, bias=False) for i, o in ((64, 6), (6, 5), (5, 10)))

    def forward(self, x):
        return self.c(F.relu(self.b(F.relu(self.a(x.flatten(1))))))


def tiny() -> nn.Module:
    return Tiny()


TINY = Task(networks.local(tiny), "digits")
SEEN = Seen(TINY, FEW)
WEIGHTS = Fresh(1).weights(TINY)
EVERYTHING = dense_mask(WEIGHTS, ("b.weight",))


def removed_in_order(of) -> list[int]:
    """The prunable weights in the order in which a one-shot rule removes them, from 29 masks."""
    gone: list[int] = []
    for count in range(1, 30):
        mask = of(count / 30).prune_seeing(WEIGHTS, EVERYTHING, SEEN)["b.weight"].flatten()
        left = [i for i in range(30) if not mask[i] and i not in gone]
        gone += left
    return gone + [i for i in range(30) if i not in gone]


def batch(images: int = 20):
    from lthpaper.data.augment import derived_seed

    return SEEN.batch(images, derived_seed("batch", 0, 0))


def with_weight(i: int, factor: float) -> dict:
    """The weights in float64, the i-th prunable one times a factor."""
    changed = {n: w.double() for n, w in WEIGHTS.items()}
    flat = changed["b.weight"].flatten().clone()
    flat[i] *= factor
    return changed | {"b.weight": flat.view(5, 6)}


def loss(weights, temperature: float = 1.0):
    x, y = batch()
    return F.cross_entropy(torch.func.functional_call(Tiny().double(), weights, (x,)) / temperature, y)


# --- the definitions, by brute force ---


def test_snip_removes_the_weights_that_change_the_loss_least_when_scaled():
    sensitivity = [
        abs(float(loss(with_weight(i, 1 + 1e-5)) - loss(with_weight(i, 1 - 1e-5)))) for i in range(30)
    ]
    expected = sorted(range(30), key=lambda i: (sensitivity[i], i))
    assert removed_in_order(lambda s: Snip(Fresh(1), s, images=20)) == expected


def flow(weights) -> float:
    """‖g‖² over all weights, of the heated loss."""
    leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
    gradients = torch.autograd.grad(loss(leaves, temperature=200.0), list(leaves.values()))
    return float(sum((g * g).sum() for g in gradients))


def test_grasp_removes_the_weights_whose_removal_lets_most_gradient_flow():
    gain = [flow(with_weight(i, 1 - 1e-5)) - flow(with_weight(i, 1 + 1e-5)) for i in range(30)]
    expected = sorted(range(30), key=lambda i: (-gain[i], i))
    assert removed_in_order(lambda s: Grasp(Fresh(1), s, images=20)) == expected


def test_grasp_sees_through_attention(monkeypatch):
    task = Task("vit", "digits", width=0.25)
    weights = Fresh(1).weights(task)
    everything = dense_mask(weights, tuple(task.prunable_weights))

    def removed():
        return Grasp(Fresh(1), 0.5, images=20).prune_seeing(weights, everything, Seen(task, FEW))

    def written_out(q, k, v):
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v

    fused = removed()
    monkeypatch.setattr(F, "scaled_dot_product_attention", written_out)
    assert kept(fused) == round(kept(everything) / 2)
    assert all(torch.equal(mask, fused[name]) for name, mask in removed().items())


def paths(mask) -> list[float]:
    """For each prunable weight the sum, over all paths from an input to a logit through it, of the product of
    the absolute weights on the path."""
    a, b, c = (WEIGHTS[f"{n}.weight"].double().abs() for n in "abc")
    b = b * mask
    return [
        sum(float(a[j, i]) * float(b[k, j]) * float(c[o, k]) for i in range(64) for o in range(10))
        for k in range(5)
        for j in range(6)
    ]


def test_synflow_removes_the_weights_with_the_least_flow_round_by_round():
    mask = torch.ones(5, 6, dtype=torch.bool)
    for left in (round(30 * 0.2 ** (1 / 3)), round(30 * 0.2 ** (2 / 3)), 6):
        scores = paths(mask)
        alive = [i for i in range(30) if mask.flatten()[i]]
        for i in sorted(alive, key=lambda i: (scores[i], i))[: len(alive) - left]:
            mask.view(-1)[i] = False
    found = Synflow(Fresh(1), 0.8, rounds=3).prune_seeing(WEIGHTS, EVERYTHING, SEEN)["b.weight"]
    assert torch.equal(found, mask)
    once = Synflow(Fresh(1), 0.8, rounds=1).prune_seeing(WEIGHTS, EVERYTHING, SEEN)["b.weight"]
    assert int(once.sum()) == 6


def test_synflow_takes_no_absolute_value_of_what_has_none():
    def told() -> nn.Module:
        network = Tiny()
        network.register_buffer("alive", torch.ones(3, dtype=torch.bool))
        return network

    seen = Seen(Task(networks.local(told), "digits"), FEW)
    weights = WEIGHTS | {"alive": torch.ones(3, dtype=torch.bool)}
    rule = Synflow(Fresh(1), 0.8, rounds=3)
    found = rule.prune_seeing(weights, EVERYTHING, seen)
    assert torch.equal(found["b.weight"], rule.prune_seeing(WEIGHTS, EVERYTHING, SEEN)["b.weight"])


def test_magnitude_at_theta_0_is_omp_of_theta_0():
    weights = Fresh(3).weights(DENSE.task)
    names = prunable(networks.skeleton(**DENSE.task.shape))
    by_omp = lt_omp(DENSE, 0.8).mask.prune(weights, dense_mask(weights, names))
    mask = start(DENSE.with_(mask=rule("magnitude", 0.8)), None).mask
    assert all(torch.equal(mask[n], by_omp[n]) for n in names)


# --- properties ---


@pytest.mark.parametrize("name", RULES)
@given(s=st.floats(0, 0.999), seed=st.integers(0, 20))
def test_every_rule_keeps_exactly_the_rounded_number_of_prunable_weights(name, s, seed):
    run = DENSE.with_(mask=rule(name, s))
    before = torch.get_rng_state()
    mask = start(run, None, FEW).mask
    assert torch.equal(torch.get_rng_state(), before)
    total = sum(run.task.prunable_weights.values())
    assert kept(mask) == total - round(s * total)
    assert set(mask) == set(run.task.prunable_weights)
    again = start(run, None, FEW).mask
    assert all(torch.equal(mask[n], again[n]) for n in mask)


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_the_batch_is_part_of_the_rule(name):
    runs = [
        DENSE.with_(mask=rule(name, 0.8, seed=seed, draw=draw)) for seed, draw in ((0, 0), (0, 1), (1, 0))
    ]
    masks = [torch.cat([m.flatten() for m in start(run, None, FEW).mask.values()]) for run in runs]
    assert len({run.digest for run in runs}) == 3
    assert not any(torch.equal(masks[i], masks[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def dropping() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 20), nn.Dropout(0.5), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10)
    )


@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_a_network_with_dropout_has_one_mask_whatever_was_drawn_before(name):
    run = pretraining(Task(networks.local(dropping), "digits"), RECIPE).with_(mask=rule(name, 0.5))
    masks = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            masks.append(start(run, None, FEW).mask)
            assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(masks[0][n], m) for n, m in masks[1].items())
    other = run.with_(mask=rule(name, 0.5, draw=1))
    assert not all(torch.equal(masks[0][n], m) for n, m in start(other, None, FEW).mask.items())


class Dropping(nn.Module):
    """Drops units by the generators of NumPy and of Python."""

    def __init__(self, draw):
        super().__init__()
        self.draw, self.first, self.second = draw, nn.Linear(64, 20), nn.Linear(20, 20)
        self.last = nn.Linear(20, 10)

    def forward(self, x):
        kept = torch.tensor([self.draw() < 0.5 for _ in range(20)])
        return self.last(F.relu(self.second(self.first(x.flatten(1)) * kept)))


def dropping_by_numpy() -> nn.Module:
    return Dropping(lambda: np.random.random())  # noqa: NPY002


def dropping_by_python() -> nn.Module:
    return Dropping(lambda: random.random())


@pytest.mark.parametrize("make", [dropping_by_numpy, dropping_by_python])
@pytest.mark.parametrize("name", ["snip", "grasp"])
def test_nor_does_a_mask_depend_on_what_was_drawn_before_by_numpy_or_python(name, make):
    run = pretraining(Task(networks.local(make), "digits"), RECIPE).with_(mask=rule(name, 0.5))
    masks = []
    for seed in (1, 2):
        with networks.seeded(seed):
            masks.append(start(run, None, FEW).mask)
    assert all(torch.equal(masks[0][n], m) for n, m in masks[1].items())


def test_a_batch_holds_no_image_twice_and_labels_that_are_its_images():
    images, labels = SEEN.batch(30, 5)
    assert len(torch.unique(images.flatten(1), dim=0)) == 30
    order = torch.randperm(30, generator=torch.Generator().manual_seed(5))
    assert torch.equal(labels, FEW.images.train_labels[order])
    with pytest.raises(InputError, match="takes 31 images; digits has 30"):
        SEEN.batch(31, 5)


def test_synflow_in_rounds_empties_no_layer_where_one_round_and_other_rules_do():
    """Tanaka 2020's layer collapse, in a network without residual connections: 17 of 17,280 weights left."""
    dense = pretraining(Task("vgg-small", "digits"), RECIPE, seed=3)

    def emptied(of) -> int:
        return sum(not m.any() for m in start(dense.with_(mask=of), None, FEW).mask.values())

    assert emptied(Synflow(Fresh(3), 0.999)) == 0
    assert emptied(Synflow(Fresh(3), 0.999, rounds=1)) == 2
    assert emptied(Magnitude(Fresh(3), 0.999)) == 2
    assert emptied(Snip(Fresh(3), 0.999, images=20)) == 1


def test_emptied_layers_are_reported_from_the_weights_and_from_published_results_alike(tmp_path):
    """Rings of the figure. Of 17,280 weights 21 are left: magnitude empties a layer in seed 1, ERK none."""
    small = scale(
        "smoke", network="vgg-small", train_images=60, rounds=(30,), learning_rates=(0.05,), seeds=2
    )
    spec = FIGURES["at-initialisation"]
    trials = [t for t in spec.trials(small) if t.setting in ("pretraining", "LT-magnitude", "random-erk")]
    own = Store(tmp_path / "store")
    for done in train([t.run for t in trials], few_digits(train=60, test=20)):
        own.put(done, "f", {})
    export(["at-initialisation"], small, own, tmp_path / "results")
    published = Store(tmp_path / "none", tmp_path / "results")
    ours, theirs = (spec.measure(trials, store, small, None) for store in (own, published))
    assert ours["collapsed"].equals(theirs["collapsed"])
    by_setting = ours.groupby("setting")["collapsed"]
    assert by_setting.get_group("pretraining").isna().all()
    assert by_setting.get_group("LT-magnitude").tolist() == [0, 1]
    assert (by_setting.get_group("random-erk") == 0).all()
    rings = [line for line in spec.plot(theirs, small).axes[0].lines if line.get_markerfacecolor() == "none"]
    assert len(rings) == 1
    assert "empty" in spec.tabulate(theirs, small).loc[("0.05", "LT-magnitude"), "0.999"]


# --- runs ---


@pytest.mark.parametrize("name", RULES)
def test_a_mask_at_theta_0_needs_no_training_and_has_its_settings(name, store):
    run = DENSE.with_(mask=rule(name, 0.8))
    assert run.parents == ()
    assert plan([run], store).todo == (run,)
    assert setting(run) == f"LT-{run.mask.label}"
    assert setting(random_reinit(run)) == f"RR-{run.mask.label}"
    assert setting(shuffled(run)) == f"LT-shuffled-{run.mask.label}"
    assert setting(run.with_(init=NormMatched(run.init, Fresh(3, 1)))) == f"LT@RRnorms-{run.mask.label}"
    assert from_json(json.loads(json.dumps(to_json(run)))) == run
    own, mixed = (start(r, None, FEW).mask for r in (run, shuffled(run)))
    assert {n: int(m.sum()) for n, m in own.items()} == {n: int(m.sum()) for n, m in mixed.items()}


def test_every_rule_has_its_shuffle_and_its_start_at_ordinary_norms():
    small = scale("smoke", train_images=60, rounds=(4,), learning_rates=(0.05,), seeds=2)
    trials = {(t.setting, t.run.seed): t.run for t in masks_of.of_scale(small)}
    wanted = {"pretraining", "LT-IMP", "LT-OMP", "random-erk"}
    wanted |= {f"{start}-{name}" for start in ("LT", "LT-shuffled") for name in masks_of.MADE}
    wanted |= {f"LT@RRnorms-{name}" for name in masks_of.AT_THETA0}
    assert {name for name, _ in trials} == wanted
    for (name, seed), run in trials.items():
        if name.startswith("LT@RRnorms-"):
            plain = trials[name.replace("@RRnorms", ""), seed]
            assert run == plain.with_(init=NormMatched(plain.init, random_reinit(plain).init))
            assert trials[name.replace("@RRnorms", "-shuffled"), seed] == shuffled(plain)


def test_an_early_mask_is_made_of_the_pretraining_on_its_way(store):
    run = DENSE.with_(mask=Magnitude(at=Rewind(to=DENSE, epoch=1), sparsity=0.8))
    assert setting(run) == "LT-early1"
    assert setting(random_reinit(run)) == "RR-early1"
    assert plan([run], store).keep == {DENSE: frozenset({1})}
    snapshots = {}

    def load(of, epoch=None):
        return snapshots[epoch], None

    for done in train([DENSE], FEW, keep={DENSE: frozenset({1})}):
        snapshots |= done.snapshots
    mask = start(run, load).mask
    names = list(mask)
    sizes = torch.cat([snapshots[1][n].flatten().abs() for n in names])
    bits = torch.cat([mask[n].flatten() for n in names])
    assert sizes[~bits].max() <= sizes[bits].min()


def test_all_rules_train_in_one_pack_and_their_pruned_weights_stay_zero():
    runs = [DENSE.with_(mask=rule(name, 0.9)) for name in RULES]
    runs += [shuffled(run) for run in runs]
    for done in train(runs, FEW):
        for name, mask in done.mask.items():
            assert not done.weights[name][~mask].any()


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        *((name, {"sparsity": 1.0}, r"must be in \[0, 1\)") for name in RULES),
        *((name, {"at": DENSE}, "it must be an init") for name in RULES),
        ("snip", {"images": 1}, "images is 1"),
        ("snip", {"images": 10.0}, "images is 10.0"),
        ("snip", {"seed": -1}, "seed is -1"),
        ("grasp", {"temperature": 0.0}, "temperature is 0"),
        ("grasp", {"temperature": "hot"}, "temperature is 'hot'"),
        ("grasp", {"draw": None}, "draw is None"),
        ("synflow", {"rounds": 0}, "rounds is 0"),
        ("synflow", {"rounds": 1.5}, "rounds is 1.5"),
    ],
)
def test_what_no_rule_can_be_is_refused(name, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        RULES[name](**({"at": Fresh(), "sparsity": 0.5} | fields))


def test_every_rule_is_registered_under_its_name():
    assert {name: pruning.RULES[name] for name in RULES} == RULES


def beside_its_shuffle(gaps) -> pd.DataFrame:
    """LT-SNIP at two sparsities and three seeds, so many points above its shuffled mask; gaps: by rate."""
    rows = []
    for lr, s, seed in itertools.product(gaps, (0.59, 0.832), range(3)):
        for setting_, above in (("LT-SNIP", gaps[lr]), ("LT-shuffled-SNIP", 0.1 * seed)):
            row = {"setting": setting_, "network": "resnet8", "data": "digits", "epochs": 160, "lr": lr}
            row |= {"sparsity": s, "seed": seed, "accuracy": 90 + above, "fingerprint": "f"}
            rows.append(row | {"digest": str(len(rows))})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gaps", "sentence"),
    [
        ({0.005: -3.0, 0.1: 0.0}, "its places hurt at 0.005 (2 of 2 sparsities) with 95 % confidence."),
        ({0.005: 3.0, 0.1: 3.0}, "its places help at 0.005 (2 of 2 sparsities) and 0.1 (2 of 2) with 95 %"),
        ({0.1: 0.1}, "its places neither help nor hurt for sure."),
    ],
)
def test_the_sentence_of_a_rule_says_where_its_places_help_or_hurt(gaps, sentence):
    said = at_initialisation.seen(beside_its_shuffle(gaps))
    assert said.startswith("LT-SNIP less LT-shuffled-SNIP: ")
    assert sentence in said
