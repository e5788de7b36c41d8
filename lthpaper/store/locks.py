"""Who trains a run, between processes that share a store.

<store>/.locks/<network>-<data>-<digest>.lock

A process holds the lock of each run that it has begun until the run's result is in the store. One whose
workers are idle, while all that they could do is in others' hands, says so by a lock
`waiting-<workers>-<mark>`, and the others leave it a share of what becomes ready. The operating system gives
locks free when their holder ends, however it ends. A lock's file is removed by its holder; who opened it
before and gets the lock after that notices that it has no name any more (filelock does so).

On a network file system this is as good as its locks and its notice of removed files are. Should two
processes train one run after all, they train it to the same bits and the store keeps one entry.
"""

import errno
import os
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lthpaper.runs.run import Run
from lthpaper.store.entry import Unwritable, writing

FOLDER = ".locks"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # of a file system without them
GONE = {errno.ENOENT, errno.ESTALE}  # another process removed the file, or the folder, just now
FULL = {errno.EMFILE, errno.ENFILE}  # as many files are open as may be


class Locks:
    """The locks that this process holds in a store; on leaving the block all are free."""

    def __init__(self, store: str | Path):
        self.store = Path(store)
        self.folder = self.store / FOLDER
        self._held: dict[str, FileLock] = {}
        self._none = False  # the file system has no locks
        self._me = uuid.uuid4().hex[:8]
        self._waiting = ""  # the name of our lock that says so

    def __enter__(self) -> "Locks":
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._held):
            self._free(name)
        self._clear()

    def take(self, run: Run) -> bool:
        """Whether the run is ours now; False if another process has it. Raises Unwritable."""
        return self._none or run.name in self._held or self._take(f"{run.name}.lock", run.name)

    def leave(self, run: Run) -> None:
        """The run is anybody's."""
        if run.name in self._held:
            self._free(run.name)

    def wait(self, workers: int) -> None:
        """Say to other processes that so many workers are idle here and could share their work."""
        name = f"waiting-{workers}-{self._me}" if workers else ""
        if name != self._waiting and self._waiting in self._held:
            self._free(self._waiting)
        self._waiting = name
        if name and name not in self._held:
            self._take(f"{name}.lock", name)

    def waited_for(self) -> int:
        """How many workers of other processes are idle."""
        count = 0
        for path in self.folder.glob("waiting-*.lock"):
            with suppress(ValueError):  # not a name of ours
                if path.stem not in self._held and not self._is_left(path):
                    count += int(path.stem.split("-")[1])
        return count

    def _is_left(self, path: Path) -> bool:
        """Whether nobody holds a lock; then its file is removed."""
        if self._take(path.name, path.name) and path.name in self._held:
            self._free(path.name)
            return True
        return self._none

    def _take(self, file: str, name: str) -> bool:
        with writing(self.store):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / file, timeout=0, thread_local=False, fallback_to_soft=False)
            try:
                lock.acquire()
            except Timeout:
                return False
            except OSError as error:
                if error.errno in NO_LOCKS:
                    self._go_on_without()
                elif error.errno not in GONE and not (error.errno in FULL and (self._held or _more_files())):
                    raise
                return self._none
        self._held[name] = lock
        return True

    def _free(self, name: str) -> None:
        lock = self._held.pop(name)
        with suppress(OSError):  # the folder may be read-only by now, or gone
            os.unlink(lock.lock_file)
        lock.release()

    def _clear(self) -> None:
        """Remove the files of processes that were killed, and the folder if nobody uses it."""
        for path in list(self.folder.glob("*.lock")):
            with suppress(OSError, Unwritable):
                self._is_left(path)
        with suppress(OSError):
            self.folder.rmdir()

    def _go_on_without(self) -> None:
        self._none = True
        print(
            f"lthpaper: the file system of {self.store} has no locks; start no second command on this store "
            "while this one runs, or runs are trained twice.",
            file=sys.stderr,
        )


def _more_files() -> bool:
    """Have this process open as many files as the system permits; whether that is more than before."""
    import resource  # not on every system

    few, many = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (many, many))
    return few != many
