"""Locks that say which of the processes that share a store trains a run.

<store>/.locks/<network>-<data>-<digest>.lock

A process holds the lock of each run that it has begun until the run's result is in the store. A process whose
workers are idle, while other processes hold all that they could train, says so by a lock
`waiting-<workers>-<mark>`; the others then leave it a share of the runs that become ready. The operating
system releases a lock when its holder ends, however it ends. The holder removes the lock's file; a process
that opened the file before and locks it after that notices that it has no name any more (filelock does).

On a network file system this is as reliable as the file system's locks are. If two processes train one run
after all, they train it to the same bits and the store keeps one entry.
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
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # the file system has no locks
GONE = {errno.ENOENT, errno.ESTALE}  # another process has just removed the file or the folder
FULL = {errno.EMFILE, errno.ENFILE}  # too many files are open


class Locks:
    """The locks that this process holds in a store. Leaving the block releases all of them."""

    def __init__(self, store: str | Path):
        self.store = Path(store)
        self.folder = self.store / FOLDER
        self._held: dict[str, FileLock] = {}
        self._none = False  # the file system has no locks
        self._me = uuid.uuid4().hex[:8]
        self._waiting = ""  # the name of our lock that says that workers are idle

    def __enter__(self) -> "Locks":
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self._held):
            self._free(name)
        self._clear()

    def take(self, run: Run) -> bool:
        """Lock a run. False if another process has it. Raises Unwritable."""
        return self._none or run.name in self._held or self._take(f"{run.name}.lock", run.name)

    def leave(self, run: Run) -> None:
        """Release the run's lock."""
        if run.name in self._held:
            self._free(run.name)

    def wait(self, workers: int) -> None:
        """Tell other processes how many workers are idle here and could share their work."""
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
        """Whether no process holds a lock; its file is then removed."""
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
        """Remove the files of killed processes, and the folder if it is then empty."""
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


def is_held(path: Path) -> bool:
    """Whether some process holds a lock, or may: one that cannot be looked at counts as held. Looking does
    not disturb the holder."""
    try:
        import fcntl  # not on every system
    except ImportError:
        return path.exists()
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
    except OSError as error:
        return error.errno not in (*NO_LOCKS, *GONE)
    return False


def _more_files() -> bool:
    """Raise the number of files that this process may open to the system's limit; whether that is more."""
    import resource  # not on every system

    few, many = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (many, many))
    return few != many
