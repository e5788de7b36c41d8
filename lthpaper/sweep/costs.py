"""A plan in numbers and sentences: what is trained, the time and disk it takes, which data is missing."""

from pathlib import Path

import pandas as pd
import torch

from lthpaper import data
from lthpaper.errors import InputError
from lthpaper.runs.recipe import epochs_said
from lthpaper.sweep import simulate
from lthpaper.sweep.plan import Plan


def missing_data(todo: Plan, root: str | Path | None = None) -> list[str]:
    """A sentence for each data set that is needed and missing: where it was looked for, how to get it."""
    said = []
    for name in sorted({run.task.data for run in todo.todo}):
        try:
            data.look_for(name, root)
        except InputError as error:
            said.append(str(error))
    return said


def amount(count: float) -> str:
    """Bytes as text, in GB or MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def trainings(todo: Plan) -> list[str]:
    """A line for each network, data set and length: "12 trainings of resnet20 on cifar10, 160 epochs".

    Small dense networks have a width for each sparsity; together they are one line.
    """
    counted: dict[tuple[str, str, int], list[float]] = {}
    for run in todo.todo:
        small = " made narrow (SDT)" if run.task.width < 1 else ""
        key = (f"{run.task.network}{small}", run.task.data, run.recipe.epochs)
        counted.setdefault(key, []).append(run.task.width)
    said = []
    for (network, name, epochs), widths in counted.items():
        low, high = min(widths), max(widths)
        width = f", width {low:.3g}" + (f" to {high:.3g}" if high > low else "") if low < 1 else ""
        many = f"{len(widths):,} training{'s' * (len(widths) != 1)}"
        said.append(f"{many} of {network} on {name}, {epochs_said(epochs)}{width}")
    return said


def costs(todo: Plan, device: str, workers: int | None = None) -> pd.DataFrame:
    """A plan in numbers, one column; results in the store cost nothing. device "": without the time."""
    rows = {
        "runs": f"{len(todo.runs)}",
        "need no training": f"{len(todo.runs) - len(todo.todo)}",
        "to train": f"{len(todo.todo)}",
        "network-epochs": f"{todo.network_epochs:,}",
        "disk": amount(todo.disk),
    }
    if device:
        found = simulate.here(todo, device, workers)
        rows[f"predicted time on {device}"] = simulate.duration(found.makespan)
        if "scaled" in found.sources:
            rows["speeds"] = simulate.where_from(found.sources)
        rows["packs"] = f"{found.packs}, {found.filled:.0%} full"
        if why := emulated(todo, device):
            rows["slow here"] = why
    return pd.DataFrame({"": rows})


def emulated(todo: Plan, device: str) -> str:
    """Why bf16 is slow on this machine, in a sentence; "" where it is not, or not asked for."""
    if device != "cpu" or all(run.recipe.precision != "bf16" for run in todo.todo):
        return ""
    if not torch.backends.mkldnn.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return ""
    return (
        "this processor has no bf16 instructions: a convolution takes about ten times as long as in fp32; "
        "--set precision=fp32 makes other runs, with results of their own"
    )
