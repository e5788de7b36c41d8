"""A Ray cluster as an executor: packs as tasks, each with its share of a node.

Ray finds the nodes and starts and watches the processes; the scheduler decides what trains next. A task is
sent to a node that has a free device, with everything that it needs. If the node shares the store's folder
with the driver (it then sees a marker file there), results are written to it. Otherwise they are sent back
when the task ends, and checkpoints and logs while it trains.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch

from lthpaper.errors import InputError
from lthpaper.runs.run import Run, from_json, to_json
from lthpaper.runs.shape import shape_key
from lthpaper.store import transfer
from lthpaper.store.store import Store
from lthpaper.sweep.executor import MOMENT, Do, Executor, OutOfMemory, Tell, WorkerDied, as_failure
from lthpaper.sweep.ray_address import address_of, join
from lthpaper.sweep.ray_node import EVERYTHING, FOLDER, Board, Unfit, about_here, limits_there, ray, work
from lthpaper.training.autotune import pack_limits

SECONDS_BETWEEN_LOOKS = 2.0  # updates of the list of nodes
SECONDS_TO_JOIN = 60.0  # to wait for a node if the cluster has none
ATTEMPTS_TO_MEASURE = 3  # the limits of packs, if a node or its process dies


@dataclass
class _Node:
    """A machine of the cluster. slots: packs at once; unfit: what it turned out to be unable to train, and
    FOLDER if it does not share the store's folder."""

    host: str
    slots: int
    unfit: dict[str, str] = field(default_factory=dict)  # data set, EVERYTHING or FOLDER: why


@dataclass(frozen=True)
class _Task:
    """A pack that was sent, with everything needed to send it again."""

    number: int
    job: Any
    do: Do
    runs: tuple[Run, ...]
    node: str

    @property
    def data(self) -> str:
        return self.runs[0].task.data


class RayWorkers(Executor):
    """The executor on a cluster.

    on: "ray" starts one on this machine and ends it on leaving; "ray:auto" and "ray:ADDRESS" join one.
    device: "cuda" gives each pack a GPU, "cpu" a core.
    """

    def __init__(self, on: str, device: str = "cpu", tell: Tell = lambda number, network_epochs: None):
        super().__init__(tell)
        self.ray, self.on = ray(), on
        address_of(on)
        self.device = torch.device(device).type
        self.share = {"num_cpus": 1, "num_gpus": 1 if self.device == "cuda" else 0}
        self._nodes: dict[str, _Node] = {}
        self._tasks: dict[Any, _Task] = {}  # by the task's reference
        self._refused: list[tuple[int, Exception]] = []  # jobs that no node can do, and why
        self._next_look = 0.0
        self._last_seen = time.monotonic()  # when there last was any node
        self._alive: set[str] = set()
        self._gone: set[str] = set()  # lost nodes that Ray may still list
        self._limits: dict[tuple, tuple[int, int]] = {}
        self._marked: dict[str, str] = {}  # store -> name of the file by which nodes know it

    def __enter__(self) -> Self:
        self._joined = self.ray.is_initialized()  # by our caller: then we leave it running
        self.dashboard, self._last_seen = join(self.on), time.monotonic()
        here = self.ray.get_runtime_context().get_node_id()
        self._board = self._remote(Board, node=here, num_cpus=0).remote()
        return self

    def __exit__(self, *error: object) -> None:
        for reference in self._tasks:  # only an interrupt leaves some at work
            self.ray.cancel(reference, force=True)
        for store, name in self._marked.items():
            (Path(store) / name).unlink(missing_ok=True)
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(self._board)
        if not self._joined:
            self.ray.shutdown()

    @property
    def count(self) -> int:
        """Packs at once: as many as there are devices now."""
        self._look()
        return max(1, sum(node.slots for node in self._nodes.values() if EVERYTHING not in node.unfit))

    def submit(self, number: int, job: Any, do: Do) -> None:
        """Have `do(job, on_epoch, stop)` called on some node; if no node can do it, `done` says so."""
        places = {name: getattr(job, name) for name in ("store", "published", "data_root")}
        absolute = {
            name: None if path is None else str(Path(path).absolute()) for name, path in places.items()
        }
        try:
            self._send(_Task(number, replace(job, **absolute), do, tuple(map(from_json, job.runs)), ""))
        except (InputError, self.ray.exceptions.RayError) as error:
            self._refused.append((number, as_failure(error)))

    def done(self) -> Iterator[tuple[int, Exception | None]]:
        """(number, its error) of jobs that ended; waits for one for a moment.

        The error of a job whose process or node died is WorkerDied.
        """
        refused, self._refused = self._refused, []
        yield from refused
        if not self._tasks:
            time.sleep(0.0 if refused else MOMENT)
            return
        self._listen()
        ready, _ = self.ray.wait(list(self._tasks), timeout=MOMENT)
        for reference in ready:
            task = self._tasks.pop(reference)
            try:
                error = self._ended(task, reference)
            except (InputError, self.ray.exceptions.RayError) as failed:  # no result, or no node is left
                error = as_failure(failed)
            if not isinstance(error, Unfit):
                yield task.number, error

    def stop(self) -> None:
        self._board.stop.remote()

    def where(self) -> dict[int, str]:
        return {task.number: self._nodes[task.node].host for task in self._tasks.values()}

    def limits(self, run: Run) -> tuple[int, int]:
        """(smallest, largest) pack of a run's shape; for GPUs, a node of the cluster measures it.

        If none can, runs are sent one by one, so that each gets the error as its own.
        """
        key = shape_key(run)
        if key not in self._limits:
            if self.device == "cpu":
                self._limits[key] = pack_limits(run, torch.device("cpu"))
            else:
                try:
                    self._limits[key] = self._measured(run)
                except InputError:  # no node is there or fit for it; the job's error will say so
                    return 1, 1
        return self._limits[key]

    def _measured(self, run: Run) -> tuple[int, int]:
        """A run's limits, measured by a node, by another if the first dies; one run per pack if all fail."""
        exceptions = self.ray.exceptions
        for _ in range(ATTEMPTS_TO_MEASURE):
            node = self._free_node(run.task.data)
            remote = self._remote(limits_there, node, max_retries=0, **self.share)
            try:
                return self.ray.get(remote.remote(to_json(run)))
            except (exceptions.NodeDiedError, exceptions.TaskUnschedulableError):
                self._gone.add(node)
            except exceptions.RayTaskError:  # the run itself fails, and would on any node
                break
            except exceptions.RayError:  # its process died
                continue
        return 1, 1

    def _remote(self, what: Callable, node: str, **options: Any) -> Any:
        affinity = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        return self.ray.remote(what).options(scheduling_strategy=affinity, **options)

    def _look(self) -> None:
        """Update the list of nodes."""
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
        if alive:
            self._last_seen = time.monotonic()
        self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS

    def _send(self, task: _Task) -> None:
        node = self._free_node(task.data)
        task = replace(task, node=node)
        store = Store(task.job.store, task.job.published)
        marker = self._mark(store)
        remote = self._remote(work, node, max_retries=0, **self.share)
        parcel = transfer.needed(task.runs, store) if FOLDER in self._nodes[node].unfit else None
        reference = remote.remote(task.number, task.job, task.do, parcel, marker, self._board, about_here())
        self._tasks[reference] = task

    def _free_node(self, data_set: str) -> str:
        """The node with the most free devices. Raises InputError if none can train on the data set."""
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
            said = ((node.host, *found) for node in self._nodes.values() for found in node.unfit.items())
            unfit = {host: why for host, what, why in said if what != FOLDER}
            if unfit or time.monotonic() > self._last_seen + SECONDS_TO_JOIN:
                reasons = "; ".join(f"{host}: {why}" for host, why in unfit.items())
                raise InputError(
                    f"No node of the cluster can train {data_set} on {self.device}. {reasons}".strip()
                    or "It has no nodes with such devices."
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _mark(self, store: Store) -> str:
        """The name of a file in the store, by which a node recognises that it shares the folder."""
        folder = str(store.folder)
        if folder not in self._marked:
            store.folder.mkdir(parents=True, exist_ok=True)
            self._marked[folder] = f".shared-{uuid.uuid4().hex}"
            (store.folder / self._marked[folder]).touch()
        return self._marked[folder]

    def _listen(self) -> None:
        """Receive what tasks have sent while training: epochs, checkpoints and logs."""
        told, sent = self.ray.get(self._board.take.remote())
        for number, network_epochs in told:
            self._tell(number, network_epochs)
        tasks = {task.number: task for task in self._tasks.values()}
        for number, parcel in sent:
            if number in tasks:  # else the task has ended meanwhile
                task = tasks[number]
                transfer.unpack(parcel, Path(task.job.store), task.runs)

    def _ended(self, task: _Task, reference: Any) -> Exception | Unfit | None:
        """The outcome of a task; if its node was unfit for it, it is sent to another one."""
        exceptions = self.ray.exceptions
        host = self._nodes[task.node].host
        try:
            answer, parcel = self.ray.get(reference)
        except exceptions.OutOfMemoryError as error:
            return OutOfMemory(f"On {host}: {error}")
        except exceptions.TaskUnschedulableError:  # the node is gone before the task began
            self._gone.add(task.node)
            self._send(task)
            return Unfit(EVERYTHING, "it is gone")
        except exceptions.RayError as error:
            if isinstance(error, exceptions.NodeDiedError):
                self._gone.add(task.node)
            return WorkerDied(f"The process that trained on {host} ended: {str(error).strip()}")
        if isinstance(answer, Unfit):
            self._nodes[task.node].unfit[answer.what] = answer.why
            self._send(task)
            return answer
        if parcel:
            transfer.take_in(parcel, Store(task.job.store), task.runs)
            if answer is None:
                for name in transfer.state_paths(task.runs):
                    if name not in parcel:  # a checkpoint that the result has replaced
                        (Path(task.job.store) / name).unlink(missing_ok=True)
        return answer
