"""Errors: for input that cannot be used, and for a training that was stopped."""

import difflib
import os
import traceback
from collections.abc import Iterable


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


def suggestion(name: object, known: Iterable[str]) -> str:
    """ " Did you mean 'fig1'?" for 01_fig1; "" if nothing known is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def as_module(name: str, what: str) -> str:
    """What a name like `package.module:function` must be, for one that cannot be imported."""
    module, _, attribute = name.partition(":")
    if module.endswith(".py"):
        dotted = module.removesuffix(".py").replace("/", ".").strip(".")
        return f"it must name a module, not a file: drop the .py, {dotted}:{attribute}."
    return f"it must be package.module:{what}, importable from here."


def printable(text: str) -> str:
    """The text without control characters, since names and messages may come from a stranger's files."""
    return "".join(c if c.isprintable() else "?" for c in text)
