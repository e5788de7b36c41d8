"""The contract of executors: what does jobs, on this machine's processes or on a cluster's."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from lthpaper.errors import InputError, Stopped
from lthpaper.runs.recipe import CURVE_POINTS

if TYPE_CHECKING:  # the command names these errors before it loads torch
    from lthpaper.runs.run import Run
    from lthpaper.training.result import Progress

MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # as torch says it


@dataclass(frozen=True)
class Job:
    """One pack for a worker, in values that travel between processes."""

    runs: tuple[dict[str, Any], ...]  # runs.run.to_json
    keep: tuple[tuple[int, ...], ...]
    store: str
    published: str | None  # Store's layer that is only read
    data_root: str | None
    device: str
    left: float | None = None  # seconds from its begin in which to stop cleanly
    curve_points: int = CURVE_POINTS


class Do(Protocol):
    """A function that does a job. Raises errors.Stopped where `stop()` told it to end."""

    def __call__(
        self, job: Any, on_epoch: Callable[["Progress"], None], stop: Callable[[], bool], /
    ) -> None: ...


class Executor(Protocol):
    """Does jobs, in other processes or in this one, between entering and leaving it as a context."""

    @property
    def count(self) -> int:
        """Jobs at once."""

    @property
    def dashboard(self) -> str:
        """Address of a page that shows what is being done; "" without one."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None:
        """Release workers and file handles. Every process of the executor has ended."""

    def submit(self, number: int, job: Any, do: Do) -> None:
        """Have `do(job, on_epoch, stop)` done; `number` names it in what `reports` and `done` say."""

    def reports(self) -> Iterator[tuple[int, int]]:
        """(number, network-epochs) of the progress that `done` has heard of since the last look."""

    def done(self, seconds: float = 0.2) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of jobs that ended; waits for one, for a moment."""

    def stop(self) -> None:
        """Ask every job to end cleanly; each that does so ends with errors.Stopped."""

    def where(self) -> Mapping[int, str]:
        """Host by the number of each job that is being done elsewhere."""

    def limits(self, run: "Run") -> tuple[int, int] | None:
        """(smallest, largest) pack of a run's shape; None: as this machine's device has it."""


class WorkFailed(RuntimeError):
    """A job's own error, with the traceback of the worker as its text."""


class OutOfMemory(WorkFailed):
    """A job that needs more memory than there is."""


class WorkerDied(WorkFailed):
    """A job whose worker was ended from outside."""


def as_failure(error: Exception) -> Exception:
    """What an executor says of a job's error: as text, since not every exception can travel.

    Bad input and errors.Stopped stay what they are.
    """
    if isinstance(error, InputError | Stopped):
        return error
    memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY)
    )
    return (OutOfMemory if memory else WorkFailed)("".join(traceback.format_exception(error)))


class OnThisMachine:
    """What executors of one machine have in common: nothing is elsewhere."""

    dashboard = ""

    def where(self) -> Mapping[int, str]:
        """Nothing is done elsewhere."""
        return {}

    def limits(self, run: "Run") -> tuple[int, int] | None:
        """As this machine's device has it."""
        return None
