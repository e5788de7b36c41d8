"""A table as a person reads it: numbers formatted by column, and an empty cell where a value is missing."""

import math
from collections.abc import Callable, Hashable, Iterable
from functools import partial

import numpy as np
import pandas as pd

from lthpaper.verdicts.evidence import as_chance

RATES = {"lr", "pretraining_lr", "best_lr", "lrs", "learning rate", "small", "large"}
SPARSITIES = {"sparsity", "s", "width", "p"}
COUNTS = {"n", "count", "seed", "seeds", "epochs", "epoch", "rewind", "rounds", "runs"}
COUNTS |= {"claim", "parameters", "weights", "residual connections", "head", "implied", "apart"}


class Readable(pd.DataFrame):
    """A table that a notebook shows whole: every row, and sentences to their end. Rows that are only counted
    have no numbers beside them."""

    @property
    def _constructor(self) -> type["Readable"]:
        return Readable

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return str(self.to_html(index=not isinstance(self.index, pd.RangeIndex), notebook=True))


def readable(table: pd.DataFrame | pd.Series, digits: int = 1) -> Readable:
    """The same table in text. A learning rate and a sparsity keep all that tells them apart (0.005, 0.945);
    a count is whole; a confidence is never 1 or 0; other numbers, accuracies in percent mostly, have `digits`
    places; a missing value is empty. Columns are told by their names, of a pivoted table by any of its
    levels; so is the index."""
    frame = table.to_frame() if isinstance(table, pd.Series) else table
    forms = [_form(name, digits) for name in frame.columns]
    columns = [frame.iloc[:, i].map(partial(_cell, form=form)).astype(object) for i, form in enumerate(forms)]
    shown = pd.concat(columns, axis=1) if columns else frame.copy()
    shown.columns, shown.index = _labels(frame.columns, digits), _labels(frame.index, digits)
    return Readable(shown)


def _form(name: Hashable | tuple[Hashable, ...], digits: int) -> Callable[[float], str]:
    """How numbers under this heading are written; "z": what rounds to zero has no sign."""
    names = {str(part) for part in (name if isinstance(name, tuple) else (name,))}
    if any(name.startswith("confidence") for name in names):
        return as_chance
    if names & COUNTS:
        return lambda x: f"{x:,.0f}" if abs(x) >= 10_000 else f"{x:z.0f}"
    if names & RATES:
        return "{:zg}".format
    if names & SPARSITIES:
        return lambda x: f"{x:z.3f}" if x else "0"
    return f"{{:z.{digits}f}}".format


def _cell(value: object, form: Callable[[float], str]) -> str:
    if isinstance(value, str):
        return value
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, tuple | list):
        return ", ".join(_cell(part, "{:zg}".format) for part in value)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)
    return "" if math.isnan(number) else form(number).replace("-", "−")


def _labels(index: pd.Index, digits: int) -> pd.Index:
    """The labels of an axis: numbers by the name of their level, text as it is."""

    def level(values: Iterable[object], name: Hashable) -> list[object]:
        form = _form(name if name in RATES | SPARSITIES | COUNTS else "lr", digits)  # a label is never cut
        return [_cell(value, form) for value in values]

    if isinstance(index, pd.MultiIndex):
        parts = [level(index.get_level_values(i), name) for i, name in enumerate(index.names)]
        return pd.MultiIndex.from_arrays(parts, names=index.names)
    if isinstance(index, pd.RangeIndex):
        return index
    return pd.Index(level(index, index.name), name=index.name, dtype=object)
