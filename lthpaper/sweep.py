"""Execution of a plan: ready runs in packs, on worker processes, every result kept as it comes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lthpaper import data
from lthpaper.errors import require
from lthpaper.networks import LOCAL
from lthpaper.plan import Keep, Plan, plan, worker_count
from lthpaper.progress import Bar
from lthpaper.provenance import provenance
from lthpaper.runs import Run, from_json, to_json
from lthpaper.store import Store
from lthpaper.training import Progress, pack_limits, train
from lthpaper.workers import Workers


@dataclass(frozen=True)
class Job:
    """One pack for a worker, in values that travel between processes."""

    runs: tuple[dict[str, Any], ...]  # runs.to_json
    keep: tuple[tuple[int, ...], ...]
    store: str
    published: str | None  # Store's layer that is only read
    data_root: str | None
    device: str


def perform(job: Job, on_epoch: Callable[[Progress], None] = lambda progress: None) -> None:
    """Train a job's pack and put the results into the store.

    A run that is there by now is left out: another process may have trained it, or this one before a
    pack-mate failed. Raises InputError if a network fails on the images or a parent's entry is damaged.
    """
    store, own = Store(job.store, job.published), Store(job.store)
    runs = [from_json(document) for document in job.runs]
    keep = {run: frozenset(epochs) for run, epochs in zip(runs, job.keep, strict=True)}
    runs = [run for run in runs if not own.holds(run, keep[run] | {run.recipe.epochs})]
    if not runs:
        return
    task = runs[0].task
    images = data.load(task.data, job.data_root, task.train_images)
    about = provenance(job.device)
    for trained in train(runs, images, store.weights, job.device, keep, on_epoch):
        store.put(trained, images.fingerprint, about)


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
    before anything starts if a data set cannot be loaded, and if a worker process dies. Whatever ends it,
    the results so far are in the store and the workers have ended.
    """
    workers = worker_count(device, workers)
    todo = plan(runs, store, keep)
    _same_data(todo, store, data_root)
    if not todo.todo:
        return todo
    if any(run.task.network.startswith(f"{LOCAL}:") for run in todo.todo):
        workers = 1  # a function of this process: no other can build the network
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
    """The state of one `execute`: what waits, what is ready, what is training."""

    def __init__(
        self, todo: Plan, store: Store, root: str | Path | None, device: str, workers: int, bar: Bar
    ):
        self.plan, self.store, self.root, self.device = todo, store, root, device
        self.workers, self.bar = workers, bar
        self.waiting = list(todo.todo)
        self.training: dict[int, tuple[Run, ...]] = {}  # pack by the number of its job
        self.counted: dict[int, int] = {}  # network-epochs that the bar shows of it
        self.alone: set[Run] = set()  # a pack of theirs failed: which of them it was, each shows by itself
        self.failed: list[Exception] = []
        self.lost: set[Run] = set()  # failed, or waiting for one that did
        self.height = _heights(todo)
        self.shape = {run: shape for shape, runs in todo.shapes.items() for run in runs}
        self.jobs = 0

    def finish(self) -> None:
        """Train everything; raises the first failure when nothing else is left."""
        enough_for_one = len(self.waiting) <= pack_limits(self.waiting[0], torch.device(self.device))[0]
        if self.workers <= 1 or enough_for_one:
            self._in_this_process()
        else:
            self._in_workers()
        if self.failed:
            raise self.failed[0]

    def _next_pack(self, idle: int) -> tuple[Run, ...]:
        """Ready runs of one shape: the longest chain of descendants first, shared among idle workers.

        Empty only if nothing waits or all that waits depends on what is training: a graph has no cycles,
        and descendants of what failed do not wait.
        """
        undone = set(self.waiting).union(*self.training.values())
        ready = [run for run in self.waiting if undone.isdisjoint(run.parents)]
        if not ready:
            return ()
        first = max(ready, key=lambda run: self.height[run])
        mates = [first]
        if first not in self.alone:
            mates = [run for run in ready if run not in self.alone and self.shape[run] == self.shape[first]]
        mates.sort(key=lambda run: -self.height[run])
        smallest, largest = pack_limits(first, torch.device(self.device))
        share = max(smallest, -(-len(mates) // max(1, idle)))
        chosen = tuple(mates[: min(share, largest)])
        self.waiting = [run for run in self.waiting if run not in set(chosen)]
        return chosen

    def _begin(self, pack: tuple[Run, ...]) -> tuple[int, Job]:
        """A number for a pack, and its job."""
        self.jobs += 1
        self.training[self.jobs], self.counted[self.jobs] = pack, 0
        self.bar.training(self.training.values())
        keep = tuple(tuple(sorted(self.plan.keep.get(run, ()))) for run in pack)
        root = None if self.root is None else str(self.root)
        published = None if self.store.published is None else str(self.store.published)
        store = str(self.store.folder)
        return self.jobs, Job(tuple(map(to_json, pack)), keep, store, published, root, self.device)

    def _count(self, job: int, network_epochs: int) -> None:
        if job in self.training:  # a report may arrive after its pack's end
            self.counted[job] += network_epochs
            self.bar.advance(network_epochs)

    def _end(self, job: int, error: BaseException | None) -> None:
        """A pack is done, or failed: then its runs are tried one by one, and one that fails alone is lost."""
        pack = self.training[job]
        done = 0 if error else sum(run.cost for run in pack)
        self._count(job, done - self.counted[job])
        del self.training[job], self.counted[job]
        if error is None:
            return
        if not isinstance(error, Exception):  # an interrupt
            raise error
        if len(pack) > 1:
            self.alone |= set(pack)
            self.waiting += pack
        else:
            self._give_up(pack[0], error)

    def _give_up(self, run: Run, error: Exception) -> None:
        self.failed.append(error)
        self.lost.add(run)
        for other in self.plan.todo:  # parents first
            if not self.lost.isdisjoint(other.parents):
                self.lost.add(other)
        gone = [other for other in self.waiting if other in self.lost]
        self.waiting = [other for other in self.waiting if other not in self.lost]
        self.bar.leave_out(run.cost + sum(other.cost for other in gone))

    def _in_this_process(self) -> None:
        while pack := self._next_pack(1):
            number, job = self._begin(pack)
            try:
                perform(job, lambda progress, n=number: self._count(n, len(progress.runs)))
            except Exception as error:  # whatever a network of one's own raises
                self._end(number, error)
            else:
                self._end(number, None)

    def _in_workers(self) -> None:
        with Workers(self.workers) as workers:
            while True:
                while len(self.training) < self.workers:
                    pack = self._next_pack(self.workers - len(self.training))
                    if not pack:
                        break
                    workers.submit(*self._begin(pack), perform)
                if not self.training:
                    return
                for number, network_epochs in workers.reports():
                    self._count(number, network_epochs)
                for number, error in workers.done():
                    self._end(number, error)


def _heights(todo: Plan) -> dict[Run, int]:
    """Network-epochs on the longest chain from each run down to its last descendant."""
    height = {run: run.cost for run in todo.todo}
    for run in reversed(todo.todo):  # children first
        for parent in run.parents:
            if parent in height:
                height[parent] = max(height[parent], parent.cost + height[run])
    return height
