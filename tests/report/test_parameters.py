"""A notebook says "not given" in papermill's plain types; the package says None."""

from pathlib import Path

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from lthpaper.errors import InputError
from lthpaper.report.parameters import given, parameters


@pytest.mark.parametrize(
    ("name", "value", "means"),
    [
        ("seeds", 0, None),
        ("network", "", None),
        ("rounds", [], None),
        ("train_images", -1, None),
        ("train_images", 0, 0),  # all of them
        ("micro_batch", 0, 0),  # a whole batch
        ("micro_batch", 32, 32),
        ("train", False, False),
        ("grid", [0.1], [0.1]),
    ],
)
def test_what_is_not_given_becomes_none_and_nothing_else_does(name, value, means):
    assert given(name, value) is means if means is None else given(name, value) == means


def test_only_what_the_parameters_cell_declares_counts():
    notebook: dict[str, object] = {}
    exec('scale: str = "laptop"  # a scale\nseeds: int = 0  # seeds\nhow: str = ""  # its own', notebook)
    exec("grid = [1, 2]\nnetwork = object()", notebook)  # of later cells
    assert parameters(notebook) == {"scale": "laptop", "seeds": None}


def test_without_declarations_the_names_count():
    assert parameters({"seeds": 5, "train": False, "else": 1}) == {"seeds": 5, "train": False}


DECLARED = 'scale: str = "laptop"  # a scale\nseeds: int = 0  # seeds'


def executed(*cells: str) -> dict[str, object]:
    """The globals of a notebook in which these cells were executed."""
    notebook: dict[str, object] = {"In": ["", *cells]}
    for cell in cells:
        exec(cell, notebook)
    return notebook


def test_a_parameter_that_papermill_was_given_and_that_there_is_not_is_named():
    with pytest.raises(
        InputError, match=r"no parameter 'sedes'\. Did you mean 'seeds'\? It has: scale, seeds"
    ):
        parameters(executed(DECLARED, "# Parameters\nsedes = 3\n"))


def test_variables_of_ones_own_cells_and_parameters_that_there_are_pass():
    cells = (DECLARED, "# Parameters\nseeds = 3\n", "sedes = 4", "# Parameters of mine\nsed = 1")
    assert parameters(executed(*cells)) == {"scale": "laptop", "seeds": 3}


def test_papermill_itself_ends_with_that_sentence_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = Path(__file__).parents[2] / "notebooks" / "01_fig1_preliminary.ipynb"
    with pytest.raises(PapermillExecutionError, match=r"has no parameter 'sedes'\. Did you mean"):
        papermill.execute_notebook(
            notebook, tmp_path / "out.ipynb", {"scale": "smoke", "sedes": 2}, progress_bar=False
        )
    assert not (tmp_path / "runs").exists()
