"""Which Ray cluster `--on` names, and how this process joins it."""

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from lthpaper.errors import InputError, require
from lthpaper.sweep.ray_node import ray

SECONDS_TO_ANSWER = 10.0  # that a cluster's head has

_dashboards: dict[str, str] = {}  # by the address of the cluster, which gives it only when one joins


def address_of(on: str) -> str:
    """ "ray" -> "local", "ray:auto" -> "auto", ... Raises InputError for anything else."""
    engine, colon, address = on.partition(":")
    require(
        engine == "ray" and bool(address) == bool(colon),
        f"{on!r} does not name a cluster; write ray (starts one on this machine), ray:auto or ray:ADDRESS.",
    )
    return address or "local"


def join(on: str) -> str:
    """Join a cluster, or start one here, unless this process has done so; the dashboard's address, or "".

    Raises InputError if there is no such cluster.
    """
    address, module = address_of(on), ray()
    if module.is_initialized():
        return _dashboards.get(address, "")
    try:
        host, _, port = (_last_cluster() if address == "auto" else address).rpartition(":")
        if host and port.isdecimal() and "/" not in host:  # a quick test, since Ray would wait for minutes
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
        context = module.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray has no specific class for this
        said = str(error).strip().partition("\n")[0]
        raise InputError(
            f"There is no Ray cluster at {address!r} ({said}). Start one with `ray start --head`, or let "
            "--on ray start one on this machine."
        ) from error
    _dashboards[address] = f"http://{context.dashboard_url}" if context.dashboard_url else ""
    return _dashboards[address]


def _last_cluster() -> str:
    """The address that "auto" stands for; the cluster may have ended."""
    file = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    with suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or file.read_text().strip()
    return ""


def device_of(on: str, device: str = "auto") -> str:
    """The device that a cluster trains on: its GPUs if it has any, unless named. Joins it to find out."""
    if device != "auto":
        return device
    join(on)
    return "cuda" if ray().cluster_resources().get("GPU", 0) else "cpu"
