"""How much memory images may take: measured, or set in the environment."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from lthpaper.errors import InputError

RESIDENT, HOST = "LTHPAPER_RESIDENT_BYTES", "LTHPAPER_HOST_BYTES"
SHARE = 0.5  # of free memory; the rest is for the pack's weights and activations, or for other processes


def limit(variable: str, device: torch.device | str = "cpu") -> int:
    """Bytes that images may take: the environment variable, else half of the free memory.

    Raises InputError if the variable is not a whole number.
    """
    told = os.environ.get(variable)
    if told is None:
        return int(SHARE * free(device))
    if not told.isdecimal():
        raise InputError(f"{variable} is {told!r}; it must be a whole number of bytes.")
    return int(told)


def why(variable: str, device: torch.device | str = "cpu") -> str:
    """Why the limit is what it is, for messages."""
    if variable in os.environ:
        return f"by {variable}"
    return f"half of the {gb(free(device))} that are free"


def gb(count: int) -> str:
    """Bytes as text, in decimal GB or MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def free(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be allocated on a device; on a CPU, within this process's control group."""
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
    """Bytes left below each limit that a batch system or container sets, as far as this process can see them.

    root: where control groups, of version 1 or 2, are mounted. own: the file that lists this process's.
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
            except (OSError, ValueError):  # the group is not visible from here, or has no limit ("max")
                continue
            yield max(0, bound - taken)


def _reclaimable(stat: Path) -> int:
    """Bytes of the group's file cache, which the kernel frees when memory is needed."""
    lines = (line.split() for line in stat.read_text().splitlines())
    return sum(int(value) for name, value in lines if name in ("inactive_file", "total_inactive_file"))
