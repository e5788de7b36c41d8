"""A plan: which runs are left to train, in which order. `simulate.py` predicts how long it takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from lthpaper import locations
from lthpaper.errors import require, require_whole
from lthpaper.provenance import as_elsewhere, device_name
from lthpaper.runs.masks import Packed
from lthpaper.runs.run import Run, ancestors, runs_in
from lthpaper.runs.shape import check_trainable, shape_key
from lthpaper.store.store import Store
from lthpaper.training.autotune import pack_limits

Keep = Mapping[Run, frozenset[int]]


@dataclass(frozen=True)
class Plan:
    """runs: the requested runs and all ancestors, parents first. todo: those that the store lacks. masks: of
    `todo`, that are published: runs which need no ancestor."""

    runs: tuple[Run, ...]
    todo: tuple[Run, ...]
    keep: dict[Run, frozenset[int]] = field(default_factory=dict)  # epochs whose weights are needed
    masks: dict[Run, Packed] = field(default_factory=dict, repr=False)

    @property
    def network_epochs(self) -> int:
        """Cost of what is left: networks trained for one epoch."""
        return sum(run.cost for run in self.todo)

    @property
    def disk(self) -> int:
        """Bytes that the results of `todo` will take: float32 weights, packed masks, snapshots."""
        total = 0
        for run in self.todo:
            copies = 1 + len(self.keep.get(run, ()))
            total += 4 * run.task.parameters * copies + sum(run.task.prunable_weights.values()) // 8 + 20_000
        return total

    @property
    def shapes(self) -> dict[tuple, list[Run]]:
        """`todo`, grouped by what can share a pack."""
        grouped: dict[tuple, list[Run]] = {}
        for run in self.todo:
            grouped.setdefault(shape_key(run), []).append(run)
        return grouped


def plan(runs: Iterable[Run], store: Store, keep: Keep | None = None) -> Plan:
    """What is left to train of `runs` and their ancestors. keep: snapshots to keep, besides those that
    rewound runs start from. A run is trained again if the store has it without weights that are needed: θT
    and its mask for its children, a snapshot for runs that rewind to it. A run whose mask is published needs
    no weights of others (`Store.published_mask`), unless a run behind the mask is trained again anyway: its
    bits may differ, and the mask is then made anew.

    Raises InputError if a run has nothing to train, a snapshot lies outside its run's epochs, or the
    store holds half an entry.
    """
    asked, anew = list(runs), set[Run]()
    while True:
        found = _plan(asked, store, keep, anew)
        todo = set(found.todo)
        torn = {run for run in found.masks if not todo.isdisjoint(ancestors(run.mask_sources))}
        if not torn or store.masks is not None:
            return found
        anew |= torn


def _plan(asked: list[Run], store: Store, keep: Keep | None, anew: set[Run]) -> Plan:
    """A plan by which the masks of some runs are made anew, published or not."""
    graph = tuple(ancestors(asked))
    needed = {run: set(epochs) for run, epochs in (keep or {}).items()}
    wanted = {*asked, *needed}
    todo: set[Run] = set()
    masks: dict[Run, Packed] = {}
    for run in reversed(graph):  # children first: a stored run does not need its parents
        check_trainable(run)
        if run in wanted and not _stored(run, needed.get(run, set()), store):
            todo.add(run)
            if run not in anew and (mask := store.published_mask(run)) is not None:
                masks[run] = mask
                continue
            parents = runs_in(run.init, run.mask)
            wanted |= set(parents)
            for parent, epochs in parents.items():  # published results have no weights
                needed.setdefault(parent, set()).update(epochs, {parent.recipe.epochs})
    order = tuple(run for run in graph if run in todo)
    kept = {run: frozenset(needed[run]) - {run.recipe.epochs} for run in order if run in needed}
    return Plan(graph, order, {run: epochs for run, epochs in kept.items() if epochs}, masks)


def _stored(run: Run, epochs: set[int], store: Store) -> bool:
    """Whether the store has a run, and its weights after these epochs."""
    wrong = sorted(e for e in epochs if not run.first_epoch <= e <= run.recipe.epochs)
    require(
        not wrong,
        f"The weights after epoch {', '.join(map(str, wrong))} of {run} were asked for, but it trains from "
        f"epoch {run.first_epoch} to {run.recipe.epochs}.",
    )
    return store.holds(run, epochs)


def again(todo: Plan, store: Store, device: torch.device | str) -> str:
    """What is published and has to be trained again for its weights, in a sentence; "" if nothing is.

    Other vector instructions add in another order, so the bits may differ from the published ones, and
    trainings of different bits are not published together.
    """
    runs = [run for run in todo.todo if run in store]
    if not runs:
        return ""
    verb = "is" if len(runs) == 1 else "are"
    said = f"{len(runs):,} of these {verb} trained again, for weights that the results lack"
    here = device_name(device)
    there = sorted({str(store.get(run).provenance.get("device", "")) for run in runs} - {here, ""})
    if not there:
        return said
    return (
        f"{said}. The published bits are from {' and '.join(there)}; {here} may give others, and then "
        f"`lthpaper results export` refuses what is made from them. {as_elsewhere(here, there)}".strip()
    )


def process_count(todo: Plan, device: torch.device | str, workers: int | None = None) -> int:
    """How many processes train a plan here: `worker_count`, but one if the smallest pack holds all of it,
    or if no other process can build one of its networks, data sets or pruning rules."""
    count, runs = worker_count(device, workers), todo.todo
    if count == 1 or not runs:
        return count
    alone = any(run.is_local for run in runs)
    return 1 if alone or len(runs) <= pack_limits(runs[0], torch.device(device))[0] else count


def worker_count(device: torch.device | str, workers: int | None = None) -> int:
    """One process per core on a CPU, one on a GPU, unless told otherwise."""
    if workers is not None:
        require_whole("The number of workers", workers, 1)
        return workers
    if torch.device(device).type != "cpu":
        return 1
    return locations.cores()
