"""What trains in a store is read from its locks and logs, and nothing is written."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Rewind, Run
from lthpaper.runs.settings import lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.locks import Locks
from lthpaper.store.logs import log_of, note
from lthpaper.store.store import Store
from lthpaper.sweep.status import status

RECIPE = Recipe(epochs=20, batch_size=30, milestones=())


def dense(seed: int) -> Run:
    return pretraining(Task("resnet8", "digits"), RECIPE, seed)


def write(store: Store, run: Run, *lines: tuple[float, str]) -> None:
    """A log whose lines are so many seconds old."""
    path = log_of(store.folder, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    said = [
        f"{(now - timedelta(seconds=age)).isoformat(timespec='seconds')} node7 {text}" for age, text in lines
    ]
    path.write_text("\n".join(said) + "\n")


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_done_under_way_waiting_and_failed_are_told_apart_and_nothing_is_written(store):
    done, training, waiting, broken = map(dense, range(4))
    (store.path(done)).mkdir(parents=True)
    (store.path(done) / "result.json").write_text("{}")
    write(
        store,
        training,
        (900, "cpu: 4 of 20 epochs, train loss 0.5"),
        (60, "cpu: 14 of 20 epochs, train loss 0.4"),
    )
    write(store, broken, (30, "cpu: failed"))
    with log_of(store.folder, broken).open("a") as file:
        file.write("Traceback (most recent call last):\nRuntimeError: no luck\n")
    with Locks(store.folder) as locks:
        assert locks.take(training)
        before = files(store.folder)
        found = status(store, [done, training, waiting, lt_omp(waiting, 0.5), broken])
        assert files(store.folder) == before
    assert (found.done, found.waiting) == (1, 3)  # waiting: one, its subnetwork, and the one that failed
    (at,) = found.under_way
    assert (at.name, at.host, at.epoch, at.epochs) == (training.name, "node7", 14, 20)
    (failure,) = found.failed
    assert failure.what == "RuntimeError: no luck"
    assert str(failure.log) in str(found)
    assert found.per_hour == pytest.approx(6 * 10)  # ten epochs within ten minutes
    assert found.network_epochs == 20 * 4 - 14
    assert found.hours_left == pytest.approx(66 / 60)


def test_a_lock_that_nobody_holds_is_no_training(store):
    with Locks(store.folder) as locks:
        locks.take(dense(0))
        left = store.folder / ".locks" / f"{dense(1).name}.lock"
        left.touch()  # of a process that was killed
        assert [u.name for u in status(store).under_way] == [dense(0).name]


def test_the_speed_is_that_of_the_time_since_the_first_training_began(store):
    epochs = [(20 - k, f"cpu: {k} of 20 epochs, train loss 0.1") for k in range(1, 19)]
    write(store, dense(0), (20, "cpu: begins"), *epochs)
    with Locks(store.folder) as locks:
        assert locks.take(dense(0))
        assert status(store).per_hour == pytest.approx(3600 * 18 / 20, rel=0.1)
    assert status(store).per_hour == 0  # nothing trains any more
    assert status(store, [dense(0)]).hours_left is None


def test_what_a_killed_process_left_half_written_is_no_result(store):
    draft = store.folder / f".draft-{dense(0).name}"
    draft.mkdir(parents=True)
    (draft / "result.json").touch()
    assert status(store).done == 0


def test_a_store_that_is_not_there_has_nothing_and_an_old_log_no_speed(store):
    assert status(store).sentence == f"{store.folder}: 0 runs done, 0 under way."
    write(store, dense(0), (7200, "cpu: 20 of 20 epochs, train loss 0.1"))
    assert status(store).per_hour == 0
    assert status(store, [dense(0)]).hours_left is None


def test_the_lines_that_training_writes_are_the_lines_that_are_read(store):
    note(store.folder, [dense(0)], "cpu: 5 of 20 epochs, train loss 0.1, 3.0 s")
    with Locks(store.folder) as locks:
        locks.take(dense(0))
        assert status(store).under_way[0].epoch == 5
        assert "epoch 5 of 20" in status(store)._repr_html_()


def test_of_a_rewound_run_only_its_own_epochs_count(store):
    late = dense(0).with_(init=Rewind(to=dense(0), epoch=8), seed=9)
    write(store, late, (60, "cpu: 14 of 20 epochs, train loss 0.4"))
    with Locks(store.folder) as locks:
        locks.take(late)
        assert status(store, [late]).network_epochs == 20 + (12 - 6)


def test_the_speed_of_a_rewound_run_counts_none_of_the_epochs_before_it_began(store):
    late = dense(0).with_(init=Rewind(to=dense(0), epoch=8), seed=9)
    write(
        store, late, (60, "cpu: 9 of 20 epochs, train loss 0.4"), (30, "cpu: 14 of 20 epochs, train loss 0.3")
    )
    with Locks(store.folder) as locks:
        assert locks.take(late)
        assert status(store).per_hour == pytest.approx(3600 * 6 / 60, rel=0.1)
