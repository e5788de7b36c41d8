"""The provenance of a number: versions, device, revision."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

AS_AVX2 = "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2"  # limits of torch's kernels and of oneDNN
PACKAGES = ("lthpaper", "torch", "numpy", "scipy", "scikit-learn", "matplotlib")


@cache
def git_revision() -> str:
    """Revision of the checkout that this package runs from, "+changes" if it was edited; "" without one."""
    home = Path(__file__).parents[1]

    def git(*words: str) -> str:
        ran = subprocess.run(["git", "-C", str(home), *words], capture_output=True, text=True, timeout=10)
        return ran.stdout.strip() if ran.returncode == 0 else ""

    try:
        if not (home / ".git").exists():
            return ""
        changes = "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "--short=12", "HEAD") + changes
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return ""


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute and draw."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {"torch": str(torch.__version__)}  # with its build, "+cu130"


def device_name(device: torch.device | str) -> str:
    """The device's common name: "NVIDIA H100 80GB HBM3", or the processor's model and the instructions that
    torch uses there, "AMD EPYC (AVX512)": on them depend the order of sums, so the bits, and the speed."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()} ({instructions()})"


def instructions() -> str:
    """The vector instructions of torch's kernels on the CPU: "AVX512", "AVX2", "NEON", "DEFAULT", …

    Convolutions are oneDNN's. Where its instructions are limited (ONEDNN_MAX_CPU_ISA) and torch's are not, or
    the other way round (ATEN_CPU_CAPABILITY), both are named: "AVX2, oneDNN any".
    """
    kernels = str(torch.backends.cpu.get_cpu_capability())
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    if limit in ("", "ALL", "DEFAULT"):
        limited = os.environ.get("ATEN_CPU_CAPABILITY", "").upper() not in ("", "AVX512")
        return f"{kernels}, oneDNN any" if limited else kernels
    same = limit == kernels or (kernels == "AVX512" and limit.startswith("AVX512_CORE"))
    return kernels if same else f"{kernels}, oneDNN {limit}"


def as_elsewhere(here: str, there: Iterable[str]) -> str:
    """How to get another device's bits on this one, in a sentence; "" where nothing is known that would.

    here, there: of `device_name`. Published results before November 2026 name no instructions: AVX2's.
    """
    as_avx2 = [name for name in there if "(AVX2)" in name or not re.search(r"NVIDIA|\((AVX|NEON|DEF)", name)]
    if "(AVX512)" not in here or not as_avx2:
        return ""
    return (
        "torch uses AVX512 here; with AVX2 it adds in another order. What was published from an AVX2 "
        f"processor has its bits here, too, with these words before the command: {AS_AVX2}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def provenance(device: torch.device | str) -> dict[str, object]:
    """Revision, versions and device, as JSON values."""
    return {"revision": git_revision(), "versions": versions(), "device": device_name(device)}
