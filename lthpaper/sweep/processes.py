"""Worker processes that end with their parent, and say what they die of.

An executor does jobs, in these processes, in this one, or on a cluster, and has one interface: a context
manager with `count` (jobs at once), `submit`, `reports`, `done` and `stop`. A job is done by a function
`do(job, on_epoch, stop)`, which raises training.Stopped where `stop()` told it to end.
"""

import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from typing import Any

from lthpaper.errors import InputError

SECONDS_TO_CLEAN_UP = 5
MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # as torch says it
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1}
STOP = b""  # instead of a job: end the one at hand in good order

Do = Callable[[Any, Callable, Callable[[], bool]], None]


class WorkFailed(RuntimeError):
    """A job's own error, with the traceback of the worker as its text."""


class OutOfMemory(WorkFailed):
    """A job that needs more memory than there is."""


class WorkerDied(WorkFailed):
    """A job whose worker was ended from outside."""


def as_failure(error: Exception) -> Exception:
    """What an executor says of a job's error: as text, since not every exception can travel.

    Bad input and training.Stopped stay what they are.
    """
    training = sys.modules.get("lthpaper.training.loop")  # not imported here: it takes torch with it
    if isinstance(error, InputError) or (training is not None and isinstance(error, training.Stopped)):
        return error
    memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY)
    )
    return (OutOfMemory if memory else WorkFailed)("".join(traceback.format_exception(error)))


class InThisProcess:
    """The executor without workers: a job is done while `done` waits.

    tell: called with (number, network-epochs) as they are made; asked: whether to end in good order.
    """

    count = 1

    def __init__(self, tell: Callable[[int, int], None], asked: Callable[[], bool] = lambda: False):
        self._tell, self._asked = tell, asked
        self._jobs: list[tuple[int, Any, Do]] = []

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self._jobs.clear()

    def submit(self, number: int, job: Any, do: Do) -> None:
        """Have `do(job, on_epoch, stop)` done by the next `done`."""
        self._jobs.append((number, job, do))

    def reports(self) -> Iterator[tuple[int, int]]:
        """Nothing: told already."""
        return iter(())

    def done(self, seconds: float = 0.2) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of the jobs, done now; an interrupt is raised."""
        if not self._jobs:
            time.sleep(seconds)
        while self._jobs:
            number, job, do = self._jobs.pop(0)
            yield number, self._done(job, do, lambda progress, n=number: self._tell(n, len(progress.runs)))

    def _done(self, job: Any, do: Do, on_epoch: Callable) -> Exception | None:
        """Do a job; its error, as one that is told."""
        try:
            do(job, on_epoch, self._asked)
        except Exception as error:  # whatever a network of one's own raises
            failure = as_failure(error)
            if failure is not error:
                failure.__cause__ = error
            return failure
        return None

    def stop(self) -> None:
        """`asked` says it to the job."""


class Workers:
    """Processes, each with a pipe. On leaving the block, by whatever way, every process has ended."""

    def __init__(self, count: int):
        self.count = count
        self._context = multiprocessing.get_context(
            "spawn"
        )  # a fork of a process with torch's threads can hang
        self._workers: list[_Worker] = []
        self._reports: list[tuple[int, int]] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        for worker in self._workers:  # at work only if interrupted: an hour of training is not waited for
            worker.connection.close()
        until = time.monotonic() + SECONDS_TO_CLEAN_UP + 1
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def submit(self, number: int, job: Any, do: Do) -> None:
        """Have `do(job, on_epoch, stop)` done; `number` names it in what `reports` and `done` say.

        No more than `count` at once.
        """
        idle = next((worker for worker in self._workers if worker.number is None), None)
        if idle is None:
            assert len(self._workers) < self.count
            idle = _Worker(self._context)
            self._workers.append(idle)
        idle.number = number
        idle.send(pickle.dumps((job, do)))

    def reports(self) -> Iterator[tuple[int, int]]:
        """(number, network-epochs) of the progress that `done` has heard of since the last look."""
        told, self._reports = self._reports, []
        return iter(told)

    def done(self, seconds: float = 0.2) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of jobs that ended; waits for one, for a moment.

        The error of a job whose worker died is WorkerDied; another worker takes its place.
        """
        busy = {worker.connection: worker for worker in self._workers if worker.number is not None}
        if not busy:
            time.sleep(seconds)
        for connection in wait_for_any(list(busy), seconds) if busy else ():
            worker = busy[connection]
            for what, value in worker.messages():
                if what == "epoch":
                    self._reports.append((worker.number, value))
                    continue
                if what == "died":
                    self._workers.remove(worker)
                number, worker.number = worker.number, None
                if number is not None:
                    yield number, value

    def stop(self) -> None:
        """Ask every job to end in good order; each that does so ends with training.Stopped."""
        for worker in self._workers:
            if worker.number is not None:
                worker.send(STOP)


class _Worker:
    """A process as its parent sees it."""

    def __init__(self, context: multiprocessing.context.SpawnContext):
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # inherited, until the worker handles them
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.number: int | None = None  # of the job at hand

    def send(self, message: bytes) -> None:
        with suppress(OSError):  # where it has died, `messages` says so
            self.connection.send_bytes(message)

    def messages(self) -> Iterator[tuple[str, Any]]:
        """("epoch", network-epochs), ("done", the job's error), ("died", WorkerDied): what it has sent."""
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.connection.close()
            yield (
                "died",
                WorkerDied(f"A worker process was ended from outside ({_exit(self.process.exitcode)})."),
            )


def _exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"status {code}"
    hint = ": perhaps memory was short, then take fewer workers" if -code == signal.SIGKILL else ""
    return signal.Signals(-code).name + hint


# --- within a worker ---


def _work(connection: Connection) -> None:
    """Do one job after the other, until the parent closes the pipe or ends."""
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stop, busy = threading.Event(), threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent acts on it
    for asked in (signal.SIGTERM, signal.SIGUSR1):  # a batch system sends them to every process
        signal.signal(asked, lambda *_: stop.set())
    signal.signal(signal.SIGALRM, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_listen, args=(connection, jobs, stop, busy), daemon=True).start()
    while True:
        message = jobs.get()
        busy.set()
        error = _error(message, connection, stop)
        busy.clear()
        _say(connection, "done", error)


def _listen(
    connection: Connection, jobs: "queue.SimpleQueue[bytes]", stop: threading.Event, busy: threading.Event
) -> None:
    """Hear the parent while a job is being done."""
    try:
        while True:
            message = connection.recv_bytes()
            if message == STOP:
                stop.set()
            else:
                stop.clear()  # was meant for the job before
                jobs.put(message)
    except (EOFError, OSError):  # nobody waits for what is being done
        if not busy.is_set():
            os._exit(0)  # at once: to take torch down in order takes seconds, for nothing
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)


def _end(*signal_: object) -> None:
    """End by an exception, so that a half-written entry is removed on the way; by force if that hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    last = threading.Timer(SECONDS_TO_CLEAN_UP, os._exit, (1,))
    last.daemon = True
    last.start()
    raise SystemExit(1)


def _error(message: bytes, connection: Connection, stop: threading.Event) -> Exception | None:
    """Do a job; returns its error, as one that can travel."""
    try:
        job, do = pickle.loads(message)
        do(job, lambda progress: _say(connection, "epoch", len(progress.runs)), stop.is_set)
    except Exception as error:
        failure = as_failure(error)
        try:
            pickle.loads(pickle.dumps(failure))
        except Exception:  # bad input of one's own kind, that is not made from its message alone
            return InputError(str(failure))
        return failure
    return None


def _say(connection: Connection, what: str, value: Any) -> None:
    try:
        connection.send((what, value))
    except OSError:
        raise SystemExit(1) from None  # the parent has ended, and this process does
