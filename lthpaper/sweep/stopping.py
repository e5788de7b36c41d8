"""When an execution should end cleanly: its time is over, or a batch system or a person asks for it."""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lthpaper.errors import InputError, Sentence, require

STATUS = 75  # exit status of a command that ended so: EX_TEMPFAIL, "try again"
RESERVE = 5.0  # last seconds of the time, in which packs write checkpoints and workers end
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
NUMBER = r"(\d+(?:\.\d+)?)"
DURATION = re.compile(rf"(?:{NUMBER}h)?(?:{NUMBER}m)?(?:{NUMBER}s)?|{NUMBER}", re.ASCII)


class Unfinished(Sentence, Exception):
    """An execution ended cleanly before everything was trained.

    asked: by a signal, not by a time limit. network_epochs: trained until then.
    """

    asked = False
    network_epochs = 0


class Stopping:
    """A call returns whether to stop. time_limit: seconds from now."""

    def __init__(self, time_limit: float | None = None):
        self.until: float | None = None  # time.time() at which to stop
        self.reserve = 0.0
        self.why = ""
        self.asked = False  # by a signal
        if time_limit is not None:
            self.reserve = min(RESERVE, time_limit / 10)
            self.until = time.time() + time_limit - self.reserve

    def __call__(self) -> bool:
        if not self.why and self.left == 0:
            self.why = "the time limit is reached"
        return bool(self.why)

    @property
    def left(self) -> float | None:
        """Seconds left to train; None without a limit."""
        return None if self.until is None else max(0.0, self.until - time.time())

    @property
    def too_late(self) -> bool:
        """Whether too little time is left to begin another pack."""
        return self() or (self.left is not None and self.left < self.reserve)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """SIGTERM, SIGUSR1 and Ctrl-C ask to stop; a second Ctrl-C interrupts. Only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._asked) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.why:
            raise KeyboardInterrupt
        self.asked = self.asked or not self.why
        self.why = self.why or f"{signal.Signals(number).name} asked for it"


def seconds(text: str) -> float:
    """ "25m" -> 1500.0: hours, minutes and seconds (h, m, s), or a number of seconds.

    Raises InputError for anything else, and for zero.
    """
    match = DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise InputError(f"The time limit is {text!r}; it takes a time such as 90s, 25m, 2h or 1h30m.")
    hours, minutes, rest, alone = (float(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + rest + alone
    require(total > 0, f"The time limit is {text!r}; it must be more than zero.")
    return total
