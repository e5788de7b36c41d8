"""Errors: for input that cannot be used, and for a training that was stopped."""

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Collection, Iterable
from typing import Any


class Sentence:
    """A mixin for exceptions: a notebook shows the sentence without a traceback, as the command does."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: the sentence, or with LTHPAPER_DEBUG=1 the traceback."""
        if os.environ.get("LTHPAPER_DEBUG") and isinstance(self, BaseException):
            return "".join(traceback.format_exception(self)).splitlines()
        return [f"{type(self).__name__}: {self}"]


class InputError(Sentence, ValueError):
    """Bad input, described in one sentence: what was wrong, what is allowed, what to do.

    The command `lthpaper` prints the sentence and exits with status 2, without a traceback.
    """


class Stopped(Exception):
    """A training was asked to stop before its end; its progress is in its checkpoint, if it keeps one."""


def require(condition: bool, sentence: str) -> None:
    """Raise InputError(sentence) unless the condition holds."""
    if not condition:
        raise InputError(sentence)


def require_whole(what: str, value: object, least: int) -> None:
    """Raise InputError unless the value is a whole number from `least`."""
    require(
        type(value) is int and value >= least,
        f"{what} is {value!r}; it must be a whole number from {least}{as_python(value, 'int')}.",
    )


def as_python(value: object, kind: str) -> str:
    """ ", a Python int: int(…)" for a number of NumPy or torch, which a run cannot hold; "" for others."""
    return f", a Python {kind}: {kind}(…)" if hasattr(value, "item") else ""


def suggestion(name: object, known: Iterable[str]) -> str:
    """ " Did you mean 'fig1'?" for 01_fig1; "" if nothing known is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def require_fields(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise InputError for the first of the names that is no field. what: whose, "A scale" for one."""
    for name in names:
        if name not in known:
            hint = suggestion(name, known)
            raise InputError(f"{what} has no field {name!r}.{hint} Known: {', '.join(known)}.")


def as_module(name: str, what: str) -> str:
    """What a name like `package.module:function` must be, for one that cannot be imported."""
    module, _, attribute = name.partition(":")
    if module.endswith(".py"):
        dotted = module.removesuffix(".py").replace("/", ".").strip(".")
        return f"it must name a module, not a file: drop the .py, {dotted}:{attribute}."
    return f"it must be package.module:{what}, importable from here."


def imported(name: str, kind: str, what: str) -> Any:
    """What a dotted path `package.module:name` names. kind, what: what it names and must be, in words.

    Raises InputError if there is no such thing, or the file that it is in fails.
    """
    module, _, attribute = name.partition(":")
    try:
        if module.startswith("."):
            raise ImportError("it is relative")
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = suggestion(attribute, vars(sys.modules[module])) if module in sys.modules else ""
        said = f"{kind} {name!r} cannot be imported ({error}); {as_module(name, what)}{hint}"
        raise InputError(said) from error
    except (Exception, SystemExit) as error:  # a file may raise anything
        raise InputError(f"{kind} {name!r} cannot be imported: {failed('its file', error)}") from error


def failed(what: str, error: BaseException) -> str:
    """That something of the user's own failed, of what and in which line of which file."""
    where = traceback.extract_tb(error.__traceback__)
    # the line of torch, or of Python's own library, says little to its user
    others = ("site-packages", os.path.dirname(__file__), os.path.dirname(os.__file__))
    own = [frame for frame in where if not any(folder in frame.filename for folder in others)] or where
    line = f", {os.path.basename(own[-1].filename)} line {own[-1].lineno}" if own else ""
    said = str(error) if isinstance(error, SyntaxError) else f"{error}{line}"
    return f"{what} failed ({type(error).__name__}: {said}); --debug shows where."


def printable(text: str) -> str:
    """The text without control characters, since names and messages may come from a stranger's files."""
    return "".join(c if c.isprintable() else "?" for c in text)


def first_line(error: Exception) -> str:
    """The first line of what an error says; its class where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__
