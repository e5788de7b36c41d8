"""Send entries and checkpoints as bytes to machines without a shared folder. What arrives is checked.

A parcel maps a path in a store, "<entry>/<file>" or ".checkpoints/<file>", to the file's content.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from lthpaper.errors import InputError
from lthpaper.runs.run import Run
from lthpaper.store.checkpoints import FOLDER as CHECKPOINTS
from lthpaper.store.entry import is_name, replacing, sync_names
from lthpaper.store.logs import FOLDER as LOGS
from lthpaper.store.merge import CONFLICT, REFUSED, bring
from lthpaper.store.store import Store

Parcel = dict[str, bytes]


def needed(runs: Iterable[Run], store: Store) -> Parcel:
    """What another machine needs to train these runs: their parents' entries, their own state.

    A run whose mask is published has no entries of parents, and its job brings the mask along.
    """
    parents = {parent for run in runs for parent in run.parents}
    parcel: Parcel = {}
    for parent in parents:
        for path in store.entry(parent).glob("*"):
            if is_name(path.name):
                parcel[f"{parent.name}/{path.name}"] = path.read_bytes()
    return parcel | state(runs, store.folder)


def state(runs: Iterable[Run], folder: Path) -> Parcel:
    """Checkpoints and logs of runs under way."""
    parcel: Parcel = {}
    for name in state_paths(runs):
        try:
            parcel[name] = (folder / name).read_bytes()
        except FileNotFoundError:  # there is none yet, or the result has just replaced it
            continue
    return parcel


def state_paths(runs: Iterable[Run]) -> list[str]:
    """Where in a store the checkpoints and logs of runs are."""
    return [
        name for run in runs for name in (f"{CHECKPOINTS}/{run.name}.safetensors", f"{LOGS}/{run.name}.log")
    ]


def results(runs: Iterable[Run], folder: Path) -> Parcel:
    """The entries of finished runs, and the state of the others."""
    runs = list(runs)
    parcel = state(runs, folder)
    for run in runs:
        for path in (folder / run.name).glob("*"):
            parcel[f"{run.name}/{path.name}"] = path.read_bytes()
    return parcel


def unpack(parcel: Parcel, folder: Path, runs: Iterable[Run]) -> None:
    """Write a parcel to a folder; only files that entries and checkpoints of these runs can have."""
    runs = list(runs)
    entries = {run.name for run in runs} | {parent.name for run in runs for parent in run.parents}
    states = set(state_paths(runs))
    for name, content in parcel.items():
        first, _, file = name.partition("/")
        if name in states or (first in entries and is_name(file)):
            path = folder / first / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                draft.write_bytes(content)


def take_in(parcel: Parcel, store: Store, runs: Iterable[Run]) -> None:
    """Merge the results of another machine into the store. One of other bits than the store's is kept or set
    aside by the rule of `Store.complete`. Raises InputError if one is refused."""
    runs = list(runs)
    names = {run.name for run in runs}
    store.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-parcel-", dir=store.folder) as folder:
        entries = {name: content for name, content in parcel.items() if name.partition("/")[0] in names}
        unpack(entries, Path(folder), runs)
        for brought in bring(Path(folder), store):
            if brought.outcome == CONFLICT:
                with store.draft(brought.name) as draft:
                    for path in (Path(folder) / brought.name).iterdir():
                        path.rename(draft / path.name)
                    store.complete(store.folder / brought.name, draft)
                sync_names(store.folder)
            elif brought.outcome == REFUSED:
                raise InputError(
                    f"The result {brought.name} that another machine sent is refused: {brought.what}. "
                    "The same command trains it again."
                )
    unpack({name: content for name, content in parcel.items() if name not in entries}, store.folder, runs)
