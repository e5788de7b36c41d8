"""Specifications as plain values: a canonical description and the hash of it.

A specification is a frozen dataclass of numbers, strings and tuples; inits and pruning rules also hold runs,
and other inits or rules (run.py). Its description writes every field with the value that was used, so that a
default changed later cannot rename an old run. A field that is added later is declared with
`added(default, absent)`: `absent` is what every run before it did, and a field with that value is left out,
so old digests stay.
"""

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable
from dataclasses import field
from typing import Any

from lthpaper.errors import InputError


def added(default: Any, absent: Any) -> Any:
    """A dataclass field that did not exist at first; `absent` never changes, `default` may."""
    return field(default=default, metadata={"absent": absent})


def plain(value: Any) -> Any:
    """A number, text or tuple of them as a JSON value. Raises TypeError for anything else."""
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} cannot be part of a specification")


def describe(spec: Any, described: Callable[[Any], Any] = plain) -> dict[str, Any]:
    """Fields of a specification as JSON values. described: how one value becomes such a value."""
    fields = ((f, getattr(spec, f.name)) for f in dataclasses.fields(spec))
    return {
        f.name: described(value)
        for f, value in fields
        if "absent" not in f.metadata or value != f.metadata["absent"]
    }


def rebuild(cls: type, described: dict[str, Any], **more: Any) -> Any:
    """Inverse of `describe` for a specification without nested runs. more: arguments that are no fields.

    Raises InputError on a field that this version does not know (written by a newer one).
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = set(described) - set(fields)
    if unknown:
        raise InputError(
            f"{cls.__name__} has no field {', '.join(sorted(unknown))}; known: {', '.join(fields)}. "
            "The description comes from another version of lthpaper: use that one to read it."
        )
    values = {name: _typed(_takes_float(fields[name]), value) for name, value in described.items()}
    for name, f in fields.items():
        if name not in values and "absent" in f.metadata:
            values[name] = f.metadata["absent"]
    try:
        return cls(**values, **more)
    except TypeError as error:
        raise InputError(f"A {cls.__name__} cannot be read from {described}: {error}.") from error


def _typed(takes_float: bool, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_typed(False, v) for v in value)
    return _as_float(value) if takes_float else value


def coerce_floats(spec: Any) -> None:
    """Make an int in a float field a float: lr=1 and lr=1.0 are one recipe. For __post_init__."""
    for f in dataclasses.fields(spec):
        if _takes_float(f):
            object.__setattr__(spec, f.name, _as_float(getattr(spec, f.name)))


def _takes_float(f: dataclasses.Field) -> bool:
    # not typing.get_type_hints: a rule's `after: "Run"` has no meaning where the rule is written
    options = typing.get_args(f.type) if isinstance(f.type, types.UnionType) else (f.type,)
    return float in options or "float" in options


def _as_float(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return float(value) + 0.0  # -0.0 and 0.0 are equal, so they must not give two digests
    except OverflowError:  # an int beyond every float: whoever checks the range refuses it
        return math.inf if value > 0 else -math.inf


def digest(description: dict[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of the description's canonical JSON."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
