"""How much memory there is for images: measured, or as the environment says."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from lthpaper.errors import InputError

RESIDENT, HOST = "LTHPAPER_RESIDENT_BYTES", "LTHPAPER_HOST_BYTES"
SHARE = 0.5  # of what is free: the rest is for the pack's weights and activations, or for other processes


def limit(variable: str, device: torch.device | str = "cpu") -> int:
    """Bytes that images may take: what the environment variable says, else half of what is free.

    Raises InputError if the variable is not a whole number.
    """
    told = os.environ.get(variable)
    if told is None:
        return int(SHARE * free(device))
    if not told.isdecimal():
        raise InputError(f"{variable} is {told!r}; it must be a whole number of bytes.")
    return int(told)


def why(variable: str, device: torch.device | str = "cpu") -> str:
    """Where the limit comes from, in words."""
    if variable in os.environ:
        return f"by {variable}"
    return f"half of the {gb(free(device))} that are free"


def gb(count: int) -> str:
    """Bytes in GB or MB of powers of ten."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def free(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be allocated on a device; on a CPU within the control group of this process."""
    device = torch.device(device)
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return min([_of_the_machine(), *_of_control_groups()])


def _of_the_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _of_control_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """Bytes left below each limit that a batch system or container has set, as far as it can be seen.

    root: where control groups are mounted, of version 1 or 2. own: which of them this process is in.
    """
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return
    for _, kind, path in lines:
        if kind == "":  # version 2
            folder, most, used = root, "memory.max", "memory.current"
        elif "memory" in kind.split(","):
            folder, most, used = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        place = folder / path.lstrip("/")
        for group in (place, *place.parents):
            try:
                bound = int((group / most).read_text())
                taken = int((group / used).read_text()) - _reclaimable(group / "memory.stat")
            except (OSError, ValueError):  # no such group from in here, or "max"
                continue
            yield max(0, bound - taken)


def _reclaimable(stat: Path) -> int:
    """Bytes of files that the group has read: the kernel gives them up when memory is asked for."""
    lines = (line.split() for line in stat.read_text().splitlines())
    return sum(int(value) for name, value in lines if name in ("inactive_file", "total_inactive_file"))
