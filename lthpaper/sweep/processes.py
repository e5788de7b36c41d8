"""Worker processes that end with their parent and report why they died.

executor.py describes what all executors do. A worker is a fresh interpreter: a fork of a process with torch's
threads can hang, and multiprocessing's spawn imports the calling script, which runs it again unless it has a
guard. loky starts workers as we do, but if one dies all others and their jobs end too, it does not say whose
job it was, and it has no way to ask a job to stop.
"""

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from typing import Any

from lthpaper.locations import CUSTOM_DATA
from lthpaper.sweep.executor import MOMENT, Do, Executor, GpuLost, Tell, WorkerDied, as_failure

SECONDS_TO_CLEAN_UP = 5
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
STOP = b""  # sent instead of a job: end the current one cleanly
FAILED_STARTS = 2  # failed starts of workers in a row after which we give up
BEGIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from lthpaper.sweep.processes import begin; begin(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])"
)


class InThisProcess(Executor):
    """The executor without workers: `done` does the jobs. asked: whether to end cleanly."""

    def __init__(
        self, tell: Tell = lambda number, network_epochs: None, asked: Callable[[], bool] = lambda: False
    ):
        super().__init__(tell)
        self._asked = asked
        self._jobs: list[tuple[int, Any, Do]] = []

    def __exit__(self, *error: object) -> None:
        self._jobs.clear()

    def submit(self, number: int, job: Any, do: Do) -> None:
        self._jobs.append((number, job, do))

    def done(self) -> Iterator[tuple[int, Exception | None]]:
        """Do the jobs now; (number, its error) of each. An interrupt is raised."""
        if not self._jobs:
            time.sleep(MOMENT)
        while self._jobs:
            number, job, do = self._jobs.pop(0)
            yield number, self._done(job, do, lambda progress, n=number: self._tell(n, len(progress.runs)))

    def _done(self, job: Any, do: Do, on_epoch: Callable) -> Exception | None:
        """Do a job; its error, as `as_failure` gives it. Raises GpuLost if this process can do no more."""
        try:
            do(job, on_epoch, self._asked)
        except GpuLost:
            raise
        except Exception as error:  # a custom network may raise anything
            failure = as_failure(error)
            if failure is not error:
                failure.__cause__ = error
            return failure
        return None

    def stop(self) -> None:
        """Nothing, since jobs call `asked`."""


class Workers(Executor):
    """Processes, each with a pipe. However the block is left, every process has then ended."""

    def __init__(self, count: int, tell: Tell = lambda number, network_epochs: None):
        super().__init__(tell)
        self._count = count
        self._workers: list[_Worker] = []
        self._failed_starts = 0  # since the last worker that started

    @property
    def count(self) -> int:
        return self._count

    def __exit__(self, *error: object) -> None:
        # only an interrupt leaves them at work, and then we do not wait for them
        for worker in self._workers:
            worker.close()
        until = time.monotonic() + SECONDS_TO_CLEAN_UP + 1
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def submit(self, number: int, job: Any, do: Do) -> None:
        idle = next((worker for worker in self._workers if worker.number is None), None)
        if idle is None:
            assert len(self._workers) < self.count
            idle = _Worker()
            self._workers.append(idle)
        idle.begin(number, pickle.dumps((job, do)))

    def done(self) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of jobs that ended; waits for one for a moment.

        The error of a job whose worker died is WorkerDied; another worker replaces it. Raises WorkerDied if
        workers die as they start.
        """
        busy: dict[object, _Worker] = {w.connection: w for w in self._workers if w.number is not None}
        connections = [worker.connection for worker in busy.values()]
        if not busy:
            time.sleep(MOMENT)
        for connection in wait_for_any(connections, MOMENT) if busy else ():
            worker = busy[connection]
            for what, value in worker.messages():
                number = worker.number
                if what == "epoch" and number is not None:
                    self._tell(number, value)
                    continue
                if what == "ready":
                    self._failed_starts = 0
                    continue
                if what == "died":
                    self._workers.remove(worker)
                    if self._begun_elsewhere(worker, value):
                        continue
                worker.number = None
                if number is not None:
                    yield number, value

    def _begun_elsewhere(self, dead: "_Worker", error: WorkerDied) -> bool:
        """Whether another worker does the job of one that died before it could begin. Raises the error if no
        worker starts, since the next one would die in the same way."""
        if dead.ready or dead.number is None:
            return False
        self._failed_starts += 1
        if self._failed_starts < FAILED_STARTS:
            another = _Worker()
            self._workers.append(another)
            another.begin(dead.number, dead.job)
            return True
        if not any(worker.ready for worker in self._workers):
            raise error
        return False

    def stop(self) -> None:
        for worker in self._workers:
            if worker.number is not None:
                worker.send(STOP)


class _Worker:
    """A worker process, seen from its parent."""

    def __init__(self) -> None:
        self.number: int | None = None  # of its current job
        self.job = b""
        self.ready = False
        self.connection, theirs = Pipe()
        # its standard error until it is ready: the last words if it dies
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`
        errors = os.dup(2)  # its standard error later
        words = [json.dumps([str(path) for path in sys.path]), str(theirs.fileno()), str(errors)]
        words.append(json.dumps(CUSTOM_DATA))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # inherited, until the worker handles them
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", BEGIN, *words],
                stdin=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=(theirs.fileno(), errors),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(errors)
            theirs.close()

    def begin(self, number: int, job: bytes) -> None:
        """Give it a job."""
        self.number, self.job = number, job
        self.send(job)

    def send(self, message: bytes) -> None:
        with suppress(OSError):  # if it has died, `messages` says so
            self.connection.send_bytes(message)

    def messages(self) -> Iterator[tuple[str, Any]]:
        """("ready", None), ("epoch", network-epochs), ("done", the job's error), ("died", WorkerDied)."""
        try:
            while self.connection.poll():
                what, value = self.connection.recv()
                if what == "ready":
                    self.ready = True
                    self._said.close()
                yield what, value
        except (EOFError, OSError):
            self.process.wait()
            why = self._why()
            self.close()
            yield "died", why

    def _why(self) -> WorkerDied:
        how = _exit(self.process.returncode)
        if self.ready:
            return WorkerDied(f"A worker process was killed ({how}).")
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip()
        last = words.rpartition("\n")[2] or "nothing"
        sentence = f"A worker process ended as it started ({how}); its last words: {last}"
        return WorkerDied(f"{words}\n{sentence}".strip())

    def close(self) -> None:
        """Make it end, by closing its pipe."""
        self.connection.close()
        self._said.close()


def _exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"status {code}"
    hint = ": if memory was short, use fewer workers" if -code == signal.SIGKILL else ""
    return signal.Signals(-code).name + hint


# --- within a worker ---


def begin(connected: int, errors: int, folders: str) -> None:
    """Do one job after another until the parent closes the pipe or ends.

    connected, errors: file descriptors of the pipe and of the parent's standard error. folders: where the
    parent looks for custom data sets, as JSON.
    """
    CUSTOM_DATA.update(json.loads(folders))
    connection = Connection(connected)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stop, busy = threading.Event(), threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent handles it
    for asked in (signal.SIGTERM, signal.SIGUSR1):  # a batch system sends them to every process
        signal.signal(asked, lambda *_: stop.set())
    signal.signal(signal.SIGALRM, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    os.dup2(errors, 2)
    os.close(errors)
    threading.Thread(target=_listen, args=(connection, jobs, stop, busy), daemon=True).start()
    _say(connection, "ready", None)
    while True:
        message = jobs.get()
        busy.set()
        error = _error(message, connection, stop)
        busy.clear()
        _say(connection, "done", error)


def _listen(
    connection: Connection, jobs: "queue.SimpleQueue[bytes]", stop: threading.Event, busy: threading.Event
) -> None:
    """Receive the parent's messages while a job runs."""
    try:
        while True:
            message = connection.recv_bytes()
            if message == STOP:
                stop.set()
            else:
                stop.clear()  # it was meant for the previous job
                jobs.put(message)
    except (EOFError, OSError):  # the parent has ended
        if not busy.is_set():
            os._exit(0)  # at once, since shutting torch down takes seconds
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        time.sleep(SECONDS_TO_CLEAN_UP)  # here, since a call into C that hangs keeps the handler waiting
        os._exit(1)


def _end(*signal_: object) -> None:
    """End by an exception, so that a half-written entry is removed; if that hangs, `_listen` ends it."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    raise SystemExit(1)


def _error(message: bytes, connection: Connection, stop: threading.Event) -> Exception | None:
    """Do a job; its error, as one that can be pickled."""
    try:
        job, do = pickle.loads(message)
        do(job, lambda progress: _say(connection, "epoch", len(progress.runs)), stop.is_set)
    except GpuLost:  # another worker does what is left; the run's log says why
        os._exit(1)
    except Exception as error:
        return as_failure(error)
    return None


def _say(connection: Connection, what: str, value: Any) -> None:
    try:
        connection.send((what, value))
    except OSError:
        raise SystemExit(1) from None  # the parent has ended
