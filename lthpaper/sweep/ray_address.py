"""Which Ray cluster `--on` means, and how this process becomes part of it."""

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from lthpaper.errors import InputError, require
from lthpaper.sweep.ray_node import ray

SECONDS_TO_ANSWER = 10.0  # for a cluster's head

_dashboards: dict[str, str] = {}  # by the address of a cluster, which tells it to who joins


def address_of(on: str) -> str:
    """ "ray" -> "local", "ray:auto" -> "auto", ... Raises InputError for anything else."""
    engine, colon, address = on.partition(":")
    require(
        engine == "ray" and bool(address) == bool(colon),
        f"{on!r} is no cluster; write ray (one is started on this machine), ray:auto or ray:ADDRESS.",
    )
    return address or "local"


def join(on: str) -> str:
    """Join a cluster, or start one here, unless this process has; the dashboard's address, or "".

    Raises InputError if there is none.
    """
    address, module = address_of(on), ray()
    if module.is_initialized():
        return _dashboards.get(address, "")
    try:
        host, _, port = (_last_cluster() if address == "auto" else address).rpartition(":")
        if host and port.isdecimal() and "/" not in host:  # Ray itself would wait for minutes
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
        context = module.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # whatever Ray raises: it has no class of its own for this
        said = str(error).strip().partition("\n")[0]
        raise InputError(
            f"There is no Ray cluster at {address!r} ({said}). Start one with `ray start --head`, or let "
            "--on ray start one on this machine."
        ) from error
    _dashboards[address] = f"http://{context.dashboard_url}" if context.dashboard_url else ""
    return _dashboards[address]


def _last_cluster() -> str:
    """The address that "auto" means: perhaps of a cluster that has ended."""
    file = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    with suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or file.read_text().strip()
    return ""


def device_of(on: str, device: str = "auto") -> str:
    """On what a cluster trains: its GPUs where it has any, unless told otherwise. It is joined to see."""
    if device != "auto":
        return device
    join(on)
    return "cuda" if ray().cluster_resources().get("GPU", 0) else "cpu"
