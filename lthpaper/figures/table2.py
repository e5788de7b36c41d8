"""Table 2: networks and data sets, every parameter counted from the model. Nothing is trained.

The printed counts are those of the head that the paper's authors had: 100 classes for ResNet-18 on
CIFAR, 1000 on Tiny-ImageNet. So each is held against our network with that head, and the count with the
data set's own classes, which is what is trained here, stands beside it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lthpaper import data as data_sets
from lthpaper import networks
from lthpaper.figures import FigureSpec, register
from lthpaper.figures.drawn_table import draw_table
from lthpaper.paper import TABLE2, TABLE2_DATA, NetworkRow
from lthpaper.runs.scales import Scale
from lthpaper.runs.settings import Trial
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.verdicts.characteristics import residual_count

OURS = {  # the paper's name and data set -> our network, where the name differs
    ("resnet18", "tiny-imagenet"): "resnet18-tiny",
    ("resnet50", "tiny-imagenet"): "resnet50-tiny",
    ("resnet18", "imagenet"): "resnet18-imagenet",
}
UNREGISTERED = "*"  # beside a data set that is stated from the paper, since no loader knows it


def trials(scale: Scale) -> list[Trial]:
    """Nothing is trained."""
    return []


def measure(trials: list[Trial], store: Store, scale: Scale, data_root: str | Path | None) -> pd.DataFrame:
    """One row per network and data set: the paper's, then those of the scale's experiments it lacks.

    Columns: network, data, in_paper, registered (is the data set?), train, test, classes, size;
    parameters, prunable and residual of our network with the data set's own head; printed, the paper's
    count in millions; head, its number of classes; implied, the exact count that it implies; count,
    ours with that head; agrees, with the printed one: "rounded", "cut" or "no".
    """
    rows = [_paper_row(row, name) for row in TABLE2 for name in row.data]
    shown = {(row["network"], row["data"]) for row in rows}
    rows += [_row(t) for t in scale.tasks if (t.network, t.data) not in shown]
    return pd.DataFrame(rows)


def _paper_row(stated: NetworkRow, name: str) -> dict[str, object]:
    ours = OURS.get((stated.network, name), stated.network)
    count = networks.count_parameters(ours, stated.classes)
    said: dict[str, object] = {"printed": stated.printed, "head": stated.classes, "count": count}
    said |= {"implied": stated.count, "agrees": agreement(count, stated.printed)}
    if name in data_sets.SOURCES:
        return _row(Task(ours, name)) | {"in_paper": True} | said
    column = next(c for c in TABLE2_DATA if c.data == name)
    facts = {"train": column.train, "test": column.test, "classes": column.classes, "size": column.side}
    shape = {"name": ours, "num_classes": column.classes, "width": 1.0, "in_channels": 3, "size": column.side}
    names = {"network": ours, "data": name, "in_paper": True, "registered": False}
    return names | facts | _counts(shape, prunable_of(ours)) | said


def _row(task: Task) -> dict[str, object]:
    about = data_sets.card(task.data)
    names = {"network": task.network, "data": task.data, "in_paper": False, "registered": True}
    facts = {"train": task.images, "test": about.test, "classes": about.num_classes, "size": about.size}
    lacking: dict[str, object] = {
        "printed": float("nan"),
        "head": about.num_classes,
        "count": task.parameters,
    }
    lacking |= {"implied": task.parameters, "agrees": ""}
    return names | facts | _counts(task.shape, sum(task.prunable_weights.values())) | lacking


def prunable_of(network: str) -> int:
    """Prunable weights, which do not depend on the head: those of the network on CIFAR-10."""
    return sum(Task(network, "cifar10").prunable_weights.values())


def _counts(shape: dict[str, Any], prunable: int) -> dict[str, int]:
    return {
        "parameters": networks.count_parameters(**shape),
        "prunable": prunable,
        "residual": residual_count(**shape),
    }


def agreement(count: int, printed: float) -> str:
    """Is the exact count the printed one, in millions to two decimals, "rounded" or else "cut"?"""
    if round(count / 1e6, 2) == round(printed, 2):
        return "rounded"
    return "cut" if count // 10_000 == round(printed * 100) else "no"


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """As text, one row per network and data set."""
    return pd.DataFrame(list(_lines(table))).set_index("network")


def _lines(table: pd.DataFrame) -> Iterator[dict[str, str]]:
    for row in table.itertuples():
        printed = row.printed == row.printed
        yield {
            "network": row.network,
            "data": row.data + UNREGISTERED * (not row.registered),
            "images": f"{row.train:,} / {row.test:,}",
            "classes": str(row.classes),
            "size": f"{row.size}×{row.size}",
            "printed": f"{row.printed:.2f}M" if printed else "",
            "counted as printed": f"{row.count:,} ({row.head} classes)" if printed else "",
            "agrees": {"rounded": "yes", "cut": "yes (cut)", "no": f"no ({row.count / 1e6:.2f}M)"}.get(
                row.agrees, ""
            ),
            "own classes": f"{row.parameters:,}",
            "prunable": f"{row.prunable:,}",
            "residual": str(row.residual),
        }


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """The table as a picture."""
    notes = [
        "printed: Table 2 of the paper. head, counted: classes that the printed count implies, and our "
        "network with that many; cut: to two decimals, not rounded. own classes: with the data set's own, as "
        "trained here. prunable: convolutions after the first. residual: residual connections, counted in a "
        "forward pass.",
    ]
    for row in table[table["agrees"] == "no"].itertuples():
        few = "fewer" if row.count < row.implied else "more"
        notes.append(
            f"{row.network}: {abs(row.count - row.implied):,} parameters {few} than the {row.implied:,} that "
            "the printed count implies; its first convolution is for small images (ours)."
        )
    if not table["in_paper"].all():
        notes.append("Rows without a printed count are this scale's and not the paper's.")
    if not table["registered"].all():
        notes.append(f"{UNREGISTERED} Not a data set of this package: images, classes and size as printed.")
    rules = [int(table["in_paper"].sum())] if not table["in_paper"].all() else []
    facts = table.drop_duplicates("data").itertuples()
    said = (f"{r.data} {r.train:,} / {r.test:,}, {r.classes} classes, {r.size}×{r.size}" for r in facts)
    notes.append(f"Data (images for training / test): {'; '.join(said)}.")
    return draw_table(_narrow(table, scale), "Table 2: networks and data", notes, rules=rules)


def _narrow(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """What fits a page's width: facts about data sets stand in the notes."""
    text = tabulate(table, scale)
    heads = [str(row.head) if row.printed == row.printed else "" for row in table.itertuples()]
    counted = [cell.partition(" (")[0] for cell in text["counted as printed"]]
    frame = text[["data", "printed"]].assign(head=heads, counted=counted)
    kept = ("agrees", "own classes", "prunable", "residual")
    return frame.assign(**{name: text[name].to_numpy() for name in kept})


def says(table: pd.DataFrame, scale: Scale) -> list[str]:
    """How many of the printed counts our networks have, and which differ."""
    stated = table[table["in_paper"].eq(True)]
    agree = stated["agrees"] != "no"
    said = [f"Our networks have {agree.sum()} of the {len(stated)} counts that the paper prints."]
    for row in stated[~agree].rename(columns={"count": "ours"}).itertuples():
        said.append(f"{row.network} on {row.data}: {row.ours:,} here, {row.printed} million in print.")
    return said


register(
    "table2",
    FigureSpec("Networks and data, counted", trials, plot, tabulate=tabulate, measure=measure, says=says),
)
