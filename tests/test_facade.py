"""`import lthpaper as lth` is all that a notebook or a script needs, and costs nothing until it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lthpaper as lth

ROOT = Path(__file__).resolve().parents[1]


def for_checkers() -> dict[str, str]:
    """Name -> module, as the façade's TYPE_CHECKING block imports it."""
    tree = ast.parse((ROOT / "lthpaper" / "__init__.py").read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imports = [n for n in block.body if isinstance(n, ast.ImportFrom)]
    return {alias.asname or alias.name: str(n.module) for n in imports for alias in n.names}


def test_a_type_checker_sees_the_same_names_in_the_same_modules():
    seen = for_checkers()
    lazy = {name: f"lthpaper.{module}" for name, module in lth.HOMES.items()}
    modules = {n: f"lthpaper.{m}".removesuffix(f".{n}") for n, m in lth.MODULES.items()}
    assert seen == lazy | modules


@pytest.mark.parametrize("name", dir(lth))
def test_every_name_that_dir_lists_is_there(name):
    assert getattr(lth, name) is getattr(lth, name)


def test_no_name_is_a_modules_too():
    # importing the module lthpaper.study would put it in the place of the function lth.study
    modules = {p.stem for p in (ROOT / "lthpaper").iterdir()}
    assert not modules & set(lth.HOMES)


def test_a_name_that_is_not_there_says_where_to_look():
    with pytest.raises(AttributeError, match=r"has no attribute 'studdy'; dir\(lthpaper\)"):
        _ = lth.studdy


def test_values_are_made_without_the_machinery():
    script = """
import sys
import lthpaper as lth
dense = lth.pretraining(lth.Task("resnet8", "digits"), lth.Recipe(epochs=20, lr=0.1, milestones=(10,)))
run = lth.random_reinit(lth.lt_imp(dense, rounds=2))
assert (lth.setting(run), run.cost) == ("RR-IMP", 20)
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    of_ours = {name.split(".")[1] for name in done.stdout.split() if name.startswith("lthpaper.")}
    assert not of_ours & {"studies", "sweep", "store", "training", "figures", "verdicts"}


def test_from_a_run_to_its_curve_and_mask(tmp_path):
    recipe = lth.Recipe(epochs=2, lr=0.1, batch_size=30, milestones=())
    dense = lth.pretraining(lth.Task("resnet8", "digits", train_images=60), recipe)
    ticket = lth.lt_imp(dense, rounds=1)
    store = lth.Store(tmp_path / "store")
    results = lth.train([ticket, dense], store, device="cpu", workers=1, quiet=True)
    assert [result.run for result in results] == [ticket, dense]
    assert [result.run for result in lth.train(ticket, store)] == [ticket]  # one run, which is there

    curves = lth.curves(results)
    assert curves["setting"].unique().tolist() == ["LT-IMP", "pretraining"]
    assert curves.groupby("setting")["epoch"].agg(list).tolist() == [[1, 2], [1, 2]]
    assert curves.groupby("setting")["test_accuracy"].last()["LT-IMP"] == results[0].accuracy

    layers = lth.layers(ticket, store).set_index("layer")
    assert layers["weights"].to_dict() == ticket.task.prunable_weights
    assert layers["kept"].sum() == results[0].kept
    assert (lth.layers(dense, store)["sparsity"] == 0).all()
