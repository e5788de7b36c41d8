"""A run is a value: same digest, same training; old digests stay; the graph is walked parents first."""

import copy
import json
import math
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthpaper.errors import InputError
from lthpaper.runs import digest as canonical
from lthpaper.runs.pruning.imp import Imp
from lthpaper.runs.pruning.omp import Omp
from lthpaper.runs.recipe import PRECISIONS, SCHEDULES, Recipe
from lthpaper.runs.run import Fresh, Rewind, Run, ancestors, from_json, setting, to_json
from lthpaper.runs.settings import (
    fine_tuned,
    imp_sparsity,
    lt_imp,
    lt_omp,
    nonzeros,
    pretraining,
    random_reinit,
    rewound,
    small_dense,
)
from lthpaper.runs.task import Task

TASK = Task("resnet8", "digits")
DENSE = pretraining(TASK, Recipe(), seed=0)


# --- golden digests: every field is written out, so a new default changes no digest ---

GOLDEN_TASK = Task("resnet20", "cifar10", width=1.0, train_images=0, prunable=())
GOLDEN_RECIPE = Recipe(160, 0.1, 64, 0.9, 1e-4, "step", (80, 120), 0.1, 0.0, 0.0, "fp32")
GOLDEN = Run(GOLDEN_TASK, GOLDEN_RECIPE, Fresh(seed=1, draw=0), None, seed=1)
GOLDEN_RUNS = {
    "pretraining": (GOLDEN, "326c710aa4df5546"),
    "LT-IMP": (lt_imp(GOLDEN, 11), "66898a73c09a8b3b"),
    "RR-IMP": (random_reinit(lt_imp(GOLDEN, 11)), "2d3ffaabe9c27fd0"),
    "LT-OMP": (lt_omp(GOLDEN, 0.914), "5ccd645cd0049eff"),
    "RR-OMP": (random_reinit(lt_omp(GOLDEN, 0.914)), "772a12b4e040b3d6"),
    "SDT": (small_dense(lt_omp(GOLDEN, 0.914)), "f8594862941afb2a"),
    "WR-IMP": (rewound(lt_imp(GOLDEN, 11), GOLDEN, 4), "a15eada1e4b11b68"),
    "FT-OMP": (fine_tuned(lt_omp(GOLDEN, 0.914), GOLDEN), "9107df263612f557"),
}


@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_digests_do_not_change_from_version_to_version(name):
    # If this fails, results in every store lose their runs: `canonical.added` gives a field without that.
    run, digest = GOLDEN_RUNS[name]
    assert (setting(run), run.digest) == (name, digest)
    assert run.name == f"resnet20-cifar10-{digest}"


# --- a specification that grows ---


@dataclass(frozen=True)
class Early:
    """The first version of a specification."""

    lr: float = 0.1
    epochs: int = 2

    def __post_init__(self):
        canonical.coerce_floats(self)


def digest(spec) -> str:
    return canonical.digest(canonical.describe(spec))


def test_a_field_added_later_keeps_old_digests():
    @dataclass(frozen=True)
    class Later(Early):
        mixup: float = canonical.added(default=0.0, absent=0.0)

    assert digest(Later()) == digest(Early())
    assert digest(Later(lr=0.3)) == digest(Early(lr=0.3))
    assert digest(Later(mixup=0.2)) != digest(Early())
    assert canonical.rebuild(Later, canonical.describe(Early())) == Later(mixup=0.0)


def test_a_changed_default_cannot_alias_old_runs():
    @dataclass(frozen=True)
    class Changed(Early):
        lr: float = 0.05

    assert digest(Changed()) != digest(Early())
    assert digest(Changed(lr=0.1)) == digest(Early())


def test_a_changed_default_of_an_added_field_cannot_alias_either():
    @dataclass(frozen=True)
    class Added(Early):
        mixup: float = canonical.added(default=0.0, absent=0.0)

    @dataclass(frozen=True)
    class Changed(Early):
        mixup: float = canonical.added(default=0.2, absent=0.0)

    assert digest(Changed()) == digest(Added(mixup=0.2)) != digest(Early())
    assert digest(Changed(mixup=0.0)) == digest(Added()) == digest(Early())
    assert canonical.rebuild(Changed, canonical.describe(Early())).mixup == 0.0  # not today's default


# --- equality ---


def test_the_same_number_written_otherwise_is_the_same_run():
    assert DENSE.with_(recipe=Recipe(lr=1)).digest == DENSE.with_(recipe=Recipe(lr=1.0)).digest
    assert DENSE.with_(recipe=Recipe(momentum=-0.0)) == DENSE.with_(recipe=Recipe(momentum=0))
    assert Task("resnet8", "digits", width=1) == TASK
    assert Run(replace(TASK, prunable=["*"]), Recipe()) == Run(replace(TASK, prunable=("*",)), Recipe())
    assert lt_omp(DENSE, 0) == lt_omp(DENSE, 0.0)


def test_every_field_is_part_of_the_digest():
    imp = lt_imp(DENSE, 2)
    others = [
        DENSE,
        DENSE.with_(seed=1),
        DENSE.with_(init=Fresh(1)),
        DENSE.with_(init=Fresh(0, draw=1)),
        imp,
        lt_imp(DENSE, 3),
        lt_imp(DENSE, 2, rate=0.1),
        lt_imp(DENSE.with_(seed=1), 2).with_(seed=0),  # differs in an ancestor alone
        lt_omp(DENSE, 0.36),
        imp.with_(init=Rewind(to=DENSE, epoch=4)),
        imp.with_(init=Rewind(to=DENSE, epoch=160)),
        imp.with_(init=Rewind(to=DENSE, epoch=160, restart=True)),
        *(DENSE.with_(task=TASK.with_(**{k: v})) for k, v in OTHER_TASK.items()),
        *(DENSE.with_(recipe=Recipe(**{k: v})) for k, v in OTHER_RECIPE.items()),
    ]
    assert len({run.digest for run in others}) == len(others)
    assert set(OTHER_TASK) == {f.name for f in fields(Task)}
    assert set(OTHER_RECIPE) == set(Recipe.__dataclass_fields__)


OTHER_TASK = {
    "network": "resnet20",
    "data": "cifar10",
    "width": 0.5,
    "train_images": 100,
    "prunable": ("blocks.*",),
    "architecture": "0123456789abcdef",
    "validation_images": 50,
}
OTHER_RECIPE = {
    "epochs": 161,
    "lr": 0.01,
    "batch_size": 128,
    "momentum": 0.8,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "milestones": (80,),
    "gamma": 0.2,
    "optimizer": "adamw",
    "clip": 1.0,
    "decay_norms": False,
    "warmup_epochs": 1.0,
    "label_smoothing": 0.1,
    "precision": "bf16",
    "mixup": 0.2,
    "micro_batch": 16,
}


def test_equal_runs_are_one_key():
    again = pretraining(Task("resnet8", "digits"), Recipe(), seed=0)
    assert again is not DENSE
    assert len({again, DENSE, lt_imp(again, 1), lt_imp(DENSE, 1)}) == 2
    assert again != DENSE.digest


# --- the graph ---


@st.composite
def runs(draw) -> Run:
    """A run at the end of a random chain of rounds, reinitialisations, rewindings and recipes."""
    recipes = st.builds(
        Recipe,
        epochs=st.integers(1, 20),
        lr=st.floats(1e-6, 10),
        batch_size=st.integers(1, 512),
        momentum=st.floats(0, 0.99),
        weight_decay=st.floats(0, 1),
        schedule=st.sampled_from(SCHEDULES),
        milestones=st.sets(st.integers(1, 20), max_size=3).map(sorted),
        gamma=st.floats(0.01, 1),
        warmup_epochs=st.floats(0, 1),
        label_smoothing=st.floats(0, 0.5),
        precision=st.sampled_from(PRECISIONS),
    )
    task = st.builds(
        Task,
        network=st.sampled_from(["resnet8", "resnet20"]),
        data=st.sampled_from(["digits", "cifar10"]),
        width=st.floats(1 / 1024, 2),
        train_images=st.integers(0, 300),
        prunable=st.lists(st.sampled_from(["blocks.*", "*", "θ?"]), max_size=2),
    )
    seeds = st.integers(0, 2**63 - 1)
    run = Run(draw(task), draw(recipes), Fresh(draw(seeds), draw(st.integers(0, 3))), seed=draw(seeds))
    for _ in range(draw(st.integers(0, 5))):
        mask = draw(
            st.one_of(
                st.builds(Imp, after=st.just(run), rate=st.floats(0.01, 0.99)),
                st.builds(Omp, after=st.just(run), sparsity=st.floats(0, 1, exclude_max=True)),
            )
        )
        init = draw(
            st.one_of(
                st.just(run.init),
                st.builds(
                    Rewind,
                    to=st.just(run),
                    epoch=st.integers(0, run.recipe.epochs),
                    restart=st.booleans(),
                ),
            )
        )
        run = run.with_(mask=mask, init=init, seed=draw(seeds))
    return run


@given(run=runs(), sort_keys=st.booleans())
def test_a_run_survives_json_with_its_ancestors_and_in_any_order(run, sort_keys):
    text = json.dumps(to_json(run), sort_keys=sort_keys, allow_nan=False)
    again = from_json(json.loads(text))
    assert again.digest == run.digest
    assert [r.digest for r in ancestors([again])] == [r.digest for r in ancestors([run])]
    assert (again.task, again.recipe, again.init, again.mask) == (run.task, run.recipe, run.init, run.mask)
    assert setting(again) == setting(run)


@given(st.lists(runs(), max_size=3))
def test_ancestors_come_before_their_children_and_each_once(some):
    order = list(ancestors(some))
    place = {run.digest: i for i, run in enumerate(order)}
    assert len(place) == len(order)
    assert set(some) <= set(order)
    assert all(place[parent.digest] < place[run.digest] for run in order for parent in run.parents)


def test_eleven_rounds_are_a_chain_of_twelve_trainings():
    run = lt_imp(DENSE, 11)
    chain = list(ancestors([run]))
    assert (chain[0], chain[-1], len(chain)) == (DENSE, run, 12)
    assert all(child.parents == (parent,) for parent, child in pairwise(chain))
    assert all(r.init == DENSE.init for r in chain)  # every round starts from the same θ0
    assert run.mask.sparsity == pytest.approx(1 - 0.8**11)


def test_rewinding_has_two_parents_and_a_shared_one_counts_once():
    imp = lt_imp(DENSE, 2)
    assert set(rewound(imp, DENSE, 4).parents) == {DENSE, lt_imp(DENSE, 1)}
    assert rewound(lt_imp(DENSE, 1), DENSE, 4).parents == (DENSE,)


@pytest.mark.parametrize("rounds", [200, 400])
def test_a_long_chain_is_no_deeper_for_python_than_a_short_one(rounds):
    run = lt_imp(DENSE, rounds, rate=0.01)
    assert len(list(ancestors([run]))) == rounds + 1
    assert run.mask.sparsity == pytest.approx(1 - 0.99**rounds)
    assert setting(run) == "LT-IMP"
    again = from_json(json.loads(json.dumps(to_json(run), sort_keys=True)))
    assert again == run


def test_omp_at_ten_sparsities_shares_one_pretraining():
    subnetworks = [lt_omp(DENSE, imp_sparsity(k)) for k in range(1, 11)]
    graph = list(ancestors(subnetworks))
    assert len(graph) == 11
    assert graph[0] == DENSE
    assert sum(setting(run) == "pretraining" for run in graph) == 1


def test_lt_and_rr_at_every_sparsity_share_one_chain_of_masks():
    chain = [lt_imp(DENSE, k) for k in range(1, 6)]
    graph = list(ancestors([*chain, *(random_reinit(run) for run in chain)]))
    assert len(graph) == 1 + 5 + 5


# --- settings ---


def test_settings_have_the_papers_names():
    imp, omp = lt_imp(DENSE, 2), lt_omp(DENSE, 0.36)
    assert [setting(run) for run in (DENSE, imp, omp)] == ["pretraining", "LT-IMP", "LT-OMP"]
    assert [setting(random_reinit(run)) for run in (imp, omp)] == ["RR-IMP", "RR-OMP"]
    assert [setting(rewound(run, DENSE, 4)) for run in (imp, omp)] == ["WR-IMP", "WR-OMP"]
    assert [setting(fine_tuned(run, DENSE)) for run in (imp, omp)] == ["FT-IMP", "FT-OMP"]
    assert setting(small_dense(omp)) == "SDT"


def test_lt_means_the_pretrainings_own_theta_0():
    imp = lt_imp(DENSE, 2)
    assert setting(imp.with_(init=Fresh(0, draw=1))) == "RR-IMP"
    assert setting(imp.with_(init=Fresh(5))) == "RR-IMP"  # another seed's θ0 is not the ticket's
    assert setting(imp.with_(recipe=Recipe(lr=0.005))) == "LT-IMP"  # Table 4: another recipe, the same θ0
    assert setting(imp.with_(seed=7)) == "LT-IMP"  # another data order, the same θ0


def test_rr_keeps_the_mask_and_changes_the_initial_weights_alone():
    imp = lt_imp(DENSE, 3)
    rr = random_reinit(imp)
    assert (rr.mask, rr.task, rr.recipe, rr.seed) == (imp.mask, imp.task, imp.recipe, imp.seed)
    assert rr.init != imp.init


@pytest.mark.parametrize("network", ["resnet8", "resnet20"])
@pytest.mark.parametrize("s", [0.2, 0.914])
def test_the_small_dense_network_is_as_near_as_a_width_allows(network, s):
    subnetwork = lt_omp(DENSE.with_(task=Task(network, "digits")), s)
    small = small_dense(subnetwork)
    missed = abs(small.task.parameters - nonzeros(subnetwork))
    neighbours = [small.task.with_(width=small.task.width + step / 1024) for step in range(-12, 13)]
    within = [task for task in neighbours if task.width <= 1]
    assert missed == min(abs(task.parameters - nonzeros(subnetwork)) for task in within)
    assert small.mask is None


def test_the_cost_of_a_rewound_run_is_what_is_left_to_train():
    imp = lt_imp(DENSE, 1)
    assert (DENSE.cost, imp.cost) == (160, 160)
    assert rewound(imp, DENSE, 40).cost == 120
    assert fine_tuned(imp, DENSE).cost == 160


# --- what is refused ---

DOCUMENT = json.loads(json.dumps(to_json(rewound(lt_imp(DENSE, 1), DENSE, 4))))
TOP = DOCUMENT["digest"]


def hostile(*path_and_value) -> dict:
    """The document with one place changed (a value of `...` deletes it)."""
    *path, value = path_and_value
    document = copy.deepcopy(DOCUMENT)
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    "path",
    [
        ("recipe", "lr", 0.2),
        ("recipe", "epochs", 161),
        ("seed", 5),
        ("init", "epoch", 5),
        ("mask", "rate", 0.3),
        ("task", "train_images", 100),
    ],
)
def test_a_changed_description_is_detected(path):
    with pytest.raises(InputError, match=r"The description of run .* gives .*: it was changed"):
        from_json(hostile("runs", TOP, *path))


def test_a_field_left_out_is_detected_unless_it_was_the_default_all_the_same():
    run = DENSE.with_(recipe=Recipe(gamma=0.2))
    document = copy.deepcopy(to_json(run))
    del document["runs"][run.digest]["recipe"]["lr"]  # today's default gives the digest: the same run
    assert from_json(document) == run
    del document["runs"][run.digest]["recipe"]["gamma"]
    with pytest.raises(InputError, match="it was changed"):
        from_json(document)


def test_a_changed_ancestor_is_detected():
    with pytest.raises(InputError, match=f"The description of run {DENSE.digest} gives"):
        from_json(hostile("runs", DENSE.digest, "seed", 5))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (("init", "kind", "teleport"), "teleport"),
        (
            ("mask", "kind", "snap"),
            r"Unknown pruning rule 'snap'\. Did you mean 'snip'\? Known: .*imp, .*omp",
        ),
        (("task", "network", "resnet21"), r"Unknown network 'resnet21'\. Did you mean"),
        (("task", "data", "digitz"), "Did you mean 'digits'"),
        (("task", "depth", 3), r"Task has no field depth.*another version"),
        (("recipe", "nesterov", True), r"Recipe has no field nesterov.*another version"),
        (("mask", "alpha", 3), "Imp has no field alpha"),
        (("colour", "red"), "A run has no field colour"),
        (("recipe", "lr", -1), "The learning rate is -1"),
        (("recipe", "lr", math.nan), "The learning rate is nan"),
        (("task", "width", math.nan), "width is nan"),
        (("seed", math.nan), "seed is nan"),
        (("init", "to", {"run": "0" * 16}), "are missing"),
        (("mask", "after", "everything"), "must be a run"),
        (("mask", "after", ...), "must be a run"),
    ],
)
def test_an_unknown_kind_field_or_value_is_named(path, sentence):
    with pytest.raises(InputError, match=sentence):
        from_json(hostile("runs", TOP, *path))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    (),
    ("digest",),
    ("runs",),
    ("runs", TOP),
    *(("runs", TOP, part) for part in DOCUMENT["runs"][TOP]),
    *(
        ("runs", TOP, part, name)
        for part, fields in DOCUMENT["runs"][TOP].items()
        if isinstance(fields, dict)
        for name in fields
    ),
]


@pytest.mark.parametrize("place", PLACES, ids="/".join)
@given(value=ANYTHING)
def test_hostile_json_is_refused_as_input_and_crashes_nothing(place, value):
    document = hostile(*place, value) if place else value
    try:
        run = from_json(document)
    except InputError:
        pass
    else:  # by chance what was there before, or the same number written otherwise (1 for 1.0)
        assert run.digest == TOP or run in set(ancestors([from_json(DOCUMENT)]))


@pytest.mark.parametrize(
    "fields",
    [
        {"network": "resnet21"},
        {"network": None},
        {"data": "digitz"},
        {"data": 3},
        {"width": 0},
        {"width": -1.0},
        {"width": math.inf},
        {"width": "wide"},
        {"train_images": -1},
        {"train_images": 301},
        {"train_images": 2.5},
        {"train_images": True},
        {"prunable": "blocks.*"},
        {"prunable": [3]},
    ],
    ids=str,
)
def test_a_task_that_cannot_be_is_refused(fields):
    with pytest.raises(InputError, match=r"must be|Unknown|has 300"):
        Task(**({"network": "resnet8", "data": "digits"} | fields))


@pytest.mark.parametrize("seed", [-1, 1.0, True, "0", None, math.nan, 2**63])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(InputError, match="whole number"):
        Fresh(seed)
    with pytest.raises(InputError, match="whole number"):
        Run(TASK, Recipe(), seed=seed)


@pytest.mark.parametrize("part", [{"mask": Omp(DENSE, 0.5)}, {"init": Rewind(to=DENSE, epoch=4)}], ids=list)
def test_masks_and_weights_of_another_network_are_refused(part):
    for other in (TASK.with_(width=0.5), Task("resnet20", "digits")):
        with pytest.raises(InputError, match=f"comes from {DENSE.name}.* the same network and width"):
            Run(other, Recipe(), **part)
    assert Run(TASK.with_(train_images=100), Recipe(), **part).parents == (DENSE,)
    with pytest.raises(InputError, match="the same network and width"):
        from_json(hostile("runs", TOP, "task", "width", 0.5))


def test_a_mask_goes_to_other_data_and_weights_only_where_they_have_the_networks_shapes():
    coloured = Task("resnet8", "cifar10")
    assert Run(coloured, Recipe(), mask=Omp(DENSE, 0.5)).parents == (DENSE,)
    with pytest.raises(InputError, match="as many channels and classes"):
        Run(coloured, Recipe(), init=Rewind(to=DENSE, epoch=4))
    small = Task("resnet8", "cifar10-16")
    assert Run(small, Recipe(), init=Rewind(to=pretraining(coloured, Recipe()), epoch=4)).first_epoch == 4


@pytest.mark.parametrize("epoch", [-1, 161, 4.0, True, None])
def test_only_an_epoch_of_the_run_can_be_rewound_to(epoch):
    with pytest.raises(InputError, match="the run has epochs 0 to 160"):
        Rewind(to=DENSE, epoch=epoch)
