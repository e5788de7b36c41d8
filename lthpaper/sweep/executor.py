"""The interface of executors, which run jobs in this machine's processes or on a cluster."""

import traceback
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


class Do(Protocol):
    """A function that does a job. Raises errors.Stopped if `stop()` told it to end."""

    def __call__(
        self, job: Any, on_epoch: Callable[["Progress"], None], stop: Callable[[], bool], /
    ) -> None: ...


class Executor(Protocol):
    """A context manager that does jobs, in this process or in others."""

    @property
    def count(self) -> int:
        """How many jobs run at once."""

    @property
    def dashboard(self) -> str:
        """Address of a page that shows the running jobs; "" without one."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None:
        """Release workers and file handles; when it returns, every process of the executor has ended."""

    def submit(self, number: int, job: Any, do: Do) -> None:
        """Have `do(job, on_epoch, stop)` called; `number` identifies the job in `reports` and `done`."""

    def reports(self) -> Iterator[tuple[int, int]]:
        """(number, network-epochs) of the progress that `done` has received since the last call."""

    def done(self) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of jobs that ended; waits for one for a MOMENT."""

    def stop(self) -> None:
        """Ask every job to end cleanly; each that does so ends with errors.Stopped."""

    def where(self) -> Mapping[int, str]:
        """Number -> host of the jobs that run on other machines."""

    def limits(self, run: "Run") -> tuple[int, int] | None:
        """(smallest, largest) pack of a run's shape; None: that of this machine's device."""


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

    InputError and errors.Stopped stay as they are.
    """
    if isinstance(error, InputError | Stopped):
        return error
    memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY)
    )
    return (OutOfMemory if memory else WorkFailed)("".join(traceback.format_exception(error)))


class OnThisMachine:
    """What executors on one machine share: no job runs elsewhere."""

    dashboard = ""

    def where(self) -> Mapping[int, str]:
        """No job runs elsewhere."""
        return {}

    def limits(self, run: "Run") -> tuple[int, int] | None:
        """Those of this machine's device."""
        return None
