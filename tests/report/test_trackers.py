"""A tracker gets every run's curves and every verdict, through three calls that all of them have."""

import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from hand_made import DENSE, S8, experiment, minus
from typer.testing import CliRunner

from lthpaper.cli import main
from lthpaper.errors import InputError
from lthpaper.report import trackers
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.sweep.execute import execute
from lthpaper.verdicts import tickets

RUN = pretraining(
    Task("mlp", "digits", train_images=60), Recipe(epochs=5, lr=0.05, batch_size=30, milestones=())
)


class Tracker:
    """What it was told, call by call."""

    def __init__(self):
        self.said = []

    def init(self, project, name, group, config):
        self.said.append(("init", project, name, group, config))

    def log(self, metrics, step=None):
        self.said.append(("log", step, metrics))

    def finish(self):
        self.said.append(("finish",))


def test_a_run_is_sent_with_its_curves_at_the_epochs_that_were_tested(store):
    execute([lt_omp(RUN, 0.5)], store, workers=1, quiet=True, curve_points=2)
    to, result = Tracker(), store.get(RUN)
    assert trackers.send([result], [], to, "mine") == (1, 0)
    (_, project, name, group, config), *points, last = to.said
    assert (project, name, group, last) == ("mine", RUN.name, "pretraining", ("finish",))
    assert (config["lr"], config["seed"], config["digest"]) == (0.05, 0, RUN.digest)
    assert [step for _, step, _ in points] == [1, 2, 3, 4, 5]
    tested = {step: metrics["test_accuracy"] for _, step, metrics in points if "test_accuracy" in metrics}
    assert 1 <= len(tested) < 5  # the others were not tested, and NaN is no point
    assert tested[5] == config["accuracy"] == result.accuracy


def test_a_verdict_is_sent_with_its_sentence_and_its_evidence():
    table = pd.DataFrame(experiment(minus(DENSE, 0), minus(DENSE, 1), minus(DENSE, 6), sparsities=(S8,)))
    verdict, to = tickets.verdict(table, pruning="IMP", sufficient_epochs=1), Tracker()
    assert trackers.send([], [verdict], to, "mine") == (0, 1)
    (_, _, name, group, config), (_, step, metrics), _ = to.said
    assert (name, group, step) == ("verdict resnet8 digits s=0.832 IMP", "verdicts", 0)
    assert config["sentence"] == verdict.sentence
    assert config["kind"] == "Jackpot"
    assert metrics["difference_3"] == pytest.approx(6)
    assert 0.95 <= metrics["confidence_3"] <= 1


def test_the_command_sends_what_the_store_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "trackio", to := Tracker())
    tiny = ["epochs=1", "insufficient_epochs=1", "rounds=1", "learning_rates=0.1", "train_images=60"]
    words = ["fig1", "--scale", "smoke", *(word for pair in tiny for word in ("--set", pair))]
    empty = CliRunner().invoke(main.app, ["export", *words])
    assert "0 of 3 runs" in empty.output, (empty.output, empty.exception)
    assert to.said == []
    assert CliRunner().invoke(main.app, ["run", *words, "--workers", "1", "--quiet"]).exit_code == 0
    assert (
        "3 of 3 runs and 0 verdicts sent to trackio"
        in CliRunner().invoke(main.app, ["export", *words]).output
    )
    assert [call for call, *_ in to.said].count("finish") == 3
    assert to.said[0][1] == "lthpaper-smoke"


def test_a_tracker_that_is_unknown_or_not_installed_is_told(monkeypatch):
    with pytest.raises(InputError, match="there are trackio, wandb, tensorboard"):
        trackers.tracker("mlflow")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="pip install wandb"):
        trackers.tracker("wandb")


def test_event_files_get_the_same(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(("folder", folder))

        def add_text(self, name, text):
            written.append((name, text))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append(("close",))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    to = trackers.tracker("tensorboard", tmp_path)
    to.init(project="mine", name="run", group="LT-IMP", config={"lr": 0.1})
    to.log({"test_accuracy": 91.0}, step=7)
    to.finish()
    assert written[0] == ("folder", str(tmp_path / "mine" / "run"))
    assert "lr: 0.1" in written[1][1]
    assert written[2:] == [("test_accuracy", 91.0, 7), ("close",)]
