"""The scheduler: chains first, full packs, what fails costs what depends on it and no more."""

import pytest

from lthpaper.errors import Stopped
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import lt_imp, lt_omp, pretraining, random_reinit, rewound, small_dense
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.sweep.executor import OutOfMemory, WorkerDied
from lthpaper.sweep.plan import plan
from lthpaper.sweep.scheduler import ELSEWHERE, OURS, THERE, Scheduler

TASK = Task("resnet8", "digits", width=0.125, train_images=60)
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=30, milestones=(1,))
DENSE = pretraining(TASK, RECIPE)
GRAPH = [
    *(random_reinit(lt_imp(pretraining(TASK, RECIPE.with_(lr=lr)), k)) for lr in (0.05, 0.1) for k in (1, 2)),
    lt_imp(DENSE, 3),
    small_dense(lt_omp(DENSE, 0.5)),
    rewound(lt_imp(DENSE, 2), DENSE, 1),
]
SEEDS = [pretraining(TASK, RECIPE, seed) for seed in range(8)]


def limits(run: Run) -> tuple[int, int]:
    return 2, 8


@pytest.fixture
def scheduled(tmp_path):
    """A scheduler of what an empty store lacks."""
    return lambda wishes, limits=limits, **world: Scheduler(plan(wishes, Store(tmp_path)), limits, **world)


def dry(scheduler: Scheduler, workers: int, error=lambda pack: None) -> list[tuple[Run, ...]]:
    """The packs in the order that they begin; a pack takes its runs' epochs, and none is trained."""
    packs, running, clock = [], [], 0
    while True:
        while len(scheduler.training) < workers:
            begun = scheduler.begin(workers - len(scheduler.training))
            if not begun:
                break
            number, pack = begun
            done = scheduler.done | scheduler.found
            assert all(parent in done for run in pack for parent in run.parents)
            packs.append(pack)
            running.append((clock + pack[0].cost, number))
        if not running:
            return packs
        running.sort()
        clock, number = running.pop(0)
        scheduler.ended(number, error(scheduler.training[number]))


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_all_runs_begin_once_after_their_parents_whatever_the_number_of_workers(scheduled, workers):
    wishes = GRAPH + [
        small_dense(lt_omp(pretraining(TASK, RECIPE, seed), s)) for seed in range(5) for s in (0.3, 0.6, 0.9)
    ]
    scheduler = scheduled(wishes)
    begun = [run for pack in dry(scheduler, workers) for run in pack]
    assert len(begun) == len(set(begun))
    assert set(begun) == scheduler.done == set(scheduler.plan.todo)
    assert not scheduler.remaining


def test_the_longest_chain_goes_first_and_ready_runs_share_packs(scheduled):
    wishes = [*(pretraining(TASK, RECIPE, seed) for seed in range(1, 21)), lt_imp(DENSE, 4)]
    packs = dry(scheduled(wishes), 1)
    assert packs[0][0] == DENSE
    assert len(packs[0]) == 8
    assert [pack[0] for pack in packs[1:4]] == [lt_imp(DENSE, k) for k in (1, 2, 3)]
    assert len(packs) == 5  # 25 runs: the chain's length, no more


def test_idle_workers_share_what_is_ready(scheduled):
    assert [len(pack) for pack in dry(scheduled(SEEDS), 2)] == [4, 4]


def test_a_shape_is_measured_when_its_first_pack_begins(scheduled):
    asked = []
    wishes = [*SEEDS, *(pretraining(TASK, RECIPE.with_(epochs=epochs)) for epochs in (3, 4))]
    scheduler = scheduled(wishes, lambda run: asked.append(run.recipe.epochs) or (2, 8))
    _, pack = scheduler.begin()
    assert set(asked) == {pack[0].recipe.epochs}


def test_a_split_pack_and_a_tail_leave_slots_empty(scheduled):
    for workers, wishes, filled in ((1, SEEDS, 1), (2, SEEDS, 8 / 16), (1, SEEDS[:5], 5 / 8), (1, [], 1)):
        dry(scheduler := scheduled(wishes), workers)
        assert scheduler.filled == filled


# --- failures ---


def test_every_failing_run_is_tried_alone_and_only_its_descendants_are_lost(scheduled):
    scheduler = scheduled([lt_imp(pretraining(TASK, RECIPE, seed), 2) for seed in range(4)])
    packs = dry(scheduler, 1, lambda pack: ValueError("failed") if DENSE in pack else None)
    assert (DENSE,) in packs
    assert scheduler.lost == {DENSE, lt_imp(DENSE, 1), lt_imp(DENSE, 2)}
    assert scheduler.done == set(scheduler.plan.todo) - scheduler.lost
    assert len(scheduler.failed) == 1
    assert scheduler.left_out == 6


def test_a_pack_without_memory_is_halved_and_so_are_the_later_ones(scheduled):
    def error(pack):
        return OutOfMemory("no") if len(pack) > 3 else None

    scheduler = scheduled([lt_imp(run, 1) for run in SEEDS])
    sizes = [len(pack) for pack in dry(scheduler, 1, error)]
    assert sizes == [8, 4, *8 * [2]]
    assert not scheduler.failed


def test_a_run_without_memory_for_itself_is_reported(scheduled):
    scheduler = scheduled(SEEDS)
    dry(scheduler, 1, lambda pack: OutOfMemory("no") if DENSE in pack else None)
    assert scheduler.lost == {DENSE}
    assert isinstance(scheduler.failed[0], OutOfMemory)


def test_a_run_whose_worker_dies_is_tried_again_twice_the_second_time_alone(scheduled):
    scheduler = scheduled(SEEDS)
    packs = dry(scheduler, 1, lambda pack: WorkerDied("died.") if DENSE in pack else None)
    assert [len(pack) for pack in packs if DENSE in pack] == [8, 8, 1]
    assert scheduler.lost == {DENSE}
    assert scheduler.done == set(SEEDS[1:])
    assert DENSE.name in str(scheduler.failed[0])


def test_a_single_death_loses_nothing(scheduled):
    scheduler, deaths = scheduled(GRAPH), iter([WorkerDied("died.")])
    dry(scheduler, 2, lambda pack: next(deaths, None))
    assert scheduler.done == set(scheduler.plan.todo)


# --- checkpoints and time ---


def test_runs_share_a_pack_only_from_the_same_place_and_the_longest_way_goes_first(scheduled):
    places = dict.fromkeys(SEEDS[:3], (1, 3))
    scheduler = scheduled(SEEDS, position=lambda run: places.get(run, (0, 0)))
    assert dry(scheduler, 1) == [tuple(SEEDS[3:]), tuple(SEEDS[:3])]


def test_what_was_stopped_waits_and_goes_on_from_where_it_is(scheduled):
    places = dict.fromkeys(SEEDS, (0, 0))
    scheduler = scheduled(SEEDS, position=places.__getitem__)
    number, pack = scheduler.begin()
    places |= dict.fromkeys(pack, (1, 0))
    scheduler.ended(number, Stopped())
    assert scheduler.remaining == SEEDS
    assert not scheduler.training
    assert scheduler.begin() == (2, pack)
    assert scheduler.done_epochs(pack[0]) == 1


def test_where_time_is_short_what_fits_is_preferred_and_else_the_first_choice_begins(scheduled):
    long = [pretraining(TASK, RECIPE.with_(epochs=20), seed) for seed in range(2)]

    def begun(left, **how):
        _, pack = scheduled([*long, SEEDS[0]], **how).begin(left=left)
        return pack

    seconds = {"seconds": lambda pack: float(sum(run.cost for run in pack))}
    assert begun(None, **seconds) == begun(100.0, **seconds) == tuple(long)
    assert begun(25.0, **seconds) == (long[0],)
    assert begun(10.0, **seconds) == (SEEDS[0],)
    assert begun(1.0, **seconds) == tuple(long)
    assert begun(1.0) == tuple(long)  # nothing is known


# --- other processes ---


def test_runs_of_another_process_are_left_to_it_and_found_or_taken_over_later(scheduled):
    state = dict.fromkeys(plan([lt_imp(run, 1) for run in SEEDS], Store("nowhere")).todo, OURS)
    state |= dict.fromkeys(SEEDS[:4], ELSEWHERE)
    released = []
    scheduler = scheduled([lt_imp(run, 1) for run in SEEDS], claim=state.__getitem__, release=released.append)
    assert dry(scheduler, 1) == [tuple(SEEDS[4:]), tuple(lt_imp(run, 1) for run in SEEDS[4:])]
    assert scheduler.elsewhere == set(SEEDS[:4])
    assert set(released) == scheduler.done
    assert set(scheduler.remaining) == {*SEEDS[:4], *(lt_imp(run, 1) for run in SEEDS[:4])}

    state |= {SEEDS[0]: THERE, SEEDS[1]: OURS}  # its result is there; the other's process has ended
    scheduler.look_again()
    assert dry(scheduler, 1) == [(SEEDS[1],), (lt_imp(SEEDS[0], 1), lt_imp(SEEDS[1], 1))]
    assert scheduler.found == {SEEDS[0]}
    assert scheduler.left_out == SEEDS[0].cost


def test_who_waits_is_left_a_share_of_what_is_really_to_be_done(scheduled):
    leaves = [lt_omp(run, 0.5) for run in SEEDS[:4]]
    state = dict.fromkeys([*SEEDS, *leaves, *(lt_imp(run, 1) for run in SEEDS)], OURS)
    scheduler = scheduled(
        [*(lt_imp(run, 2) for run in SEEDS), *leaves], claim=lambda run: state.get(run, OURS)
    )
    scheduler.ended(scheduler.begin()[0])
    state |= dict.fromkeys(leaves, THERE)  # the other process has trained them meanwhile
    scheduler.look_around()
    _, pack = scheduler.begin(idle=2)
    assert pack == tuple(lt_imp(run, 1) for run in SEEDS[:4])


def test_a_run_that_another_process_brought_further_goes_on_from_there(scheduled):
    places = dict.fromkeys(SEEDS, (0, 0))

    def claim(run):
        places[SEEDS[2]] = (1, 5)  # written after the first look
        return OURS

    packs = dry(scheduled(SEEDS, position=places.__getitem__, claim=claim), 1)
    assert packs == [tuple(SEEDS[:2] + SEEDS[3:]), (SEEDS[2],)]
