"""Starts as values: where the weights of a training come from. A new init is one new file here.

An init is a frozen dataclass, registered under the name that its description carries, and has

    weights(task, mask, load) -> weights   parameters and buffers by name, before the mask sets any to zero.
                                           mask: of the run that starts here (None: dense); load(run, epoch):
                                           weights and mask of a trained run (epoch None: its last)
    first_epoch -> int                     the epoch at which the schedule goes on, 0 for a new training
    name(named) -> str                     how settings are named after it; named(init): LT for θ0, RR for
                                           another draw, the same for inits within this one

A field whose type is written "Init" holds another init, "Run" a run that this one starts from.
"""

from collections.abc import Callable
from typing import Any

from lthpaper.errors import require
from lthpaper.registry import Registry

INITS: Registry[type] = Registry("init", "lthpaper.runs.inits")
register = INITS.register

Init = Any  # an instance of one of INITS
Named = Callable[[Init], str]


def check_init(what: str, value: object) -> None:
    """Raises InputError if a field does not hold an init."""
    require(
        any(type(value) is kind for kind in INITS.values()),
        f"{what} is {str(value)[:80]!r}; it must be an init: {', '.join(sorted(INITS))}.",
    )
