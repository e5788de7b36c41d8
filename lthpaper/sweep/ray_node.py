"""What a Ray cluster's nodes do: run a job and report to the driver."""

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lthpaper import data, locations
from lthpaper.errors import InputError, Stopped
from lthpaper.runs.run import Run, from_json
from lthpaper.runs.task import Task
from lthpaper.store import transfer
from lthpaper.store.transfer import Parcel
from lthpaper.sweep.executor import Do, GpuLost, Job, as_failure
from lthpaper.training.autotune import pack_limits

EVERYTHING = ""  # instead of a data set: the node cannot train anything
FOLDER = "/"  # instead of a data set: the node needs the driver's files with each task
SECONDS_BETWEEN_QUESTIONS = 0.5  # between checks for a stop and for new checkpoints to send


def ray() -> Any:
    """The module. Raises InputError if it is not installed."""
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}.items():
        os.environ.setdefault(name, value)  # send no usage statistics; hide GPUs from CPU tasks
    logging.getLogger("ray").setLevel(logging.ERROR)  # our own messages say the rest
    try:
        import ray as module
    except ImportError as error:
        raise InputError(
            "Training on a cluster needs Ray, which is not installed here. Install it where lthpaper's "
            "checkout is (.venv/bin/pip install -e '.[cluster]')."
        ) from error
    return module


@dataclass(frozen=True)
class Unfit:
    """A node's answer to a task that it cannot do: for which data set (or EVERYTHING), and why."""

    what: str
    why: str


class Board:
    """An actor beside the driver that collects what tasks send and tells them whether to stop."""

    def __init__(self) -> None:
        self._told: list[tuple[int, int]] = []
        self._sent: list[tuple[int, Parcel]] = []
        self._stop = False

    def tell(self, number: int, network_epochs: int) -> None:
        self._told.append((number, network_epochs))

    def send(self, number: int, parcel: Parcel) -> None:
        self._sent.append((number, parcel))

    def take(self) -> tuple[list[tuple[int, int]], list[tuple[int, Parcel]]]:
        taken = self._told, self._sent
        self._told, self._sent = [], []
        return taken

    def stop(self) -> None:
        self._stop = True

    def stopping(self) -> bool:
        return self._stop


def about_here() -> dict[str, str]:
    """Versions that must be equal on all nodes, since the same run could else give other bits."""
    return {"lthpaper": version("lthpaper"), "torch": torch.__version__.partition("+")[0]}


def limits_there(document: dict[str, Any]) -> tuple[int, int]:
    return pack_limits(from_json(document), torch.device("cuda"))


def work(
    number: int, job: Job, do: Do, parcel: Parcel | None, marker: str, board: Any, about: dict[str, str]
) -> tuple[Exception | Unfit | None, Parcel]:
    """Do a job on this node; its error, and the files that the driver's store does not have.

    parcel: the driver's files; None if they were not sent, since this node may share the store's folder.
    """
    sys.path.insert(0, os.getcwd())  # for custom networks and data sets, as in the command itself
    other = [f"{name} {value}" for name, value in about_here().items() if about[name] != value]
    if other:
        return Unfit(EVERYTHING, f"it has {' and '.join(other)}; the driver has {about}"), {}
    runs = [from_json(document) for document in job.runs]
    try:
        job = replace(job, data_root=_images_root(job, runs[0].task))
    except InputError as why:
        return Unfit(
            runs[0].task.data, f"{why} On a cluster, --data or LTHPAPER_DATA must be valid on each node."
        ), {}
    locations.look_for_custom_data(runs[0].task.data, job.data_root)
    if torch.device(job.device).type == "cuda":
        job = replace(job, device="cuda")  # the one that Ray has given
    same_layer = job.published is None or Path(job.published).is_dir()
    if (Path(job.store) / marker).exists() and same_layer:
        with Watch(number, board) as watch:
            return _error(job, do, watch), {}
    if parcel is None:
        return Unfit(FOLDER, "it does not share the store's folder"), {}
    with tempfile.TemporaryDirectory(prefix="lthpaper-") as folder:
        transfer.unpack(parcel, Path(folder), runs)
        with Watch(number, board, Path(folder), runs) as watch:
            error = _error(replace(job, store=folder, published=None), do, watch)
        return error, transfer.results(runs, Path(folder))


def _images_root(job: Job, task: Task) -> str | None:
    """The folder of the command's images on this node: the command's own, else this node's LTHPAPER_DATA
    (None). Raises InputError if neither has them."""
    why = ""
    there = job.data_root is not None and Path(job.data_root).is_dir()
    for root in (job.data_root, None) if there else (None,):
        try:
            found = data.load(task.data, root, *task.division).fingerprint
        except InputError as error:
            why = str(error)
            continue
        if job.fingerprint in ("", found):
            return root
        why = f"Its {task.data} is another copy (fingerprint {found}; the driver's has {job.fingerprint})."
    raise InputError(why)


def _error(job: Job, do: Do, watch: "Watch") -> Exception | None:
    """Do a job; its error, as one that can be pickled."""
    if watch.stop():
        return Stopped("stopped before it began")
    try:
        do(job, watch.on_epoch, watch.stop)
    except GpuLost as error:  # Ray starts another process for what is left
        raise SystemExit(1) from error
    except Exception as error:
        return as_failure(error)
    return None


class Watch:
    """The connection between a job and the driver, on a thread beside the training.

    folder: of a store that the driver does not share; new checkpoints and logs in it are sent to the driver.
    """

    def __init__(self, number: int, board: Any, folder: Path | None = None, runs: Iterable[Run] = ()):
        self.number, self.board, self.folder, self.runs = number, board, folder, list(runs)
        self.ray = ray()
        self._asked, self._over = threading.Event(), threading.Event()
        self._seen: dict[str, int] = self._changes()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._ask()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def stop(self) -> bool:
        """Whether the driver asked to stop."""
        return self._asked.is_set()

    def on_epoch(self, progress: Any) -> None:
        """Tell the driver."""
        self.board.tell.remote(self.number, len(progress.runs))

    def _look(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_QUESTIONS):
            self._ask()
            now = self._changes()
            changed = {name for name, when in now.items() if self._seen.get(name) != when}
            if changed:
                state = transfer.state(self.runs, self.folder) if self.folder else {}
                sent = {n: c for n, c in state.items() if n in changed}
                self.board.send.remote(self.number, sent)
                self._seen = now

    def _ask(self) -> None:
        try:
            if self.ray.get(self.board.stopping.remote()):
                self._asked.set()
        except self.ray.exceptions.RayError:  # the driver has ended
            self._asked.set()

    def _changes(self) -> dict[str, int]:
        """When each file was written."""
        found: dict[str, int] = {}
        if self.folder is None:
            return found
        for name in transfer.state_paths(self.runs):
            with suppress(FileNotFoundError):
                found[name] = (self.folder / name).stat().st_mtime_ns
        return found
