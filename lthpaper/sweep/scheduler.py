"""Decide which runs train next. This is the state of one execution, without processes, clocks or files.

An execution calls `begin` for packs while it has idle workers, and `ended` with their outcome; a simulation
does the same with a simulated clock.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from lthpaper.errors import Stopped
from lthpaper.runs.run import Run
from lthpaper.sweep.executor import OutOfMemory, WorkerDied
from lthpaper.sweep.plan import Plan

OURS, ELSEWHERE, THERE = "ours", "elsewhere", "there"  # outcomes of claiming a run
DEATHS = 2  # of workers that trained a run, after which it is still tried again

Position = tuple[int, int]  # (epochs, steps into the next) that a run's checkpoint has done


def fresh(run: Run) -> Position:
    """The position of a run without a checkpoint."""
    return run.first_epoch, 0


class Scheduler:
    """The runs of a plan: waiting, ready, training, done, lost.

    limits: (smallest, largest) pack of a run's shape; idle workers share runs down to the smallest pack.
    position: of a run's checkpoint; runs share a pack only if their positions are equal.
    claim: OURS: the run is ours until `release`; ELSEWHERE: another process trains it; THERE: its result is
    in the store by now.
    seconds: how long a pack will take, None if unknown; used only if time is limited.
    """

    def __init__(
        self,
        plan: Plan,
        limits: Callable[[Run], tuple[int, int]],
        position: Callable[[Run], Position] = fresh,
        claim: Callable[[Run], str] = lambda run: OURS,
        release: Callable[[Run], None] = lambda run: None,
        seconds: Callable[[Sequence[Run]], float | None] = lambda pack: None,
    ):
        self.plan, self.limits, self.position = plan, limits, position
        self.claim, self.release, self.seconds = claim, release, seconds
        self.training: dict[int, tuple[Run, ...]] = {}  # pack by its number
        self.done: set[Run] = set()
        self.found: set[Run] = set()  # another process trained them meanwhile
        self.elsewhere: set[Run] = set()  # another process is training them, as far as we know
        self.lost: set[Run] = set()  # failed, or descendants of a failed run
        self.failed: list[Exception] = []
        self.alone: set[Run] = set()  # their pack failed; trained one by one to find which run it was
        self.deaths: Counter[Run] = Counter()  # of workers that trained the run
        self.packs = 0  # begun so far; also the number of the last one
        self.begun = 0  # network-epochs of these packs
        self.slots = 0  # what these packs would have if they were full
        self.height = heights(plan)
        self._shape = {run: shape for shape, runs in plan.shapes.items() for run in runs}
        self._memory: dict[tuple, int] = {}  # largest pack of a shape, after one ran out of memory
        self._index = {run: i for i, run in enumerate(plan.todo)}
        self._positions: dict[Run, Position] = {}
        self._children: dict[Run, list[Run]] = {run: [] for run in plan.todo}
        self._lacks: dict[Run, int] = {}  # parents that are not done
        for run in plan.todo:
            parents = {parent for parent in run.parents if parent in self._index}
            self._lacks[run] = len(parents)
            for parent in parents:
                self._children[parent].append(run)
        self._ready = {run for run, count in self._lacks.items() if not count}

    @property
    def remaining(self) -> list[Run]:
        """Runs that are neither done nor lost, training or not, parents first."""
        gone = self.done | self.found | self.lost
        return [run for run in self.plan.todo if run not in gone]

    @property
    def left_out(self) -> int:
        """Network-epochs of the plan that are not trained here: other processes did, or they are lost."""
        return sum(run.cost for run in self.found | self.lost)

    def done_epochs(self, run: Run) -> int:
        """Epochs that a ready or training run need not train again."""
        if run not in self._positions:
            self._positions[run] = self.position(run)
        return self._positions[run][0] - run.first_epoch

    def left(self, run: Run) -> int:
        """Network-epochs that a ready or training run has left."""
        return run.cost - self.done_epochs(run)

    @property
    def remaining_epochs(self) -> int:
        """Network-epochs of the remaining runs, less those in checkpoints."""
        begun = self._ready | self.elsewhere  # only runs whose parents are done have checkpoints
        return sum(self.left(run) if run in begun else run.cost for run in self.remaining)

    def begin(self, idle: int = 1, left: float | None = None) -> tuple[int, tuple[Run, ...]] | None:
        """The number and runs of the next pack, which then counts as training; None if nothing is ready.

        The run with the longest chain of descendants goes first, with runs that can share its pack, split
        among idle workers. left: seconds; packs that end in time are preferred. Nothing is ready only if
        nothing waits, or all of it depends on runs that are training here or elsewhere.
        """
        while self._ready:
            mates, share = self._choose(idle, left)
            pack = self._claimed(mates, share)
            if pack:
                self.packs += 1
                self.begun += sum(self.left(run) for run in pack)
                self.slots += self.limits(pack[0])[1] * max(self.left(run) for run in pack)
                self.training[self.packs] = pack
                self._ready -= set(pack)
                return self.packs, pack
        return None

    @property
    def filled(self) -> float:
        """The share that runs take of the packs begun so far, if each were as large as it can be; 1 if there
        are none. What is missing was shared among workers, or was not there: tails."""
        return self.begun / self.slots if self.slots else 1.0

    def look_again(self) -> None:
        """Make runs ready again that another process was training: it may have ended or released them."""
        for run in self.elsewhere:
            self._positions.pop(run, None)
        self._ready |= self.elsewhere
        self.elsewhere.clear()

    def look_around(self) -> None:
        """Find out which ready runs other processes hold, so that idle ones get a share of the rest."""
        for run in list(self._ready):
            if self._ours(run):
                self.release(run)

    def ended(self, number: int, error: Exception | None = None) -> None:
        """A pack is done, stopped or failed.

        Stopped: its runs are ready again and will resume from their checkpoints. Out of memory: later packs
        of this shape are half as large. The worker died: the runs are tried again, after the second death
        alone, then given up. Any other failure: the runs are tried one by one, and a run that fails alone is
        lost, with its descendants.
        """
        pack = self.training.pop(number)
        for run in pack:
            self._positions.pop(run, None)
            self.release(run)
        if error is None:
            for run in pack:
                self._finish(run, self.done)
        elif isinstance(error, Stopped):
            self._ready |= set(pack)
        elif isinstance(error, WorkerDied):
            self._after_a_death(pack, error)
        elif len(pack) == 1:
            self._give_up(pack[0], error)
        elif isinstance(error, OutOfMemory):
            self._memory[self._shape[pack[0]]] = len(pack) // 2
            self._ready |= set(pack)
        else:
            self.alone |= set(pack)
            self._ready |= set(pack)

    def _choose(self, idle: int, left: float | None) -> tuple[list[Run], int]:
        """Ready runs that can share a pack, and how many should: the longest chain's, or those in time."""
        groups: dict[tuple, list[Run]] = {}
        for run in sorted(
            self._ready, key=lambda run: (self.done_epochs(run) - self.height[run], self._index[run])
        ):
            alone = run if run in self.alone else None
            groups.setdefault((self._shape[run], self._positions[run], alone), []).append(run)
        # one by one: on a GPU, the first look at a shape measures its largest pack, which takes minutes
        choices = ((mates, self._share(mates, idle)) for mates in groups.values())
        first = next(choices)
        if left is None:
            return first
        for mates, share in chain([first], choices):
            size = share
            while size:
                seconds = self.seconds(mates[:size])
                if seconds is None or seconds <= left:
                    return mates, size
                size //= 2
        return first

    def _share(self, mates: list[Run], idle: int) -> int:
        """How many of these runs make a pack."""
        smallest, largest = self.limits(mates[0])
        largest = min(largest, self._memory.get(self._shape[mates[0]], largest))
        return min(max(smallest, -(-len(mates) // max(1, idle))), largest, len(mates))

    def _claimed(self, mates: Iterable[Run], share: int) -> tuple[Run, ...]:
        """The first runs that can be claimed; the others are dropped from the ready set."""
        pack: list[Run] = []
        for run in mates:
            if len(pack) == share:
                break
            if not self._ours(run):
                continue
            before, now = self._positions[run], self.position(run)  # another process may have trained it
            self._positions[run] = now
            if now == before:
                pack.append(run)
            else:
                self.release(run)
        return tuple(pack)

    def _ours(self, run: Run) -> bool:
        """Claim a ready run; if it is not ours, drop it from the ready set."""
        answer = self.claim(run)
        if answer != OURS:
            self._ready.discard(run)
        if answer == THERE:
            self._finish(run, self.found)
        elif answer != OURS:
            self.elsewhere.add(run)
        return answer == OURS

    def _finish(self, run: Run, where: set[Run]) -> None:
        where.add(run)
        for child in self._children[run]:
            self._lacks[child] -= 1
            if not self._lacks[child] and child not in self.lost:
                self._ready.add(child)

    def _after_a_death(self, pack: tuple[Run, ...], error: Exception) -> None:
        self.deaths.update(pack)
        for run in pack:
            if self.deaths[run] > DEATHS and len(pack) == 1:
                self._give_up(run, WorkerDied(f"{error} It was training {run}, as other workers that died."))
            else:
                self._ready.add(run)
            if self.deaths[run] >= DEATHS:
                self.alone.add(run)

    def _give_up(self, run: Run, error: Exception) -> None:
        self.failed.append(error)
        reached = [run]
        while reached:
            lost = reached.pop()
            if lost not in self.lost:
                self.lost.add(lost)
                reached += self._children[lost]


def heights(plan: Plan) -> Mapping[Run, int]:
    """Network-epochs of the longest chain from each run down to its last descendant."""
    height = {run: run.cost for run in plan.todo}
    for run in reversed(plan.todo):  # children first
        for parent in run.parents:
            if parent in height:
                height[parent] = max(height[parent], parent.cost + height[run])
    return height
