"""Contenders: ways to train, each in its own processes, which share neither threads nor memory.

A process builds its contender, trains one epoch to warm up, and then waits for a number of epochs to train;
it answers with the times at which it began and ended. The processes of a contender start together.
"""

import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from benchmarks.floor import Products
from benchmarks.ordinary import OnDevice, Ordinary
from benchmarks.sizes import Size
from lthpaper.data.noise import random_data
from lthpaper.runs.run import Fresh, Run
from lthpaper.training.autotune import choose
from lthpaper.training.forms import Form
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.start import start

PLAIN = Form()
ORDINARY, ON_DEVICE, PACK, ENGINE = "ordinary loop", "data on the device", "pack", "engine"
FLOOR = "floor"


@dataclass(frozen=True)
class Contender:
    """One way to train. form None: the engine's own choice. workers: of the DataLoader."""

    kind: str
    size: Size
    device: str
    pack: int = 1
    precision: str = "fp32"
    form: Form | None = PLAIN
    processes: int = 1
    workers: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.workers} workers" if self.kind == ORDINARY else self.kind

    @property
    def form_name(self) -> str:
        if self.kind in (ORDINARY, ON_DEVICE):
            return "one module"
        return str(self.form or choose(self._run(0), torch.device(self.device)).form)

    @property
    def images(self) -> int:
        """Training images of a timed epoch: whole batches, at least one; on a CPU fewer for large packs."""
        less = max(1, self.pack // 2) if torch.device(self.device).type == "cpu" else 1
        return max(1, self.size.images // self.size.batch // less) * self.size.batch

    def build(self) -> Any:
        """An object with a method `train_epoch`."""
        device, data = torch.device(self.device), random_data(self.size.card, self.images, self.size.test)
        runs = [self._run(i) for i in range(self.pack)]
        if self.kind == ORDINARY:
            return Ordinary(runs[0], data, device, self.workers)
        if self.kind == ON_DEVICE:
            return OnDevice(runs[0], data, device)
        if self.kind == FLOOR:
            return Products(self.size, self.images, self.precision, device)
        form = self.form or choose(runs[0], device).form
        return Pack(runs, [start(run, None) for run in runs], data, device, form)

    def _run(self, i: int) -> Run:
        return Run(self.size.task, self.size.recipe(self.precision), Fresh(i), seed=i)


def peak_memory_mb(device: torch.device) -> float:
    """Most memory this process has held: on the GPU if it trains there, else resident, in MB of 10⁶ bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count what the parent held when it started this process
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _serve(contender: Contender, orders: Connection, together: Any) -> None:
    """A contender's process: answers (began, ended, peak MB) to every ("train" | "evaluate", times)."""
    device = torch.device(contender.device)
    if contender.kind in (PACK, ENGINE, FLOOR):
        with repeatable(device):
            _answer(contender, orders, together, device)
    else:
        _answer(contender, orders, together, device)


def _answer(contender: Contender, orders: Connection, together: Any, device: torch.device) -> None:
    trainer = contender.build()
    actions = {"train": trainer.train_epoch, "evaluate": getattr(trainer, "evaluate", None)}
    with suppress(EOFError, ConnectionError):  # the bench has ended
        orders.send("ready")
        while True:
            action, times = orders.recv()
            together.wait()
            orders.send((*_timed(actions[action], times, device), peak_memory_mb(device)))


def _timed(action: Callable[[], Any], times: int, device: torch.device) -> tuple[float, float]:
    began = time.monotonic()  # one clock for all processes
    for _ in range(times):
        action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return began, time.monotonic()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Processes that start within ignore Ctrl-C, from their first import on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Running:
    """A contender's processes, alive for a with block; `train` and `evaluate` time them."""

    def __init__(self, contender: Contender):
        self.contender, self.memory_mb = contender, float("nan")
        self.seconds, self.times = 0.0, 1  # of a block, and epochs in it
        context = multiprocessing.get_context("spawn")
        self.together = context.Barrier(contender.processes)  # must outlive the start of every process
        self.pipes: list[Connection] = []
        self.processes = []
        for _ in range(contender.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(contender, theirs, self.together))
            with _uninterrupted():  # Ctrl-C reaches every process; the bench itself ends these
                process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.join(0 if error else 10)
            if process.is_alive():
                process.terminate()
                process.join()

    def wait_ready(self) -> None:
        """Wait until every process has built its contender. Raises RuntimeError if one cannot."""
        for pipe in self.pipes:
            self._receive(pipe)

    def _receive(self, pipe: Connection) -> Any:
        try:
            return pipe.recv()
        except EOFError as error:
            raise RuntimeError(f"{self.contender.name} ended early; its error stands above") from error

    def _do(self, action: str, times: int) -> float:
        """Wall seconds from the first process's start to the last one's end."""
        for pipe in self.pipes:
            pipe.send((action, times))
        answers = [self._receive(pipe) for pipe in self.pipes]
        self.memory_mb = sum(memory for _, _, memory in answers)
        return max(end for _, end, _ in answers) - min(begin for begin, _, _ in answers)

    def warm_up(self, seconds: float) -> None:
        """Train two epochs; from now on a block is as many as take about `seconds`."""
        self._do("train", 1)
        self.seconds = seconds
        self.train()

    def train(self) -> float:
        """Images a second of one block, over all networks and processes."""
        c, times = self.contender, self.times
        spent = self._do("train", times)
        self.times = max(1, round(self.seconds * times / spent))  # a busy machine gets shorter blocks
        return times * c.images * c.pack * c.processes / spent

    def evaluate(self) -> float:
        """Test images a second, over all networks and processes."""
        c = self.contender
        return c.size.test * c.pack * c.processes / self._do("evaluate", 1)
