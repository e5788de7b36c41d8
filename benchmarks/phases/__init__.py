"""Where the processor time of a command goes, over all processes that it starts.

python -m benchmarks.phases figures fig1 --scale smoke
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent


def run(arguments: Sequence[str], folder: Path) -> int:
    """Run `lthpaper` with these arguments; `folder` gets one file per process. Returns its exit status."""
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "LTHPAPER_PHASES": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    return subprocess.run(
        [sys.executable, "-m", "lthpaper", *arguments], env=environment, check=False
    ).returncode


def table(folder: Path) -> pd.DataFrame:
    """One row per phase, most expensive first: processor seconds by kind of process, their sum and share.

    Left out is what a process does after its last phase, and the interpreter's own start.
    """
    rows = []
    for path in sorted(folder.glob("*.txt")):
        kind, *lines = path.read_text().splitlines()
        rows += [(line.split(" ", 1)[1], kind, float(line.split(" ", 1)[0])) for line in lines]
    counted = pd.DataFrame(rows, columns=["phase", "process", "seconds"])
    found = counted.pivot_table(
        index="phase", columns="process", values="seconds", aggfunc="sum", fill_value=0.0
    )
    found["sum"] = found.sum(axis=1)
    found["share"] = found["sum"] / found["sum"].sum()
    return found.sort_values("sum", ascending=False)
