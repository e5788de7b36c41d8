"""A pruning rule of your own: by its path, `package.module:Class`, or handed over in this process (`local`).

The class is written like those of this package and needs no registered name: `runs.rules` says which fields
it may have.
"""

import dataclasses
import dis
import hashlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lthpaper import networks
from lthpaper.data.augment import derived_seed
from lthpaper.errors import InputError, failed, imported, require
from lthpaper.registry import LOCAL, is_local
from lthpaper.runs.inits import check_init
from lthpaper.runs.inits.rewind import Rewind
from lthpaper.runs.masks import Mask, check_sparsity, down_to, kept, magnitudes
from lthpaper.runs.pruning import Rule, pruned, register
from lthpaper.runs.pruning.seen import Seen

if TYPE_CHECKING:
    from lthpaper.runs.inits import Init

OFF = 0.2  # a mask may keep this share more or less than it says: one round of IMP
CONSTANTS = (bool, int, float, str, tuple)
_local: dict[str, type] = {}


@register("own")
@dataclass(frozen=True)
class Own:
    """The mask of a rule outside the package, whose module is imported when the mask is made.

    A description, which may come from a stranger, is read without importing it. path: package.module:Class.
    code: a hash of the class (`code_of`), so that an edited rule is another one. label, sparsity: as the rule
    states them. at: the start that it prunes; θT of a run if the rule prunes a trained one. given: its other
    fields that are not at their defaults, ("sparsity", 0.9) for one.
    """

    path: str
    code: str
    label: str
    sparsity: float
    at: "Init"
    given: tuple[tuple[str, float], ...] = ()

    def __post_init__(self):
        for what in ("path", "code"):
            text = getattr(self, what)
            require(isinstance(text, str), f"The {what} of a rule is {str(text)[:80]!r}; it must be a text.")
        label = self.label if isinstance(self.label, str) else ""
        taken = label in ("IMP", "OMP") or label.startswith(("shuffled-", "permuted-"))
        require(
            bool(re.fullmatch(r"[\w.+-]+", label)) and not taken,
            f"The label of pruning rule {self.path!r} is {str(self.label)[:80]!r}; settings are named "
            "after it, LT-<label> and RR-<label>: give a word that is not the paper's IMP or OMP, nor begins "
            "with 'shuffled-' or 'permuted-'.",
        )
        check_sparsity(self.sparsity)
        check_init("at", self.at)
        pairs = isinstance(self.given, tuple) and all(
            isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in self.given
        )
        require(pairs, f"given is {str(self.given)[:80]!r}; it must be pairs of a field and its value.")

    @classmethod
    def of(cls, path: str, at: "Init", **given: float) -> "Own":
        """The rule behind a path, with these fields. Raises InputError if it cannot be made."""
        kind = class_of(path)
        with answering(path):
            rule = _made(kind, at, given)
            label, sparsity = getattr(rule, "label", kind.__name__), getattr(rule, "sparsity", None)
        if sparsity is None:
            raise InputError(
                f"Pruning rule {path!r} does not say its sparsity: give it a property `sparsity`, with "
                "`rate` 1 − (1 − rate)(1 − s), where s is self.after.mask.sparsity, or 0 of a dense run."
            )
        return cls(path, code_of(kind), label, sparsity, at, tuple(sorted(given.items())))

    def prune_seeing(self, weights: dict[str, Tensor], mask: Mask, seen: Seen) -> Mask:
        kind = class_of(self.path)
        require(
            code_of(kind) == self.code,
            f"The pruning rule {self.path} has changed since this run was described: describe it again, or "
            "bring the old rule back.",
        )
        if not all(torch.isfinite(weights[name]).all() for name in mask):
            # the run diverged and is no result whatever its mask (store.table): the rule need not handle NaN
            return down_to(self.sparsity, magnitudes(weights, mask), mask)
        given = dict(self.given)
        own = {name: tensor.clone() for name, tensor in weights.items()}  # a rule may write into them
        before = {name: m.clone() for name, m in mask.items()}
        with answering(self.path), networks.seeded(derived_seed("rule", given.get("seed", 0))):
            made = pruned(_made(kind, self.at, given), own, before, seen)
        return _checked(self, made, mask)


def _checked(rule: Own, made: Any, mask: Mask) -> Mask:
    """A mask that a rule made, in the network's order. Raises InputError if it is none under `mask`, or has
    another sparsity than the rule says."""
    what = f"Pruning rule {rule.path!r} returned"
    there = set(made) if isinstance(made, Mapping) else set()
    wrong = ", ".join(sorted(there ^ set(mask))[:3])
    require(
        there == set(mask),
        f"{what} {f'a mask of other weights ({wrong})' if there else type(made).__name__}; a mask is a dict "
        f"with a tensor for each of {', '.join(list(mask)[:3])}{', …' * (len(mask) > 3)}, as the one it was "
        "given.",
    )
    for name, old in mask.items():
        new = made[name]
        require(
            isinstance(new, Tensor) and new.dtype == torch.bool and new.shape == old.shape,
            f"{what} {_kind(new)} for {name}; its mask is a bool tensor {tuple(old.shape)}, True where a "
            "weight is kept.",
        )
        again = int((new.cpu() & ~old).sum())
        require(not again, f"{what} a mask that keeps {again} weights of {name} which were pruned before.")
    total = sum(m.numel() for m in mask.values())
    asked, left = (1 - rule.sparsity) * total, kept(made)
    require(
        abs(left - asked) <= max(OFF * asked, 1),
        f"{what} a mask that keeps {left:,} of {total:,} weights. At sparsity {rule.sparsity:.3g} it should "
        f"keep {round(asked):,}, {OFF:.0%} more or less: the verdict would be about another sparsity.",
    )
    return {name: made[name].detach().cpu() for name in mask}


def _kind(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


# --- the class ---


def local(kind: type) -> str:
    """A name for a class of this process, written in a notebook for instance: `local:NAME`.

    The name is good in this process only. Giving another class of the same name replaces the first.
    """
    name = re.sub(r"\W+", "_", getattr(kind, "__qualname__", type(kind).__name__))
    _check_class(f"{LOCAL}:{name}", kind)
    _local[name] = kind
    return f"{LOCAL}:{name}"


def class_of(path: str) -> type:
    """The class behind a path. Raises InputError if there is none, or it is no pruning rule."""
    if is_local(path):
        name = path.partition(":")[2]
        require(name in _local, f"Pruning rule {path!r} was a class of another process; give it again.")
        return _local[name]
    kind = imported(path, "Pruning rule", "Class")
    _check_class(path, kind)
    return kind


def _check_class(path: str, kind: object) -> None:
    what = f"Pruning rule {path!r}"
    require(isinstance(kind, type), f"{what} is a {type(kind).__name__}; it must be a class.")
    require(
        dataclasses.is_dataclass(kind),
        f"{what} is no dataclass: write @dataclass(frozen=True) above the class, and its fields, such as "
        "`sparsity: float`, below.",
    )
    require(
        callable(getattr(kind, "prune", None)) or callable(getattr(kind, "prune_seeing", None)),
        f"{what} has no method prune(self, weights, mask), nor prune_seeing(self, weights, mask, seen), that "
        "returns a mask.",
    )


@contextmanager
def answering(path: str) -> Iterator[None]:
    """Around a call of a rule of one's own, which may raise anything: raises InputError that says where."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(failed(f"Pruning rule {path!r}", error)) from error


def _made(kind: type, at: "Init", given: Mapping[str, Any]) -> Rule:
    """The rule itself: of a class with a field `after`, this is the run whose θT `at` is."""
    return kind(**({"after": at.to} if isinstance(at, Rewind) else {"at": at}), **given)


# --- its code ---


@lru_cache(maxsize=256)
def code_of(kind: type) -> str:
    """A hash of the source of a class, of its bases but torch's, and of what these name of their own module:
    functions, classes and constants. What they use of other modules is not seen."""
    parts: dict[str, str] = {}
    foreign = (*networks.THIRD_PARTY, *sys.stdlib_module_names)
    waiting: list[Any] = [base for base in kind.__mro__ if base.__module__.split(".")[0] not in foreign]
    while waiting:
        thing = waiting.pop()
        key = f"{thing.__module__}.{thing.__qualname__}"
        if key in parts:
            continue
        parts[key] = _source(thing)
        for name, value in _named(thing):
            if isinstance(value, type | FunctionType) and value.__module__ == thing.__module__:
                waiting.append(value)
            elif isinstance(value, CONSTANTS):
                parts[f"{thing.__module__}.{name}"] = repr(value)
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:16]


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):  # written in a notebook: of a class it has the methods' source alone
        if isinstance(thing, type):
            defaults = [(f.name, f.default) for f in getattr(thing, "__dataclass_fields__", {}).values()]
            return "\n".join((repr(defaults), *(_source(f) for f in _functions(thing))))
        return f"{thing.__code__.co_code.hex()} {thing.__code__.co_names}"


def _functions(thing: Any) -> list[FunctionType]:
    """A function, or those of a class: methods, properties' and class methods' too."""
    values = vars(thing).values() if isinstance(thing, type) else (thing,)
    inner = (getattr(v, "fget", None) or getattr(v, "__func__", None) or v for v in values)
    return [f for f in inner if isinstance(f, FunctionType)]


def _named(thing: Any) -> Iterator[tuple[str, Any]]:
    """The global names that a function or a class reads, and what they are."""
    for function in _functions(thing):
        for name in sorted(set(_globals(function.__code__))):
            if name in function.__globals__:
                value = function.__globals__[name]
                yield name, inspect.unwrap(value) if callable(value) else value


def _globals(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL":
            yield step.argval
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals(inner)
