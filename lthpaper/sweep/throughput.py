"""How fast packs train: measured in this execution, or before on this device."""

import time
from collections.abc import Callable, Sequence

import torch

from lthpaper.provenance import device_name
from lthpaper.runs.run import Run
from lthpaper.sweep import speeds


class Throughput:
    """Seconds a network-epoch, over the packs that ended well, else as `lthpaper plan` measured them.

    here: whether this machine trains; its measurements say nothing about a cluster's nodes.
    """

    def __init__(
        self,
        device: torch.device,
        processes: int,
        here: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._device, self._processes, self._clock = device, processes, clock
        self._here = here and (device.type != "cuda" or torch.cuda.is_available())
        self._begun: dict[int, tuple[tuple, int, float]] = {}
        self._seen: dict[tuple, tuple[float, int]] = {}  # seconds, network-epochs
        self._remembered: dict[str, dict] | None = None

    def begin(self, number: int, pack: Sequence[Run], network_epochs: int) -> None:
        """A pack begins. network_epochs: what it has left to train."""
        self._begun[number] = speeds.speed_key(pack[0]), network_epochs, self._clock()

    def end(self, number: int, error: Exception | None) -> None:
        """A pack ended."""
        key, network_epochs, began = self._begun.pop(number)
        if error is None:
            seconds, epochs = self._seen.get(key, (0.0, 0))
            self._seen[key] = seconds + self._clock() - began, epochs + network_epochs

    def seconds(self, pack: Sequence[Run], network_epochs: int) -> float | None:
        """How long this many network-epochs of a pack will take; None if nothing is known of its shape."""
        seconds, epochs = self._seen.get(speeds.speed_key(pack[0]), (0.0, 0))
        if epochs:
            return seconds / epochs * network_epochs
        if not self._here:
            return None
        if self._remembered is None:
            self._remembered = speeds.read(speeds.calibration_file())
        entry = self._remembered.get(speeds.entry_key(device_name(self._device), pack[0], self._processes))
        if entry is None:
            return None
        return speeds.speed_of(entry).epoch(pack[0], len(pack)) / len(pack) * network_epochs
