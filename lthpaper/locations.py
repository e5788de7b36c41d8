"""Folders and the device: from options, else environment variables, else the project's defaults."""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lthpaper.errors import InputError

CHECKOUT = Path(__file__).parents[1]  # if this is one, and not an installed wheel
LONGEST = 80  # characters of a folder's name
CUSTOM_DATA: dict[str, str] = {}  # a custom data set's dotted path -> its folder, where `check` got one


def home() -> Path:
    """The project's folder: the working directory, or its parent where that is `notebooks/`."""
    here = Path.cwd()
    return here.parent if here.name == "notebooks" else here


def store_folder(option: str | Path | None = None) -> Path:
    """`--store`, else LTHPAPER_STORE, else runs/store."""
    return home() / (_given("The store", option) or os.environ.get("LTHPAPER_STORE") or "runs/store")


def _given(what: str, option: object) -> "str | os.PathLike[str] | None":
    """A folder as it was given, None if none was. Raises InputError for what names no folder."""
    if option is None or isinstance(option, str | os.PathLike):
        return option or None
    raise InputError(f"{what} is {option!r}; it must be the name of a folder, a str or a Path.")


def shipped(name: str) -> Path:
    """A folder that an installed wheel has beside the code (hatch_build.py), whether it exists or not."""
    return Path(__file__).parent / "shipped" / name


def published_folder() -> Path | None:
    """`results/` of the project, else the wheel's or the installed checkout's: a read-only layer under the
    store. None without any."""
    return next((f for f in _places("results") if f.is_dir()), None)


def notebook_folder() -> Path:
    """`notebooks/` of the project, else the wheel's or the installed checkout's."""
    there = _places("notebooks")
    return next((f for f in there if f.is_dir()), there[0])


def _places(name: str) -> tuple[Path, ...]:
    return home() / name, shipped(name), CHECKOUT / name


def data_folder(option: str | Path | None = None) -> Path:
    """`--data`, else LTHPAPER_DATA, else data/."""
    return home() / (_given("The data folder", option) or os.environ.get("LTHPAPER_DATA") or "data")


def look_for_data_in(folder: str | Path) -> None:
    """Put a command's data folder into LTHPAPER_DATA, for its process and its children: custom data sets are
    loaded in many places, since only their images tell how many classes and channels a network needs."""
    os.environ["LTHPAPER_DATA"] = str(data_folder(folder).resolve())


def look_for_custom_data(name: str, folder: str | Path | None) -> None:
    """The same for one custom data set, in this process and its workers; None for the default folder."""
    CUSTOM_DATA.pop(name, None)
    if folder:
        CUSTOM_DATA[name] = str(data_folder(folder).resolve())


def figures_folder(
    scale: str, option: str | Path | None = None, changes: Mapping[str, object] | None = None
) -> Path:
    """`--out`, else runs/figures/<scale>; a scale with changes gets its own folder beside it.

    Raises InputError for an `--out` that cannot be written, before anything is trained for it.
    """
    own = Path("runs/figures") / changed(scale, changes or {})
    folder = home() / (_given("The folder of figures (out)", option) or own)
    if option:
        check_out("Figures", folder)
    return folder


def check_out(what: str, folder: Path, option: str = "--out") -> None:
    """Raise InputError for a folder that cannot be written, before any work. what: would be put there.

    A file is written for it: os.access tells root that /proc, or a network's disk, can be written too.
    """
    there = next(f for f in (folder, *folder.parents) if os.path.lexists(f))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        wrong = "cannot be written" if there.is_dir() else "is not a folder"
        raise InputError(
            f"{what} cannot be put into {folder}: {there} {wrong}. Name another place ({option})."
        ) from error


def changed(scale: str, changes: Mapping[str, object]) -> str:
    """The name of a folder for a scale with changes: smoke,seeds=2."""
    said = (f"{name}={_plain(value)}" for name, value in sorted(changes.items()))
    name = re.sub(r"[^\w=.,+-]+", "-", ",".join((scale, *said)))
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _plain(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device(option: object = None) -> str:
    """The device of this name, or torch.device, or the best one here. Raises InputError if it is not here."""
    import torch  # here, since the import takes a second that the other functions do not need

    named = "auto" if option is None else str(option) or "auto"
    if named == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", named):  # torch knows others, on which nothing trains
            raise RuntimeError
        chosen = torch.device(named)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        here = "there are cpu and cuda" if torch.cuda.is_available() else "no GPU was found, so there is cpu"
        raise InputError(f"There is no device {named!r} here; {here}.") from error
    return str(chosen)
