"""What a user is told when an input cannot be used, and how a training says that it was stopped."""

import os
import traceback


class Sentence:
    """Beside an exception's class: a notebook shows the sentence and no traceback, as the command does."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints; LTHPAPER_DEBUG=1 brings the traceback back."""
        if os.environ.get("LTHPAPER_DEBUG") and isinstance(self, BaseException):
            return "".join(traceback.format_exception(self)).splitlines()
        return [f"{type(self).__name__}: {self}"]


class InputError(Sentence, ValueError):
    """Bad input, said in one sentence: what was wrong, what is allowed, what to do.

    The command `lthpaper` prints the sentence and exits with status 2, without a traceback.
    """


class Stopped(Exception):
    """A training was asked to stop before its end; what it had done is in its checkpoint, if it keeps one."""


def require(condition: bool, sentence: str) -> None:
    """Raise InputError(sentence) unless the condition holds."""
    if not condition:
        raise InputError(sentence)


def printable(text: str) -> str:
    """Without control characters: names and messages may come from a stranger's files."""
    return "".join(c if c.isprintable() else "?" for c in text)
