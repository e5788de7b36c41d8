"""A notebook's parameters, of papermill's plain types, as the arguments of `lth.study` and `lth.check`.

papermill knows no None, so a notebook says "not given" by the empty value of a parameter's type. Python
says it by None, so that every value of a field can be given.
"""

from collections.abc import Mapping
from typing import Any

from lthpaper.runs.scales import FIELDS

ARGUMENTS = (*FIELDS, "scale", "prunable", "store", "data_root", "out", "device", "workers", "train")
ZERO_IS_A_VALUE = {"train_images": "all images", "micro_batch": "a whole batch"}  # so -1 is "not given"


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in a notebook's `globals()`, with None for each that is not given.

    Where the parameters cell declares types, as STYLE asks, only what is declared there counts: a variable
    of a later cell that happens to be called `grid` is none.
    """
    declared = namespace.get("__annotations__") or namespace
    return {n: given(n, namespace[n]) for n in ARGUMENTS if n in declared and n in namespace}


def given(name: str, value: Any) -> Any:
    """A parameter's value; None where it is the one that says "not given"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return None if value == (-1 if name in ZERO_IS_A_VALUE else 0) else value
    return None if value is None or len(value) == 0 else value
