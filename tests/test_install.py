"""What `pip install` gives: an editable checkout, found anywhere; a wheel that works in an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lthpaper import locations
from lthpaper.cli.main import app
from lthpaper.errors import InputError
from lthpaper.report import notebooks

wheel_builder = pytest.importorskip("hatchling.builders.wheel", reason="the extra 'dev' is not installed")

ROOT = Path(__file__).resolve().parents[1]
PROJECT_FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE")


@pytest.fixture
def clone(tmp_path) -> Path:
    """The part of a clone that a build reads, named as `git clone` names it, with results."""
    clone = tmp_path / "clone's parent" / "lthpaper"
    clone.mkdir(parents=True)
    for name in PROJECT_FILES:
        shutil.copy(ROOT / name, clone)
    for name in ("lthpaper", "notebooks"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "results").mkdir()
    (clone / "results" / "index.json").write_text("{}")
    return clone


def built(clone: Path, version: str, to: Path) -> Path:
    """Where a wheel is unpacked, as pip does."""
    (wheel,) = wheel_builder.WheelBuilder(str(clone)).build(directory=str(to / "dist"), versions=[version])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(to / "site")
    return to / "site"


def python(script: str, cwd: Path, *options: str, **env: str) -> str:
    """What a script prints in a Python without any project on its path; with -S, without any install."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LTHPAPER_"))} | env
    done = subprocess.run(
        [sys.executable, *options, "-c", script],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_an_editable_install_is_found_from_the_clones_parent_folder(clone, tmp_path):
    """There a folder `lthpaper` lies where one works, without being the package."""
    site = built(clone, "editable", tmp_path / "built")
    find = f"""
import importlib.util, site
site.addsitedir({str(site)!r})
print(importlib.util.find_spec("lthpaper").origin)
"""
    assert not (clone.parent / "lthpaper" / "__init__.py").exists()
    assert Path(python(find, clone.parent, "-S")) == clone / "lthpaper" / "__init__.py"


def test_a_wheel_carries_the_notebooks_and_the_results_and_works_in_an_empty_folder(clone, tmp_path):
    drafts = clone / "notebooks" / ".ipynb_checkpoints"  # where JupyterLab leaves them
    drafts.mkdir(exist_ok=True)
    (drafts / "01-checkpoint.ipynb").write_text("{}")
    (clone / "results" / "private.txt").write_text("not for others")
    site = built(clone, "standard", tmp_path / "built")
    empty = tmp_path / "empty"
    empty.mkdir()
    said = python(
        "from lthpaper import locations; from lthpaper.report import notebooks; "
        "print(locations.published_folder()); print(len(notebooks.find(locations.notebook_folder())))",
        empty,
        PYTHONPATH=str(site),
    ).splitlines()
    shipped = site / "lthpaper" / "shipped"
    assert said == [str(shipped / "results"), str(len(list((ROOT / "notebooks").glob("*.ipynb"))))]
    assert [path.name for path in (shipped / "results").iterdir()] == ["index.json"]
    assert {path.suffix for path in (shipped / "notebooks").iterdir()} == {".ipynb"}
    page = {path.name for path in (site / "lthpaper" / "report" / "page").iterdir()}
    assert page == {path.name for path in (ROOT / "lthpaper" / "report" / "page").iterdir()}
    copied = python(
        "from lthpaper.cli.main import app; app(['notebooks', 'copy'])", empty, PYTHONPATH=str(site)
    )
    assert "notebooks copied to" in copied
    assert {p.name for p in (empty / "notebooks").iterdir()} == {
        p.name for p in (ROOT / "notebooks").glob("*.ipynb")
    }


def test_copying_notebooks_keeps_what_is_there_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(app, ["notebooks", "copy", "mine"])
    assert first.exit_code == 0
    mine = tmp_path / "mine" / "01_fig1_preliminary.ipynb"
    original = mine.read_text()
    mine.write_text("mine")
    assert "were there and are kept" in CliRunner().invoke(app, ["notebooks", "copy", "mine"]).output
    assert mine.read_text() == "mine"
    CliRunner().invoke(app, ["notebooks", "copy", "mine", "--replace"])
    assert mine.read_text() == original


def test_notebooks_are_not_copied_onto_themselves():
    with pytest.raises(InputError, match="already; name another folder"):
        notebooks.copy(locations.notebook_folder())
