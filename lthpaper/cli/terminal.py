"""Where the commands print: as wide as the terminal, or wide enough for every name where there is none."""

import sys

from rich.console import Console

WIDE = 300  # columns of a pipe or a file: a digest cut short cannot be searched for


def console() -> Console:
    """A console for tables and lines; names and errors may hold [ ] and : :, which stay as they are."""
    return Console(width=None if sys.stdout.isatty() else WIDE, soft_wrap=True, markup=False, emoji=False)


def show_anything() -> None:
    """Let what the terminal cannot show be written as escapes: names may hold bytes that are no text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's streams have it not
            stream.reconfigure(errors="backslashreplace")
