"""A plan trains what is shared once, nothing that is stored, and says what it costs before it starts."""

import pytest
import torch
from plain_loop import few_digits

from lthpaper.errors import InputError
from lthpaper.runs.pruning.omp import Omp
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Rewind
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
from lthpaper.store.store import Store
from lthpaper.sweep import plan as plan_module
from lthpaper.sweep.costs import emulated
from lthpaper.training.autotune import pack_limits
from lthpaper.training.loop import train

TASK = Task("resnet8", "digits", width=0.25)
RECIPE = Recipe(epochs=3, lr=0.05, batch_size=20, milestones=(1,))
DENSE = pretraining(TASK, RECIPE)
FEW = few_digits(train=20, test=20)


def plan(*runs, store, keep=None):
    return plan_module.plan(runs, store, keep)


def put(store: Store, *runs, keep=None) -> None:
    for run in runs:
        for result in train([run], FEW, store.weights, keep=keep):
            store.put(result, "", {})


def test_omp_at_ten_sparsities_plans_one_pretraining(store):
    runs = [lt_omp(DENSE, k / 11) for k in range(1, 11)]
    made = plan(*runs, store=store)
    assert len(made.runs) == len(made.todo) == 11
    assert made.todo[0] == DENSE
    assert made.network_epochs == 11 * 3


def test_shared_ancestors_are_counted_once_and_come_first(store):
    imp = lt_imp(DENSE, 3)
    made = plan(random_reinit(imp), imp, lt_imp(DENSE, 2), DENSE, store=store)
    assert set(made.todo) == {DENSE, lt_imp(DENSE, 1), lt_imp(DENSE, 2), imp, random_reinit(imp)}
    assert len(made.todo) == 5
    place = {run: i for i, run in enumerate(made.todo)}
    assert all(place[parent] < place[run] for run in made.todo for parent in run.parents)


def test_a_stored_run_is_not_planned(store):
    put(store, DENSE)
    made = plan(DENSE, lt_omp(DENSE, 0.5), store=store)
    assert made.todo == (lt_omp(DENSE, 0.5),)
    assert set(made.runs) == {DENSE, lt_omp(DENSE, 0.5)}
    put(store, lt_omp(DENSE, 0.5))
    assert plan(DENSE, lt_omp(DENSE, 0.5), store=store).todo == ()


def test_parents_of_a_stored_run_are_not_trained_for_its_sake(store):
    # results without the pretraining that they came from, as another machine's published ones may be
    sub = lt_omp(DENSE, 0.5)
    (dense,) = train([DENSE], FEW)
    for result in train([sub], FEW, lambda run, epoch: (dense.weights, None)):
        store.put(result, "", {})
    assert plan(sub, store=store).todo == ()
    assert plan(sub, lt_omp(DENSE, 0.6), store=store).todo == (DENSE, lt_omp(DENSE, 0.6))


def test_rewinding_asks_for_the_snapshot_it_starts_from(store):
    sub = lt_imp(DENSE, 2)
    made = plan(rewound(sub, DENSE, 1), rewound(sub, DENSE, 2), fine_tuned(sub, DENSE), store=store)
    assert made.keep == {DENSE: frozenset({1, 2})}  # θT is kept anyway
    assert made.network_epochs == 3 + 3 + 2 + 1 + 3  # dense, round 1 (gives the mask), from 1, from 2, anew


def test_a_stored_run_without_a_snapshot_that_is_needed_is_trained_again(store):
    put(store, DENSE)
    late = rewound(lt_omp(DENSE, 0.5), DENSE, 1)
    assert plan(late, store=store).todo == (DENSE, late)
    put(store, DENSE, keep={DENSE: frozenset({1})})
    assert plan(late, store=store).todo == (late,)
    put(store, late)
    assert plan(late, store=store).todo == ()


def test_snapshots_that_a_figure_asks_for_are_kept_and_missed_once(store):
    keep = {DENSE: frozenset({0, 3})}
    made = plan(DENSE, store=store, keep=keep)
    assert made.keep == {DENSE: frozenset({0})}
    put(store, DENSE, keep=made.keep)
    assert plan(DENSE, store=store, keep=keep).todo == ()
    assert plan(DENSE, store=store, keep={DENSE: frozenset({0, 2})}).todo == (DENSE,)


@pytest.mark.parametrize("epoch", [-1, 4, 1000])
def test_a_snapshot_outside_a_runs_epochs_is_refused(store, epoch):
    with pytest.raises(InputError, match="trains from epoch 0 to 3"):
        plan(DENSE, store=store, keep={DENSE: frozenset({epoch})})


def test_what_a_rewound_run_never_was_cannot_be_rewound_to(store):
    late = rewound(lt_omp(DENSE, 0.5), DENSE, 2)
    with pytest.raises(InputError, match="trains from epoch 2 to 3"):
        plan(late.with_(init=Rewind(late, 1)), store=store)


def test_a_run_with_nothing_to_train_is_refused(store):
    run = DENSE.with_(init=Rewind(DENSE, 3), mask=Omp(DENSE, 0.5))
    with pytest.raises(InputError, match="nothing is left to train"):
        plan(run, store=store)


def test_half_an_entry_is_named(store):
    store.path(DENSE).mkdir(parents=True)
    with pytest.raises(InputError, match=r"has no result\.json"):
        plan(DENSE, store=store)


# --- what it costs ---


def test_a_plan_says_where_the_processor_has_no_bf16(monkeypatch, store):
    half = plan_module.plan([DENSE.with_(recipe=RECIPE.with_(precision="bf16"))], store)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert "--set precision=fp32" in emulated(half, "cpu")
    assert emulated(half, "cuda") == emulated(plan_module.plan([DENSE], store), "cpu") == ""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert emulated(half, "cpu") == ""


def test_disk_and_network_epochs_by_hand(store):
    task = Task("mlp", "digits")  # 64·300 + 300 + 300·100 + 100 + 100·10 + 10 parameters, fc2 prunable
    dense = pretraining(task, RECIPE)
    late = rewound(lt_omp(dense, 0.5), dense, 1)
    made = plan(late, store=store)
    assert task.parameters == 50_610
    assert made.network_epochs == 3 + 2
    weights, mask = 4 * 50_610, 30_000 // 8
    assert made.disk == pytest.approx((2 * weights) + (weights + mask), rel=0.1)
    put(store, dense, keep=made.keep)
    put(store, late)
    there = sum(path.stat().st_size for run in (dense, late) for path in store.path(run).iterdir())
    assert made.disk == pytest.approx(there, rel=0.1)


def test_runs_that_can_share_a_pack_have_one_shape(store):
    runs = [pretraining(TASK, RECIPE.with_(lr=lr), seed) for lr in (0.01, 0.1) for seed in (0, 1)]
    short = [pretraining(TASK, RECIPE.with_(epochs=2), 0)]
    masked = [lt_omp(runs[0], 0.9)]
    narrow = [small_dense(masked[0])]
    made = plan(*runs, *short, *masked, *narrow, store=store)
    assert sorted(map(len, made.shapes.values())) == [1, 1, 5]


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_a_number_of_workers_that_is_none_is_refused(workers):
    with pytest.raises(InputError, match="number of workers"):
        plan_module.worker_count("cpu", workers)


def test_workers_default_to_one_a_core_and_one_a_gpu():
    assert plan_module.worker_count("cpu") >= 1
    assert plan_module.worker_count("cuda") == 1
    assert plan_module.worker_count("cuda", 3) == 3


def test_planning_trains_and_writes_nothing(store):
    plan(lt_imp(DENSE, 3), store=store).disk  # noqa: B018
    assert not store.folder.exists()


def test_a_plan_that_the_smallest_pack_holds_trains_in_one_process(store):
    smallest = pack_limits(DENSE, torch.device("cpu"))[0]
    few, more = ([DENSE.with_(seed=s) for s in range(smallest + n)] for n in (0, 1))
    assert plan_module.process_count(plan(*few, store=store), "cpu", 3) == 1
    assert plan_module.process_count(plan(*more, store=store), "cpu", 3) == 3
    assert plan_module.process_count(plan(store=store), "cpu", 3) == 3
