"""The house is in order: pins, layers, paths, notebooks, and an import that needs no notebook software."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

nbformat = pytest.importorskip("nbformat", reason="the extra 'notebooks' is not installed")

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch"}


def requirements(*extras: str) -> list[Requirement]:
    """The project's own dependencies and those of these extras."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(line) for lines in lists for line in lines]


def bounds(lines: list[str]) -> dict[str, str]:
    """{package name as on PyPI: bounds}."""
    read = [Requirement(line) for line in lines]
    return {CONDA_NAMES.get(r.name, canonicalize_name(r.name)): str(r.specifier) for r in read}


# --- dependencies ---

BUILDS = {"cpu", "gpu"}  # of torch, for uv; nothing more
APART = {"docs", "trackers", "browser"}  # the site; an older pillow; a driver that only tests/browser wants
EXTRAS = [extra for extra in PROJECT["optional-dependencies"] if extra not in BUILDS | APART]
PINS = dict(
    line.split("==")
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
)


@pytest.mark.parametrize("wanted", requirements(*EXTRAS), ids=lambda r: r.name)
def test_the_lock_pins_every_dependency_within_its_bounds(wanted):
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    assert pins[canonicalize_name(wanted.name)] in wanted.specifier
    assert any(s.operator == ">=" for s in wanted.specifier), "a dependency states the least version"


def test_the_lock_serves_every_machine():
    # torch's own pins choose its CUDA packages, and a local version (+cpu) is offered in one place only
    assert PINS["torch"] == "2.13.0"
    assert PINS["torchvision"] == "0.28.0"
    assert not [name for name in PINS if re.match(r"nvidia|cuda|triton", name)]
    assert not [version for version in PINS.values() if not re.fullmatch(r"[0-9a-z.]+", version)]
    assert "lthpaper" not in PINS


def test_the_extras_for_uv_name_torchs_builds_and_exclude_each_other():
    torch = {r.name: str(r.specifier) for r in requirements() if r.name in ("torch", "torchvision")}
    for build in BUILDS:
        assert bounds(PROJECT["optional-dependencies"][build]) == torch
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    assert [{choice["extra"] for choice in group} for group in uv["conflicts"]] == [BUILDS]
    urls = {index["name"]: index["url"] for index in uv["index"]}
    assert all(re.match(r"https://(pypi|download\.pytorch)\.org/", url) for url in urls.values())
    for name in torch:
        assert {source["extra"] for source in uv["sources"][name]} == BUILDS
        assert {source["index"] for source in uv["sources"][name]} == set(urls)


def test_a_lock_of_uvs_names_public_indexes_only():
    lock = ROOT / "uv.lock"
    if not lock.exists():
        pytest.skip("there is no uv.lock: make install goes by requirements.lock")
    found = re.findall(r'(?:registry|url) = "([^"]+)"', lock.read_text())
    public = r"https://(pypi\.org|files\.pythonhosted\.org|download(-r2)?\.pytorch\.org)/"
    assert found
    assert not [url for url in found if not re.match(public, url)]


def test_environment_yml_asks_for_what_pyproject_asks_for():
    *conda, last = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    *by_pip, project = last["pip"]
    assert set(re.search(r"\[(.*)\]", project)[1].split(",")) == set(EXTRAS)
    listed = bounds([*(line for line in conda if line != "pip"), *by_pip])
    assert listed.pop("python") == PROJECT["requires-python"]
    assert listed == bounds(PROJECT["dependencies"])


def test_the_package_imports_where_papermill_jupyter_and_ray_are_missing():
    # machines that only train may lack them; None in sys.modules makes an import fail
    missing = ["papermill", "jupyter", "jupyterlab", "jupyter_client", "nbformat", "nbclient"]
    missing += ["nbconvert", "ipykernel", "ipywidgets", "IPython", "ray"]
    script = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({missing!r}))
import lthpaper
names = [m.name for m in pkgutil.walk_packages(lthpaper.__path__, "lthpaper.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 10


# --- layers ---

HOUSE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = [set(line.split(" | ")) for line in HOUSE["contracts"][0]["layers"]]
MACHINERY = {"training", "store", "sweep", "measures", "verdicts", "figures", "report", "cli"}


def test_a_package_imports_only_from_those_below_it(monkeypatch):
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    assert linter.lint_imports(no_cache=True) == linter.EXIT_STATUS_SUCCESS


def test_every_module_and_package_has_its_place_in_the_list():
    inside = {
        p.stem for p in (ROOT / "lthpaper").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert inside - {"__init__"} == set.union(*LAYERS)


def loaded_by(script: str) -> set[str]:
    """The names of the modules that a script loads in a new process."""
    script += "\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.split())


def test_importing_the_package_alone_loads_nothing_else_of_it():
    loaded = loaded_by("import lthpaper")
    assert {name for name in loaded if name.startswith("lthpaper")} == {"lthpaper"}
    assert not loaded & {"torch", "numpy", "pandas", "matplotlib"}


def test_values_load_no_machinery():
    walk = "import importlib, pkgutil, lthpaper.runs as runs\n"
    walk += "for m in pkgutil.walk_packages(runs.__path__, 'lthpaper.runs.'): importlib.import_module(m.name)"
    loaded = loaded_by(walk)
    assert "lthpaper.runs.experiments" in loaded
    of_ours = {name.split(".")[1] for name in loaded if name.startswith("lthpaper.")}
    assert not of_ours & MACHINERY
    assert not loaded & {"pandas", "matplotlib", "seaborn", "sklearn", "ray"}


def test_from_plan_to_picture_nothing_loads_what_takes_seconds_and_is_not_needed(tmp_path):
    # torchvision brings torch's compiler and ONNX; every worker and every notebook would wait for them
    script = f"""
import lthpaper as lth
changed = dict(seeds=1, rounds=(1,), learning_rates=(0.1,), epochs=2, insufficient_epochs=2)
study = lth.study("fig1", "smoke", store={str(tmp_path / "store")!r}, out={str(tmp_path)!r}, **changed)
assert study.plan.todo
study.train(quiet=True)
study.draw()
"""
    loaded = loaded_by(script)
    assert {"torch", "seaborn"} <= loaded
    assert not loaded & {"torchvision", "torch._dynamo", "torch.onnx", "sympy", "ray", "papermill"}


def test_help_loads_nothing_heavy():
    script = """
import contextlib, io, sys
sys.argv = ["lthpaper", "--help"]
from lthpaper.cli.main import main
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    main()
assert "claims" in said.getvalue()
"""
    assert not loaded_by(script) & {"torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn"}


def test_that_a_run_was_stopped_can_be_said_without_torch():
    assert "torch" not in loaded_by("from lthpaper.errors import Stopped")


# --- no path of one machine ---

MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:work|farm|root|tmp|opt|home|Users)/[\w.]")


def tracked() -> list[Path]:
    """The files that git tracks, without the lock."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout: which files belong to the project is not known")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [p for p in paths if p.is_file() and p.name != "requirements.lock"]


def test_no_tracked_file_names_a_path_of_one_machine():
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data:
            continue  # an image, not text
        for number, line in enumerate(data.decode().splitlines(), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", ["work", "farm", "root", "tmp", "opt", "home"])
def test_such_a_path_would_be_seen(folder):
    assert MACHINE_PATH.search(f'open("/{folder}/data")')
    assert MACHINE_PATH.search(f"see /{folder}/.cache")
    assert not MACHINE_PATH.search(f"docs/{folder}/page and /{folder} itself")


# --- notebooks ---

NOTEBOOKS = sorted((ROOT / "notebooks").glob("**/*.ipynb"))
TYPES = {"int", "float", "str", "bool", "list"}


def faults(notebook) -> list[str]:
    """What is wrong with a notebook as it lies in git (papermill inspects one-line assignments)."""
    wrong = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        wrong.append("the kernel is not python3")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    wrong += [f"a cell has outputs: {c.source[:40]}" for c in code if c.outputs]
    wrong += [f"a cell has an execution count: {c.source[:40]}" for c in code if c.execution_count]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [*wrong, f"{len(tagged)} cells are tagged 'parameters'"]
    for line in filter(str.strip, tagged[0].source.splitlines()):
        wrong += [f"{fault}: {line}" for fault in line_faults(line)]
    return wrong


def line_faults(line: str) -> list[str]:
    """`name: type = value  # help`, which is all that papermill's inspection reads."""
    if line.startswith("#"):
        return []
    assignment, hash_sign, help_text = line.partition("#")
    try:
        (node,) = ast.parse(assignment).body
    except (SyntaxError, ValueError):
        return ["not one assignment on one line (or a # in a string)"]
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
        return ["not of the form name: type = value"]
    wrong = []
    if not (isinstance(node.annotation, ast.Name) and node.annotation.id in TYPES):
        wrong.append(f"the type is not one of {', '.join(sorted(TYPES))}")
    else:
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            wrong.append("the value is not a literal")
        else:
            if type(value).__name__ != node.annotation.id:
                wrong.append(f"the value is a {type(value).__name__}")
    if not (hash_sign and help_text.strip()):
        wrong.append("no comment that says what it is")
    return wrong


def test_every_notebook_is_stripped_and_has_parameters_that_papermill_can_read():
    found = [f"{p.name}: {fault}" for p in NOTEBOOKS for fault in faults(nbformat.read(p, as_version=4))]
    assert not found, "\n".join(found)


def test_no_notebook_rounds_a_whole_table():
    """It would round learning rates and sparsities away: lthpaper.report.readable does not."""
    found = [p.name for p in NOTEBOOKS if ".round(" in p.read_text()]
    assert not found


def example():
    """A notebook as it should be."""
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell("# Figure"),
        v4.new_code_cell("# one a line\nseeds: int = 3  # how many\n", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("print(seeds)"),
    ]
    return v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "P"}})


def test_a_notebook_as_it_should_be_has_no_faults():
    assert faults(example()) == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("seeds = 3  # how many", "name: type = value"),
        ("seeds: int = 3", "no comment"),
        ("seeds: int = 3  #", "no comment"),
        ("seeds: int = 3.0  # how many", "the value is a float"),
        ("lr: float = 1  # rate", "the value is a int"),
        ("lr: float | None = 1.0  # rate", "the type is not one of"),
        ("lrs: tuple = (1.0,)  # rates", "the type is not one of"),
        ("lrs: list[float] = [1.0]  # rates", "the type is not one of"),
        ("t: typing.Any = 1  # any", "the type is not one of"),
        ("seeds: int = n * 2  # how many", "not a literal"),
        ("a: int = 1; b: int = 2  # two", "not one assignment"),
        ("colour: str = '#fff'  # of the line", "not one assignment"),
        ("lrs: list = [", "not one assignment"),
        ("import os  # needed", "name: type = value"),
        ("seeds: int  # how many", "name: type = value"),
    ],
)
def test_a_parameter_that_papermill_would_misread_is_seen(line, fault):
    notebook = example()
    notebook.cells[1].source = f"scale: str = 'smoke'  # the scale\n{line}"
    assert any(fault in found for found in faults(notebook)), faults(notebook)


def test_outputs_counts_kernels_and_tags_that_are_wrong_are_seen():
    notebook = example()
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="3")]
    notebook.cells[2].execution_count = 1
    notebook.metadata.kernelspec.name = "venv"
    notebook.cells[2].metadata["tags"] = ["parameters"]
    said = "\n".join(faults(notebook))
    assert all(word in said for word in ("outputs", "execution count", "kernel", "2 cells are tagged"))
