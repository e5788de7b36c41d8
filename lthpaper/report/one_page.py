"""The report: executed notebooks, the scoreboard and the runs behind them as one HTML file, offline.

    sections = [section(name, executed, folder, results) for …]
    write(path, page(title, front, sections, origin, runs))

The page's template, style and scripts are in page/; nbconvert makes each notebook's part of it.
"""

import base64
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lthpaper import locations
from lthpaper.errors import InputError, require
from lthpaper.report import behind
from lthpaper.report.front import Front
from lthpaper.store.entry import replacing

if TYPE_CHECKING:
    from nbformat import NotebookNode

PAGE = Path(__file__).parent / "page"
FIGURE, WORKBENCH = "figure", "workbench"  # tags of cells: draws the figure; only of use where one works
PNG = "image/png"
NOT_INSTALLED = "nbconvert is not installed, which makes the report: pip install 'lthpaper[notebooks]'."


@dataclass(frozen=True)
class Section:
    """A figure on the page. short: its name in the contents. body: HTML. points: report.behind.points."""

    name: str
    title: str
    short: str
    body: str = ""
    error: str = ""
    points: list[dict[str, Any]] = field(default_factory=list)


def section(
    name: str, executed: Path, folder: Path, results: pd.DataFrame | None = None, error: str = ""
) -> Section:
    """An executed notebook as a section. folder: where the figure was published. results: its runs, in
    store.table.COLUMNS. error: why the notebook could not be executed to its end."""
    points = [] if results is None else behind.points(results)
    if not executed.exists():
        return Section(name, name, name, error=error or "its notebook was not executed.")
    notebook = _library("nbformat").read(executed, as_version=4)
    title = _take_title(notebook, name)
    short = title.partition(":")[0]
    alt = _published(notebook, name, folder, points)
    _describe(notebook, alt or title)
    return Section(name, title, short, _body(notebook), error, points)


def _library(name: str) -> Any:
    """A library that makes the report. Raises InputError where it is not installed."""
    try:
        return import_module(name)
    except ImportError as failed:
        raise InputError(NOT_INSTALLED) from failed


def _take_title(notebook: "NotebookNode", name: str) -> str:
    """The notebook's first heading, which is taken out; the others go one level down."""
    title = name
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            lines = cell.source.splitlines()
            if title == name and lines and lines[0].startswith("# "):
                title, lines = lines[0][2:].strip(), lines[1:]
            cell.source = "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines)
    return title


def _published(notebook: "NotebookNode", name: str, folder: Path, points: list[dict[str, Any]]) -> str:
    """Put the published picture, which is sharper, in the place of the notebook's, with links from its marks
    to their points. Its text alternative; "" if it was not published."""
    picture, about = folder / f"{name}.png", folder / f"{name}.json"
    if not picture.exists() or not about.exists():
        return ""
    said = json.loads(about.read_text())
    point_of = {digest: k for k, point in enumerate(points) for digest in point["runs"]}
    marks = [
        {"x": x, "y": y, "to": f"{name}-point-{point_of[digest]}", "title": _point(points[point_of[digest]])}
        for x, y, digest in said.get("marks", [])
        if digest in point_of
    ]
    for cell in notebook.cells:
        if FIGURE in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if PNG in output.get("data", {}):
                    output.data[PNG] = base64.b64encode(picture.read_bytes()).decode()
                    output.metadata[PNG] = {"alt": said.get("alt", ""), "marks": marks}
    return said.get("alt", "")


def _describe(notebook: "NotebookNode", alt: str) -> None:
    """Give every picture a text alternative: the figure's, or for another the words before it. In code, name
    what lies in the project's folder from there: a colleague has no use for the way to it."""
    words, home = "", f"{locations.home().resolve()}{os.sep}"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            words = " ".join(re.sub(r"[#*`]", "", cell.source).split()) or words
        if cell.cell_type != "code":
            continue
        cell.source = cell.source.replace(home, "")
        of_figure = FIGURE in cell.metadata.get("tags", [])
        for output in cell.outputs:
            if PNG in output.get("data", {}):
                output.metadata.setdefault(PNG, {}).setdefault("alt", alt if of_figure else words or alt)


def _point(point: dict[str, Any]) -> str:
    """A point in words, for whoever holds the mouse over it."""
    deviation = "" if point["deviation"] is None else f" ± {point['deviation']:.1f}"
    where = f"{point['setting']}, learning rate {point['lr']:g}, sparsity {point['sparsity']:.3g}"
    return f"{where}, {point['epochs']} epochs: {point['mean']:.1f}{deviation} %, {len(point['runs'])} runs"


def _body(notebook: "NotebookNode") -> str:
    """The notebook's cells as HTML, without those that are only of use where one works."""
    exporters, config = _library("nbconvert.exporters"), _library("traitlets.config").Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {WORKBENCH}
    exporter = exporters.HTMLExporter(
        config=config,
        extra_template_paths=[str(PAGE)],
        template_file="section.html.j2",
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    exporter.register_preprocessor("nbconvert.preprocessors.TagRemovePreprocessor", enabled=True)
    return exporter.from_notebook_node(notebook)[0]


def page(
    title: str, front: Front, sections: Sequence[Section], origin: dict[str, str], runs: dict[str, Any]
) -> str:
    """The whole page. origin: what it was made of, word by word. runs: report.behind.runs."""
    jinja2 = _library("jinja2")
    files = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGE), autoescape=True)
    data = runs | {"figures": {section.name: section.points for section in sections}}
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    css, js = ((PAGE / name).read_text() for name in ("report.css", "report.js"))
    return files.get_template("page.html.j2").render(
        title=title,
        front=front,
        sections=sections,
        origin=origin,
        data=text.replace("</", "<\\/"),
        css=css,
        js=js,
    )


def check_target(path: Path) -> None:
    """Raises InputError if a report cannot be written there; before minutes of work, not after."""
    require(not path.is_dir(), f"{path} is a folder; --out takes the name of a file, report.html for one.")
    require(path.suffix in (".html", ".htm"), f"{path.name} is no name of a page; it must end in .html.")
    locations.check_out("The report", path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Write a page beside its place and rename it, so that it is whole or absent."""
    with replacing(path) as draft:
        draft.write_text(text)
