"""A page draws only what its scale says, and every file that it writes tells where it came from."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot
from PIL import Image

from lthpaper import data
from lthpaper.errors import InputError
from lthpaper.figures.publish import fingerprint_warning, publish
from lthpaper.runs.scales import scale
from lthpaper.studies import Study
from lthpaper.training.loop import train

TINY = {"epochs": 1, "insufficient_epochs": 1, "rounds": [1], "learning_rates": [0.1], "train_images": 60}


def tiny(folder: Path) -> Study:
    places = {"store": str(folder / "store"), "out": str(folder / "drawn"), "device": "cpu", "workers": 1}
    return Study("fig1", **places, **TINY)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Study:
    """Figure 1 with one learning rate, one sparsity and one seed, trained and drawn."""
    study = tiny(tmp_path_factory.mktemp("page"))
    study.train(quiet=True)
    pyplot.close(study.draw())
    return study


@pytest.mark.parametrize(
    ("figure", "fields", "sentence"),
    [
        ("fig9", {}, "Unknown figure 'fig9'"),
        ("fig1", {"epoch": 3}, "A scale has no field 'epoch'"),
        ("fig1", {"epochs": "three"}, "epochs is 'three'"),
        ("fig1", {"network": "resnet9"}, "Unknown network 'resnet9'"),
        ("fig1", {"device": "tpu"}, "There is no device 'tpu' here"),
    ],
)
def test_a_page_that_cannot_be_is_refused_before_anything_starts(tmp_path, figure, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        Study(figure, store=str(tmp_path / "store"), **fields)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_parameter_means_as_the_scale_has_it(tmp_path):
    study = Study("fig1", store=str(tmp_path), epochs=0, network="", rounds=[], learning_rates=())
    assert study.scale == scale("smoke")


def test_costs_say_what_is_left_and_drawing_needs_no_training(tmp_path):
    study = tiny(tmp_path)
    costs = study.costs()[""]
    assert (costs["runs"], costs["in the store"], costs["to train"]) == ("3", "0", "3")
    pyplot.close(study.draw())
    assert study.table["accuracy"].isna().all()
    assert study.provenance["results"] == 0


def test_what_is_trained_is_not_left_to_train(drawn):
    assert drawn.plan.todo == ()
    assert drawn.costs().loc["network-epochs", ""] == "0"


def test_four_files_are_written_and_the_table_is_the_one_drawn(drawn):
    written = sorted(p.name for p in drawn.folder.iterdir())
    assert written == ["fig1.csv", "fig1.json", "fig1.pdf", "fig1.png"]
    read = pd.read_csv(drawn.folder / "fig1.csv")
    assert read["digest"].tolist() == drawn.table["digest"].tolist()
    assert read["accuracy"].to_numpy() == pytest.approx(drawn.table["accuracy"].to_numpy())
    assert drawn.table["accuracy"].between(0, 100).all()


def test_the_picture_carries_the_provenance_of_its_sidecar(drawn):
    said = json.loads((drawn.folder / "fig1.json").read_text())
    with Image.open(drawn.folder / "fig1.png") as picture:
        text = picture.text
    assert text["Title"] == "lthpaper fig1"
    assert json.loads(text["Description"]) == said
    assert b"/Subject" in (drawn.folder / "fig1.pdf").read_bytes()

    assert said["runs"] == said["results"] == 3
    assert said["data"] == {"digits": [data.load("digits").fingerprint]}
    assert said["scale"]["rounds"] == [1]
    assert said["seeds"] == [0]
    assert said["versions"]["torch"]
    assert said["devices"] != ["None"]


def test_the_hash_of_the_runs_changes_with_any_of_them(drawn, tmp_path):
    other = Study("fig1", store=str(tmp_path), **TINY | {"learning_rates": [0.05]})
    same = Study("fig1", store=str(tmp_path), **TINY)
    assert same.provenance["runs_hash"] == drawn.provenance["runs_hash"]
    assert other.provenance["runs_hash"] != drawn.provenance["runs_hash"]


def test_results_from_two_copies_of_the_data_are_said_in_the_figure(tmp_path, drawn):
    study = tiny(tmp_path)
    dense = next(trial.run for trial in study.trials if trial.setting == "pretraining")
    for trained in train([dense], data.load("digits", None, 60)):
        study.store.put(trained, "another copy", {})
    for entry in drawn.store.folder.glob(f"{dense.task.network}-*"):
        if entry.name != dense.name:  # its subnetworks, from this machine's copy
            shutil.copytree(entry, study.store.folder / entry.name)
    figure = study.draw()
    words = "Results from different copies of digits meet here."
    assert fingerprint_warning(study.provenance).startswith(words)
    assert any(text.get_text().startswith(words) for text in figure.texts)
    pyplot.close(figure)

    assert fingerprint_warning(drawn.provenance) == ""


def test_a_table_of_the_paper_is_written_as_markdown_and_latex_too(tmp_path, drawn):
    shown = pd.DataFrame({"a|b": ["✓", "50 %"]}, index=pd.Index(["①", "②"], name="condition"))
    figure = pyplot.figure()
    publish(figure, drawn.table, drawn.provenance, tmp_path, shown)
    pyplot.close(figure)
    lines = (tmp_path / "fig1.md").read_text().splitlines()
    assert lines == [r"| condition | a\|b |", "| --- | --- |", "| ① | ✓ |", "| ② | 50 % |"]
    latex = (tmp_path / "fig1.tex").read_text()
    assert r"\begin{tabular}" in latex
    assert r"50 \%" in latex
