"""A Ray cluster as an executor: packs as tasks, each with its share of a node.

Ray finds the nodes, starts and watches the processes; what is trained next is the scheduler's. A task is sent
to a node that has a device free and all that the task needs there. Where the store's folder is the driver's
too (a file that lies there for this purpose is seen), results go there; elsewhere they come back with the
task's end, checkpoints and logs on the way.
"""

import logging
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lthpaper import data, parcels
from lthpaper.choices import pack_limits
from lthpaper.errors import InputError
from lthpaper.parcels import Parcel
from lthpaper.runs import Run, from_json, to_json
from lthpaper.store import Store
from lthpaper.training import Stopped, shape_key
from lthpaper.workers import Do, OutOfMemory, WorkerDied, as_failure

EVERYTHING = ""  # instead of a data set: a node that cannot train anything
SECONDS_BETWEEN_LOOKS = 2.0  # at the cluster's nodes; a task looks as often whether to stop
SECONDS_TO_JOIN = 60.0  # that a cluster without nodes is given for one to come


def ray() -> Any:
    """The module. Raises InputError if it is not installed."""
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}.items():
        os.environ.setdefault(name, value)  # nothing is sent to Ray's makers; CPU tasks see no GPU
    logging.getLogger("ray").setLevel(logging.ERROR)  # what matters of the rest is said here
    try:
        import ray as module
    except ImportError as error:
        raise InputError(
            "Training on a cluster needs Ray, which is not installed here: pip install 'lthpaper[cluster]'."
        ) from error
    return module


@dataclass
class _Node:
    """A machine of the cluster: how many packs it trains at once, and what it has shown itself unfit for."""

    host: str
    slots: int
    unfit: dict[str, str] = field(default_factory=dict)  # data set, or EVERYTHING: why


@dataclass(frozen=True)
class _Task:
    """A pack on its way: all that is needed to send it again."""

    number: int
    job: Any
    do: Do
    runs: tuple[Run, ...]
    node: str

    @property
    def data(self) -> str:
        return self.runs[0].task.data


@dataclass(frozen=True)
class _Unfit:
    """A node's answer to a task that it cannot do."""

    what: str
    why: str


class RayWorkers:
    """An executor (see workers.py) on a cluster.

    on: "ray" starts one on this machine and ends it on leaving; "ray:auto" and "ray:ADDRESS" join one.
    device: "cuda" gives each pack a GPU, "cpu" a core.
    """

    def __init__(self, on: str, device: str = "cpu"):
        self.ray = ray()
        self.address = on.partition(":")[2] or "local"
        self.device = torch.device(device).type
        self.share = {"num_cpus": 1, "num_gpus": 1 if self.device == "cuda" else 0}
        self.dashboard = ""  # its address, where Ray has one
        self._nodes: dict[str, _Node] = {}
        self._tasks: dict[Any, _Task] = {}  # by the task's reference
        self._again: list[_Task] = []  # whose node was unfit
        self._reports: list[tuple[int, int]] = []
        self._next_look = 0.0
        self._alive: set[str] = set()
        self._gone: set[str] = set()  # known before Ray's list of nodes says so
        self._limits: dict[tuple, tuple[int, int]] = {}
        self._marked: dict[str, str] = {}  # store -> name of the file by which nodes know it

    def __enter__(self) -> "RayWorkers":
        self._joined = self.ray.is_initialized()  # by who called us: then it stays
        if not self._joined:
            try:
                context = self.ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
            except Exception as error:  # whatever Ray raises: it has no class of its own for this
                said = str(error).strip().partition("\n")[0]
                raise InputError(
                    f"There is no Ray cluster at {self.address!r} ({said}). Start one with `ray start "
                    "--head`, or let --on ray start one on this machine."
                ) from error
            self.dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else ""
        here = self.ray.get_runtime_context().get_node_id()
        self._board = self._remote(_Board, node=here, num_cpus=0).remote()
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        for reference in self._tasks:  # at work only if interrupted
            self.ray.cancel(reference, force=True)
        for store, name in self._marked.items():
            (Path(store) / name).unlink(missing_ok=True)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(self._board)
        if not self._joined:
            self.ray.shutdown()

    @property
    def count(self) -> int:
        """Packs at once, as many as there are devices now."""
        self._look()
        return max(1, sum(node.slots for node in self._nodes.values() if EVERYTHING not in node.unfit))

    def submit(self, number: int, job: Any, do: Do) -> None:
        """Have `do(job, on_epoch, stop)` done on some node. Raises InputError if there is none for it."""
        places = {name: getattr(job, name) for name in ("store", "published", "data_root")}
        absolute = {
            name: None if path is None else str(Path(path).absolute()) for name, path in places.items()
        }
        self._send(_Task(number, replace(job, **absolute), do, tuple(map(from_json, job.runs)), ""))

    def reports(self) -> Iterator[tuple[int, int]]:
        """(number, network-epochs) of the progress that `done` has heard of since the last look."""
        told, self._reports = self._reports, []
        return iter(told)

    def done(self, seconds: float = 0.2) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of jobs that ended; waits for one, for a moment.

        The error of a job whose process or node died is WorkerDied.
        """
        if not self._tasks:
            time.sleep(seconds)
            return
        self._listen()
        ready, _ = self.ray.wait(list(self._tasks), timeout=seconds)
        for reference in ready:
            task = self._tasks.pop(reference)
            try:
                error = self._ended(task, reference)
            except InputError as refused:  # a result that is none, or a node that nobody can replace
                error = refused
            if not isinstance(error, _Unfit):
                yield task.number, error

    def stop(self) -> None:
        """Ask every job to end in good order; each that does so ends with training.Stopped."""
        self._board.stop.remote()

    def where(self) -> dict[int, str]:
        """Host by the number of each job that is being done."""
        return {task.number: self._nodes[task.node].host for task in self._tasks.values()}

    def limits(self, run: Run) -> tuple[int, int]:
        """(smallest, largest) pack of a run's shape: on GPUs what a node of the cluster has measured."""
        key = shape_key(run)
        if key not in self._limits:
            if self.device == "cpu":
                self._limits[key] = pack_limits(run, torch.device("cpu"))
            else:
                node = self._free_node(run.task.data)
                remote = self._remote(_limits_there, node, **self.share)
                self._limits[key] = self.ray.get(remote.remote(to_json(run)))
        return self._limits[key]

    def _remote(self, what: Callable, node: str, **options: Any) -> Any:
        affinity = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        return self.ray.remote(what).options(scheduling_strategy=affinity, **options)

    def _look(self) -> None:
        """See which nodes there are."""
        if time.monotonic() < self._next_look:
            return
        alive = {}
        for found in self.ray.nodes():
            resources = found["Resources"]
            cores = int(resources.get("CPU", 0))
            slots = cores if self.device == "cpu" else min(cores, int(resources.get("GPU", 0)))
            if found["Alive"] and slots and found["NodeID"] not in self._gone:
                known = self._nodes.get(found["NodeID"], _Node(found["NodeManagerHostname"], slots))
                alive[found["NodeID"]] = known
        in_use = {task.node: self._nodes[task.node] for task in self._tasks.values()}
        self._nodes = in_use | alive
        self._alive = set(alive)
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS

    def _send(self, task: _Task) -> None:
        node = self._free_node(task.data)
        task = replace(task, node=node)
        store = Store(task.job.store, task.job.published)
        marker = self._mark(store)
        remote = self._remote(_work, node, max_retries=0, **self.share)
        parcel = parcels.needed(task.runs, store)
        reference = remote.remote(task.number, task.job, task.do, parcel, marker, self._board, _about_here())
        self._tasks[reference] = task

    def _free_node(self, data_set: str) -> str:
        """The node with most devices free. Raises InputError if none is fit to train on the data set."""
        until = time.monotonic() + SECONDS_TO_JOIN
        while True:
            self._look()
            busy = [other.node for other in self._tasks.values()]
            fit = {
                name: node.slots - busy.count(name)
                for name, node in self._nodes.items()
                if name in self._alive - self._gone and node.unfit.keys().isdisjoint({EVERYTHING, data_set})
            }
            if fit:
                return max(fit, key=lambda name: fit[name])
            unfit = {node.host: why for node in self._nodes.values() for why in node.unfit.values()}
            if unfit or time.monotonic() > until:
                said = "; ".join(f"{host}: {why}" for host, why in unfit.items())
                raise InputError(
                    f"No node of the cluster can train {data_set} on {self.device}. {said}".strip()
                    or "It has no nodes with such devices."
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _mark(self, store: Store) -> str:
        """A file in the store by which a node sees that it has the same folder."""
        folder = str(store.folder)
        if folder not in self._marked:
            store.folder.mkdir(parents=True, exist_ok=True)
            self._marked[folder] = f".shared-{uuid.uuid4().hex}"
            (store.folder / self._marked[folder]).touch()
        return self._marked[folder]

    def _listen(self) -> None:
        """Take what tasks have told on the way: epochs, checkpoints and logs."""
        told, sent = self.ray.get(self._board.take.remote())
        self._reports += told
        tasks = {task.number: task for task in self._tasks.values()}
        for number, parcel in sent:
            if number in tasks:  # else its end has come before
                task = tasks[number]
                parcels.unpack(parcel, Path(task.job.store), task.runs)

    def _ended(self, task: _Task, reference: Any) -> Exception | _Unfit | None:
        """What became of a task; one that its node is unfit for is sent to another."""
        exceptions = self.ray.exceptions
        host = self._nodes[task.node].host
        try:
            answer, parcel = self.ray.get(reference)
        except exceptions.OutOfMemoryError as error:
            return OutOfMemory(f"On {host}: {error}")
        except exceptions.TaskUnschedulableError:  # the node is gone, and the task had not begun
            self._gone.add(task.node)
            self._send(task)
            return _Unfit(EVERYTHING, "it is gone")
        except exceptions.RayError as error:
            if isinstance(error, exceptions.NodeDiedError):
                self._gone.add(task.node)
            return WorkerDied(f"The process that trained on {host} ended: {str(error).strip()}")
        if isinstance(answer, _Unfit):
            self._nodes[task.node].unfit[answer.what] = answer.why
            self._send(task)
            return answer
        if parcel:
            parcels.take_in(parcel, Store(task.job.store), task.runs)
            if answer is None:
                for name in parcels.state_paths(task.runs):
                    if name not in parcel:  # a checkpoint that the result has taken the place of
                        (Path(task.job.store) / name).unlink(missing_ok=True)
        return answer


class _Board:
    """An actor beside the driver: what tasks tell it, and whether they are to stop."""

    def __init__(self):
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


# --- on a node ---


def _about_here() -> dict[str, str]:
    """What must be alike on all nodes, or the same run gives other bits."""
    return {"lthpaper": version("lthpaper"), "torch": torch.__version__.partition("+")[0]}


def _limits_there(document: dict[str, Any]) -> tuple[int, int]:
    return pack_limits(from_json(document), torch.device("cuda"))


def _work(
    number: int, job: Any, do: Do, parcel: Parcel, marker: str, board: Any, about: dict[str, str]
) -> tuple[Exception | _Unfit | None, Parcel]:
    """Do a job on this node; its error, and what the driver's store does not have."""
    sys.path.insert(0, os.getcwd())  # networks and data sets of one's own, as in the command itself
    other = [f"{name} {value}" for name, value in _about_here().items() if about[name] != value]
    if other:
        return _Unfit(EVERYTHING, f"it has {' and '.join(other)}; the driver has {about}"), {}
    runs = [from_json(document) for document in job.runs]
    task = runs[0].task
    if job.data_root is not None and not Path(job.data_root).is_dir():
        job = replace(job, data_root=None)  # its own LTHPAPER_DATA
    try:
        data.load(task.data, job.data_root, task.train_images)
    except InputError as error:
        return _Unfit(
            task.data, f"{error} On a cluster --data or LTHPAPER_DATA must lead to it everywhere."
        ), {}
    if torch.device(job.device).type == "cuda":
        job = replace(job, device="cuda")  # the one that Ray has given
    same_layer = job.published is None or Path(job.published).is_dir()
    if (Path(job.store) / marker).exists() and same_layer:
        with _Watch(number, board) as watch:
            return _error(job, do, watch), {}
    with tempfile.TemporaryDirectory(prefix="lthpaper-") as folder:
        parcels.unpack(parcel, Path(folder), runs)
        with _Watch(number, board, Path(folder), runs) as watch:
            error = _error(replace(job, store=folder, published=None), do, watch)
        return error, parcels.results(runs, Path(folder))


def _error(job: Any, do: Do, watch: "_Watch") -> Exception | None:
    """Do it; its error, as one that can travel."""
    if watch.stop():
        return Stopped("stopped before it began")
    try:
        do(job, watch.on_epoch, watch.stop)
    except Exception as error:
        failure = as_failure(error)
        return InputError(str(failure)) if isinstance(failure, InputError) else failure
    return None


class _Watch:
    """The line between a job and the driver, on a thread beside the training.

    folder: of a store that the driver does not see: new checkpoints and logs of the runs are sent to it.
    """

    def __init__(self, number: int, board: Any, folder: Path | None = None, runs: Iterable[Run] = ()):
        self.number, self.board, self.folder, self.runs = number, board, folder, list(runs)
        self.ray = ray()
        self._asked, self._over = threading.Event(), threading.Event()
        self._seen: dict[str, int] = self._changes()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Watch":
        self._ask()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def stop(self) -> bool:
        """Whether the driver wants an end."""
        return self._asked.is_set()

    def on_epoch(self, progress: Any) -> None:
        """Tell the driver."""
        self.board.tell.remote(self.number, len(progress.runs))

    def _look(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS / 2):
            self._ask()
            now = self._changes()
            changed = {name for name, when in now.items() if self._seen.get(name) != when}
            if changed:
                sent = {n: c for n, c in parcels.state(self.runs, self.folder).items() if n in changed}
                self.board.send.remote(self.number, sent)
                self._seen = now

    def _ask(self) -> None:
        try:
            if self.ray.get(self.board.stopping.remote()):
                self._asked.set()
        except self.ray.exceptions.RayError:  # nobody waits for this any more
            self._asked.set()

    def _changes(self) -> dict[str, int]:
        """When each file was written."""
        found: dict[str, int] = {}
        for name in parcels.state_paths(self.runs) if self.folder else ():
            with suppress(FileNotFoundError):
                found[name] = (self.folder / name).stat().st_mtime_ns
        return found
