"""How fast packs of a shape train, as this execution has seen it."""

import time
from collections.abc import Callable, Sequence

from lthpaper.runs import Run
from lthpaper.training import shape_key


class Rates:
    """Seconds a network-epoch, by shape, over the packs that ended well."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._begun: dict[int, tuple[tuple, int, float]] = {}
        self._seen: dict[tuple, tuple[float, int]] = {}  # seconds, network-epochs

    def begin(self, number: int, pack: Sequence[Run], network_epochs: int) -> None:
        """A pack begins, with so much before it."""
        self._begun[number] = shape_key(pack[0]), network_epochs, self._clock()

    def end(self, number: int, error: Exception | None) -> None:
        """A pack ended."""
        shape, network_epochs, began = self._begun.pop(number)
        if error is None:
            seconds, epochs = self._seen.get(shape, (0.0, 0))
            self._seen[shape] = seconds + self._clock() - began, epochs + network_epochs

    def seconds(self, pack: Sequence[Run], network_epochs: int) -> float | None:
        """How long so much of a pack will take; None if nothing is known of its shape."""
        seconds, epochs = self._seen.get(shape_key(pack[0]), (0.0, 0))
        return seconds / epochs * network_epochs if epochs else None
