"""What the pages tell a reader to type works: their Python is executed, their commands are parsed."""

import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_lines import parse

from lthpaper.data import SOURCES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Fewer epochs, rounds and seeds: enough to see that the code runs.
SHORTER = (
    (r"epochs=\d+", "epochs=1"),
    (r"milestones=\([^)]*\)", "milestones=()"),
    (r"rounds=\(4, 8\)", "rounds=(1,)"),
    (r"rounds=8", "rounds=2"),
    (r"seeds=3", "seeds=1"),
)
ONE_CORE = """\
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one worker: this process
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """(file that a block is to be, "" for one that is run; its text), in the page's order."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        before = text[: match.start()].rpartition("\n\n")[0].rpartition("\n\n")[2]
        named = re.findall(r"`([\w/]+\.py)`", before)
        found.append((named[-1] if named else "", match[1]))
    return found


def run(folder: Path, source: str) -> str:
    """What a script prints that runs in `folder`, whose modules come before all others."""
    script = folder / "run_the_page.py"
    script.write_text(ONE_CORE + source)
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_what_adding_md_adds_is_found_by_its_name_and_trains(tmp_path):
    """In a copy of the package, with the files of the page where it says that they go."""
    shutil.copytree(ROOT / "lthpaper", tmp_path / "lthpaper", ignore=shutil.ignore_patterns("__pycache__"))
    parts = blocks(ROOT / "docs" / "adding.md")
    added = {name: text for name, text in parts if name}
    places = {"networks", "data", "runs", "figures"}
    assert places == {Path(name).parts[1] for name in added if name.startswith("lthpaper/")}
    for name, text in added.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    (tmp_path / "results").symlink_to(ROOT / "results")
    said = run(tmp_path, "\n".join(text for name, text in parts if not name))
    assert re.search(r"\(Run\(resnet20-cifar10-16-\w+, LTconstant-IMP, lr=0.01, seed=1\),\)", said)  # alone
    assert "6 runs" in said  # the five settings at one sparsity, and pretraining
    assert (tmp_path / "runs" / "adding-figures" / "densities.png").is_file()


def test_the_python_of_the_readme_runs_as_it_stands_but_for_its_length(tmp_path):
    source = "\n".join(text for _, text in blocks(ROOT / "README.md"))
    for long, short in SHORTER:
        assert re.search(long, source), f"{long} is not in the README any more"
        source = re.sub(long, short, source)
    said = run(tmp_path, source)
    assert "ticket" in said  # the verdict's reason


TOLD = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"]
TOLD += sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def commands() -> list[tuple[str, str]]:
    """(page, command) for every `lthpaper ...` of a block, and for those in a sentence that have options."""
    block = re.compile(r"^(?: {4}\S*)?lthpaper +(.*(?:\\\n.*)*)$", re.MULTILINE)
    inline = re.compile(r"`lthpaper +([a-z][^`]* --[^`]*)`")
    return [
        (page.name, " ".join(text.replace("\\\n", " ").split("#")[0].split()))
        for page in TOLD
        for kind in (block, inline)
        for text in kind.findall(page.read_text())
    ]


@pytest.mark.parametrize(("page", "command"), [found for found in commands() if "COMMAND" not in found[1]])
def test_every_command_of_the_pages_is_one(page, command, monkeypatch):
    """Its name, its options and their values are those of the command; it is not run."""
    monkeypatch.setenv("LTHPAPER_DATA", "")  # parsing --data sets it
    parse(command)


@pytest.mark.parametrize(
    "line", ["plam fig1", "plan fig1 --scal laptop", "results audit --sample no", "store"]
)
def test_a_command_that_is_none_would_be_seen(line):
    with pytest.raises(Exception, match=r"no command|No such option|valid integer"):
        parse(line)


# --- names ---

NAMED = re.compile(r"`(?:python -m )?((?:lthpaper|benchmarks)(?:\.\w+)+)")


@pytest.mark.parametrize("page", TOLD, ids=lambda p: p.name)
def test_every_module_and_function_that_a_page_names_exists(page):
    for name in NAMED.findall(page.read_text()):
        pkgutil.resolve_name(name)


def test_a_name_that_is_none_would_be_seen():
    for text, unknown in (
        ("see `lthpaper.data.row_groups.read(path)`", "row_groups"),
        ("`python -m benchmarks.pears --rounds 5`", "pears"),
    ):
        (name,) = NAMED.findall(text)
        with pytest.raises(AttributeError, match=unknown):
            pkgutil.resolve_name(name)


def test_the_readme_lists_every_notebook():
    text = (ROOT / "README.md").read_text()
    there = ["_".join(path.stem.split("_")[:2]) for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert not [name for name in there if f"`{name}`" not in text]


def test_the_page_on_data_lists_every_data_set():
    text = (ROOT / "data" / "README.md").read_text()
    assert not [name for name in SOURCES if f"| `{name}` |" not in text]


# --- links ---

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
WRITTEN = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md", *PAGES]
WRITTEN += [*sorted((ROOT / "docs").glob("*/*.md"))]


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ +(.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def broken(page: Path, text: str) -> list[str]:
    """Links of a page that lead nowhere in this repository; those to elsewhere are not followed."""
    found = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: p.name)
def test_every_link_of_the_pages_leads_somewhere(page):
    assert not broken(page, page.read_text())


def test_a_link_that_leads_nowhere_would_be_seen():
    text = "[a](docs/nowhere.md) [b](README.md#no-such-heading) [c](README.md#citing) [d](https://x.org/y)"
    assert broken(ROOT / "README.md", text) == ["docs/nowhere.md", "README.md#no-such-heading"]


def test_pandas_alone_gives_the_leads_that_the_readme_states():
    (block,) = [text for name, text in blocks(ROOT / "docs" / "results.md") if not name]
    found: dict[str, Any] = {}
    exec(block.replace('"results/', f'"{ROOT}/results/'), found)
    means = found["lead"]["mean"].round(1)
    readme = " ".join((ROOT / "README.md").read_text().split())
    said = re.search(
        r"at learning rate 0.005 .* by (\S+) points at .* and (\S+) at .*shrinks to (\S+) and (\S+?)\.\s",
        readme,
    )
    assert said
    places = [(lr, s) for lr in (0.005, 0.1) for s in (0.832, 0.914)]
    assert [float(number) for number in said.groups()] == [means.loc[place] for place in places]
