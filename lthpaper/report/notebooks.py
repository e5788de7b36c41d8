"""Notebooks in batch: strict parameters, several at once as processes, a readable table at the end."""

import functools
import json
import os
import re
import shutil
import sys
import time
import traceback
import typing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

from lthpaper import locations
from lthpaper.errors import InputError, require, suggestion
from lthpaper.report import kernels

BATCH = "LTHPAPER_BATCH"  # an environment variable of kernels that no person sits at
ENDED = (
    "MemoryError: a process that executes notebooks was ended from outside, as the system does when memory "
    "runs out. Execute fewer at once: --jobs 1"
)
TYPES = {"int": int, "float": float, "str": str, "bool": bool, "list": list}


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended. error: "" or the exception in a line, with the cell that raised it."""

    name: str
    executed: Path
    seconds: float
    error: str = ""
    cell: str = ""


def find(folder: Path) -> dict[str, Path]:
    """Figure name -> notebook, in the paper's order: NN_<name>_<words>.ipynb."""
    named = [
        (re.fullmatch(r"\d\d_([a-z0-9-]+)(_.*)?\.ipynb", p.name), p) for p in sorted(folder.glob("*.ipynb"))
    ]
    found = {match[1]: path for match, path in named if match and path.is_file()}
    require(
        bool(found),
        f"There are no notebooks in {folder}. Copy them with `lthpaper notebooks copy`, or name their folder "
        "with --notebooks.",
    )
    return found


def copy(to: Path, replace: bool = False) -> tuple[list[Path], list[Path]]:
    """Copy the project's notebooks to a folder: those written, and those that were there and are kept.

    replace: whether notebooks of the same name are written over. Raises InputError for a folder that they
    are copied from.
    """
    source = locations.notebook_folder()
    require(to.resolve() != source.resolve(), f"The notebooks lie in {source} already; name another folder.")
    to.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for path in find(source).values():
        target = to / path.name
        if target.exists() and not replace:
            kept.append(target)
        else:
            shutil.copyfile(path, target)
            written.append(target)
    return written, kept


def title(notebook: Path) -> str:
    """The first heading of a notebook, without what names the figure; "" for a file that has none."""
    try:
        cells = json.loads(notebook.read_text())["cells"]
        first = "".join(cells[0]["source"]).splitlines()[0]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return first.lstrip("# ").strip()


def parameters(notebook: Path) -> dict[str, dict[str, Any]]:
    """Name -> {"inferred_type_name", "default", "help"} of a notebook's parameters cell."""
    try:
        papermill = _papermill()
    except ImportError as error:  # a machine that only trains may lack it
        raise InputError(
            "papermill, which executes the notebooks, is not installed. Install it where lthpaper's checkout "
            "is: .venv/bin/pip install -e '.[notebooks]'"
        ) from error
    try:
        return papermill.inspect_notebook(_literal(notebook))
    except Exception as error:  # whatever a file that is no notebook does to nbformat and papermill
        raise InputError(
            f"{notebook} cannot be read as a notebook ({type(error).__name__}: {error})."
        ) from error


def _papermill() -> ModuleType:
    """papermill, imported in half the time: without the grammar by which jsonschema checks addresses in other
    scripts than Latin, of which a notebook's schema has none."""
    grammar = "rfc3987_syntax"
    without = {} if grammar in sys.modules else {grammar: None}
    sys.modules.update(without)  # type: ignore[arg-type]
    try:
        import papermill
    finally:
        for name in without:
            del sys.modules[name]
    return papermill


def _literal(path: Path) -> str:
    """A path for papermill, which takes braces in it for names of parameters to put in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def checked(notebook: Path, given: Mapping[str, str], hint: str = "") -> dict[str, Any]:
    """Values from the command line as the types that the notebook declares.

    Raises InputError for a name that it does not have, with the hint, or a value of another type.
    """
    known = parameters(notebook)
    values = {}
    for name, text in given.items():
        require(
            name in known,
            f"{notebook.name} has no parameter {name!r}.{suggestion(name, known)} It has: "
            f"{', '.join(known)}.{hint}",
        )
        values[name] = _value(name, known[name]["inferred_type_name"], text)
    return values


def _value(name: str, kind: str, text: str) -> Any:
    try:
        text.encode()  # bytes that are no text cannot be written into a notebook
        if kind == "list":
            items = [item.strip() for item in text.strip("[]() ").split(",") if item.strip()]
            return [_number(item) for item in items] if _of_numbers(name) else items
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        return TYPES[kind](text)
    except (KeyError, ValueError):
        example = {"list": "0.01,0.1", "bool": "true", "int": "3", "float": "0.1"}.get(kind, "text")
        raise InputError(f"Parameter {name} is {text!r}; it takes a value like {example} ({kind}).") from None


def _of_numbers(name: str) -> bool:
    """Whether a list holds numbers, as the scale's field of that name does; patterns of weights are text."""
    from lthpaper.runs.scales import Scale

    item = typing.get_args(typing.get_type_hints(Scale).get(name))
    return bool(item) and item[0] is not str


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def execute_all(
    chosen: Mapping[str, Path], values: Mapping[str, Mapping[str, Any]], out: Path, jobs: int
) -> Iterator[Outcome]:
    """Execute notebooks, `jobs` at a time, in processes of their own; outcomes as they come.

    An interrupt ends the kernels; one that trains stops cleanly, with a checkpoint.
    """
    out.mkdir(parents=True, exist_ok=True)
    jobs = max(1, min(jobs, len(chosen)))
    # Elsewhere a fork is not safe, and a process that executes one notebook gains nothing by it.
    forks = sys.platform == "linux" and len(chosen) > jobs
    spawn = get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    with ProcessPoolExecutor(jobs, spawn, initializer=kernels.end_when, initargs=(theirs,)) as pool:
        pending = {
            pool.submit(_execute, n, path, dict(values[n]), out / path.name, forks): n
            for n, path in chosen.items()
        }
        try:
            for future in as_completed(pending):
                try:
                    yield future.result()
                except BrokenProcessPool:  # all that were not done
                    name = pending[future]
                    yield Outcome(name, out / chosen[name].name, 0.0, ENDED)
        finally:  # after an interrupt nothing begins any more, and what has begun ends
            ours.close()
            pool.shutdown(cancel_futures=True)


def _execute(name: str, notebook: Path, values: dict[str, Any], executed: Path, forks: bool) -> Outcome:
    papermill = _papermill()
    from papermill.exceptions import PapermillExecutionError

    with open(executed.with_suffix(".log"), "w") as log:
        os.dup2(log.fileno(), 2)  # what kernels say on stderr, which nobody wants between the lines
    os.environ[BATCH] = "1"  # the kernel's too
    os.environ.pop("MPLBACKEND", None)  # one without a screen would leave the notebook without its pictures
    began = time.perf_counter()
    error, cell = "", ""
    execute = functools.partial(
        papermill.execute_notebook,
        _literal(notebook),
        _literal(executed),
        values,
        kernel_name="python3",
        cwd=str(locations.home()),
        progress_bar=False,
        log_output=False,
    )
    try:
        kernels.executed(execute, forks)
    except PapermillExecutionError as failed:
        error, cell = f"{failed.ename}: {failed.evalue}", f"cell {failed.exec_count}"
    except Exception as failed:  # a kernel that cannot start or dies, a folder that cannot be written
        error = "".join(traceback.format_exception_only(failed)).strip()
    return Outcome(name, executed, time.perf_counter() - began, error, cell)


def select(names: Sequence[str], folder: Path) -> dict[str, Path]:
    """The notebooks of some figures, all if none are named. Raises InputError for an unknown name."""
    known = find(folder)
    for name in names:
        hint = suggestion(name, known)
        own = " To draw a figure of your own without a notebook: lth.study(NAME).draw()." * (":" in name)
        require(name in known, f"There is no notebook of {name!r}.{hint} There are: {', '.join(known)}.{own}")
    return {name: path for name, path in known.items() if not names or name in names}
