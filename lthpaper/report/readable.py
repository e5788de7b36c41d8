"""A table as a person reads it: numbers formatted by column, and an empty cell where a value is missing."""

import math
from collections.abc import Callable, Hashable, Iterable

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
    columns = [_column(frame.iloc[:, i], _form(frame.columns[i], digits)) for i in range(frame.shape[1])]
    shown = pd.concat(columns, axis=1) if columns else frame.copy()
    shown.columns, shown.index = _labels(frame.columns, digits), _labels(frame.index, digits)
    return Readable(shown)


def _form(name: Hashable | tuple[Hashable, ...], digits: int) -> Callable[[float], str]:
    """How numbers under this heading are written."""
    names = {str(part) for part in (name if isinstance(name, tuple) else (name,))}
    if any(name.startswith("confidence") for name in names):
        return as_chance
    if names & COUNTS:
        return lambda x: f"{x:,.0f}" if abs(x) >= 10_000 else f"{x:.0f}"
    if names & RATES:
        return lambda x: f"{x:g}"
    if names & SPARSITIES:
        return lambda x: f"{x:.3f}" if x else "0"
    return lambda x: f"{x:.{digits}f}"


def _column(values: pd.Series, form: Callable[[float], str]) -> pd.Series:
    return values.map(lambda value: _cell(value, form)).astype(object)


def _cell(value: object, form: Callable[[float], str]) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, tuple | list):
        return ", ".join(_cell(part, lambda x: f"{x:g}") for part in value)
    if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy's too
        return "yes" if value else "no"
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)
    if isinstance(value, str):
        return value
    return "" if math.isnan(number) else _without_signed_zero(form(number)).replace("-", "−")


def _without_signed_zero(text: str) -> str:
    """What rounds to zero has no sign: "-0.0" is "0.0"."""
    return text.removeprefix("-") if text.startswith("-") and not text.strip("-0.") else text


def _labels(index: pd.Index, digits: int) -> pd.Index:
    """The labels of an axis: numbers by the name of their level, text as it is."""

    def level(values: Iterable[object], name: Hashable) -> list[object]:
        form = _form(name if name in RATES | SPARSITIES | COUNTS else "lr", digits)  # a label is never cut
        return [value if isinstance(value, str) else _cell(value, form) for value in values]

    if isinstance(index, pd.MultiIndex):
        parts = [level(index.get_level_values(i), name) for i, name in enumerate(index.names)]
        return pd.MultiIndex.from_arrays(parts, names=index.names)
    if isinstance(index, pd.RangeIndex):
        return index
    return pd.Index(level(index, index.name), name=index.name, dtype=object)
