"""LT under the mask of any pruning rule, at the sparsity of so many rounds of IMP.

How a rule gets there is said by the fields of its class:

    after, sparsity   it prunes θT of pretraining, in one step (OMP)
    after, rate       it prunes θT of pretraining, then of each subnetwork, `rate` of what is left (IMP)
    at, sparsity      it prunes θ0 (SNIP)
    seed              it draws at random: the seed of the run

A class with `after` and `sparsity` may have a schedule, the sparsities at which it prunes in turn. The last
one is `sparsity`; each mask but the first prunes the subnetwork that was trained under the one before:

    @classmethod
    def schedule(cls, sparsity: float) -> Sequence[float]

All other fields need a default.
"""

import dataclasses
from contextlib import suppress
from itertools import pairwise
from typing import Any

from lthpaper.errors import InputError, require
from lthpaper.paper import PRUNED_PER_ROUND
from lthpaper.runs.inits.rewind import Rewind
from lthpaper.runs.pruning import RULES
from lthpaper.runs.pruning.own import Own, answering, class_of
from lthpaper.runs.run import Run
from lthpaper.runs.settings import imp_sparsity


def lt(rule: str, dense: Run, rounds: int, rate: float = PRUNED_PER_ROUND) -> Run:
    """The dense run's θ0 under the rule's mask. rule: a name of `lthpaper list pruning`, or a path
    package.module:Class. Raises InputError for a rule that reads no weights, or has no sparsity to choose."""
    kind = class_of(rule) if ":" in rule else RULES[rule]
    fields = _fields(rule, kind)
    seed = {"seed": dense.seed} if "seed" in fields else {}
    run = dense
    for step in _steps(rule, kind, fields, rounds, rate):
        if ":" in rule:
            at = Rewind(to=run, epoch=run.recipe.epochs) if "after" in fields else dense.init
            mask: Any = Own.of(rule, at, **step, **seed)
        else:
            source = {"after": run} if "after" in fields else {"at": dense.init}
            mask = kind(**source, **step, **seed)
        run = dense.with_(mask=mask)
    return run


def judged() -> list[str]:
    """The names of the rules that `lt` takes."""
    found = []
    for name, kind in RULES.items():
        with suppress(InputError):
            _fields(name, kind)
            found.append(name)
    return found


def _steps(rule: str, kind: Any, fields: set[str], rounds: int, rate: float) -> list[dict[str, float]]:
    """The fields of each mask in turn."""
    if "rate" in fields:
        return [{"rate": rate}] * rounds
    s = imp_sparsity(rounds, rate)
    if not ("after" in fields and hasattr(kind, "schedule")):
        return [{"sparsity": s}]
    with answering(rule):
        turns = [float(turn) for turn in kind.schedule(s)]
    rising = all(one < other for one, other in pairwise([0.0, *turns]))
    require(
        rising and turns[-1:] == [s],
        f"The schedule of pruning rule {rule!r} is {turns}; it must be rising sparsities above 0 that end "
        f"with the one asked for, {s}.",
    )
    return [{"sparsity": turn} for turn in turns]


def _fields(rule: str, kind: type) -> set[str]:
    """The names of a rule's fields. Raises InputError unless they are as above."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    require(
        len({"after", "at"} & set(fields)) == 1,
        f"Pruning rule {rule!r} must have a field `after`, the trained run whose weights it prunes, or `at`, "
        "the start; not both. Under a mask that reads no weights LT and RR are the same: such masks, and "
        "those made of another mask, are controls (LT-shuffled, random-erk).",
    )
    require(
        len({"sparsity", "rate"} & set(fields)) == 1,
        f"Pruning rule {rule!r} must have a field `sparsity: float`, the share of all weights to remove, or "
        "`rate: float`, that of what is left, in each round of training; not both.",
    )
    require(
        "rate" not in fields or "after" in fields,
        f"Pruning rule {rule!r} has `at` and `rate`; a rule that prunes in rounds has `after`.",
    )
    empty = dataclasses.MISSING
    missing = [
        name
        for name, f in fields.items()
        if name not in ("after", "at", "sparsity", "rate", "seed")
        and f.default is empty
        and f.default_factory is empty
    ]
    require(
        not missing,
        f"Pruning rule {rule!r} needs {', '.join(missing)}; a check gives `after` or `at`, `sparsity` or "
        "`rate`, and `seed`: give everything else a default.",
    )
    return set(fields)
