"""A notebook's parameters, of papermill's plain types, as the arguments of `lth.study` and `lth.check`.

papermill knows no None, so a notebook says "not given" by the empty value of a parameter's type. Python
says it by None, so that every value of a field can be given.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lthpaper.errors import require, suggestion
from lthpaper.runs.scales import FIELDS

ARGUMENTS = (
    *FIELDS,
    "scale",
    "prunable",
    "pruning",
    "store",
    "data_root",
    "out",
    "device",
    "workers",
    "train",
)
ZERO_IS_A_VALUE = {"train_images": "all images", "micro_batch": "a whole batch"}  # so -1 is "not given"


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in a notebook's `globals()`, with None for each that is not given.

    Where the parameters cell declares types, as in every notebook here, only what is declared there counts: a
    variable of a later cell that happens to be called `grid` is not a parameter. Raises InputError for a
    parameter that papermill was given and that is not declared, since papermill only warns and goes on
    without it.
    """
    declared = namespace.get("__annotations__") or namespace
    for name in _from_papermill(namespace.get("In", ())):
        require(
            name in declared,
            f"This notebook has no parameter {name!r}.{suggestion(name, declared)} It has: "
            f"{', '.join(n for n in declared if n in namespace)}.",
        )
    return {n: given(n, namespace[n]) for n in ARGUMENTS if n in declared and n in namespace}


def given(name: str, value: Any) -> Any:
    """A parameter's value; None where it is the one that says "not given"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return None if value == (-1 if name in ZERO_IS_A_VALUE else 0) else value
    return None if value is None or len(value) == 0 else value


def _from_papermill(cells: Iterable[object]) -> Iterator[str]:
    """The names that papermill's cell assigns, among the sources of the cells that were executed."""
    for cell in cells:
        if isinstance(cell, str) and cell.startswith("# Parameters\n"):
            for statement in ast.parse(cell).body:
                if isinstance(statement, ast.Assign):
                    yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
