"""Where things lie: options first, then environment variables, then folders of the project."""

import os
from pathlib import Path

import torch

from lthpaper.errors import InputError


def home() -> Path:
    """The project's folder: the working directory, or its parent where that is `notebooks/`."""
    here = Path.cwd()
    return here.parent if here.name == "notebooks" else here


def store_folder(option: str | Path | None = None) -> Path:
    """`--store`, else LTHPAPER_STORE, else runs/store."""
    return home() / (option or os.environ.get("LTHPAPER_STORE") or "runs/store")


def published_folder() -> Path | None:
    """`results/` of the project, read as a layer under the store; None where it is not there."""
    folder = home() / "results"
    return folder if folder.is_dir() else None


def data_folder(option: str | Path | None = None) -> Path:
    """`--data`, else LTHPAPER_DATA, else data/."""
    return home() / (option or os.environ.get("LTHPAPER_DATA") or "data")


def figures_folder(scale: str, option: str | Path | None = None) -> Path:
    """`--out`, else runs/figures/<scale>."""
    return home() / (option or Path("runs/figures") / scale)


def device(option: str | None = None) -> str:
    """A device's name, or the best one here. Raises InputError if there is no such device."""
    if not option or option == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(option)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        here = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise InputError(f"There is no device {option!r} here; there is {here}.") from error
    return str(chosen)
