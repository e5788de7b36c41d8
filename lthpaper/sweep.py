"""Execution of a plan: ready runs in packs, on worker processes, every result kept as it comes."""

import multiprocessing
import queue
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from lthpaper import data
from lthpaper.errors import InputError
from lthpaper.plan import Keep, Plan, plan, worker_count
from lthpaper.provenance import provenance
from lthpaper.runs import Run, from_json, setting, to_json
from lthpaper.store import Store
from lthpaper.training import Progress, pack_limits, shape_key, train


@dataclass(frozen=True)
class Job:
    """One pack for a worker, in values that travel between processes."""

    runs: tuple[dict[str, Any], ...]  # runs.to_json
    keep: tuple[tuple[int, ...], ...]
    store: str
    data_root: str | None
    device: str


def perform(job: Job, on_epoch: Callable[[Progress], None] = lambda progress: None) -> None:
    """Train a job's pack and put the results into the store."""
    store = Store(job.store)
    runs = [from_json(document) for document in job.runs]
    keep = {run: frozenset(epochs) for run, epochs in zip(runs, job.keep, strict=True)}
    task = runs[0].task
    images = data.load(task.data, job.data_root, task.train_images)
    about = provenance(job.device)
    for trained in train(runs, images, store.weights, job.device, keep, on_epoch):
        store.put(trained, images.fingerprint, about)


_reports: Any = None  # a worker's way to say how far it is; set once when the worker starts


def _start_worker(reports: Any) -> None:
    global _reports
    _reports = reports


def _perform_reporting(job: Job) -> None:
    perform(job, lambda progress: _reports.put(len(progress.runs)))


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
    before anything starts if a data set cannot be loaded.
    """
    todo = plan(runs, store, keep)
    if not todo.todo:
        return todo
    for name, count in {(run.task.data, run.task.train_images) for run in todo.todo}:
        data.load(name, data_root, count)
    with _Bar(todo, quiet) as bar:
        _Execution(todo, store, data_root, device, worker_count(device, workers), bar).finish()
    return todo


class _Bar:
    """One progress bar where a person watches, a line now and then where output goes to a file."""

    def __init__(self, todo: Plan, quiet: bool):
        interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
        self.bar = tqdm(
            total=todo.network_epochs,
            unit=" network-epochs",
            disable=quiet,
            mininterval=0.5 if interactive else 30,
            maxinterval=1 if interactive else 60,
            smoothing=0.05,
            dynamic_ncols=True,
        )

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def training(self, packs: Iterable[tuple[Run, ...]]) -> None:
        """Say what is being trained now."""
        names = [f"{len(p)}× {setting(p[0])} {p[0].task.network} lr {p[0].recipe.lr:g}" for p in packs]
        self.bar.set_postfix_str(" | ".join(names), refresh=False)

    def advance(self, network_epochs: int) -> None:
        self.bar.update(network_epochs)


class _Execution:
    """The state of one `execute`: what waits, what is ready, what is training."""

    def __init__(
        self, todo: Plan, store: Store, root: str | Path | None, device: str, workers: int, bar: _Bar
    ):
        self.plan, self.store, self.root, self.device = todo, store, root, device
        self.workers, self.bar = workers, bar
        self.waiting = list(todo.todo)
        self.failed: list[BaseException] = []
        self.lost: set[Run] = set()  # failed, or waiting for one that did
        self.height = _heights(todo)

    def finish(self) -> None:
        """Train everything; raises the first failure when nothing else is left."""
        enough_for_one = len(self.waiting) <= pack_limits(self._image_size(), torch.device(self.device))[0]
        if self.workers <= 1 or enough_for_one:
            self._in_this_process()
        else:
            self._in_workers()
        if self.failed:
            raise self.failed[0]

    def _image_size(self) -> int:
        return data.card(self.waiting[0].task.data).size

    def _next_pack(self, training: Iterable[tuple[Run, ...]], idle: int) -> tuple[Run, ...]:
        """Ready runs of one shape: the longest chain of descendants first, shared among idle workers."""
        busy = {run for pack in training for run in pack}
        blocked = set(self.waiting) | busy | self.lost
        ready = [run for run in self.waiting if not any(parent in blocked for parent in run.parents)]
        if not ready:
            return ()
        first = max(ready, key=lambda run: self.height[run])
        mates = [run for run in ready if shape_key(run) == shape_key(first)]
        mates.sort(key=lambda run: -self.height[run])
        smallest, largest = pack_limits(data.card(first.task.data).size, torch.device(self.device))
        share = max(smallest, -(-len(mates) // max(1, idle)))
        chosen = tuple(mates[: min(share, largest)])
        self.waiting = [run for run in self.waiting if run not in set(chosen)]
        return chosen

    def _job(self, pack: tuple[Run, ...]) -> Job:
        keep = tuple(tuple(sorted(self.plan.keep.get(run, ()))) for run in pack)
        root = None if self.root is None else str(self.root)
        return Job(tuple(map(to_json, pack)), keep, str(self.store.folder), root, self.device)

    def _give_up(self, pack: tuple[Run, ...], error: BaseException) -> None:
        self.failed.append(error)
        self.lost |= set(pack)
        for run in self.plan.runs:
            if any(parent in self.lost for parent in run.parents):
                self.lost.add(run)
        self.waiting = [run for run in self.waiting if run not in self.lost]

    def _in_this_process(self) -> None:
        while pack := self._next_pack((), 1):
            self.bar.training([pack])
            try:
                perform(self._job(pack), lambda progress: self.bar.advance(len(progress.runs)))
            except (InputError, ArithmeticError, RuntimeError, OSError) as error:
                self._give_up(pack, error)

    def _in_workers(self) -> None:
        context = multiprocessing.get_context("spawn")
        reports = context.Queue()
        pool = ProcessPoolExecutor(self.workers, context, _start_worker, (reports,))
        training: dict[Future, tuple[Run, ...]] = {}
        try:
            while True:
                while len(training) < self.workers:
                    pack = self._next_pack(training.values(), self.workers - len(training))
                    if not pack:
                        break
                    training[pool.submit(_perform_reporting, self._job(pack))] = pack
                    self.bar.training(training.values())
                if not training:
                    return
                done, _ = wait(training, timeout=0.2, return_when=FIRST_COMPLETED)
                self._drain(reports)
                for future in done:
                    pack = training.pop(future)
                    if error := future.exception():
                        self._give_up(pack, error)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._drain(reports)

    def _drain(self, reports: Any) -> None:
        while True:
            try:
                self.bar.advance(reports.get_nowait())
            except queue.Empty:
                return


def _heights(todo: Plan) -> dict[Run, int]:
    """Network-epochs on the longest chain from each run down to its last descendant."""
    height = {run: run.cost for run in todo.todo}
    for run in reversed(todo.todo):  # children first
        for parent in run.parents:
            if parent in height:
                height[parent] = max(height[parent], parent.cost + height[run])
    return height
