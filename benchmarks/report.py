"""The bench's table as Markdown and as JSON, each with the machine and versions it was measured on."""

import json
import math
import os
from pathlib import Path

import pandas as pd
import torch

from lthpaper.provenance import provenance

COLUMNS = [
    *("size", "contender", "pack", "precision", "form", "processes"),
    *("images_per_s", "network_epochs_per_hour", "ratio", "spread_low", "spread_high"),
    *("memory_mb", "seconds"),
]
HEADINGS = ("way", "pack", "precision", "form", "processes", "images/s", "slowest–fastest round")
HEADINGS += ("network-epochs/h", "× ordinary", "memory, MB")


def _number(value: float, digits: int = 0) -> str:
    return "" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _speed_line(row: pd.Series) -> list[str]:
    spread = f"{_number(row.spread_low)}–{_number(row.spread_high)}" if row.spread_low > 0 else ""
    return [
        row.contender,
        _number(row["pack"]),
        _text(row.precision),
        _text(row.form),
        _number(row.processes),
        _number(row.images_per_s),
        spread,
        _number(row.network_epochs_per_hour, 1 if row.network_epochs_per_hour < 100 else 0),
        _number(row.ratio, 2),
        _number(row.memory_mb),
    ]


def _table(headings: tuple[str, ...], lines: list[list[str]]) -> str:
    rows = [list(headings), ["---"] + ["---:"] * (len(headings) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def report(df: pd.DataFrame) -> str:
    """Markdown: a table of speeds for each size, and one of what surrounds them, in seconds."""
    parts = []
    speeds, around = df[df.seconds.isna()], df[df.seconds.notna()]
    for size, rows in speeds.groupby("size", sort=False):
        parts += [f"### {size}", _table(HEADINGS, [_speed_line(row) for _, row in rows.iterrows()])]
    if len(around):
        lines = [
            [
                row.contender,
                _number(row.seconds, 2),
                _number(row.network_epochs_per_hour),
                _number(row.ratio, 2),
            ]
            for _, row in around.iterrows()
        ]
        parts += [
            "### around the steps",
            _table(("what", "seconds", "network-epochs/h", "× one worker"), lines),
        ]
    return "\n\n".join(parts) + "\n"


def write(df: pd.DataFrame, folder: str | Path) -> Path:
    """bench.json and bench.md in the folder, with versions, device and revision; returns bench.md."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = provenance(df.attrs.get("device", "cpu")) | {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    rows = json.loads(df.to_json(orient="records"))
    (folder / "bench.json").write_text(json.dumps({"provenance": about, "rows": rows}, indent=1))
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    source = (
        f"Measured on {about['device']}, {about['cores']} cores; {versions}; revision {about['revision']}."
    )
    path = folder / "bench.md"
    path.write_text(f"{source}\n\n{report(df)}")
    return path
