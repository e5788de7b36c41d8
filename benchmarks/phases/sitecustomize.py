"""Count the processor seconds of what a command does, in every process that it starts.

Python imports a module of this name at its start, from PYTHONPATH. Nothing is imported here that the command
would not import itself, and lthpaper's functions are wrapped when their module has been imported.
"""

import os
import sys
import time
from _thread import get_ident
from collections.abc import Callable
from typing import Any

FOLDER = os.environ.get("LTHPAPER_PHASES", "")  # one file per process
PHASES = {  # module -> name in it -> phase
    "lthpaper.sweep.plan": {"plan": "planning"},
    "lthpaper.sweep.measure": {"speeds": "calibration"},
    "lthpaper.data": {"load": "loading data"},
    "lthpaper.training.start": {"start": "masks and starts"},
    "lthpaper.training.forms": {"_pack_form": "networks as packs"},
    "lthpaper.training.pack": {
        "Pack.__init__": "beginning a pack",
        "Pack.train_epoch": "training",
        "Pack.evaluate": "evaluation",
    },
    "lthpaper.store.checkpoints": {"Checkpoints.save": "checkpoints"},
    "lthpaper.store.store": {"Store.put": "writing results", "Store.get": "reading results"},
    "lthpaper.store.published": {"Published.__init__": "reading results"},
    "lthpaper.measures.surfaces": {"Evaluator.__init__": "surfaces", "Evaluator.__call__": "surfaces"},
    "lthpaper.measures.overlaps": {"measure": "measuring weights"},
    "lthpaper.measures.contours": {"measure": "measuring weights"},
    "lthpaper.measures.stability": {"barriers": "measuring weights"},
    "lthpaper.report.findings": {"findings": "verdicts and findings"},
    "lthpaper.verdicts.tickets": {"verdicts": "verdicts and findings"},
    "lthpaper.figures.publish": {"publish": "writing the picture", "sources": "provenance"},
    "lthpaper.studies": {"Study.draw": "drawing"},
    "matplotlib.figure": {"Figure.draw": "drawing"},
    "matplotlib.backend_bases": {"FigureCanvasBase.print_figure": "drawing"},
    "papermill": {"execute_notebook": "papermill"},
}

spent: dict[str, float] = {}
inside: list[str] = []
since = 0.0
forked = False


def kind() -> str:
    """What this process is."""
    words = " ".join(sys.orig_argv)
    if "multiprocessing.forkserver" in words:
        return "kernel" if forked else "fork server"
    if "lthpaper.sweep.processes" in words:
        return "worker"
    if "ipykernel_launcher" in words:
        return "kernel"
    return "papermill" if "multiprocessing" in words else "command"


def counted(function: Callable, phase: str) -> Callable:
    """The function; its time counts for the phase, less that of phases within."""

    def call(*args: Any, **kwargs: Any) -> Any:
        enter(phase)
        try:
            return function(*args, **kwargs)
        finally:
            leave()

    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__wrapped__", "cache_clear"):
        if hasattr(function, name):
            setattr(call, name, getattr(function, name))
    return call


def enter(phase: str) -> None:
    passed()
    inside.append(phase)


def leave() -> None:
    passed()
    inside.pop()
    if not inside:
        write()


def passed() -> None:
    """The time since the last change belongs to the innermost phase."""
    global since
    now = time.process_time()
    name = inside[-1] if inside else "the rest"
    spent[name] = spent.get(name, 0.0) + now - since
    since = now


def begin_anew() -> None:
    """A fork's clock is at zero; what was spent before is its server's."""
    global since, forked
    forked, since = True, 0.0
    spent.clear()
    inside.clear()


def write() -> None:
    """A worker is ended without a last word, so the file is complete at all times."""
    text = "\n".join(f"{seconds:.6f} {name}" for name, seconds in spent.items())
    with open(f"{FOLDER}/{os.getpid()}.{get_ident()}.draft", "w") as file:
        file.write(f"{kind()}\n{text}\n")
    os.replace(file.name, f"{FOLDER}/{os.getpid()}.txt")


def wrap(name: str) -> None:
    """Wrap what a module defines."""
    module = sys.modules.get(name)
    for path, phase in PHASES.pop(name).items():
        owner, _, last = path.rpartition(".")
        where = getattr(module, owner) if owner else module
        setattr(where, last, counted(vars(where)[last], phase))


if FOLDER:
    os.register_at_fork(after_in_child=begin_anew)
    import _frozen_importlib

    find = _frozen_importlib._find_and_load

    def find_and_count(name: str, import_: Any) -> Any:
        enter("imports")
        try:
            return find(name, import_)
        finally:
            if name in PHASES and name in sys.modules:
                wrap(name)
            leave()

    _frozen_importlib._find_and_load = find_and_count
