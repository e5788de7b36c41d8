"""A notebook says "not given" in papermill's plain types; the package says None."""

import pytest

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
