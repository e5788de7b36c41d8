"""The interface of executors, which run jobs in this machine's processes or on a cluster."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from lthpaper.errors import InputError, Stopped
from lthpaper.runs.recipe import CURVE_POINTS

if TYPE_CHECKING:  # the command imports the errors below before it loads torch
    from lthpaper.runs.masks import Packed
    from lthpaper.runs.run import Run
    from lthpaper.training.result import Progress

# in torch's messages
MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cublas_status_alloc_failed")
MOMENT = 0.2  # seconds for which `done` waits


@dataclass(frozen=True)
class Job:
    """One pack for a worker, as values that can be sent between processes."""

    runs: tuple[dict[str, Any], ...]  # runs.run.to_json
    keep: tuple[tuple[int, ...], ...]
    store: str
    published: str | None  # the store's read-only layer
    data_root: str | None
    device: str
    left: float | None = None  # seconds from its start after which it must stop
    curve_points: int = CURVE_POINTS
    fingerprint: str = ""  # of the command's images; "": any
    masks: "tuple[Packed | None, ...]" = ()  # of the runs, where they are published


Tell = Callable[[int, int], None]  # of a job's number and network-epochs


class Do(Protocol):
    """A function that does a job. Raises errors.Stopped if `stop()` told it to end."""

    def __call__(
        self, job: Any, on_epoch: Callable[["Progress"], None], stop: Callable[[], bool], /
    ) -> None: ...


class Executor(ABC):
    """A context manager that does jobs, in this process or in others.

    tell: called by `done` with (a job's number, network-epochs) as they are trained. dashboard: address of a
    page that shows the running jobs; "" without one.
    """

    dashboard = ""

    def __init__(self, tell: Tell = lambda number, network_epochs: None):
        self._tell = tell

    @property
    def count(self) -> int:
        """How many jobs run at once."""
        return 1

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *error: object) -> None:
        """Release workers and file handles; when it returns, every process of the executor has ended."""

    @abstractmethod
    def submit(self, number: int, job: Any, do: Do) -> None:
        """Have `do(job, on_epoch, stop)` called; `number` identifies the job to `tell` and in `done`.

        At most `count` jobs at once.
        """

    @abstractmethod
    def done(self) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of jobs that ended; waits for one for a MOMENT."""

    @abstractmethod
    def stop(self) -> None:
        """Ask every job to end cleanly; each that does so ends with errors.Stopped."""

    def where(self) -> Mapping[int, str]:
        """Number -> host of the jobs that run on other machines."""
        return {}

    def limits(self, run: "Run") -> tuple[int, int] | None:
        """(smallest, largest) pack of a run's shape; None: that of this machine's device."""
        return None


class WorkFailed(RuntimeError):
    """A job failed; the text is the worker's traceback. log: of the run, once that is known."""

    log = ""


class OutOfMemory(WorkFailed):
    """A job needed more memory than there is."""


class WorkerDied(WorkFailed):
    """A job's worker was killed, or can do no more."""


class GpuLost(WorkerDied):
    """A process can no longer use its GPU, and must end: after an illegal memory access or a failed assertion
    every later call of CUDA fails, whatever it computes."""


def as_failure(error: Exception) -> Exception:
    """A job's error as text, since not every exception can be sent between processes.

    Stopped and this package's InputErrors stay as they are; other kinds of InputError become plain ones.
    """
    if isinstance(error, InputError) and not type(error).__module__.startswith("lthpaper."):
        return InputError(str(error))
    if isinstance(error, InputError | Stopped):
        return error
    memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY)
    )
    return (OutOfMemory if memory else WorkFailed)("".join(traceback.format_exception(error)))
