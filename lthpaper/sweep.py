"""Execution of a plan: ready runs in packs, on an executor's workers, every result kept as it comes."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lthpaper import data
from lthpaper.checkpoints import Checkpoints
from lthpaper.errors import require
from lthpaper.forms import pack_limits
from lthpaper.networks import LOCAL
from lthpaper.plan import Keep, Plan, plan, worker_count
from lthpaper.progress import Bar
from lthpaper.provenance import provenance
from lthpaper.runs import Run, from_json, to_json
from lthpaper.scheduler import Scheduler
from lthpaper.store import Store
from lthpaper.training import Progress, train
from lthpaper.workers import InThisProcess, Workers


@dataclass(frozen=True)
class Job:
    """One pack for a worker, in values that travel between processes."""

    runs: tuple[dict[str, Any], ...]  # runs.to_json
    keep: tuple[tuple[int, ...], ...]
    store: str
    published: str | None  # Store's layer that is only read
    data_root: str | None
    device: str
    until: float | None = None  # time.time() at which to stop in good order


def perform(
    job: Job,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train a job's pack and put the results into the store.

    A run that is there by now is left out: another process may have trained it, or this one before a
    pack-mate failed. Raises training.Stopped where `stop` says so or the job's time is over, InputError if a
    network fails on the images or a parent's entry is damaged.
    """
    store, own, checkpoints = Store(job.store, job.published), Store(job.store), Checkpoints(job.store)
    runs = [from_json(document) for document in job.runs]
    keep = {run: frozenset(epochs) for run, epochs in zip(runs, job.keep, strict=True)}
    runs = [run for run in runs if not own.holds(run, keep[run] | {run.recipe.epochs})]
    if not runs:
        return

    def over() -> bool:
        return stop() or (job.until is not None and time.time() >= job.until)

    task = runs[0].task
    images = data.load(task.data, job.data_root, task.train_images)
    about = provenance(job.device)
    for trained in train(runs, images, store.weights, job.device, keep, on_epoch, checkpoints, over):
        store.put(trained, images.fingerprint, about)
        checkpoints.drop(trained.run)


def execute(
    runs: Iterable[Run],
    store: Store,
    data_root: str | Path | None = None,
    device: str = "cpu",
    workers: int | None = None,
    keep: Keep | None = None,
    quiet: bool = False,
) -> Plan:
    """Train what `runs` and their ancestors still lack, and return the plan that was carried out.

    One bar shows network-epochs, the time left and what is training. A run that fails stops nothing
    else: what does not depend on it is trained first, then its error is raised. Raises InputError
    before anything starts if a data set cannot be loaded. Whatever ends it, the results so far are in the
    store and the workers have ended.
    """
    workers = worker_count(device, workers)
    todo = plan(runs, store, keep)
    _same_data(todo, store, data_root)
    if not todo.todo:
        return todo
    with Bar(todo, quiet) as bar:
        _Execution(todo, store, data_root, device, workers, bar).finish()
    return todo


def _same_data(todo: Plan, store: Store, root: str | Path | None) -> None:
    """Raise InputError where results in the store and the images at hand are of different copies.

    A mask cut from a training on one copy must not meet a training on another. Data sets are loaded
    where something is left to train, and always where they are functions of one's own.
    """
    needed = {(run.task.data, run.task.train_images) for run in todo.todo}
    needed |= {(run.task.data, run.task.train_images) for run in todo.runs if ":" in run.task.data}
    here = {name: data.load(name, root, count).fingerprint for name, count in sorted(needed)}
    for run in (run for run in todo.runs if run not in todo.todo and run in store):
        found = store.get(run).fingerprint if run.task.data in here else None
        require(
            found is None or found == here[run.task.data],
            f"The store {store.folder} holds results on another copy of {run.task.data} "
            f"(fingerprint {found}; the one at hand is {here.get(run.task.data)}). Results of different "
            "copies do not mix: name another folder with --store, or bring the first copy back.",
        )


class _Execution:
    """One `execute`: a scheduler's packs on an executor, as the bar shows them."""

    def __init__(
        self, todo: Plan, store: Store, root: str | Path | None, device: str, workers: int, bar: Bar
    ):
        self.plan, self.store, self.root, self.device = todo, store, root, torch.device(device)
        self.workers, self.bar = workers, bar
        self.counted: dict[int, int] = {}  # network-epochs that the bar shows of a pack
        self.left_out = 0  # that the bar shows
        self.scheduler = Scheduler(todo, self._limits, Checkpoints(store.folder).position)

    def finish(self) -> None:
        """Train everything; raises the first failure when nothing else is left."""
        with self._executor() as executor:
            while True:
                while len(self.scheduler.training) < executor.count:
                    begun = self._begin(executor.count - len(self.scheduler.training))
                    if begun is None:
                        break
                    executor.submit(*begun, perform)
                if not self.scheduler.training:
                    break
                for number, network_epochs in executor.reports():
                    self._count(number, network_epochs)
                for number, error in executor.done():
                    self._end(number, error)
        if self.scheduler.failed:
            raise self.scheduler.failed[0]

    def _executor(self) -> Any:
        """This process where one worker is enough, else processes."""
        todo = self.plan.todo
        own = any(run.task.network.startswith(f"{LOCAL}:") for run in todo)  # no other process can build it
        if own or self.workers <= 1 or len(todo) <= self._limits(todo[0])[0]:
            return InThisProcess(self._count)
        return Workers(self.workers)

    def _limits(self, run: Run) -> tuple[int, int]:
        return pack_limits(run, self.device)

    def _begin(self, idle: int) -> tuple[int, Job] | None:
        """The next pack's number and job."""
        begun = self.scheduler.begin(idle)
        self._leave_out()
        if begun is None:
            return None
        number, pack = begun
        self.counted[number] = 0
        self._count(number, sum(self.scheduler.done_epochs(run) for run in pack))
        self.bar.training(self.scheduler.training.values())
        keep = tuple(tuple(sorted(self.plan.keep.get(run, ()))) for run in pack)
        root = None if self.root is None else str(self.root)
        published = None if self.store.published is None else str(self.store.published)
        runs, store = tuple(map(to_json, pack)), str(self.store.folder)
        return number, Job(runs, keep, store, published, root, str(self.device))

    def _count(self, number: int, network_epochs: int) -> None:
        if number in self.counted:  # a report may arrive after its pack's end
            self.counted[number] += network_epochs
            self.bar.advance(network_epochs)

    def _end(self, number: int, error: Exception | None) -> None:
        """A pack is done, or failed and its epochs are lost."""
        done = 0 if error else sum(run.cost for run in self.scheduler.training[number])
        self._count(number, done - self.counted[number])
        del self.counted[number]
        self.scheduler.ended(number, error)
        self._leave_out()

    def _leave_out(self) -> None:
        left_out = self.scheduler.left_out
        if left_out != self.left_out:
            self.bar.leave_out(left_out - self.left_out)
            self.left_out = left_out
