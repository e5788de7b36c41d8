"""The console that commands print to: as wide as the terminal; without one, wide enough for every name."""

import sys

from rich.console import Console

WIDE = 300  # columns of a pipe or a file: a digest cut short cannot be searched for


def console() -> Console:
    """A console for tables and lines; [ ] and : : in names and errors are printed as they are."""
    return Console(width=None if sys.stdout.isatty() else WIDE, soft_wrap=True, markup=False, emoji=False)


def show_anything() -> None:
    """Print what the terminal cannot show as escapes, since names may hold bytes that are not text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's streams lack it
            stream.reconfigure(errors="backslashreplace")
