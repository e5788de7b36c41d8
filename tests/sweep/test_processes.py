"""Worker processes: errors come home, a death is one sentence, and nothing outlives its parent."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import NoneType, SimpleNamespace

import pytest

from lthpaper.errors import InputError
from lthpaper.store.entry import Unwritable
from lthpaper.sweep import processes
from lthpaper.sweep.executor import GpuLost, OutOfMemory, WorkerDied, WorkFailed
from lthpaper.sweep.processes import InThisProcess, Workers


class Awkward(Exception):
    """An exception that cannot be sent to another process: it is not made from its message alone."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class AwkwardInput(InputError):
    """A user's own kind of error, which is not made from its message alone either."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def work(job: str, on_epoch: Callable, stop: Callable[[], bool]) -> None:
    for _ in range(3):
        on_epoch(SimpleNamespace(runs=[job, job]))
    match job:
        case "input":
            raise InputError("one clear sentence")
        case "awkward":
            raise Awkward("this", "that")
        case "awkward input":
            raise AwkwardInput("this", "that")
        case "full":
            raise Unwritable("The store is full.")
        case "memory":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        case "hung":  # in a call into C that no signal interrupts
            processes.SECONDS_TO_CLEAN_UP = 0.1
            lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
            on_epoch(SimpleNamespace(runs=[job]))
            for _ in range(2):
                libc.pthread_mutex_lock(lock)
        case "lost GPU":
            raise GpuLost("an illegal memory access")
        case "die":
            os._exit(9)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "endless" | "signalled":
            if job == "signalled":  # as a batch system does to every process
                os.kill(os.getpid(), signal.SIGTERM)
            while not stop():
                time.sleep(0.02)
            raise InputError("stopped")


def perform(*jobs: str) -> tuple[dict[int, BaseException | None], int]:
    """What became of each job, and how much progress was reported."""
    outcome, told = {}, []
    with Workers(1, lambda number, count: told.append(count)) as workers:
        for number, job in enumerate(jobs):
            workers.submit(number, job, work)
            while number not in outcome:
                outcome |= dict(workers.done())
    return outcome, sum(told)


def test_results_progress_and_errors_come_home():
    outcome, progress = perform("good", "input", "awkward", "good")
    assert outcome[0] is outcome[3] is None
    assert isinstance(outcome[1], InputError)
    assert str(outcome[1]) == "one clear sentence"
    assert isinstance(outcome[2], WorkFailed)
    assert "Awkward: this and that" in str(outcome[2])
    assert progress == 4 * 3 * 2


def test_a_full_store_is_known_as_such_and_a_users_own_kind_of_input_error_as_a_plain_one():
    outcome, _ = perform("full", "awkward input")
    assert [(type(error), str(error)) for error in outcome.values()] == [
        (Unwritable, "The store is full."),
        (InputError, "this and that"),
    ]


def test_a_worker_that_dies_is_its_jobs_error_and_the_next_job_has_another_worker():
    outcome, _ = perform("die", "good", "killed", "good")
    assert outcome[1] is outcome[3] is None
    assert isinstance(outcome[0], WorkerDied)
    assert "(status 9)" in str(outcome[0])
    assert isinstance(outcome[2], WorkerDied)
    assert "SIGKILL" in str(outcome[2])


def test_an_error_after_which_a_gpu_cannot_be_used_ends_the_process_and_not_the_work():
    outcome, _ = perform("lost GPU", "good")
    assert isinstance(outcome[0], WorkerDied)
    assert outcome[1] is None
    with InThisProcess(lambda number, count: None) as here:
        here.submit(0, "lost GPU", work)
        with pytest.raises(GpuLost, match="an illegal memory access"):
            list(here.done())


def test_a_job_that_finds_no_memory_says_so():
    outcome, _ = perform("memory", "input")
    assert isinstance(outcome[0], OutOfMemory)
    assert "can't allocate memory" in str(outcome[0])


def test_jobs_that_are_asked_to_stop_do_and_the_next_ones_are_not():
    told = set()
    with Workers(2, lambda number, count: told.add(number)) as workers:
        workers.submit(1, "endless", work)
        workers.submit(2, "endless", work)
        outcome = {}
        while not told:  # both are at work, or will be told in turn
            outcome |= dict(workers.done())
        workers.stop()
        while len(outcome) < 2:
            outcome |= dict(workers.done())
        assert all(str(error) == "stopped" for error in outcome.values())
        workers.submit(3, "good", work)
        while 3 not in outcome:
            outcome |= dict(workers.done())
        assert outcome[3] is None


def test_a_signal_to_a_worker_ends_its_job_in_good_order():
    with Workers(1) as workers:
        workers.submit(1, "signalled", work)
        outcome = {}
        while not outcome:
            outcome |= dict(workers.done())
        assert str(outcome[1]) == "stopped"


def test_the_same_jobs_in_this_process_end_alike():
    told = []
    with InThisProcess(lambda number, count: told.append((number, count)), lambda: True) as here:
        for number, job in enumerate(["good", "input", "awkward", "memory", "endless"]):
            here.submit(number, job, work)
        outcome = dict(here.done())
    assert [type(error) for error in outcome.values()] == [
        NoneType,
        InputError,
        WorkFailed,
        OutOfMemory,
        InputError,
    ]
    assert isinstance(outcome[2].__cause__, Awkward)
    assert told == [(number, 2) for number in range(5) for _ in range(3)]


JOBS = """
    import os, time
    from pathlib import Path

    def work(folder, on_epoch, stop):
        mine = Path(folder) / str(os.getpid())
        mine.write_text("half")
        try:
            time.sleep(10**6)
        finally:
            mine.unlink()
"""
SCRIPT = """
    import signal, sys
    from jobs import work
    from lthpaper.sweep.processes import Workers

    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    with Workers(2) as workers:
        for number in range(2):
            workers.submit(number, sys.argv[1], work)
        while True:
            list(workers.done())
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # a dead process may wait for whoever adopted it to notice
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("how", ["interrupt of the parent", "Ctrl-C to all", "kill of the parent"])
def test_no_worker_outlives_an_interrupt_or_its_parent(tmp_path, how):
    script, folder = tmp_path / "endless.py", tmp_path / "folder"
    script.write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "jobs.py").write_text(textwrap.dedent(JOBS))
    folder.mkdir()
    said = tmp_path / "said"
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder)], stdout=output, stderr=output, start_new_session=True
        )
    until = time.monotonic() + 1800  # a hang, on however busy a machine
    try:
        while len(workers := [int(path.name) for path in folder.iterdir()]) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(workers) == 2, said.read_text()
        if how == "Ctrl-C to all":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT if "interrupt" in how else signal.SIGKILL)
        process.wait(1800)
        while any(map(alive, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(alive, workers))
        if how != "kill of the parent":
            assert list(folder.iterdir()) == []  # what was half-written is gone
            assert said.read_text().count("Traceback") == 1  # the parent's own KeyboardInterrupt
    finally:
        process.kill()
        process.wait()


def test_nor_does_one_that_hangs_in_a_call_into_c():
    told = []
    with Workers(1, lambda number, count: told.append(count)) as workers:
        workers.submit(0, "hung", work)
        while sum(told) < 3 * 2 + 1:
            list(workers.done())
        (worker,) = workers._workers
        worker.connection.close()  # as the end of the parent does
        try:
            assert worker.process.wait(300) == 1
        finally:
            worker.process.kill()


# --- scripts and starts ---


def ended(script: Path) -> subprocess.CompletedProcess:
    """A script, run as a person does; it hangs if it takes half an hour."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, script.name]
    return subprocess.run(
        command, cwd=script.parent, env=environment, capture_output=True, text=True, timeout=1800
    )


UNGUARDED = """
    from lthpaper.runs.recipe import Recipe
    from lthpaper.runs.settings import lt_imp, pretraining, random_reinit
    from lthpaper.runs.task import Task
    from lthpaper.store.store import Store
    from lthpaper.sweep.execute import execute

    task = Task("mlp", "digits", width=0.25, train_images=100)
    dense = pretraining(task, Recipe(epochs=2, lr=0.01, batch_size=50, milestones=(1,)))
    ticket = lt_imp(dense, rounds=1)
    control = random_reinit(ticket)
    others = [pretraining(task, dense.recipe, seed) for seed in range(1, 4)]

    store = Store("store")
    execute([ticket, control, *others], store, workers=2)
    print(store.get(ticket).accuracy, store.get(control).accuracy)
"""


def test_a_script_without_a_guard_trains_on_workers(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(textwrap.dedent(UNGUARDED))
    found = ended(script)
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.split()) == 2, found.stdout  # printed once


def until_done(workers: Workers) -> None:
    while True:
        list(workers.done())


def test_workers_that_end_as_they_start_end_the_work_with_their_last_words(monkeypatch):
    monkeypatch.setattr(processes, "BEGIN", "raise SystemExit('no such library')")
    said = r"ended as it started \(status 1\); its last words: no such library"
    with Workers(1) as workers:
        workers.submit(0, "good", work)
        with pytest.raises(WorkerDied, match=said):
            until_done(workers)


def test_a_worker_that_ends_as_it_starts_once_is_replaced(tmp_path, monkeypatch):
    mark = tmp_path / "been here"
    once = f"import os; os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'w').close(), os._exit(3)); "
    monkeypatch.setattr(processes, "BEGIN", once + processes.BEGIN)
    assert perform("good") == ({0: None}, 3 * 2)
    assert mark.exists()
