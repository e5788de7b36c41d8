"""Execute a plan: an executor's workers train ready runs in packs, and every result is stored at once."""

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from lthpaper import data, locations
from lthpaper.errors import Stopped, require
from lthpaper.provenance import provenance
from lthpaper.runs.masks import unpacked
from lthpaper.runs.recipe import CURVE_POINTS
from lthpaper.runs.run import Run, from_json, to_json
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.entry import Damaged, Unwritable
from lthpaper.store.locks import Locks
from lthpaper.store.logs import Logged, log_of, note
from lthpaper.store.store import PUBLISHED, Store
from lthpaper.sweep import ray_address, torchrun
from lthpaper.sweep.executor import Executor, GpuLost, Job, WorkerDied, WorkFailed
from lthpaper.sweep.plan import Keep, Plan, again, plan, process_count, worker_count
from lthpaper.sweep.processes import InThisProcess, Workers
from lthpaper.sweep.progress import Bar
from lthpaper.sweep.scheduler import ELSEWHERE, OURS, THERE, Scheduler
from lthpaper.sweep.stopping import Stopping, Unfinished
from lthpaper.sweep.throughput import Throughput
from lthpaper.training.autotune import pack_limits
from lthpaper.training.loop import seconds_between_checkpoints, train
from lthpaper.training.process_group import ALONE, Alone
from lthpaper.training.result import Progress

SECONDS_TO_LOOK_AGAIN = 0.5  # between checks of runs that another process was training
SECONDS_TO_STOP = 60.0  # in which packs can end cleanly


def perform(
    job: Job,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    team: Alone = ALONE,
) -> None:
    """Train a job's pack and put the results into the store. All processes of a team train, one writes.

    A run that is in the store by now is skipped: another process may have trained it, or this one before
    another run of its pack failed. Raises errors.Stopped if `stop` says so or the job's time is over,
    InputError if the images here are another copy than the command's, a network fails on them or a parent's
    entry is damaged, GpuLost if this process cannot use its GPU any more.
    """
    until = math.inf if job.left is None else time.monotonic() + job.left  # clocks of machines may differ
    store, own, checkpoints = Store(job.store, job.published), Store(job.store), Checkpoints(job.store)
    runs = [from_json(document) for document in job.runs]
    keep = {run: frozenset(epochs) for run, epochs in zip(runs, job.keep, strict=True)}
    masks = {run: unpacked(bits) for run, bits in zip(runs, job.masks, strict=False) if bits}
    runs = [run for run in runs if not own.holds(run, keep[run] | {run.recipe.epochs})]
    if not runs:
        return

    def over() -> bool:
        return stop() or time.monotonic() >= until

    task = runs[0].task
    images = data.load(task.data, job.data_root, *task.division)
    require(
        job.fingerprint in ("", images.fingerprint),
        f"The images of {task.data} that a process read are another copy than the command's (fingerprint "
        f"{images.fingerprint}; the command's have {job.fingerprint}). Results of different copies do not "
        "mix: all machines must read the same files, and a custom function return the same images each time.",
    )
    about = provenance(job.device) | ({"processes": team.size} if team.size > 1 else {})
    team.any(False)  # wait until all have loaded the images, so that no sum has to wait for that
    with _gpu_watched(job.device), Logged(job.store, runs if team.rank == 0 else (), job.device) as logged:
        for trained in train(
            runs,
            images,
            store.weights,
            job.device,
            keep,
            on_epoch=logged.around(on_epoch),
            checkpoints=checkpoints,
            stop=over,
            team=team,
            curve_points=job.curve_points,
            masks=masks,
        ):
            if team.rank == 0:
                of_mask = {"mask": PUBLISHED} if trained.run in masks else {}
                store.put(trained, images.fingerprint, about | of_mask)
                checkpoints.drop(trained.run)


@contextmanager
def _gpu_watched(device: str) -> Iterator[None]:
    """After an error, ask whether the GPU still answers; raise GpuLost if it does not."""
    try:
        yield
    except Exception as error:
        try:
            if torch.device(device).type == "cuda":
                torch.cuda.synchronize(device)
        except RuntimeError:
            said = "".join(traceback.format_exception(error))
            raise GpuLost(
                f"{said}This process cannot use its GPU any more: run the same command again"
            ) from error
        raise


def execute(
    runs: Iterable[Run],
    store: Store,
    data_root: str | Path | None = None,
    device: str = "cpu",
    workers: int | None = None,
    keep: Keep | None = None,
    quiet: bool = False,
    time_limit: float | None = None,
    on: str = "",
    signals: bool = False,
    curve_points: int = CURVE_POINTS,
) -> Plan:
    """Train what `runs` and their ancestors still lack, and return the plan of what was trained here.

    One bar shows network-epochs, the time left and what is training. If a run fails, everything that does not
    depend on it is still trained; then its error is raised. Runs that another process is training are left
    to it.

    time_limit: seconds after which packs write checkpoints and end. on: "" for this machine, "ray" or
    "ray:ADDRESS" for a cluster. signals: SIGTERM, SIGUSR1 and a first Ctrl-C also end it cleanly, as they do
    if there is a time limit. Raises stopping.Unfinished after such an end. curve_points: how often a run is
    tested, at most.

    Raises InputError before anything starts if a data set cannot be loaded. However it ends, the results so
    far are in the store and the workers have ended.
    """
    if on:
        ray_address.address_of(on)
    stopping = Stopping(time_limit)
    workers = worker_count(device, workers)
    with stopping.signals() if signals or time_limit is not None else nullcontext():
        todo = plan(runs, store, keep)
        copies = _same_data(todo, store, data_root)
        if not todo.todo:
            return todo
        if not on:
            workers = process_count(todo, device, workers)
        torchrun.check(todo.todo, device)
        seconds_between_checkpoints()  # refused before any run fails of it
        locations.check_out("Results", store.folder, "--store")
        with Bar(todo, quiet) as bar:
            if not on and (repeated := again(todo, store, device)):
                bar.say(repeated)
            how = (workers, bar, stopping, on, curve_points, copies)
            done = _Execution(todo, store, data_root, device, *how).finish()
    return replace(todo, todo=tuple(run for run in todo.todo if run in done))


def _same_data(todo: Plan, store: Store, root: str | Path | None) -> dict[str, str]:
    """Data set -> fingerprint here. Raises InputError if results in the store come from other copies.

    A mask from a training on one copy must not be used in a training on another. Data sets are loaded if
    something is left to train on them, and custom ones always.
    """
    needed = {(run.task.data, *run.task.division) for run in todo.todo}
    needed |= {(run.task.data, *run.task.division) for run in todo.runs if ":" in run.task.data}
    here = {name: data.load(name, root, *division).fingerprint for name, *division in sorted(needed)}
    left = set(todo.todo)
    for run in (run for run in todo.runs if run not in left and run in store):
        found = store.get(run).fingerprint  # raises if the result cannot be read
        require(
            found == here.get(run.task.data, found),
            f"The store {store.folder} holds results on another copy of {run.task.data} "
            f"(fingerprint {found}; the copy here has {here.get(run.task.data)}). Results of different "
            "copies do not mix: name another folder with --store, or bring the first copy back.",
        )
    return here


class _Execution:
    """One call of `execute`: it moves packs from the scheduler to the executor and shows them in the bar."""

    def __init__(
        self,
        todo: Plan,
        store: Store,
        root: str | Path | None,
        device: str,
        workers: int,
        bar: Bar,
        stopping: Stopping,
        on: str = "",
        curve_points: int = CURVE_POINTS,
        copies: Mapping[str, str] | None = None,
    ):
        self.plan, self.store, self.root, self.device = todo, store, root, torch.device(device)
        self.workers, self.bar, self.stopping, self.on = workers, bar, stopping, on
        self.counted: dict[int, int] = {}  # network-epochs of a pack that the bar shows
        self.curve_points, self.copies = curve_points, copies or {}
        self.locks = Locks(store.folder)
        self.throughput = Throughput(self.device, workers, not on)
        self.executor = self._choose_executor()
        position = Checkpoints(store.folder).position
        self.scheduler = Scheduler(todo, self._limits, position, self._claim, self.locks.leave, self._seconds)

    def finish(self) -> set[Run]:
        """Train everything and return what was trained; at the end, raise the first failure."""
        training, stopped, look = self.scheduler.training, 0.0, time.monotonic() + SECONDS_TO_LOOK_AGAIN
        with self.locks, self.executor as executor:
            if executor.dashboard:
                self.bar.say(f"Ray's dashboard: {executor.dashboard}")
            while True:
                if self.stopping() and not stopped:
                    executor.stop()
                    stopped = time.monotonic()
                if time.monotonic() >= look:
                    self.scheduler.look_again()
                    look = time.monotonic() + SECONDS_TO_LOOK_AGAIN
                while len(training) < executor.count and not self.stopping.too_late:
                    begun = self._begin(executor.count - len(training))
                    if begun is None:
                        break
                    executor.submit(*begun, perform)
                self.locks.wait(executor.count - len(training) if self.scheduler.elsewhere else 0)
                late = stopped and time.monotonic() > stopped + SECONDS_TO_STOP
                if late or (not training and (self.stopping.too_late or not self.scheduler.elsewhere)):
                    break
                for number, error in executor.done():
                    self._end(number, error)
        self._raise()
        return self.scheduler.done

    def _raise(self) -> None:
        """Raise an error that says why runs remain or have failed, if so."""
        scheduler = self.scheduler
        remaining = scheduler.remaining
        if not remaining:
            if scheduler.failed:
                raise scheduler.failed[0]
            return
        failed = f" {len(scheduler.failed)} failed: {scheduler.failed[0]}" if scheduler.failed else ""
        unfinished = Unfinished(
            f"Stopped cleanly, since {self.stopping.why or 'too little time is left'}: "
            f"{len(scheduler.done)} runs were trained, {len(remaining)} remain "
            f"({scheduler.remaining_epochs:,} network-epochs).{failed}"
        )
        unfinished.asked, unfinished.network_epochs = self.stopping.asked, self.bar.trained
        raise unfinished

    def _choose_executor(self) -> Executor:
        """A cluster's workers, processes, or this process if one worker is enough."""
        if self.on:
            local = any(run.is_local for run in self.plan.todo)
            require(
                not local,
                "A network, a data set or a pruning rule that was handed over in this process cannot be "
                "trained on a cluster: name it package.module:name.",
            )
            from lthpaper.sweep.ray_driver import RayWorkers  # here, since ray is an optional extra

            return RayWorkers(self.on, str(self.device), self._count)
        if team := torchrun.executor(self._count, self.stopping):
            return team
        if self.workers == 1:
            return InThisProcess(self._count, self.stopping)
        return Workers(self.workers, self._count)

    def _limits(self, run: Run) -> tuple[int, int]:
        """(smallest, largest) pack of a run's shape."""
        return self.executor.limits(run) or pack_limits(run, self.device)

    def _claim(self, run: Run) -> str:
        """Lock a run, unless another process trains it or has stored its result."""
        if not self.locks.take(run):
            return ELSEWHERE
        try:
            there = Store(self.store.folder).holds(run, {*self.plan.keep.get(run, ()), run.recipe.epochs})
        except Damaged:  # its job will say so
            return OURS
        if there:
            self.locks.leave(run)
        return THERE if there else OURS

    def _seconds(self, pack: Sequence[Run]) -> float | None:
        return self.throughput.seconds(pack, sum(self.scheduler.left(run) for run in pack))

    def _begin(self, idle: int) -> tuple[int, Job] | None:
        """The next pack's number and job."""
        others = self.locks.waited_for()
        if others:
            self.scheduler.look_around()
        begun = self.scheduler.begin(idle + others, self.stopping.left)
        if begun is None:
            self._show()  # other processes may have finished runs
            return None
        number, pack = begun
        self.counted[number] = sum(self.scheduler.done_epochs(run) for run in pack)
        self.bar.advance(self.counted[number], trained=False)
        self.throughput.begin(number, pack, sum(self.scheduler.left(run) for run in pack))
        self._show()
        return number, Job(
            runs=tuple(map(to_json, pack)),
            keep=tuple(tuple(sorted(self.plan.keep.get(run, ()))) for run in pack),
            store=str(self.store.folder),
            published=None if self.store.published is None else str(self.store.published),
            data_root=None if self.root is None else str(self.root),
            device=str(self.device),
            left=self.stopping.left,
            curve_points=self.curve_points,
            fingerprint=self.copies.get(pack[0].task.data, ""),
            masks=tuple(self.plan.masks.get(run) for run in pack),
        )

    def _count(self, number: int, network_epochs: int) -> None:
        if number in self.counted:  # a report may arrive after the end of its pack
            self.counted[number] += network_epochs
            self.bar.advance(network_epochs)

    def _end(self, number: int, error: Exception | None) -> None:
        """A pack is done or stopped, or it failed and its epochs are lost."""
        if isinstance(error, Unwritable):  # no result can be stored
            raise error
        if isinstance(error, WorkerDied):  # the worker could not log it
            note(self.store.folder, self.scheduler.training[number], str(error))
        done = 0 if error else sum(run.cost for run in self.scheduler.training[number])
        if not isinstance(error, Stopped):
            self._count(number, done - self.counted[number])
        del self.counted[number]
        self.throughput.end(number, error)
        pack, failures = self.scheduler.training[number], len(self.scheduler.failed)
        self.scheduler.ended(number, error)
        if len(self.scheduler.failed) > failures:  # a pack of one, which is not tried again
            log = log_of(self.store.folder, pack[0])
            if isinstance(failed := self.scheduler.failed[-1], WorkFailed):
                failed.log = str(log)
            self.bar.say(f"lthpaper: {pack[0]} failed, and what needs it is left out; its log is {log}")
        self._show()

    def _show(self) -> None:
        self.bar.state(self.scheduler, self.executor.where())
