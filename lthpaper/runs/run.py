"""A run is a value: one training, described completely, doing nothing.

    dense  = Run(task, recipe, init=Fresh(seed), seed=seed)            # pretraining
    round1 = dense.with_(mask=Imp(after=dense))                        # prunes 20 % of dense's θT
    rr     = round1.with_(init=Fresh(seed, draw=1))                    # RR-IMP: θ0′ under the same mask

Masks and rewound weights are described by the runs that they come from, so a run contains its
ancestors, and an experiment is a graph of values. Same digest, same training.
"""

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from lthpaper.errors import InputError, require
from lthpaper.runs import pruning
from lthpaper.runs.digest import describe, rebuild
from lthpaper.runs.digest import digest as digest_of
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.task import Task


def _check_seed(what: str, value: Any) -> None:
    require(
        type(value) is int and 0 <= value < 2**63, f"{what} is {value!r}; it must be a whole number from 0."
    )


@dataclass(frozen=True)
class Fresh:
    """Weights drawn from the initial distribution: θ0 (draw 0) or θ0′ (draw 1) of a seed."""

    seed: int = 0
    draw: int = 0

    def __post_init__(self):
        _check_seed("seed", self.seed)
        _check_seed("draw", self.draw)


@dataclass(frozen=True)
class Rewind:
    """The weights θt of run `to` after `epoch` epochs (Appendix D); training goes on from there.

    epoch equal to `to`'s number of epochs is fine-tuning or, with `restart`, learning-rate rewinding:
    the whole schedule again from θT.
    """

    to: "Run"
    epoch: int
    restart: bool = False

    def __post_init__(self):
        require(
            type(self.epoch) is int and 0 <= self.epoch <= self.to.recipe.epochs,
            f"The epoch to rewind to is {self.epoch}; the run has epochs 0 to {self.to.recipe.epochs}.",
        )
        require(isinstance(self.restart, bool), f"restart is {self.restart!r}; it must be true or false.")


INITS = {"fresh": Fresh, "rewind": Rewind}


@dataclass(frozen=True, eq=False)
class Run:
    """One training. Equal runs have equal digests; `seed` fixes batch order and augmentation."""

    task: Task
    recipe: Recipe
    init: Fresh | Rewind = Fresh()
    mask: Any = None  # None, or a rule of lthpaper.runs.pruning
    seed: int = 0

    def __post_init__(self):
        _check_seed("seed", self.seed)
        _ = self.digest  # while the ancestors' are known: first asked for later, it would recurse

    def with_(self, **changes) -> "Run":
        """The same run with some fields changed."""
        return replace(self, **changes)

    @cached_property
    def digest(self) -> str:
        """16 hex digits that name the training."""
        return digest_of(self.description)

    @property
    def name(self) -> str:
        """Network, data and digest: what the store calls the run, always the name of one folder."""
        parts = (
            re.sub(r"[^A-Za-z0-9_.]+", "-", n.rpartition(":")[2])[:60]
            for n in (self.task.network, self.task.data)
        )
        return f"{'-'.join(part.strip('-.') or 'own' for part in parts)}-{self.digest}"

    @cached_property
    def description(self) -> dict[str, Any]:
        """The run as JSON values; ancestors by their digests."""
        return {
            "task": describe(self.task),
            "recipe": describe(self.recipe),
            "init": _describe_part(self.init, INITS),
            "mask": None if self.mask is None else _describe_part(self.mask, pruning.RULES),
            "seed": self.seed,
        }

    @property
    def parents(self) -> tuple["Run", ...]:
        """The runs whose results this one starts from, each once."""
        found = [value for part in (self.init, self.mask) for value in _runs_in(part)]
        return tuple(dict.fromkeys(found))

    @property
    def first_epoch(self) -> int:
        """Epoch at which the schedule starts: 0, or the epoch rewound to."""
        return self.init.epoch if isinstance(self.init, Rewind) and not self.init.restart else 0

    @property
    def cost(self) -> int:
        """Network-epochs of this run alone."""
        return self.recipe.epochs - self.first_epoch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self.digest == other.digest

    def __hash__(self) -> int:
        return int(self.digest, 16)

    def __repr__(self) -> str:
        return f"Run({self.name}, {setting(self)}, lr={self.recipe.lr:g}, seed={self.seed})"


def ancestors(runs: Iterable[Run]) -> Iterator[Run]:
    """Every run of the graph, each once, parents before children."""
    seen: set[Run] = set()
    stack = [(run, False) for run in reversed(list(runs))]
    while stack:  # no recursion: IMP chains may be long
        run, ready = stack.pop()
        if run in seen:
            continue
        if ready:
            seen.add(run)
            yield run
        else:
            stack.append((run, True))
            stack.extend((parent, False) for parent in reversed(run.parents))


def setting(run: Run) -> str:
    """The paper's name of what the run is: pretraining, SDT, LT-IMP, RR-OMP, ... (§2.1)."""
    if run.mask is None:
        return "SDT" if run.task.width < 1 else "pretraining"
    if isinstance(run.init, Rewind):
        tuned = run.init.epoch == run.init.to.recipe.epochs
        return f"{'FT' if tuned else 'WR'}-{run.mask.label}"
    dense = run
    while dense.mask is not None:
        dense = dense.mask.after
    return f"{'LT' if run.init == dense.init else 'RR'}-{run.mask.label}"  # θ0 is the pretraining's own


def to_json(run: Run) -> dict[str, Any]:
    """The run and its ancestors, readable: {"digest", "runs": {digest: description}}."""
    return {"digest": run.digest, "runs": {r.digest: r.description for r in ancestors([run])}}


def from_json(document: dict[str, Any]) -> Run:
    """Inverse of `to_json`. Raises InputError if the description does not give its digest."""
    try:
        return rebuilt(document["runs"])[document["digest"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"This is not the description of a run: {error!r}.") from error


def rebuilt(descriptions: dict[str, Any]) -> dict[str, Run]:
    """Digest -> run, parents first, of runs and all their ancestors. Raises InputError if a description does
    not give its digest."""
    built: dict[str, Run] = {}
    try:
        for digest in _parents_first(descriptions):
            built[digest] = _rebuild_run(descriptions[digest], built)
            require(
                built[digest].digest == digest,
                f"The description of run {digest} gives {built[digest].digest}: it was changed, "
                "or comes from another version of lthpaper.",
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"This is not the description of a run: {error!r}.") from error
    return built


def _parents_first(descriptions: dict[str, Any]) -> Iterator[str]:
    """Digests in an order in which runs can be built. Raises InputError if a named one is missing."""
    waiting = {digest: _named_in(described) for digest, described in descriptions.items()}
    for digest, named in waiting.items():
        require(named <= set(descriptions), f"The descriptions of the ancestors of {digest} are missing.")
    try:
        yield from TopologicalSorter(waiting).static_order()
    except CycleError as error:
        raise InputError("The description names a run as its own ancestor.") from error


def _rebuild_run(described: dict[str, Any], known: dict[str, Run]) -> Run:
    rest = set(described) - {"task", "recipe", "init", "mask", "seed"}
    require(not rest, f"A run has no field {', '.join(sorted(rest))}: written by a newer lthpaper.")
    mask = described["mask"]
    return Run(
        task=rebuild(Task, described["task"], look_up=False),
        recipe=rebuild(Recipe, described["recipe"]),
        init=_rebuild_part(described["init"], INITS, known),
        mask=None if mask is None else _rebuild_part(mask, pruning.RULES, known),
        seed=described["seed"],
    )


def _named_in(described: dict[str, Any]) -> set[str]:
    """Digests of the runs that a run's description names."""
    parts = [part for part in (described["init"], described["mask"]) if part is not None]
    return {value["run"] for part in parts for value in part.values() if isinstance(value, dict)}


def _runs_in(part: Any) -> Iterator[Run]:
    for f in dataclasses.fields(part) if part is not None else ():
        value = getattr(part, f.name)
        if isinstance(value, Run):
            yield value


def _describe_part(part: Any, kinds: typing.Mapping[str, type]) -> dict[str, Any]:
    kind = next((name for name, cls in kinds.items() if type(part) is cls), None)
    if kind is None:
        raise TypeError(f"{part!r} is none of {', '.join(kinds)}")
    described = {"kind": kind}
    for f in dataclasses.fields(part):
        value = getattr(part, f.name)
        if "absent" in f.metadata and value == f.metadata["absent"]:
            continue
        described[f.name] = {"run": value.digest} if isinstance(value, Run) else value
    return described


def _rebuild_part(described: dict[str, Any], kinds: typing.Mapping[str, type], known: dict[str, Run]) -> Any:
    cls = kinds[described["kind"]]
    values = {
        name: known[value["run"]] if isinstance(value, dict) else value
        for name, value in described.items()
        if name != "kind"
    }
    for f in dataclasses.fields(cls):
        if f.type in (Run, "Run"):
            given = values.get(f.name)
            require(
                isinstance(given, Run), f"{f.name} of {described['kind']} is {given!r}; it must be a run."
            )
    return rebuild(cls, values)
