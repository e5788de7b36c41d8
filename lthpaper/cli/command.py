"""How a command's help is laid out: prose that fits the terminal, options in groups, flags without a type."""

import inspect
from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Headings of --help: of commands, and of options, where `typer.Option` itself stands below "Options". An
# option is named after its parameter unless it is given another name.
PAPER, OWN, RESULTS, REST = "The paper", "Your own network", "Results", "Also"
THE_CHECK, RECIPE = "What is checked", "Recipe"
check_option = partial(typer.Option, rich_help_panel=THE_CHECK)
recipe_option = partial(typer.Option, rich_help_panel=RECIPE)
deciding_option = partial(typer.Option, rich_help_panel="Seeds until verdicts are decided")
folder_option = partial(typer.Option, metavar="FOLDER", rich_help_panel="Folders")
machine_option = partial(typer.Option, rich_help_panel="Machine")


def prose(text: str | None) -> str:
    """A docstring with each paragraph on one line, so that the terminal breaks it where it must."""
    return "\n\n".join(" ".join(p.split()) for p in inspect.cleandoc(text or "").split("\n\n"))


def examples(*lines: str) -> str:
    """What stands below a command's help, each on a line of its own."""
    said = "\n".join(f"  lthpaper {line}" for line in lines)
    return f"Example{'s' * (len(lines) > 1)}:\n{said}"


class _Readable:
    """A command or a group of commands whose help is prose and whose flags show no type, since they take no
    value."""

    help: str | None

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.help = prose(self.help)

    def get_params(self, context: Any) -> list[Any]:
        found: list[Any] = super().get_params(context)  # type: ignore[misc]
        for parameter in found:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        return found


class Command(_Readable, TyperCommand):
    """A command."""


class Group(_Readable, TyperGroup):
    """A group of commands."""


class Commands(typer.Typer):
    """Commands whose help is laid out as this module says."""

    def __init__(self, **options: Any):
        settings = {"help_option_names": ["-h", "--help"]}
        super().__init__(cls=Group, no_args_is_help=True, context_settings=settings, **options)

    def command(self, *args: Any, **options: Any) -> Any:
        return super().command(*args, **{"cls": Command} | options)
