"""A page draws only what its scale says, and every file that it writes tells where it came from."""

import json
import math
import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from hand_made import S11, results, rows
from matplotlib import pyplot
from PIL import Image
from torch import nn

from lthpaper import data, networks, studies
from lthpaper.checks import check
from lthpaper.cli.options import union
from lthpaper.errors import InputError
from lthpaper.figures.publish import alternative, fingerprint_warning, laid_out, publish
from lthpaper.report.accuracies import accuracies
from lthpaper.report.notebooks import BATCH
from lthpaper.runs.scales import scale
from lthpaper.store.store import Store
from lthpaper.studies import Study, study
from lthpaper.sweep.stopping import Unfinished
from lthpaper.training.loop import train

TINY = {"epochs": 1, "insufficient_epochs": 1, "rounds": [1], "learning_rates": [0.1], "train_images": 60}


def tiny(folder: Path) -> Study:
    places = {"store": str(folder / "store"), "out": str(folder / "drawn"), "device": "cpu", "workers": 1}
    return study("fig1", "smoke", **places, **TINY)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Study:
    """Figure 1 with one learning rate, one sparsity and one seed, trained and drawn."""
    page = tiny(tmp_path_factory.mktemp("page"))
    page.train(quiet=True)
    pyplot.close(page.draw())
    return page


def test_verdicts_are_kept_as_long_as_the_results_that_they_judge(drawn):
    kept = drawn.verdicts
    assert drawn.verdicts is kept
    assert drawn.with_seeds(2).verdicts is not kept
    drawn.forget()
    assert drawn.verdicts is not kept


def reseeding(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("mlp", num_classes, width, in_channels, size)


@pytest.mark.parametrize(
    ("figure", "fields", "sentence"),
    [
        ("fig9", {}, "Unknown figure 'fig9'"),
        (None, {}, "The figure is None; it must be a name"),
        ("fig1", {"out": __file__}, "test_studies.py is not a folder"),
        ("fig1", {"epoch": 3}, "A scale has no field 'epoch'"),
        ("fig1", {"epochs": "three"}, "epochs is 'three'"),
        ("fig1", {"network": "resnet9"}, "Unknown network 'resnet9'"),
        ("fig1", {"network": reseeding}, "network is <function .*; it takes text, for example resnet8"),
        ("fig3", {"learning_rates": 0.1}, "learning_rates changes nothing that fig3 trains: .* give grid in"),
        ("fig3", {"network": "vgg-small"}, "network changes nothing that fig3 trains: .* give experiments"),
        ("fig1", {"device": "tpu"}, "There is no device 'tpu' here"),
        ("fig1", {"device": 7}, "There is no device '7' here"),
        ("fig1", {"store": 7}, "The store is 7; it must be the name of a folder, a str or a Path"),
        ("fig1", {"data_root": 7}, "The data folder is 7; it must be the name of a folder"),
        ("fig1", {"out": 7}, r"The folder of figures \(out\) is 7; it must be the name of a folder"),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_anything_starts(tmp_path, figure, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        study(figure, "smoke", **{"store": str(tmp_path / "store")} | fields)
    assert list(tmp_path.iterdir()) == []


def test_a_field_that_one_of_several_figures_reads_is_taken(tmp_path):
    """For guideline the network is what it advises on, beside what it trains."""
    one, two = studies.studies(["fig1", "fig3"], "smoke", fields={"grid": 0.02}, store=str(tmp_path))
    assert {run.recipe.lr for run in two.runs} == {0.02} != {run.recipe.lr for run in one.runs}
    assert study("guideline", "smoke", network="vgg-small", store=str(tmp_path)).scale.network == "vgg-small"


@pytest.mark.parametrize("given", [None, 3, {"seeds": 2}])
def test_what_is_no_scale_is_refused_with_those_that_there_are(given):
    with pytest.raises(InputError, match=r"Unknown scale .* Known: smoke, laptop, desktop, paper"):
        study("fig1", given)


def test_a_study_takes_a_store_a_scale_and_a_device_as_values_too(tmp_path):
    store = Store(tmp_path / "store")
    asked = study("fig1", scale("smoke", seeds=2), store=store, device=torch.device("cpu"))
    assert asked.store is store
    assert (asked.scale.seeds, asked.device) == (2, "cpu")


@pytest.mark.parametrize("given", ["fig1", 3, None, [tiny(Path("none"))]])
def test_what_is_no_run_is_not_trained(tmp_path, given):
    with pytest.raises(InputError, match="is not a Run; give runs, such as"):
        studies.train(given, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("figure", "field", "value"),
    [
        ("fig1", "network", "{}"),
        ("fig3", "experiments", "{}/digits"),
        ("fig6", "correlation_networks", "{}"),
    ],
)
def test_initial_weights_that_a_seed_does_not_fix_are_refused_as_by_check(figure, field, value, tmp_path):
    said = "begins with the same prunable weights whatever the seed, so RR would be LT"
    own = {field: value.format(networks.local(reseeding))}
    asked = study(figure, "smoke", store=tmp_path / "store", device="cpu", **own)
    for use in (asked.costs, asked.train, partial(union, [asked])):  # union: of the commands
        with pytest.raises(InputError, match=said):
            use()
    assert not (tmp_path / "store").exists()
    with pytest.raises(InputError, match=said):
        check(reseeding)


def test_none_means_as_the_scale_has_it_and_no_other_value_does(tmp_path):
    not_given = study("fig1", "desktop", store=tmp_path, epochs=None, network=None, rounds=None)
    assert not_given.scale == scale("desktop")
    assert study("fig1", "desktop", store=tmp_path, train_images=0).scale.train_images == 0  # all of them
    coarse = scale("paper", micro_batch=32)
    assert study("fig1", coarse, store=tmp_path, micro_batch=0).scale.micro_batch == 0
    for field, value in {"epochs": 0, "rounds": [], "learning_rates": (), "network": ""}.items():
        with pytest.raises(InputError):
            study("fig1", "smoke", store=tmp_path, **{field: value})


def test_costs_say_what_is_left_and_drawing_needs_no_training(tmp_path):
    page = tiny(tmp_path)
    costs = page.costs()[""]
    assert (costs["runs"], costs["need no training"], costs["to train"]) == ("3", "0", "3")
    pyplot.close(page.draw())
    assert page.table["accuracy"].isna().all()
    assert page.provenance["results"] == 0


def test_what_is_trained_is_not_left_to_train(drawn):
    assert drawn.plan.todo == ()
    assert drawn.costs().loc["network-epochs", ""] == "0"


def test_five_files_are_written_and_the_table_is_the_one_drawn(drawn):
    written = sorted(p.name for p in drawn.folder.iterdir())
    assert written == ["fig1.csv", "fig1.json", "fig1.pdf", "fig1.png", "fig1.svg"]
    read = pd.read_csv(drawn.folder / "fig1.csv")
    assert read["digest"].tolist() == drawn.table["digest"].tolist()
    assert read["accuracy"].to_numpy() == pytest.approx(drawn.table["accuracy"].to_numpy())
    assert drawn.table["accuracy"].between(0, 100).all()


def test_the_picture_carries_the_provenance_of_its_sidecar(drawn):
    said = json.loads((drawn.folder / "fig1.json").read_text())
    marks = said.pop("marks")
    with Image.open(drawn.folder / "fig1.png") as picture:
        text = picture.text
    assert text["Title"] == "lthpaper fig1"
    assert json.loads(text["Description"]) == said
    assert {digest for _, _, digest in marks} == set(drawn.table["digest"])  # known once the PNG is written
    assert text["Comment"] == said["alt"]
    assert said["alt"] in (drawn.folder / "fig1.svg").read_text()
    assert b"/Subject" in (drawn.folder / "fig1.pdf").read_bytes()

    assert said["runs"] == said["results"] == 3
    assert said["data"] == {"digits": [data.load("digits").fingerprint]}
    assert said["scale"]["rounds"] == [1]
    assert said["seeds"] == [0]
    assert said["versions"]["torch"]
    assert said["devices"] != ["None"]


def test_the_alternative_text_says_what_the_table_says(drawn):
    said = json.loads((drawn.folder / "fig1.json").read_text())["alt"]
    assert said.startswith(f"{drawn.spec.title}: resnet8 on digits.")
    best = drawn.table.loc[drawn.table["setting"] == "pretraining", "accuracy"].iloc[0]
    assert f"pretraining {best:.1f} % (learning rate 0.1)" in said
    assert alternative("Mine", drawn.table.assign(accuracy=float("nan"))).endswith("Nothing has run yet.")
    assert alternative("Sketches", drawn.table[:0]) == "Sketches."  # there is nothing to run


def test_the_alternative_text_tells_masks_of_different_rates_apart_and_leaves_diverged_cells_out(drawn):
    one = drawn.table[drawn.table["setting"] == "pretraining"].assign(setting="LT-IMP", sparsity=0.9)
    cells = ((0.005, 0.1, 95.0), (0.05, 0.1, 97.0), (0.005, 0.2, 99.0), (0.005, 0.2, float("nan")))
    table = pd.concat([one.assign(pretraining_lr=p, lr=lr, accuracy=a) for p, lr, a in cells])
    assert alternative("Mine", table).endswith("at sparsity 0.9: LT-IMP 97.0 % (learning rate 0.1).")


def test_accuracies_of_masks_from_different_rates_stand_apart():
    means = {0.005: (95.0, 96.0), 0.1: (97.0, 98.0)}
    parts = [rows("pretraining", {0.005: 94.0, 0.1: 96.5})]
    for before, (low, high) in means.items():
        parts.append(rows("LT-IMP", {0.005: low, 0.1: high}, S11, pretraining_lr=before))
    parts.append(rows("SDT", {0.005: 80.0, 0.1: 81.0}, S11, pretraining_lr=math.nan))
    found = accuracies(results(*parts).table)
    assert found["LT-IMP"].tolist() == ["95.0 ± 0.0", "96.0 ± 0.0", "97.0 ± 0.0", "98.0 ± 0.0"]
    assert found["pretraining"].tolist() == ["94.0 ± 0.0", "96.5 ± 0.0"] * 2
    parts = [rows("LT-IMP", {0.005: 95.0}, S11), rows("SDT", {0.005: 80.0}, S11, pretraining_lr=math.nan)]
    (line,) = accuracies(results(*parts).table).to_numpy().tolist()  # as everywhere but in Table 4
    assert line == ["95.0 ± 0.0", "80.0 ± 0.0"]


def test_the_hash_of_the_runs_changes_with_any_of_them(drawn, tmp_path):
    other = study("fig1", "smoke", store=str(tmp_path), **TINY | {"learning_rates": [0.05]})
    same = study("fig1", "smoke", store=str(tmp_path), **TINY)
    assert same.provenance["runs_hash"] == drawn.provenance["runs_hash"]
    assert other.provenance["runs_hash"] != drawn.provenance["runs_hash"]


def test_results_from_two_copies_of_the_data_are_said_in_the_figure(tmp_path, drawn):
    page = tiny(tmp_path)
    dense = next(trial.run for trial in page.trials if trial.setting == "pretraining")
    for trained in train([dense], data.load("digits", None, 60)):
        page.store.put(trained, "another copy", {})
    for entry in drawn.store.folder.glob(f"{dense.task.network}-*"):
        if entry.name != dense.name:  # its subnetworks, from this machine's copy
            shutil.copytree(entry, page.store.folder / entry.name)
    figure = page.draw()
    words = "Results from different copies of digits meet here."
    assert fingerprint_warning(page.provenance).startswith(words)
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


def test_the_files_of_a_figure_share_the_layout_of_its_png(tmp_path):
    (alone, other), (figure, ax) = (pyplot.subplots(layout="constrained") for _ in range(2))
    for axes in (other, ax):
        axes.set_ylabel("two\nlines")
    alone.savefig(tmp_path / "a.png", dpi=200)
    usual = other.get_position().bounds
    engine, dpi = figure.get_layout_engine(), figure.dpi
    with laid_out(figure, 200):
        for kind in ("png", "pdf", "svg"):
            figure.savefig(tmp_path / f"b.{kind}", dpi=200)
            assert ax.get_position().bounds == usual
    assert (figure.get_layout_engine(), figure.dpi) == (engine, dpi)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pyplot.close(alone)
    pyplot.close(figure)


def test_in_batch_a_notebook_shows_the_file_and_draws_the_figure_no_further(tmp_path, monkeypatch):
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    page = tiny(tmp_path)
    pyplot.close(page.draw())
    assert not shown
    monkeypatch.setenv(BATCH, "1")
    figure = page.draw()
    assert not pyplot.fignum_exists(figure.number)
    assert [picture.data for picture in shown] == [(page.folder / "fig1.png").read_bytes()]


def test_without_training_nothing_is_trained_or_timed_and_the_figure_shows_what_there_is(tmp_path, capsys):
    places = {"store": tmp_path / "store", "out": tmp_path / "drawn", "device": "cpu", "workers": 1}
    page = study("fig1", "smoke", **places, **TINY, train=False)
    assert not [name for name in page.costs().index if "time" in name]
    page.train()
    assert "3 of 3 runs are missing" in capsys.readouterr().out
    pyplot.close(page.draw())
    assert not page.store.folder.exists()
    assert "nothing to see yet" in str(page.findings())
    alone = check("mlp", "digits", train_images=60, store=tmp_path / "none", epochs=1, rounds=(2,), seeds=1)
    assert "By the means" not in str(alone.findings())  # there are none
    assert "lthpaper plan" not in str(page.findings())  # it would need these changes, too
    whole = study("fig1", "smoke", **places, train=False)
    assert "`lthpaper plan fig1 --scale smoke` says what the others take" in str(whole.findings())


def test_the_table_is_read_anew_after_training(tmp_path):
    page = tiny(tmp_path)
    assert page.table["accuracy"].isna().all()
    page.train(quiet=True)
    assert page.table["accuracy"].notna().all()
    assert "3 of 3 runs" in str(page.findings())


def test_an_interrupt_says_what_is_kept_and_training_goes_on(tmp_path, monkeypatch):
    page = tiny(tmp_path)

    def interrupted(*args, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(studies, "execute", interrupted)
        with pytest.raises(Unfinished, match=r"Finished runs are in .*train again to resume"):
            page.train(quiet=True)
    page.train(quiet=True)
    assert page.plan.todo == ()


def test_a_notebook_shows_an_error_of_ours_as_its_sentence(monkeypatch):
    with pytest.raises(InputError) as raised:
        study("fig9")
    (line,) = raised.value._render_traceback_()  # what IPython prints
    assert line == f"InputError: {raised.value}"
    monkeypatch.setenv("LTHPAPER_DEBUG", "1")
    assert any("Traceback" in line for line in raised.value._render_traceback_())


def test_findings_are_the_claims_of_the_figure_with_their_evidence(drawn):
    said = drawn.findings()
    heads = [finding.head for finding in said]
    assert heads[0] == "3 of 3 runs are in the store, of 1 seed."
    assert "on this figure's runs alone" in heads[1]  # with fewer comparisons than on the board
    ran = [head.split(",")[0] for head in heads[2:]]  # 1 and 2 ask for other learning rates and sparsities
    assert ran == ["Claim 3", "Claim 4"]
    assert all("comparison" in finding.sentence and finding.details for finding in said[2:])
    assert said._repr_html_().count("<details>") == len(said) - 2


def test_controls_masks_get_no_verdict_of_a_ticket(tmp_path):
    """Shuffled and carried masks have LT or RR alone, so a ticket's conditions cannot be asked of them."""
    page = study("controls", "smoke", store=tmp_path / "store", out=tmp_path / "out", seeds=3)
    page.__dict__["results"] = page.results.assign(accuracy=90.0, fingerprint="f")
    page.__dict__["table"] = page.results
    verdicts = [f.head for f in page.findings() if f.head.startswith("resnet8 on digits")]
    assert verdicts == [f"resnet8 on digits, s = 0.832, {mask}:" for mask in ("IMP", "OMP")]


def test_provenance_is_one_line_in_a_notebook_until_it_is_opened(drawn):
    shown = drawn.provenance._repr_html_()
    assert shown.startswith("<details><summary>Provenance: 3 of 3 runs")
    assert json.loads(json.dumps(drawn.provenance))["runs"] == 3
