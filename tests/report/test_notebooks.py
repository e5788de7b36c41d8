"""Notebooks in batch: parameters are checked before anything starts, and a failure says how to repeat it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lthpaper import locations
from lthpaper.cli import main as cli
from lthpaper.errors import InputError
from lthpaper.report import kernels, notebooks
from lthpaper.report.parameters import ARGUMENTS

pytest.importorskip("papermill", reason="the extra 'notebooks' is not installed")

PARAMETERS = """\
words: str = ""  # any text
count: int = 0  # how many
share: float = 0.5  # of one
really: bool = False  # or not
learning_rates: list = []  # numbers
prunable: list = []  # patterns
store: str = ""  # folder of results
"""
INJECTION = "1; import os"


def write(folder: Path, name: str, *cells: str) -> Path:
    """A notebook whose first cell holds the parameters."""
    made = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {"tags": ["parameters"] if i == 0 else []}}
        | {"execution_count": None, "outputs": [], "source": source}
        for i, source in enumerate((PARAMETERS, *cells))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(json.dumps({"cells": made, "metadata": about, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def notebook(tmp_path) -> Path:
    return write(tmp_path / "sheets", "01_tiny_words.ipynb", "raise LookupError(f'[/{words}] {count}')")


def test_values_become_what_the_notebook_declares(notebook):
    given = {"words": "3", "count": "3", "share": "1e-3", "really": "TRUE", "learning_rates": "[0.1, 1]"}
    found = notebooks.checked(notebook, given)
    assert found == {"words": "3", "count": 3, "share": 0.001, "really": True, "learning_rates": [0.1, 1]}
    assert [type(found[name]) for name in ("words", "count", "really")] == [str, int, bool]
    assert notebooks.checked(notebook, {"prunable": "a.*, b.weight"}) == {"prunable": ["a.*", "b.weight"]}
    assert notebooks.checked(notebook, {"learning_rates": ""}) == {"learning_rates": []}


def test_an_unknown_parameter_is_refused_with_those_that_there_are(notebook):
    with pytest.raises(
        InputError,
        match=r"01_tiny_words.ipynb has no parameter 'word'. Did you mean 'words'\? It has: words, count",
    ):
        notebooks.checked(notebook, {"word": "x"})


@pytest.mark.parametrize("name", ["count", "share", "really", "learning_rates"])
@pytest.mark.parametrize("text", ["x", INJECTION, "__import__('os')", "1\nimport os", "1 if True else 2"])
def test_text_where_a_number_belongs_is_refused(notebook, name, text):
    with pytest.raises(InputError, match=f"Parameter {name} is .*; it takes a value like"):
        notebooks.checked(notebook, {name: text})


def test_a_fraction_is_no_count(notebook):
    with pytest.raises(InputError, match=r"Parameter count is '1\.5'"):
        notebooks.checked(notebook, {"count": "1.5"})


@pytest.mark.parametrize("text", [INJECTION, '"; import os; "', "'''\nimport os\n'''", "a\\", "é [/b] #"])
def test_text_stays_text_in_the_cell_that_is_executed(notebook, text):
    from papermill.translators import papermill_translators

    kernel, values = papermill_translators.find_translator("python3", "python"), {}
    exec(kernel.codify(notebooks.checked(notebook, {"words": text, "prunable": text})), values)
    assert values["words"] == text
    assert values["prunable"] == [item.strip() for item in text.strip("[]() ").split(",")]
    assert "os" not in values


def test_notebooks_are_chosen_by_their_names_in_the_papers_order(notebook):
    other = write(notebook.parent, "02_other_things.ipynb")
    assert notebooks.select([], notebook.parent) == {"tiny": notebook, "other": other}
    assert notebooks.select(["other"], notebook.parent) == {"other": other}
    with pytest.raises(InputError, match=r"There is no notebook of 'fig1'\. There are: tiny, other"):
        notebooks.select(["fig1"], notebook.parent)


def test_a_folder_without_notebooks_is_named(tmp_path):
    with pytest.raises(InputError, match=r"There are no notebooks in .*nowhere"):
        notebooks.find(tmp_path / "nowhere")


def test_every_figure_has_its_notebook():
    from lthpaper.figures import FIGURES

    found = notebooks.find(Path(notebooks.__file__).parents[2] / "notebooks")
    assert set(FIGURES) <= set(found)


def test_every_parameter_of_a_notebook_is_passed_on_or_read_by_a_cell():
    for path in notebooks.find(Path(notebooks.__file__).parents[2] / "notebooks").values():
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        others = [cell for cell in cells if "parameters" not in cell["metadata"].get("tags", ())]
        code = "\n".join("".join(cell["source"]) for cell in others)
        for name in notebooks.parameters(path):
            assert name in ARGUMENTS or re.search(rf"\b{name}\b", code), (path.name, name)


def test_a_machine_without_papermill_is_told_what_to_install(notebook, monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    with pytest.raises(InputError, match="pip install"):
        notebooks.parameters(notebook)


def test_a_failing_notebook_gives_cell_exception_path_and_a_command_that_can_be_pasted(
    notebook, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, value in {"COLUMNS": "400", "IPYTHONDIR": str(tmp_path / "ipython")}.items():
        monkeypatch.setenv(name, value)
    options = ["--scale", "smoke", "--set", f"words={INJECTION}", "--set", "count=7"]
    options += ["--store", "my results", "--data", "pictures", "--out", "drawn", "--notebooks", "sheets"]
    words = ["lthpaper", "figures", "tiny", *options, "--device", "cpu"]

    def figures(*words: str) -> tuple[int, str, str]:
        # fixed parameters that the notebook does not declare (scale, out, …) only make papermill warn
        monkeypatch.setattr(sys, "argv", list(words))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code, *capsys.readouterr())

    status, out, _ = figures(*words)
    assert status == 1
    folder = locations.changed("smoke", {"words": INJECTION, "count": "7"})
    assert re.fullmatch(r"smoke,count=7,words=[\w=.,+-]+", folder)
    executed = tmp_path / "runs" / "notebooks" / folder / notebook.name
    assert executed.exists()
    row = next(line for line in out.splitlines() if "LookupError" in line)
    assert f"LookupError: [/{INJECTION}] 7" in row
    assert "cell 3" in row  # parameters, those injected, and the one that raised
    assert f"  {executed}" in out.splitlines()  # whole, however narrow the terminal
    again = next(line for line in out.splitlines() if line.strip().startswith("lthpaper figures"))
    assert shlex.split(again) == words
    assert str(tmp_path / "drawn") in out

    status, _, err = figures(*words, "--set", "wrong=1")
    assert status == 2
    assert "has no parameter 'wrong'" in err


def test_a_drawn_figure_says_how_many_of_its_runs_it_shows(tmp_path, monkeypatch, capsys):
    source = "import json; from pathlib import Path; Path(out).mkdir(parents=True, exist_ok=True)"
    of_runs = "; (Path(out) / f'{words}.json').write_text(json.dumps({'results': 72, 'runs': 1090}))"
    write(tmp_path / "sheets", "01_tiny.ipynb", "out: str\n" + source + of_runs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for words, says in (("other", r"tiny: drawn in \d+ s\n"), ("tiny", "s, from 72 of 1,090 runs\n")):
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "lthpaper",
                "figures",
                "tiny",
                "--set",
                f"words={words}",
                "--notebooks",
                "sheets",
                "--out",
                "drawn",
            ],
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None)
        assert re.search(says, capsys.readouterr().out)


def test_braces_in_a_folders_name_are_no_parameters(tmp_path):
    from papermill import parameterize

    sheet = write(tmp_path / "{words} {0} {pm.__class__}", "01_tiny_words.ipynb", "assert count == 3")
    assert notebooks.checked(sheet, {"count": "3"}) == {"count": 3}
    taken = parameterize.parameterize_path(notebooks._literal(sheet), {"words": "elsewhere"})
    assert taken == str(sheet)


@pytest.mark.parametrize("text", ["", "{}", "[" * 5000, "\x00", '{"cells": 3, "nbformat": 4}'])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "01_tiny.ipynb").write_text(text)
    with pytest.raises(InputError, match="cannot be read as a notebook"):
        notebooks.checked(tmp_path / "01_tiny.ipynb", {"count": "3"})


def test_bytes_that_are_no_text_are_refused(notebook):
    with pytest.raises(InputError, match="Parameter words"):
        notebooks.checked(notebook, {"words": b"\xff".decode(errors="surrogateescape")})


# --- what an executed notebook holds ---


def test_every_picture_is_shown_not_the_first_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    drawing = "from lthpaper.figures import style\nimport matplotlib.pyplot as plt\n"
    drawing += "with style.paper_style(), plt.rc_context({'axes.grid': False}):\n    plt.subplots()"
    outcome = executed(write(tmp_path / "sheets", "01_tiny.ipynb", drawing, drawing), tmp_path)
    cells = json.loads(outcome.executed.read_text())["cells"][-2:]
    assert outcome.error == ""
    assert [["image/png" in output.get("data", {}) for output in cell["outputs"]] for cell in cells] == [
        [True]
    ] * 2


# --- kernels ---


def executed(notebook: Path, tmp_path: Path) -> notebooks.Outcome:
    """The outcome of a notebook, executed in batch."""
    (outcome,) = notebooks.execute_all({"tiny": notebook}, {"tiny": {}}, tmp_path / "out", 1)
    return outcome


def test_a_kernel_killed_for_its_memory_is_named_as_that(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    killed = write(
        tmp_path / "sheets", "01_tiny.ipynb", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    error = executed(killed, tmp_path).error
    assert re.match(r"MemoryError: the kernel was killed .* when memory runs out", error)
    assert "--jobs 1" in error


def test_a_kernel_that_ends_of_itself_is_named_with_its_status(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    ended = write(tmp_path / "sheets", "01_tiny.ipynb", "import os; os._exit(3)")
    assert "the kernel died with status 3" in executed(ended, tmp_path).error


FORKED = """\
import os, signal, sys
assert "seaborn" in sys.modules and "torch" in sys.modules
assert os.getcwd() == {home!r} and os.environ["LTHPAPER_BATCH"] == "1"
assert os.getpgid(0) == os.getpid() and sys.argv[0] == "ipykernel_launcher"
os.write(2, b"<said by {name}>")
{last}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux")
def test_kernels_of_several_notebooks_have_their_imports_and_are_else_as_ordinary_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    drawn = "import matplotlib.pyplot as plt; plt.subplots()"
    last = {"one": drawn, "two": "os.kill(os.getpid(), signal.SIGKILL)", "three": "os._exit(3)"}
    sheets = {
        name: write(
            tmp_path / "sheets", f"0_{name}.ipynb", FORKED.format(home=str(tmp_path), name=name, last=cell)
        )
        for name, cell in last.items()
    }
    outcomes = notebooks.execute_all(sheets, {name: {} for name in last}, tmp_path / "out", 1)
    found = {outcome.name: outcome for outcome in outcomes}
    for name, outcome in found.items():  # each into its own log
        said = outcome.executed.with_suffix(".log").read_text()
        assert re.findall(r"<said by \w+>", said) == [f"<said by {name}>"]
    assert found["one"].error == ""
    assert "image/png" in found["one"].executed.read_text()
    assert "MemoryError: the kernel was killed" in found["two"].error
    assert "the kernel died with status 3" in found["three"].error


TRAINS = """\
import time
from pathlib import Path
from lthpaper.sweep.stopping import Stopping

stopping = Stopping()
with stopping.signals():
    Path("{here}/begun").touch()
    while not stopping():
        time.sleep(0.05)
    Path("{here}/checkpoint").touch()
time.sleep(3600)
"""


def test_after_an_interrupt_nothing_begins_and_a_training_stops_cleanly(tmp_path):
    cells = {
        "quick": "0",
        "trains": TRAINS.format(here=tmp_path),
        "never": f"open({str(tmp_path / 'never')!r}, 'w')",
    }
    sheets = {name: write(tmp_path / "sheets", f"0_{name}.ipynb", cell) for name, cell in cells.items()}
    outcomes = notebooks.execute_all(sheets, {name: {} for name in cells}, tmp_path / "out", 1)
    assert next(outcomes).name == "quick"
    until = time.monotonic() + 600  # a hang, on however busy a machine
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.05)
    outcomes.close()  # what KeyboardInterrupt does, here or in the loop over the outcomes
    assert (tmp_path / "checkpoint").exists()
    assert not (tmp_path / "never").exists()


ORPHAN = """\
import asyncio, os, signal
from lthpaper.report import kernels

async def begin():
    manager = kernels.watched(forks=True)[0]()
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=120)
    print(manager.provisioner.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    asyncio.run(begin())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux")
def test_a_kernel_ends_with_the_process_that_executes_its_notebook(tmp_path):
    (tmp_path / "orphan.py").write_text(ORPHAN)
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    begun = subprocess.run(
        [sys.executable, tmp_path / "orphan.py"], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert begun.returncode == -signal.SIGKILL
    kernel, until = Path("/proc") / begun.stdout.strip(), time.monotonic() + 30
    while kernel.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not kernel.exists()


BATCH = """\
import sys
from pathlib import Path
from lthpaper.report import notebooks

if __name__ == "__main__":
    sheet = Path(sys.argv[1])
    list(notebooks.execute_all({"tiny": sheet}, {"tiny": {}}, sheet.parent / "out", 1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_command_that_is_killed_leaves_no_process(tmp_path):
    said, draft = tmp_path / "said", str(tmp_path / "draft")
    sheet = write(
        tmp_path / "sheets",
        "01_tiny.ipynb",
        f"import os, time; open({draft!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}}')\n"
        f"os.rename({draft!r}, {str(said)!r}); time.sleep(600)",
    )
    (tmp_path / "batch.py").write_text(BATCH)
    environment = os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen([sys.executable, tmp_path / "batch.py", sheet], env=environment) as command:
        until = time.monotonic() + 120
        while not said.exists() and time.monotonic() < until:
            time.sleep(0.05)
        command.kill()
    left = [Path("/proc") / pid for pid in said.read_text().split()]
    while any(path.exists() for path in left) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(path.exists() for path in left)


def test_a_kernel_that_does_not_come_up_is_tried_once_more():
    tries = []

    def execute(**how: object) -> None:
        tries.append(how)
        if len(tries) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")

    kernels.executed(execute)
    assert len(tries) == 2
    with pytest.raises(RuntimeError, match="always"):
        kernels.executed(lambda **how: (_ for _ in ()).throw(RuntimeError("always")))


def ended(*_: object) -> None:
    """What the system does to a process when memory runs out, as far as its parent can tell."""
    os._exit(1)


def test_a_process_that_was_ended_is_named_and_no_traceback(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "_execute", ended)
    outcomes = list(
        notebooks.execute_all({"a": notebook, "b": notebook}, {"a": {}, "b": {}}, tmp_path / "x", 1)
    )
    assert sorted(outcome.name for outcome in outcomes) == ["a", "b"]
    assert all("was ended from outside" in o.error and "--jobs 1" in o.error for o in outcomes)
