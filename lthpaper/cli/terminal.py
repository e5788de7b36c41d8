"""The console that commands print to: as wide as the terminal; without one, wide enough for every name."""

import shutil
import sys
import textwrap
from typing import Any

from rich.console import Console
from rich.table import Table

WIDE = 300  # columns of a pipe or a file: a digest cut short cannot be searched for


class _Words(Console):
    """In a terminal, lines of text are broken between words. With soft_wrap=True they are not, so that a
    command can be copied."""

    def print(self, *objects: Any, **how: Any) -> None:
        if self.is_terminal and "soft_wrap" not in how:
            objects = tuple(words(o, self.width) if isinstance(o, str) else o for o in objects)
        super().print(*objects, **how)


def console() -> Console:
    """A console for tables and lines; [ ] and : : in names and errors are printed as they are."""
    return _Words(width=None if sys.stdout.isatty() else WIDE, soft_wrap=True, markup=False, emoji=False)


def table(*columns: str, whole: str = "") -> Table:
    """A table that fits 80 columns: cells are wrapped, never cut, since a name cut short cannot be copied.

    whole: the column that is not wrapped either.
    """
    made = Table(box=None, padding=(0, 1, 0, 0))
    for name in columns:
        made.add_column(name, overflow="fold", no_wrap=name == whole, min_width=16 if name == whole else None)
    return made


def words(text: str, width: int) -> str:
    """The text with its lines broken between words, never in one: a path stays whole."""
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
        lines += textwrap.wrap(line, width, subsequent_indent=indent, **how) or [""]
    return "\n".join(lines)


def complain(text: str) -> None:
    """Print to stderr, in a terminal with lines broken between words."""
    shown = words(text, shutil.get_terminal_size().columns) if sys.stderr.isatty() else text
    print(shown, file=sys.stderr)


def show_anything() -> None:
    """Print what the terminal cannot show as escapes, since names may hold bytes that are not text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's streams lack it
            stream.reconfigure(errors="backslashreplace")
