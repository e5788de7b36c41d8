"""Command lines as the command parses them, without running them."""

import shlex
from typing import Any

import typer

from lthpaper.cli.main import app


def parse(line: str) -> Any:
    """The context of `lthpaper LINE`. Raises LookupError for an unknown command, and what a user sees for
    options that there are not, or values that they do not take.
    """
    found, words = typer.main.get_command(app), shlex.split(line)
    while hasattr(found, "commands"):  # typer brings a click of its own, so its classes tell nothing
        name, words = (words[0], words[1:]) if words else ("", [])
        if name not in found.commands:
            raise LookupError(f"there is no command lthpaper {line}")
        found = found.commands[name]
    return found.make_context(name, words)
