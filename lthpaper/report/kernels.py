"""Kernels of notebooks in batch: one that does not start is tried again, one that dies says why."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from lthpaper.parent import end_with_parent

TRIES = 2  # now and then two kernels pick one port, and the later one never answers
SECONDS = 120  # to come up, beside other notebooks
_managers: list[Any] = []  # of the kernels of this process; one at a time
_asked_to_end = threading.Event()


def watched(forks: bool = False) -> tuple[type, Callable[[], int | None]]:
    """A kernel manager's class, and what its kernel's process ended with: a status (−9: signal 9) or None.

    forks: start the kernel by a fork (forked.py), which pays from this process's second kernel on.
    """
    from jupyter_client.manager import AsyncKernelManager

    ended: list[int] = []

    class Watched(AsyncKernelManager):
        def __init__(self, **how: Any):
            super().__init__(**how)
            _managers[:] = [self]
            if forks:
                from lthpaper.report.forked import provisioner  # what Windows lacks

                self.provisioner = provisioner(kernel_spec=self.kernel_spec, parent=self)

        async def is_alive(self) -> bool:  # type: ignore[override]
            process = getattr(self.provisioner, "process", None)
            if process is not None and process.poll() is not None:
                ended[:] = [process.returncode]
            return bool(await super().is_alive())

    return Watched, lambda: ended[0] if ended else None


def end_when(closed: Connection) -> None:
    """In a process that executes notebooks: end with the parent, and its kernels when the parent closes the
    other end of a pipe.

    Ctrl-C reaches such a process too; that is the parent's to handle. A kernel that trains ends cleanly at
    SIGTERM, with a checkpoint; another ends at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        closed.poll(None)
        _asked_to_end.set()
        while True:  # a kernel may be about to begin
            for manager in _managers:
                with suppress(OSError, TypeError, AttributeError):  # it has ended, or has not begun
                    os.kill(manager.provisioner.pid, signal.SIGTERM)
            time.sleep(0.5)

    threading.Thread(target=wait, daemon=True).start()
    end_with_parent()


def executed(execute: Callable[..., Any], forks: bool = False) -> None:
    """Call papermill's `execute` with what a kernel needs, twice if the kernel does not come up.

    forks: as of `watched`.
    What it raises is raised; a kernel that died raises MemoryError if it was killed as the system kills what
    takes too much memory, else RuntimeError with its status.
    """
    from nbclient.exceptions import DeadKernelError

    if _asked_to_end.is_set():
        raise RuntimeError("not begun, since the command was interrupted")
    for tries_left in reversed(range(TRIES)):
        manager, ended = watched(forks)
        try:
            execute(kernel_manager_class=manager, start_timeout=SECONDS)
            return
        except DeadKernelError as died:
            raise _of_what(ended()) from died
        except RuntimeError as never_came_up:
            if type(never_came_up) is not RuntimeError or not tries_left:
                raise
        finally:
            _managers.clear()  # its number may soon be another process's


def _of_what(status: int | None) -> Exception:
    if status == -signal.SIGKILL:
        return MemoryError(
            "the kernel was killed (signal 9), as the system does when memory runs out. Execute fewer "
            "notebooks at once: --jobs 1"
        )
    how = "" if status is None else f" with status {status}"
    return RuntimeError(f"the kernel died{how} in the middle of a cell")
