"""Controls differ from a ticket in one property, exactly: norms, signs, places, or all of the mask."""

import copy
import hashlib
import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_loop import few_digits
from scipy import stats
from torch import nn

from lthpaper import networks
from lthpaper.data.augment import derived_seed
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.networks import skeleton, units
from lthpaper.runs import controls, inits, pruning
from lthpaper.runs.inits.norms import NormMatched
from lthpaper.runs.inits.signs import Signs
from lthpaper.runs.masks import apportioned, dense_mask, kept, prunable
from lthpaper.runs.pruning.imp import Imp
from lthpaper.runs.pruning.permuted import Permuted
from lthpaper.runs.pruning.random import LAYERS, Random
from lthpaper.runs.pruning.shuffled import Shuffled, drawn
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Rewind, Run, ancestors, from_json, setting, to_json
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import fine_tuned, lt_imp, lt_omp, pretraining, random_reinit, rewound
from lthpaper.runs.task import Task
from lthpaper.store import table as tidy
from lthpaper.store.store import Store
from lthpaper.sweep.plan import plan
from lthpaper.training.loop import train
from lthpaper.training.start import hash_tensors, start
from lthpaper.verdicts import controls as compared

TASK = Task("resnet8", "digits")
DENSE = pretraining(TASK, Recipe(epochs=2, lr=0.05, batch_size=20, milestones=(1,)), seed=3)
LT = lt_omp(DENSE, 0.832)
RR = random_reinit(LT)
NAMES = prunable(skeleton(**TASK.shape))
FEW = few_digits(train=20, test=20)


def loaded(run, epoch=None):
    """In the place of a store: the weights of a "trained" run are another draw, the mask keeps everything."""
    weights = Fresh(1000 + run.seed, draw=0 if epoch is None else epoch + 1).weights(TASK)
    return weights, dense_mask(weights, NAMES)


def started(run):
    return start(run, loaded)


def hash_of(mask) -> str:
    hasher = hashlib.sha256()
    hash_tensors(hasher, mask)
    return hasher.hexdigest()[:16]


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


# --- the same trainings as ever ---

GOLDEN = Run(
    Task("resnet20", "cifar10", width=1.0, train_images=0, prunable=()),
    Recipe(160, 0.1, 64, 0.9, 1e-4, "step", (80, 120), 0.1, 0.0, 0.0, "fp32"),
    Fresh(seed=1, draw=0),
    None,
    seed=1,
)
RECORDED = {
    "LT@RRnorms-IMP": "60d353821395989d",
    "RR@LTsigns-OMP": "fbe74ced5c0b7997",
    "LT-shuffled-OMP": "1bc5d532205c07ab",
    "RR-permuted-OMP": "5ac0d0d73bd6471b",
    "random-global": "d78816926dd2eb6e",
    "random-uniform": "d76ccce96c90b12d",
    "random-erk": "1be7c2964d535c3b",
}


@pytest.mark.parametrize("name", RECORDED)
def test_digests_of_controls_do_not_change(name):
    trials = controls.controls(GOLDEN.task, GOLDEN.recipe, (0.1,), (8,), 2, (name,))
    assert [t.run.digest for t in trials][1] == RECORDED[name]


@pytest.mark.parametrize(
    ("run", "bits"),
    [
        (controls.shuffled(LT), "c3727d8a97b28f86"),
        (controls.permuted(LT), "908a285a111149d9"),
        (controls.random_mask(DENSE, 0.9, "global"), "1f76afe36e6d3a8a"),
        (controls.random_mask(DENSE, 0.9, "uniform"), "0fed933f41a6179a"),
        (controls.random_mask(DENSE, 0.9, "erk"), "964f0be9d854eaf3"),
    ],
    ids=lambda value: value if isinstance(value, str) else setting(value),
)
def test_what_is_drawn_does_not_change(run, bits):
    """The same digest has to mean the same mask for ever."""
    assert hash_of(start(run, loaded).mask) == bits


# --- settings ---


def test_every_control_has_its_name_and_differs_in_one_property():
    trials = list(controls.controls(TASK, DENSE.recipe, (0.05,), (2,), 1))
    assert [t.setting for t in trials] == list(controls.SETTINGS)
    by_name = {t.setting: t.run for t in trials}
    assert all(setting(run) == name for name, run in by_name.items())
    lt = by_name["LT-IMP"]
    for name in ("RR", "LT@RRnorms", "RR@LTnorms", "LT@RRsigns", "RR@LTsigns"):
        assert by_name[f"{name}-IMP"].with_(init=lt.init) == lt  # the start alone
    assert by_name["LT-shuffled-IMP"].with_(mask=lt.mask) == lt  # the mask alone
    carried = by_name["RR-permuted-IMP"]
    assert carried.with_(mask=lt.mask) == by_name["RR-IMP"]  # of RR, the mask alone
    dense = by_name["pretraining"]
    assert (carried.mask.dense, carried.mask.onto) == (dense, random_reinit(dense))
    assert all(by_name[f"random-{way}"].with_(mask=None) == dense for way in LAYERS)


def test_an_unknown_control_is_named_with_those_that_there_are():
    with pytest.raises(InputError, match=r"Unknown setting LT@RRnorm-IMP\. Known: .*LT@RRnorms-IMP"):
        list(controls.controls(TASK, DENSE.recipe, (0.1,), (2,), 1, ("LT@RRnorm-IMP",)))


def test_controls_of_rewound_and_reinitialised_runs_are_named_too():
    wr = rewound(LT, DENSE, 1)
    assert setting(controls.at_norms_of(wr, LT)) == "WR@LTnorms-OMP"
    assert setting(controls.with_signs_of(RR, fine_tuned(LT, DENSE))) == "RR@FTsigns-OMP"
    assert setting(controls.shuffled(wr)) == "WR-shuffled-OMP"
    assert setting(random_reinit(controls.shuffled(LT))) == "RR-shuffled-OMP"
    assert setting(lt_imp(DENSE, 2).with_(mask=Imp(after=controls.shuffled(LT)))) == "LT-IMP"


# --- norms ---


@given(seed=st.integers(0, 99), s=st.floats(0, 0.99), draw=st.integers(1, 3))
def test_every_layer_has_the_other_starts_norm_and_its_own_direction(seed, s, draw):
    lt = lt_omp(DENSE.with_(init=Fresh(seed)), s)
    other = lt.with_(init=Fresh(seed, draw))
    own, norms = started(lt), started(other)
    matched = started(controls.at_norms_of(lt, other))
    assert same(matched.mask, own.mask)
    for name in dict(skeleton(**TASK.shape).named_parameters()):
        a, b, got = (x.weights[name].double().flatten() for x in (own, norms, matched))
        assert float(got.norm()) == pytest.approx(float(b.norm()) if a.any() else 0, rel=1e-6)
        assert torch.allclose(got * a.norm(), a * got.norm(), rtol=1e-5)
        assert torch.equal(got == 0, a == 0)


def test_norms_are_those_under_the_mask_by_the_definition():
    own, other, mask = Fresh(3).weights(TASK), Fresh(3, 1).weights(TASK), started(LT).mask
    matched = started(controls.at_norms_of(LT, RR)).weights
    name = NAMES[2]
    squares = [0.0, 0.0]
    for a, b, m in zip(own[name].flatten(), other[name].flatten(), mask[name].flatten(), strict=True):
        if m:
            squares = [squares[0] + float(a) ** 2, squares[1] + float(b) ** 2]
    factor = math.sqrt(squares[1] / squares[0])
    for a, m, got in zip(own[name].flatten(), mask[name].flatten(), matched[name].flatten(), strict=True):
        assert float(got) == pytest.approx(float(a) * factor * bool(m), rel=1e-6)


def test_a_start_at_its_own_norms_is_itself_and_a_layer_of_zeros_stays():
    assert same(started(controls.at_norms_of(LT, LT)).weights, started(LT).weights)
    empty = LT.with_(mask=pruning.RULES["omp"](after=DENSE, sparsity=0.9999))
    assert kept(started(empty).mask) == 2
    weights = started(controls.at_norms_of(empty, random_reinit(empty))).weights
    assert sum(int((weights[n] != 0).sum()) for n in NAMES) == 2
    assert all(torch.isfinite(w).all() for w in weights.values())


# --- signs ---


@given(seed=st.integers(0, 99), draw=st.integers(1, 3))
def test_signs_are_the_others_and_magnitudes_its_own_weight_by_weight(seed, draw):
    run = DENSE.with_(init=Fresh(seed))
    mixed = started(controls.with_signs_of(run, run.with_(init=Fresh(seed, draw)))).weights
    own, other = Fresh(seed).weights(TASK), Fresh(seed, draw).weights(TASK)
    assert all(torch.equal(mixed[n].abs(), own[n].abs()) for n in own)
    drawn_at_random = [n for n in own if n.endswith("weight") and own[n].ndim > 1]
    assert all(torch.equal(mixed[n].sign(), other[n].sign()) for n in drawn_at_random)
    assert same(started(controls.with_signs_of(run, run)).weights, own)


# --- masks ---


@given(s=st.floats(0, 0.999), seed=st.integers(0, 99), draw=st.integers(0, 3))
def test_a_shuffled_mask_keeps_as_many_weights_of_every_layer(s, seed, draw):
    lt = lt_omp(DENSE, s)
    run = lt.with_(mask=Shuffled(of=lt.mask, seed=seed, draw=draw))
    mask, own = started(run).mask, started(lt).mask
    assert {n: int(m.sum()) for n, m in mask.items()} == {n: int(m.sum()) for n, m in own.items()}
    assert same(mask, started(run).mask)
    assert run.mask.sparsity == lt.mask.sparsity
    assert run.parents == lt.parents  # it needs no training that the ticket does not need


def test_shuffles_differ_by_seed_draw_and_layer_and_touch_no_global_state():
    before = torch.get_rng_state()
    masks = [
        started(LT.with_(mask=Shuffled(of=LT.mask, seed=seed, draw=draw))).mask
        for seed, draw in ((0, 0), (0, 1), (1, 0), (3, 0))
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert len({tuple(m[NAMES[1]].flatten().tolist()) for m in masks}) == 4
    same_size = [n for n in NAMES if masks[0][n].shape == masks[0][NAMES[0]].shape]
    half = {n: drawn(masks[0][n].shape, 100, derived_seed("shuffled", 0, 0, n)) for n in same_size}
    assert len({tuple(m.flatten().tolist()) for m in half.values()}) == len(same_size)


def test_every_place_is_kept_equally_often():
    found = sum(drawn(torch.Size([4, 5]), 6, seed).double() for seed in range(2000)).flatten()
    assert stats.chisquare(found.numpy()).pvalue > 1e-3  # six of twenty, each 600 times or so


SIZES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.tuples(*[st.integers(1, 9)] * 4), min_size=1, max_size=5
)


@given(
    shapes=SIZES, s=st.floats(0, 1, exclude_max=True), way=st.sampled_from(LAYERS), seed=st.integers(0, 99)
)
def test_a_random_mask_keeps_exactly_the_rounded_number_in_any_layers(shapes, s, way, seed):
    mask = {n: torch.ones(shape, dtype=torch.bool) for n, shape in shapes.items()}
    total = sum(m.numel() for m in mask.values())
    found = Random(s, way, seed).prune({}, mask)
    assert kept(found) == total - round(s * total)
    assert list(found) == list(mask)
    assert all(found[n].shape == mask[n].shape for n in mask)
    backwards = dict(reversed(mask.items()))
    assert same(Random(s, way, seed).prune({}, backwards), found)
    if way == "uniform":
        assert all(
            abs(int(found[n].sum()) - m.numel() * (1 - round(s * total) / total)) < 1 for n, m in mask.items()
        )


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    shares=st.lists(st.floats(0.01, 100), min_size=6, max_size=6),
    part=st.floats(0, 1),
)
def test_layers_share_in_proportion_and_none_gives_more_than_it_has(sizes, shares, part):
    most = {f"l{i}": n for i, n in enumerate(sizes)}
    share = dict(zip(most, shares, strict=False))
    total = round(part * sum(sizes))
    counts = apportioned(total, share, most)
    assert sum(counts.values()) == total
    assert all(0 <= counts[n] <= most[n] for n in most)
    factor = by_bisection(total, share, most)
    assert all(abs(counts[n] - min(1, factor * share[n]) * most[n]) <= 1 + 1e-6 for n in most)


def by_bisection(total, shares, most) -> float:
    """The factor ε at which the densities min(1, ε · share) give `total` weights: the definition of ERK."""
    low, high = 0.0, 1 / min(shares[n] for n in most)
    for _ in range(200):
        middle = (low + high) / 2
        given_ = sum(min(1, middle * shares[n]) * most[n] for n in most)
        low, high = (middle, high) if given_ < total else (low, middle)
    return high


def test_erk_gives_small_layers_more_density():
    mask = dense_mask(Fresh(0).weights(TASK), NAMES)
    found = Random(0.9, "erk").prune({}, mask)
    densities = {n: float(m.double().mean()) for n, m in found.items()}
    few, many = min(NAMES, key=lambda n: mask[n].numel()), max(NAMES, key=lambda n: mask[n].numel())
    assert densities[few] > 2 * densities[many]
    exact = {n: (sum(mask[n].shape)) / math.prod(mask[n].shape) for n in NAMES}
    factor = by_bisection(kept(found), exact, {n: mask[n].numel() for n in NAMES})
    for n in NAMES:
        assert int(found[n].sum()) == pytest.approx(min(1, factor * exact[n]) * mask[n].numel(), abs=1)


def test_a_random_mask_needs_no_training(store):
    run = controls.random_mask(DENSE, 0.9)
    assert run.parents == ()
    assert plan([run], store).todo == (run,)
    assert start(run, None).mask.keys() == set(NAMES)


# --- masks carried to another start ---


def copied(orders):
    """In the place of a store: θ0′ trained to a permuted copy of what θ0 was trained to."""

    def load(run, epoch=None):
        weights = Fresh(1003).weights(TASK)
        if run.init.draw:
            weights = units.taken(weights, units.of_task(TASK.shape), orders)
        return weights, dense_mask(weights, NAMES)

    return load


@given(seed=st.integers(0, 99), s=st.sampled_from([0.5, 0.832, 0.99]))
@settings(max_examples=10)
def test_a_mask_is_carried_by_the_permutation_between_the_dense_networks(seed, s):
    groups = units.of_task(TASK.shape)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(group.size, generator=generator) for group in groups]
    lt = lt_omp(DENSE, s)
    found = start(controls.permuted(lt), copied(orders)).mask
    assert same(found, units.taken(start(lt, copied(orders)).mask, groups, orders))
    own = start(lt, copied(orders)).mask
    assert {n: int(m.sum()) for n, m in found.items()} == {n: int(m.sum()) for n, m in own.items()}


def test_carried_to_the_network_itself_a_mask_stays():
    run = LT.with_(mask=Permuted(LT.mask, DENSE, DENSE))
    assert same(started(run).mask, started(LT).mask)


def test_a_carried_mask_needs_the_dense_training_from_the_other_start(store):
    run = controls.permuted(LT)
    assert setting(run) == "RR-permuted-OMP"
    assert plan([run], store).todo == (DENSE, random_reinit(DENSE), run)


def test_masks_are_carried_between_dense_networks_of_one_kind():
    with pytest.raises(InputError, match="is not dense"):
        Permuted(LT.mask, DENSE, RR)
    with pytest.raises(InputError, match="different networks"):
        Permuted(LT.mask, DENSE, DENSE.with_(task=Task("vgg-small", "digits")))
    with pytest.raises(InputError, match="comes from no trained network"):
        controls.permuted(controls.random_mask(DENSE, 0.9))


def grouped(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    layers = [nn.Conv2d(in_channels, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(128, num_classes))


def test_a_network_whose_units_cannot_be_followed_has_every_other_control():
    task = Task(networks.local(grouped), "digits")
    possible = controls.possible(task)
    assert set(controls.SETTINGS) - set(possible) == {"RR-permuted-IMP", "RR-permuted-OMP"}
    with pytest.raises(InputError, match="a convolution has 2 groups"):
        list(controls.controls(task, DENSE.recipe, (0.1,), (2,), 1, ("RR-permuted-IMP",)))


# --- training ---


def test_pruned_weights_of_every_control_stay_zero():
    """Through the real path: two epochs, in one pack."""
    weights = {}

    def load(run, epoch=None):
        return weights[run]

    for done in train([DENSE, random_reinit(DENSE)], FEW):
        weights[done.run] = (done.weights, None)
    runs = [t.run for t in controls.controls(TASK, DENSE.recipe, (0.05,), (1,), 4) if t.run.mask is not None]
    runs = [run for run in runs if set(run.parents) <= set(weights)]
    assert len({setting(run) for run in runs}) == 16 + 3
    for done in train(runs, FEW, load):
        assert kept(done.mask) < sum(m.numel() for m in done.mask.values())
        for name, mask in done.mask.items():
            assert not done.weights[name][~mask].any()
            assert done.weights[name][mask].all()
        assert set(done.mask) == set(NAMES)


# --- descriptions ---

CONTROLS = [
    controls.at_norms_of(LT, RR),
    controls.with_signs_of(rewound(LT, DENSE, 1), RR),
    controls.shuffled(lt_imp(DENSE, 3), draw=2),
    controls.random_mask(DENSE, 0.9, "uniform"),
    controls.permuted(lt_imp(DENSE, 2)),
    DENSE.with_(init=NormMatched(Signs(Fresh(1), Fresh(2)), Rewind(LT, 1)), mask=Shuffled(Shuffled(LT.mask))),
]


@pytest.mark.parametrize("run", CONTROLS, ids=setting)
def test_a_control_survives_json(run):
    again = from_json(json.loads(json.dumps(to_json(run))))
    assert again == run
    assert (again.init, again.mask, again.parents) == (run.init, run.mask, run.parents)
    assert list(ancestors([again])) == list(ancestors([run]))
    assert setting(again) == setting(run)


def test_what_a_part_within_a_part_needs_is_planned(store):
    run = CONTROLS[-1]
    assert set(run.parents) == {DENSE, LT}
    todo = plan([run], store)
    assert todo.todo == (DENSE, LT, run)
    assert todo.keep == {LT: frozenset({1})}


def changed(run, *path_and_value):
    *path, value = path_and_value
    document = json.loads(json.dumps(to_json(run)))
    place = document["runs"][run.digest]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("run", "path", "sentence"),
    [
        (CONTROLS[0], ("init", "of", {"kind": "teleport"}), "Unknown init 'teleport'.*fresh"),
        (CONTROLS[0], ("init", "of", {"kind": "omp", "sparsity": 0.5}), "Unknown init 'omp'"),
        (CONTROLS[0], ("init", "of", 3), "not the description"),
        (CONTROLS[0], ("init", "of", {"run": DENSE.digest}), "not the description"),
        (CONTROLS[0], ("init", "of", {"kind": "fresh", "seed": -1, "draw": 0}), "seed is -1"),
        (CONTROLS[0], ("init", "of", {"kind": "fresh", "seed": 4, "draw": 0}), "it was changed"),
        (CONTROLS[2], ("mask", "of", {"kind": "fresh"}), "Unknown pruning rule 'fresh'"),
        (CONTROLS[2], ("mask", "of", "after", {"run": "0" * 16}), "are missing"),
        (CONTROLS[2], ("mask", "of", "after", "everything"), "must be a run"),
        (CONTROLS[2], ("mask", "draw", 1.0), "draw is 1.0"),
        (CONTROLS[3], ("mask", "layers", "some"), "layers is 'some'; it must be one of global, uniform, erk"),
        (CONTROLS[3], ("mask", "layers", ["erk"]), "layers is"),
        (CONTROLS[3], ("mask", "sparsity", 1.5), r"must be in \[0, 1\)"),
        (CONTROLS[3], ("mask", "after", {"run": "0" * 16}), "are missing"),
        (CONTROLS[4], ("mask", "onto", 3), "onto of permuted is 3; it must be a run"),
        (CONTROLS[4], ("mask", "of", {"kind": "fresh"}), "Unknown pruning rule 'fresh'"),
    ],
)
def test_hostile_descriptions_of_controls_are_refused(run, path, sentence):
    with pytest.raises(InputError, match=sentence):
        from_json(changed(run, *path))


def test_parts_within_parts_have_an_end():
    described = CONTROLS[0].description["init"]
    for _ in range(500):
        described = {"kind": "norm-matched", "of": copy.copy(described), "norms": {"kind": "fresh"}}
    with pytest.raises(InputError, match="more than 8 inits or rules within each other"):
        from_json(changed(CONTROLS[0], "init", described))


@pytest.mark.parametrize("value", [None, 3, "fresh", LT.mask, DENSE])
def test_only_an_init_can_be_rescaled_or_lend_its_signs(value):
    for kind in (NormMatched, Signs):
        with pytest.raises(InputError, match="it must be an init: fresh, norm-matched, rewind, signs"):
            kind(value, Fresh())
        with pytest.raises(InputError, match="it must be an init"):
            kind(Fresh(), value)


@pytest.mark.parametrize("value", [None, "imp", Fresh(), DENSE])
def test_only_a_mask_can_be_shuffled(value):
    with pytest.raises(InputError, match=r"it must be a pruning rule: .*imp"):
        Shuffled(of=value)


def test_every_init_says_in_a_line_what_it_is():
    assert set(inits.INITS) >= {"fresh", "rewind", "norm-matched", "signs"}
    assert all(kind.__doc__.splitlines()[0] for kind in inits.INITS.values())


# --- the table ---


def results(**means) -> pd.DataFrame:
    """Three seeds of each setting at two learning rates; "at" and "_" in a name stand for @ and -."""
    rows = []
    for name, mean in means.items():
        for lr in (0.01, 0.1):
            for seed, off in enumerate((-1.0, 0.0, 1.0)):
                row = {"setting": name.replace("at", "@").replace("_", "-"), "network": "resnet8"}
                row |= {"data": "digits", "epochs": 160, "lr": lr, "sparsity": 0.832, "seed": seed}
                rows.append(row | {"accuracy": mean + off, "fingerprint": "f", "digest": str(len(rows))})
    return pd.DataFrame(rows)


def test_differences_are_paired_by_seed_and_the_interval_is_students():
    table = results(LT_IMP=90, RR_IMP=88)
    row = compared.differences(table).iloc[0]
    assert (row["ours"], row["against"], row["n"]) == ("LT-IMP", "RR-IMP", 3)
    half = stats.t.ppf(0.975, 2) * (100 / 1497 / 2) / math.sqrt(3)  # scatter of half a test image, no less:
    assert (row["difference"], row["low"], row["high"]) == pytest.approx(
        (2, 2 - half, 2 + half)
    )  # it is common
    table.loc[table["setting"] == "RR-IMP", "accuracy"] += [0, 1, 2] * 2
    row = compared.differences(table).iloc[0]
    gaps = [2, 1, 0]
    low, high = stats.t.interval(0.95, 2, loc=1, scale=stats.sem(gaps))
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((1, low, high))


def test_a_run_that_stands_in_a_table_twice_is_one_pair():
    table = results(LT_IMP=90, RR_IMP=88)
    twice = pd.concat([table, table], ignore_index=True)
    pd.testing.assert_frame_equal(compared.differences(twice), compared.differences(table))


def test_lt_at_a_multiple_of_the_rate_is_paired_with_rr_at_the_rate():
    """The table has 0.01 and 0.1, so ten times one is the other, and twice one is none."""
    table = results(LT_IMP=90, RR_IMP=88, LTatRRnorms_IMP=93)
    table.loc[(table["setting"] == "LT-IMP") & (table["lr"] == 0.1), "accuracy"] += 3
    found = compared.at_higher_rates(table, 10).set_index("against")
    assert set(found["lr"]) == {0.01}
    assert found.loc["RR-IMP", ["difference", "n"]].tolist() == [5, 3]
    assert found.loc["LT@RRnorms-IMP", "difference"] == 0
    assert compared.at_higher_rates(table, 2).empty


def test_a_diverged_seed_leaves_no_difference_and_a_missing_one_no_pair():
    table = results(LT_IMP=90, RR_IMP=88)
    table.loc[0, "accuracy"] = math.nan  # diverged: it has a fingerprint
    table.loc[11, ["accuracy", "fingerprint"]] = (math.nan, "")  # not trained yet
    found = compared.differences(table).set_index("lr")
    assert found.loc[0.01, "diverged"]
    assert math.isnan(found.loc[0.01, "difference"])
    assert not found.loc[0.1, "diverged"]
    assert found.loc[0.1, "n"] == 2
    table.loc[11, ["accuracy", "fingerprint"]] = (math.nan, "f")  # diverged, and its seed is of no pair:
    table = table.drop(index=5)
    assert compared.differences(table).set_index("lr").loc[0.1, ["n", "diverged"]].tolist() == [2, True]


def test_a_mask_that_was_aligned_with_a_diverged_network_counts_as_diverged():
    run = controls.permuted(LT)
    for lost in (run.mask.onto, run.mask.dense):
        accuracy = {parent: SimpleNamespace(accuracy=90.0) for parent in run.parents}
        assert not tidy.mask_diverged(run, accuracy.get)
        accuracy[lost] = SimpleNamespace(accuracy=math.nan)
        assert tidy.mask_diverged(run, accuracy.get)


def test_a_ticket_has_to_beat_shuffled_masks_by_the_gap():
    shuffled = "LT-shuffled-IMP"
    assert compared.beats(results(LT_IMP=90, LT_shuffled_IMP=80), shuffled).holds == "yes"
    assert compared.beats(results(LT_IMP=90, LT_shuffled_IMP=89.8), shuffled).holds == "no"
    found = compared.beats(results(LT_IMP=90, RR_IMP=80), shuffled)
    assert found.holds == "not run"
    assert found.sentence.startswith("③ not run: LT-shuffled-IMP")


def test_the_figure_draws_what_there_is_and_says_what_is_missing(tmp_path):
    of = scale("smoke", grid=(0.01, 0.1), seeds=3)
    spec = FIGURES["controls"]
    assert {t.setting for t in spec.trials(of)} == set(controls.SETTINGS)
    nothing = tidy.table(spec.trials(of), Store(tmp_path / "nowhere"))
    assert "nothing has run" in spec.plot(nothing, of).get_suptitle()
    assert spec.tabulate(nothing, of).empty
    some = results(LT_IMP=90, RR_IMP=88, LTatRRnorms_IMP=91)
    assert "3 seeds, paired" in spec.plot(some, of).get_suptitle()
    assert spec.tabulate(some, of).loc[("IMP", "LT-IMP − RR-IMP"), "0.01"] == "+2.0 ± 0.1"


def test_verdicts_and_sentences_follow_the_table():
    table = results(LT_IMP=90, RR_IMP=88, RRatLTnorms_IMP=85, LTatRRnorms_IMP=91, SDT=89.8)
    found = compared.verdicts(table).set_index(["ticket", "control"])
    assert found.loc[("LT-IMP", "RR-IMP"), "by the means"] == "yes"
    assert found.loc[("LT-IMP", "SDT"), "by the means"] == "no"
    assert len(found) == 5
    assert compared.seen(table[:0]) == "Nothing has run yet."


def test_one_seed_has_no_interval_to_speak_of():
    one = results(LT_IMP=90, RR_IMP=88).query("seed == 0")
    luck, start = compared.seen(one).splitlines()
    assert luck.endswith("No interval is there yet: it takes two seeds.")
    assert start.endswith("IMP: +2.0, nowhere clear of 0, n = 1.")


def test_the_sentences_say_where_a_difference_is_sure_of_how_many_and_how_much_is_luck():
    table = results(LT_IMP=90, RR_IMP=88, LT_OMP=90, RR_OMP=90, SDT=95)
    noisy = (table["setting"] == "RR-IMP") & (table["lr"] == 0.1)
    table.loc[noisy, "accuracy"] += [-9, 0, 10]  # a gap of 2 ± 9.5 points
    luck, start, small = compared.seen(table).splitlines()
    assert "Each of the 8 intervals" in luck
    assert "about 0 would exclude 0" in luck
    assert start == (
        "LT − RR, start: a ticket against a random start. "
        "IMP: +1.7 … +2.0, above 0 at 0.01 with 95 % confidence, n = 3; OMP: +0.0, nowhere clear of 0, n = 3."
    )
    assert small.startswith("LT − SDT, against a small dense network. IMP: −5.0, below 0 at 0.01, 0.1 with")
    table.loc[table["setting"] == "RR-IMP", "accuracy"] = math.nan
    assert "IMP: a seed diverged at every learning rate;" in compared.seen(table)
