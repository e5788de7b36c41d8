"""Use several GPUs or processes for one training: `torchrun --nproc-per-node 2 -m lthpaper run ...`.

Process 0 is the command: it plans, schedules, writes the store and alone prints. The others wait for its
jobs. All train each run together (training/process_group.py), one run after another. If a process fails, all
end, since the others cannot finish a sum without it.
"""

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import distributed as dist

from lthpaper.errors import InputError, Stopped, require
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.sweep.executor import Do, Tell, as_failure
from lthpaper.sweep.processes import InThisProcess
from lthpaper.training.process_group import Team, TeamLost

SECONDS_TO_FIND_THE_DEAD = 3.0

_joined: "_Member | None" = None  # this process's membership, like torch's default group


def take_part(command: Callable[[], None]) -> None:
    """Run the command as process 0, or do the jobs of process 0. Raises SystemExit if a process is lost."""
    global _joined
    _joined = member = _Member()
    try:
        if member.rank:
            member.follow()
        else:
            member.lead(command)
    except TeamLost as error:
        if speaks():
            print(f"lthpaper: {member.who_has_ended(error)}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def speaks() -> bool:
    """Whether this process should say why all end: the first of a team that asks."""
    return _joined is None or _joined.is_first()


def executor(tell: Tell, asked: Callable[[], bool]) -> "Together | None":
    """The executor of process 0's team; None without a team."""
    return None if _joined is None else Together(_joined, tell, asked)


def check(runs: Iterable[Run], device: str) -> None:
    """Raise InputError unless each process gets a share of every step of the runs and its own GPU."""
    if _joined is None:
        return
    here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    require(
        torch.device(device).type != "cuda" or here <= gpus,
        f"There are {here} processes for {gpus} GPUs: start torchrun with --nproc-per-node {gpus}.",
    )
    check_shares({run.recipe for run in runs}, _joined.team.size)


def check_shares(recipes: Iterable[Recipe], size: int) -> None:
    """Raise InputError unless `size` processes can share the micro-batches of a step evenly."""
    recipes = list(recipes)
    if all((r.batch_size // (r.micro_batch or r.batch_size)) % size == 0 for r in recipes):
        return
    common = math.gcd(*(r.batch_size for r in recipes))
    batches = " and ".join(f"{n:,}" for n in sorted({r.batch_size for r in recipes}))
    if common % size == 0:
        hint = f"Set it, for example with --set micro_batch={common // size}"
    else:
        fit = [str(n) for n in range(1, min(common, 64) + 1) if common % n == 0]
        hint = f"No micro_batch does that; the number of processes can be {', '.join(fit)}"
    raise InputError(
        f"{size} processes share the micro-batches of a step, so a batch must have {size} of them, or a "
        f"multiple ({batches} images a batch here). {hint}. A recipe's micro_batch changes its results, by "
        "what batch-norm sees; the number of processes does not."
    )


class _Member:
    """This process in the group that torchrun started."""

    def __init__(self):
        store, self.rank, size = next(iter(dist.rendezvous("env://")))
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self.store = dist.PrefixStore(f"lthpaper/{start}", store)
        self.store.set(f"process/{self.rank}", f"{socket.gethostname()} {os.getpid()}")
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        group = dist.PrefixStore("group", self.store)
        dist.init_process_group(backend, store=group, rank=self.rank, world_size=size)
        self.team = Team()
        self.at_rest = True  # no job is running, the others wait for one
        self.asked = False  # to stop
        for number in (signal.SIGTERM, signal.SIGUSR1):  # while process 0 trains, `Stopping` handles them
            signal.signal(number, self._ask)

    def lead(self, command: Callable[[], None]) -> None:
        """Run the command, and end the others after it."""
        try:
            command()
        finally:
            if self.at_rest:
                self.team.told(None)
                dist.destroy_process_group()

    def follow(self) -> None:
        """Do the jobs that process 0 sends until there are no more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # process 0 handles it
        while (told := self.team.told()) is not None:
            job, do = told
            with suppress(Stopped):
                self.perform(job, do, lambda progress: None, lambda: self.asked)
        dist.destroy_process_group()

    def _ask(self, number: int, frame: object) -> None:
        """Remember the signal, and end at once only between jobs: torchrun also sends it to processes that
        still have to say why another one ended."""
        self.asked = True
        if self.rank == 0 and self.at_rest:
            raise SystemExit(128 + number)

    def perform(self, job: Any, do: Callable, on_epoch: Callable, asked: Callable[[], bool]) -> None:
        """Do this process's part of a job. Raises Stopped, in all processes or none, or an error that ends
        the team."""
        self.at_rest = False
        try:
            do(self._mine(job), on_epoch, asked, self.team)
        except Stopped:
            self.at_rest = True
            raise
        except TeamLost:
            raise
        except Exception as error:  # a custom network may raise anything
            raise as_failure(error) from error
        self.at_rest = True

    def _mine(self, job: Any) -> Any:
        """The job, on this process's GPU; only process 0's clock decides when the time is over."""
        if self.rank:
            job = replace(job, left=None)
        if torch.device(job.device).type != "cuda":
            return job
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
        return replace(job, device=device)

    def is_first(self) -> bool:
        """Whether no other process has called this before; it also tells the team that this one leaves."""
        try:
            self.store.set(f"left/{self.rank}", "")
            return self.store.add("said", 1) == 1
        except RuntimeError:  # the store has ended with its machine
            return True

    def who_has_ended(self, why: TeamLost) -> str:
        """A message that names the processes that the team has lost."""
        dead: list[str] = []
        until = time.monotonic() + SECONDS_TO_FIND_THE_DEAD
        while not dead and time.monotonic() < until:
            time.sleep(0.05)  # a dead process keeps its number until torchrun notices its end
            with suppress(RuntimeError):
                dead = list(self._dead())
        first_line = str(why).partition("\n")[0]
        who = " and ".join(dead) or f"One of the {self.team.size} processes ({first_line})"
        return (
            f"{who} was killed, and the others ended with it. Every finished result is in the store, and the "
            "run under way has a checkpoint: the same command resumes from there."
        )

    def _dead(self) -> Iterator[str]:
        for rank in range(self.team.size):
            host, number = self.store.get(f"process/{rank}").decode().split()
            if rank == self.rank or host != socket.gethostname() or self.store.check([f"left/{rank}"]):
                continue
            try:
                os.kill(int(number), 0)
            except ProcessLookupError:
                yield f"Process {rank} of {self.team.size} (number {number} on {host})"


class Together(InThisProcess):
    """The executor whose workers are a team, which does one job at a time together. See executor.py.

    `done` raises any error but Stopped, since it ends the team.
    """

    def __init__(self, member: _Member, tell: Tell, asked: Callable[[], bool]):
        super().__init__(tell, asked)
        self._member = member

    def limits(self, run: Run) -> tuple[int, int]:
        """One run a pack: a team trains them one after another."""
        return 1, 1

    def _done(self, job: Any, do: Do, on_epoch: Callable) -> Exception | None:
        self._member.team.told((job, do))
        try:
            self._member.perform(job, do, on_epoch, self._asked)
        except Stopped as stopped:
            if not self._asked():  # another process got the signal; from now on this one has it too
                signal.raise_signal(signal.SIGTERM)
            return stopped
        return None
