"""The site that `make docs` builds by Sphinx: README, these pages, the executed notebooks, the reference."""

import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import lthpaper  # noqa: E402

project = "lthpaper"
author = "the authors of lthpaper"
copyright = f"{datetime.now(UTC).year}, {author}"
version = release = lthpaper.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["cluster/README.md"]
html_theme = "sphinx_book_theme"
html_title = "lthpaper"
html_static_path = ["_static"]
html_css_files = ["wrapped.css"]
html_theme_options = {"home_page_in_toc": True, "show_toc_level": 2, "navbar_persistent": []}

nb_execution_mode = "off"  # the notebooks come executed, by `make figures`
myst_heading_anchors = 3
autodoc_member_order = "bysource"
copybutton_selector = "div:not(.output) > div.highlight pre"


def _bring(app) -> None:
    """Copy the notebooks and the files that the README links to: Sphinx reads no other folder than this.

    A notebook comes as `make figures` executed it, else bare.
    """
    root = HERE.parent
    (HERE / "notebooks").mkdir(exist_ok=True)
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        executed = root / "runs" / "notebooks" / "laptop" / notebook.name
        shutil.copy(executed if executed.exists() else notebook, HERE / "notebooks")
    (HERE / "data").mkdir(exist_ok=True)
    shutil.copy(root / "data" / "README.md", HERE / "data")
    shutil.copy(root / "CITATION.cff", HERE)


def _as_rst(app, what, name, obj, options, lines) -> None:
    """Docstrings here are plain text: `code` in single backticks, examples as indented blocks."""
    found, block = [], False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not block and (not found or not found[-1].strip()):
            found += ["::", ""]
        block = indented or (block and not line.strip())
        found.append(line if indented else re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line))
    lines[:] = found


def setup(app) -> None:
    app.connect("autodoc-process-docstring", _as_rst)
    app.connect("builder-inited", _bring, priority=100)
