"""A plan in numbers and sentences: what is trained, the time and disk it takes, which data is missing."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lthpaper import data
from lthpaper.errors import InputError
from lthpaper.runs.recipe import epochs_said
from lthpaper.sweep import simulate
from lthpaper.sweep.plan import Plan
from lthpaper.sweep.simulate import Prediction


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


@dataclass(frozen=True)
class Trainings:
    """Those of a plan that have one network, data set and length.

    Small dense networks have a width for each sparsity, from `narrowest` to `widest`; together they are one.
    """

    network: str
    data: str
    epochs: int
    count: int
    narrowest: float
    widest: float

    def __str__(self) -> str:
        small, width = "", ""
        if self.narrowest < 1:
            small, width = " made narrow (SDT)", f", width {self.narrowest:.3g}"
            width += f" to {self.widest:.3g}" if self.widest > self.narrowest else ""
        many = f"{self.count:,} training{'s' * (self.count != 1)}"
        return f"{many} of {self.network}{small} on {self.data}, {epochs_said(self.epochs)}{width}"


def trainings(todo: Plan) -> list[str]:
    """What is left, in lines such as "12 trainings of resnet20 on cifar10, 160 epochs"."""
    return [str(each) for each in grouped(todo)]


def grouped(todo: Plan) -> list[Trainings]:
    """What is left."""
    found: dict[tuple[str, str, int, bool], list[float]] = {}
    for run in todo.todo:
        key = (run.task.network, run.task.data, run.recipe.epochs, run.task.width < 1)
        found.setdefault(key, []).append(run.task.width)
    return [Trainings(*key[:3], len(widths), min(widths), max(widths)) for key, widths in found.items()]


def numbers(todo: Plan, predictions: Iterable[Prediction], price: float = 0.0) -> dict[str, Any]:
    """A plan for a script: bytes, seconds, and dollars at a price of a device-hour."""
    return {
        "runs": len(todo.runs),
        "need_no_training": len(todo.runs) - len(todo.todo),
        "to_train": len(todo.todo),
        "network_epochs": todo.network_epochs,
        "disk": todo.disk,
        "trainings": [asdict(each) for each in grouped(todo)],
        "predictions": [
            {
                "devices": p.devices,
                "seconds": p.makespan,
                "device_hours": p.device_hours,
                "packs": p.packs,
                "filled": p.filled,
                "speeds": sorted(p.sources),
                **({"dollars": p.device_hours * price} if price else {}),
            }
            for p in predictions
        ],
    }


def costs(todo: Plan, device: str, workers: int | None = None) -> pd.DataFrame:
    """A plan in numbers, one column; results in the store cost nothing. device "": without the time."""
    rows = {
        "runs": f"{len(todo.runs):,}",
        "need no training": f"{len(todo.runs) - len(todo.todo):,}",
        "to train": f"{len(todo.todo):,}",
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
