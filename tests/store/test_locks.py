"""Processes that share a store share its work: each run is trained once, whoever is killed meanwhile."""

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import lt_imp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store import locks
from lthpaper.store.entry import Unwritable
from lthpaper.store.locks import FOLDER, Locks
from lthpaper.store.store import Store
from lthpaper.sweep.plan import plan

RECIPE = Recipe(epochs=1, batch_size=30)
TASKS = [
    Task("mlp", "digits", width=width, train_images=60) for width in (0.1, 0.2, 0.3, 0.4)
]  # as many packs
DENSE = [pretraining(task, RECIPE, seed) for task in TASKS for seed in range(2)]
WISHES = [lt_imp(run, 1) for run in DENSE]


def files(store: Path) -> list[str]:
    return sorted(p.name for p in (store / FOLDER).glob("*"))


def test_a_run_is_anothers_until_it_is_left(tmp_path):
    with Locks(tmp_path) as ours, Locks(tmp_path) as theirs:
        assert ours.take(DENSE[0])
        assert ours.take(DENSE[0])  # ours already
        assert not theirs.take(DENSE[0])
        assert theirs.take(DENSE[1])
        assert len(files(tmp_path)) == 2
        ours.leave(DENSE[0])
        assert theirs.take(DENSE[0])
        assert not ours.take(DENSE[0])


def test_nothing_is_left_behind(tmp_path):
    with Locks(tmp_path / "store") as ours:
        for run in DENSE:
            assert ours.take(run)
        ours.leave(DENSE[0])
        assert len(files(tmp_path / "store")) == len(DENSE) - 1
    assert list((tmp_path / "store").iterdir()) == []


def test_what_a_killed_process_left_is_free_and_removed(tmp_path):
    (tmp_path / FOLDER).mkdir()
    for run in DENSE[:2]:
        (tmp_path / FOLDER / f"{run.name}.lock").touch()
    with Locks(tmp_path) as ours:
        assert ours.take(DENSE[0])
    assert not (tmp_path / FOLDER).exists()


def test_who_opened_a_lock_before_it_was_removed_does_not_hold_it(tmp_path):
    with Locks(tmp_path) as ours:
        ours.take(DENSE[0])
        path = tmp_path / FOLDER / f"{DENSE[0].name}.lock"
        with open(path) as early:
            ours.leave(DENSE[0])
            assert not path.exists()
            assert ours.take(DENSE[0])  # in a new file
            assert os.fstat(early.fileno()).st_ino != path.stat().st_ino
            with Locks(tmp_path) as theirs:
                assert not theirs.take(DENSE[0])


def test_who_waits_is_heard_by_the_others_until_it_does_no_more(tmp_path):
    with Locks(tmp_path) as ours, Locks(tmp_path) as theirs:
        assert ours.waited_for() == 0
        theirs.wait(2)
        theirs.wait(2)
        assert ours.waited_for() == 2
        assert theirs.waited_for() == 0
        theirs.wait(3)
        assert ours.waited_for() == 3
        theirs.wait(0)
        assert ours.waited_for() == 0
        (tmp_path / FOLDER).mkdir(exist_ok=True)
        (tmp_path / FOLDER / "waiting-5-killed.lock").touch()
        assert ours.waited_for() == 0
    assert not (tmp_path / FOLDER).exists()


def refusing(code: int):
    def acquire(*args, **options):
        raise OSError(code, os.strerror(code))

    return acquire


def test_a_file_system_without_locks_is_said_once_and_the_work_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(FileLock, "acquire", refusing(errno.ENOLCK))
    with Locks(tmp_path) as ours:
        assert ours.take(DENSE[0])
        assert ours.take(DENSE[1])
    (said,) = capsys.readouterr().err.splitlines()
    assert "has no locks" in said


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_filelock_leaves_it_to_us_what_to_do_without_locks(tmp_path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    with Locks(tmp_path) as ours, Locks(tmp_path) as theirs:
        assert ours.take(DENSE[0])
        assert theirs.take(DENSE[0])  # no lock of another kind


def test_a_full_disk_is_the_stores_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", refusing(errno.ENOSPC))
    with Locks(tmp_path) as ours, pytest.raises(Unwritable, match="free some space"):
        ours.take(DENSE[0])


def test_where_no_more_files_can_be_open_a_run_waits_for_those_at_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_more_files", lambda: False)
    with Locks(tmp_path) as ours:
        assert ours.take(DENSE[0])
        with monkeypatch.context() as patch:
            patch.setattr(FileLock, "acquire", refusing(errno.EMFILE))
            assert not ours.take(DENSE[1])
        assert ours.take(DENSE[1])


SCRIPT = """
    import contextlib, os, signal, sys, torch
    import sklearn.datasets
    from lthpaper.sweep import execute as sweep
    from lthpaper.store.store import Store
    from test_locks import WISHES

    torch.set_num_threads(1)
    folder, count, killed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    real = sweep.train

    def logged(runs, *rest, **named):
        log = os.open(f"{folder}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        dies = False
        for i in range(killed):  # the first so many that begin
            with contextlib.suppress(FileExistsError):
                os.open(f"{folder}/killed {i}", os.O_CREAT | os.O_EXCL)
                dies = True
                break
        os.write(log, "".join(f"{me} {dies:d} {run.name}\\n" for run in runs).encode())
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(runs, *rest, **named)

    sweep.train = logged
    children = []
    for me in range(count):  # before any thread is started
        children.append(os.fork())
        if not children[-1]:
            sweep.execute(WISHES, Store(f"{folder}/store"), workers=1, quiet=True)
            os._exit(0)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert sorted(statuses) == [0] * (count - killed) + [9] * killed, statuses
"""


def test_eight_processes_train_each_run_once_and_what_two_that_are_killed_had_begun_again(tmp_path):
    killed = 2
    script = tmp_path / "eight.py"
    script.write_text(textwrap.dedent(SCRIPT))
    here = os.pathsep.join((*map(str, Path(__file__).parents[:2]), str(Path(locks.__file__).parents[2])))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(8 + killed), str(killed)],
        env=os.environ | {"PYTHONPATH": here},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    of_the_dead = [name for _, died, name in lines if died == "1"]
    trained = [name for _, died, name in lines if died == "0"]
    assert Counter(trained) == Counter(run.name for run in plan(WISHES, Store(tmp_path / "none")).todo)
    assert len({me for me, *_ in lines}) > 1  # the work was shared
    assert of_the_dead
    assert not plan(WISHES, Store(tmp_path / "store")).todo
    assert {p.name for p in (tmp_path / "store").glob(".*")} == {".logs"}


def test_a_lock_that_is_gone_is_free_and_one_that_cannot_be_looked_at_counts_as_held(tmp_path):
    path = tmp_path / "run.lock"
    assert not locks.is_held(path)
    with FileLock(path):
        assert locks.is_held(path)
    path.touch()
    assert not locks.is_held(path)
    path.unlink()
    path.mkdir()  # opening it fails, as for a lock of somebody else
    assert locks.is_held(path)
