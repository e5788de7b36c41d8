"""A run is a value: one training, described completely, doing nothing.

    dense  = Run(task, recipe, init=Fresh(seed), seed=seed)            # pretraining
    round1 = dense.with_(mask=Imp(after=dense))                        # prunes 20 % of dense's θT
    rr     = round1.with_(init=Fresh(seed, draw=1))                    # RR-IMP: θ0′ under the same mask

Masks and rewound weights are described by the runs that they come from, so a run contains its
ancestors, and an experiment is a graph of values. Same digest, same training.
"""

import dataclasses
import json
import re
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from lthpaper.errors import InputError, require, require_fields
from lthpaper.registry import is_local
from lthpaper.runs import pruning
from lthpaper.runs.digest import describe, plain, rebuild
from lthpaper.runs.digest import digest as digest_of
from lthpaper.runs.inits import INITS, Init
from lthpaper.runs.inits.fresh import Fresh, check_seed
from lthpaper.runs.inits.rewind import Rewind
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.task import Task
from lthpaper.runs.topology import Topology

PARTS = {"Init": INITS, "Rule": pruning.RULES}  # what a field of such a type holds, of an init or a rule
DEEPEST = 8  # parts within parts that a description may have
THETA0 = Fresh()


@dataclass(frozen=True, eq=False)
class Run:
    """One training. Equal runs have equal digests; `seed` fixes batch order and augmentation.

    topology: how the mask changes in training (dynamic sparse training); None: it stays. Raises InputError
    for one without a mask.
    """

    task: Task
    recipe: Recipe
    init: Init = THETA0
    mask: Any = None  # None, or a rule of lthpaper.runs.pruning
    seed: int = 0
    topology: Topology | None = None

    def __post_init__(self):
        check_seed("seed", self.seed)
        require(
            self.topology is None or isinstance(self.topology, Topology),
            f"topology is {self.topology!r}; it must be a Topology, or None for a mask that stays.",
        )
        require(
            self.topology is None or self.mask is not None,
            "A topology changes a mask, and the run has none; give it one, a random mask for example.",
        )
        self._check_parents()
        _ = self.digest  # while the ancestors' are known: first asked for later, it would recurse

    def _check_parents(self) -> None:
        """Raises InputError if masks or weights of another network are to be this one's.

        Masks may come from other data, as tickets are carried between data sets; whole weights only where
        the network has as many. Of custom data, which a description must not load, nothing is asked.
        """
        task, starts = self.task, set(runs_in(self.init))
        for parent in self.parents:
            its = parent.task
            fits = (its.network, its.width) == (task.network, task.width)
            known = ":" not in f"{task.network}{task.data}{its.data}"
            if fits and known and parent in starts and its.data != task.data:
                fits = its.parameters == task.parameters
            require(
                fits,
                f"This run trains {_network(task)}; its {'start' if parent in starts else 'mask'} comes from "
                f"{parent.name}, {_network(its)}. Masks and weights fit only the network that they were made "
                "for: give both runs the same network and width, and images of as many channels and classes.",
            )

    def with_(self, **changes) -> "Run":
        """The same run with some fields changed; without a mask there is no topology either."""
        require_fields("A run", changes, tuple(self.__dataclass_fields__))
        if "mask" in changes and changes["mask"] is None:
            changes = {"topology": None, **changes}
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
        described = {
            "task": describe(self.task),
            "recipe": describe(self.recipe),
            "init": _describe_part(self.init, INITS),
            "mask": None if self.mask is None else _describe_part(self.mask, pruning.RULES),
            "seed": self.seed,
        }
        return described if self.topology is None else {**described, "topology": describe(self.topology)}

    @property
    def parents(self) -> tuple["Run", ...]:
        """The runs whose results this one starts from, each once."""
        return tuple(runs_in(self.init, self.mask))

    @property
    def is_local(self) -> bool:
        """Whether part of it was handed over in this process: no other can train it."""
        return self.task.is_local or any(is_local(getattr(part, "path", "")) for part in _parts_of(self.mask))

    @property
    def first_epoch(self) -> int:
        """Epoch at which the schedule starts: 0, or the epoch rewound to."""
        return self.init.first_epoch

    @property
    def mask_sources(self) -> dict["Run", set[int]]:
        """The runs whose weights the mask is made from -> epochs after which these are taken (T: θT)."""
        return runs_in(self.mask)

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


def _network(task: Task) -> str:
    return f"{task.network} of width {task.width:g} on {task.data}"


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
    """The paper's name of what the run is: pretraining, SDT, LT-IMP, RR-OMP, ... (§2.1).

    A control's is made of the same parts: "RR@LTnorms-IMP" starts from θ0′ at θ0's norms under IMP's mask,
    "LT-shuffled-IMP" from θ0 under IMP's mask shuffled. A mask that comes from no weights stands alone:
    "random-erk". A dense network that goes on from rewound weights is "WR-dense", from θT "FT-dense". Dynamic
    sparse training is named first: "RigL-random-erk".
    """
    if run.topology is not None:
        return f"{run.topology.label}-{setting(replace(run, topology=None))}"
    if run.mask is None and isinstance(run.init, Rewind):  # a sibling of a pretraining, and no pretraining
        return f"{run.init.name(lambda init: 'LT')}-dense"
    if run.mask is None:
        return "SDT" if run.task.width < 1 else "pretraining"
    theta0 = _pretrained_from(run)
    if theta0 is None and isinstance(run.init, Fresh):
        return run.mask.label
    start = run.init.name(lambda init: "LT" if init == theta0 else "RR")  # θ0 is the pretraining's own
    return f"{start}-{run.mask.label}"


def pretrained(run: Run) -> Run | None:
    """The run that the mask comes from, or None; an IMP round's is the round before it."""
    found = None if run.mask is None else pruning.source(run.mask)
    found = found.to if isinstance(found, Rewind) else found
    return found if isinstance(found, Run) else None


def _pretrained_from(run: Run) -> Init | None:
    """θ0 of the dense run that the mask comes from; None if it comes from no weights."""
    while (before := pretrained(run)) is not None:
        run = before
    return run.init if run.mask is None else pruning.source(run.mask)


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
    shared: dict[str, Any] = {}
    try:
        for digest in _parents_first(descriptions):
            built[digest] = _rebuild_run(descriptions[digest], built, shared)
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


def _rebuild_run(described: dict[str, Any], known: dict[str, Run], shared: dict[str, Any]) -> Run:
    """shared: tasks and recipes by their description, since thousands of runs have a few dozen."""

    def rebuilt_once(cls: type, part: dict[str, Any], **how: Any) -> Any:
        key = cls.__name__ + json.dumps(part, sort_keys=True)
        if key not in shared:
            shared[key] = rebuild(cls, part, **how)
        return shared[key]

    rest = set(described) - {"task", "recipe", "init", "mask", "seed", "topology"}
    require(not rest, f"A run has no field {', '.join(sorted(rest))}: written by a newer lthpaper.")
    mask, topology = described["mask"], described.get("topology")
    return Run(
        task=rebuilt_once(Task, described["task"], look_up=False),
        recipe=rebuilt_once(Recipe, described["recipe"]),
        init=_rebuild_part(described["init"], INITS, known),
        mask=None if mask is None else _rebuild_part(mask, pruning.RULES, known),
        seed=described["seed"],
        topology=None if topology is None else rebuild(Topology, topology),
    )


def _named_in(described: dict[str, Any]) -> set[str]:
    """Digests of the runs that a run's description names."""
    found: set[str] = set()
    parts = [part for part in (described["init"], described["mask"]) if part is not None]
    while parts:
        for value in parts.pop().values():
            if isinstance(value, dict) and "run" in value:
                found.add(value["run"])
            elif isinstance(value, dict):
                parts.append(value)
    return found


def _parts_of(part: Any) -> Iterator[Any]:
    """An init or a rule, and those within it."""
    if part is not None:
        yield part
        for f in dataclasses.fields(part):
            if f.type in PARTS:
                yield from _parts_of(getattr(part, f.name))


def runs_in(*parts: Any) -> dict[Run, set[int]]:
    """The runs that inits and rules name, themselves or by those within them, each once -> epochs after which
    their weights are read (T: θT)."""
    found: dict[Run, set[int]] = {}
    for part in (inner for outer in parts for inner in _parts_of(outer)):
        for value in (getattr(part, f.name) for f in dataclasses.fields(part)):
            if isinstance(value, Run):
                epoch = part.epoch if isinstance(part, Rewind) else value.recipe.epochs
                found.setdefault(value, set()).add(epoch)
    return found


def _describe_part(part: Any, kinds: typing.Mapping[str, type]) -> dict[str, Any]:
    kind = next((name for name, cls in kinds.items() if type(part) is cls), None)
    if kind is None:
        raise TypeError(f"{part!r} is none of {', '.join(kinds)}")
    return {"kind": kind, **describe(part, _described)}


def _described(value: Any) -> Any:
    """A field of an init or a rule as a JSON value."""
    if isinstance(value, Run):
        return {"run": value.digest}
    within = next((kinds for kinds in PARTS.values() if type(value) in kinds.values()), None)
    return plain(value) if within is None else _describe_part(value, within)


def _rebuild_part(
    described: dict[str, Any], kinds: typing.Mapping[str, type], known: dict[str, Run], depth: int = 1
) -> Any:
    require(depth <= DEEPEST, f"The description has more than {DEEPEST} inits or rules within each other.")
    cls = kinds[described["kind"]]
    holds = {f.name: PARTS[f.type] for f in dataclasses.fields(cls) if f.type in PARTS}
    values = {}
    for name, value in described.items():
        if name in holds:
            value = _rebuild_part(value, holds[name], known, depth + 1)
        elif isinstance(value, dict):
            value = known[value["run"]]
        if name != "kind":
            values[name] = value
    for f in dataclasses.fields(cls):
        if f.type in (Run, "Run"):
            given = values.get(f.name)
            require(
                isinstance(given, Run), f"{f.name} of {described['kind']} is {given!r}; it must be a run."
            )
    return rebuild(cls, values)
