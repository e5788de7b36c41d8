"""Worker processes that end with their parent, and say what they die of.

A worker does one job at a time. Jobs and results travel as values; progress travels on a queue beside them.
"""

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from typing import Any

from lthpaper.errors import InputError

SECONDS_TO_CLEAN_UP = 5

_reports: Any = None  # a worker's way to say how far it is; set once when the worker starts


class WorkFailed(RuntimeError):
    """A job's own error, with the traceback of the worker as its text."""


class Workers:
    """A pool of processes. On leaving the block, by whatever way, every process has ended."""

    def __init__(self, count: int):
        context = multiprocessing.get_context("spawn")  # a fork of a process with torch's threads can hang
        self._reports = context.Queue()
        self._pool = ProcessPoolExecutor(count, context, _start, (self._reports,))
        self._numbers: dict[Future, int] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind is not None:  # interrupted or broken: an hour of training is not waited for
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reports.close()

    def submit(self, number: int, job: Any, do: Callable[[Any, Callable], None]) -> None:
        """Have `do(job, on_epoch)` done; `number` names it in what `reports` and `done` say.

        Raises InputError if a worker has died.
        """
        try:
            self._numbers[self._pool.submit(_do, number, job, do)] = number
        except BrokenProcessPool as error:
            raise _died() from error

    def reports(self) -> Iterator[tuple[int, int]]:
        """(number, network-epochs) of the progress made since the last look."""
        while True:
            try:
                yield self._reports.get_nowait()
            except queue.Empty:
                return

    def done(self, seconds: float = 0.2) -> Iterator[tuple[int, BaseException | None]]:
        """(number, its error) of jobs that ended; waits for one, for a moment.

        Raises InputError if a worker has died.
        """
        for future in wait(self._numbers, seconds, FIRST_COMPLETED).done:
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise _died() from error
            yield self._numbers.pop(future), error


def _died() -> InputError:
    return InputError(
        "A worker process was ended from outside or ran out of memory. The results so far are in the store: "
        "run the same command again to go on from there, with fewer workers if memory was short."
    )


def _start(reports: Any) -> None:
    global _reports
    _reports = reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent acts on it
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _stop(*signal_: object) -> None:
    """End by an exception, so that a half-written entry is removed on the way; by force if that hangs."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    last = threading.Timer(SECONDS_TO_CLEAN_UP, os._exit, (1,))
    last.daemon = True
    last.start()
    raise SystemExit(1)


def _end_with_parent() -> None:
    wait_for_end([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _do(number: int, job: Any, do: Callable[[Any, Callable], None]) -> None:
    try:
        do(job, lambda progress: _reports.put((number, len(progress.runs))))
    except InputError:
        raise
    except Exception:  # as text: not every exception survives the way to another process
        raise WorkFailed(traceback.format_exc()) from None
    except SystemExit:  # the pool would take it for the job's error and begin the next job
        os._exit(1)
