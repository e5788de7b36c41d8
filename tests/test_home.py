"""The first hour of somebody with data and a network of their own."""

import importlib
import inspect
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_lines import parse
from hand_made import DENSE, S8, experiment, minus
from IPython.core.interactiveshell import InteractiveShell
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

from lthpaper import locations, networks
from lthpaper.checks import check
from lthpaper.cli import claims, export, lists, options, report, run
from lthpaper.cli import main as cli
from lthpaper.cli.main import app
from lthpaper.data import Images, load
from lthpaper.errors import InputError
from lthpaper.notes import before_training
from lthpaper.runs import masks
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.sanity_check import SanityCheck
from lthpaper.studies import study
from lthpaper.sweep import costs
from lthpaper.sweep.plan import plan
from lthpaper.sweep.stopping import Unfinished
from lthpaper.verdicts import tickets

ROOT = Path(__file__).resolve().parents[1]
RECIPE = Recipe(epochs=1, batch_size=30, milestones=())
ONE = {"learning_rates": (0.1,), "rounds": (1,), "seeds": 1, "train_images": 60}
OWN = """
import numpy as np

from lthpaper.data import Images

def arrays(root):
    kept = np.load(root / "mine" / "images.npz")
    x, y = kept["x"], kept["y"].astype("int32")
    return Images(x, y, x[:40], y[:40].tolist(), "abc", "mine")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """A custom data set, a function that reads arrays below the folder of data sets; returns that folder."""
    (tmp_path / "own_home.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    (folder / "mine").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "mine" / "images.npz", x=images, y=rng.integers(0, 3, 90))
    yield folder
    sys.modules.pop("own_home", None)


def invoke(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


# --- custom data sets ---


def test_the_data_option_reaches_a_data_function_of_ones_own(mine):
    words = ["check", "mlp", "--on", "own_home:arrays", "--data", "elsewhere", "--epochs", "1", "--plan"]
    said = invoke(*words, "--rounds", "1", "--seeds", "1", "--learning-rates", "0.1")
    assert "to train: 6" in said


def test_data_root_reaches_a_data_function_of_ones_own_and_not_the_environment(mine, store):
    before = dict(os.environ)
    places = {"data_root": "elsewhere", "store": store.folder, "workers": 2}
    found = check("mlp", "own_home:arrays", recipe=RECIPE, **places, **ONE)
    assert len(found.plan.todo) == 6
    found.train(quiet=True)  # in two processes
    assert not found.plan.todo
    assert os.environ == before
    with pytest.raises(InputError, match="is given the data folder"):  # the folder was that check's
        check("mlp", "own_home:arrays", recipe=RECIPE, store=store.folder, **ONE)


def test_data_root_reaches_a_function_that_is_handed_over(mine, store):
    read = importlib.import_module("own_home").arrays
    found = check("mlp", read, recipe=RECIPE, data_root="elsewhere", store=store.folder, **ONE)
    assert len(found.plan.todo) == 6


def test_images_may_be_arrays_and_labels_of_any_width(mine):
    data = load("own_home:arrays", mine)
    assert data.card.num_classes == 3
    assert data.images.train.dtype == torch.uint8
    assert data.images.train_labels.dtype == data.images.test_labels.dtype == torch.int64
    assert len(data.images.test_labels) == 40


def test_arrays_and_tensors_give_one_fingerprint():
    images = load("digits").images
    arrays = [getattr(images, n).numpy() for n in ("train", "train_labels", "test", "test_labels")]
    again = Images(*arrays, classes=images.classes, origin="arrays")
    assert again.fingerprint == images.fingerprint


def test_an_array_that_may_not_be_written_is_taken_without_a_warning():
    array = np.zeros((2, 8, 8, 1), np.uint8)
    array.flags.writeable = False
    assert Images(array, [0, 1], array, [0, 1], ("a", "b"), "read only").train.shape == (2, 8, 8, 1)


def test_images_that_are_neither_are_named():
    with pytest.raises(InputError, match="train of these images is a dict"):
        Images({}, [0], {}, [0], ("a",), "wrong")


# --- what is pruned ---


class Attending(nn.Module):
    """One attention between two linear layers; kdim makes its projections three matrices."""

    def __init__(self, kdim: int | None = None):
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 10)
        self.attention = nn.MultiheadAttention(16, 2, kdim=kdim, vdim=kdim, batch_first=True)
        self.keys = nn.Linear(8, kdim or 16)

    def forward(self, x):
        rows = x.flatten(2).squeeze(1).view(-1, 8, 8)  # an image as a sequence of its rows
        keys = self.keys(rows)
        return self.last(self.attention(self.first(rows), keys, keys, need_weights=False)[0].mean(1))


def test_all_weights_of_an_attention_are_prunable():
    attention = ("attention.in_proj_weight", "attention.out_proj.weight")
    assert masks.prunable(Attending()) == (
        "last.weight",
        *attention,
    )  # not first and keys
    apart = masks.layers(Attending(kdim=12))
    assert {f"attention.{n}_proj_weight" for n in "qkv"} < set(apart)


def test_an_attention_is_pruned_and_trained_and_pruned_weights_stay_zero(store):
    mine = check(Attending, "digits", recipe=RECIPE, prunable=("attention.*",), store=store.folder, **ONE)
    assert mine.prunable.query("prunable")["weights"].sum() == 4 * 16 * 16
    mine.train(quiet=True)
    ticket = next(t.run for t in mine.trials if t.setting == "LT-OMP")
    weights, mask = store.weights(ticket)
    pruned = ~mask["attention.in_proj_weight"]
    assert pruned.any()
    assert (weights["attention.in_proj_weight"][pruned] == 0).all()


def test_that_projections_are_pruned_is_part_of_what_names_a_network_with_an_attention(monkeypatch):
    def architectures() -> list[str]:
        networks.architecture.cache_clear()
        attending = networks.architecture(networks.local(Attending), num_classes=10)
        return [attending, networks.architecture("resnet8", num_classes=10)]

    now = architectures()
    monkeypatch.setattr(networks, "ATTENTION", "once they were not")
    attending, plain = architectures()
    assert attending != now[0]
    assert plain == now[1]
    networks.architecture.cache_clear()


@pytest.mark.parametrize("pattern", ["blocks.*", "attention.in_proj"])
def test_a_pattern_that_matches_nothing_is_named_even_beside_one_that_does(pattern):
    with pytest.raises(InputError, match=rf"weight matches {pattern.replace('*', '[*]')}; the network has"):
        SanityCheck.of(Attending, "digits", RECIPE, prunable=("attention.*", pattern), **ONE)


# --- what the verdict says ---


def judged(seeds, needed=1):
    table = pd.DataFrame(experiment(minus(DENSE, 0), minus(DENSE, 1), minus(DENSE, 6), sparsities=(S8,)))
    return tickets.verdict(table[table["seed"].isin(seeds)], pruning="IMP", sufficient_epochs=needed)


def test_a_verdict_prints_as_a_sentence_with_its_evidence_and_shows_itself_in_a_notebook():
    verdict = judged((0, 1, 2))
    first, *evidence = str(verdict).splitlines()
    assert first == (
        "resnet8 on digits, s = 0.832, IMP: By the means Jackpot: ① to ⑤ hold. The seeds support it. "
        "P(Jackpot) > 0.99, P(secondary prize) < 0.01, P(none) < 0.01."
    )
    assert [line.strip()[0] for line in evidence] == list("①②③④⑤")
    shown = verdict._repr_html_()
    assert "<b>resnet8 on digits" in shown
    assert shown.count("<li>") == 5


def test_with_one_seed_nothing_is_borne_out():
    verdict = judged((0,))
    assert verdict.kind_ours == tickets.UNDECIDED
    assert "One seed cannot support a verdict." in verdict.sentence
    assert "support it" not in verdict.sentence


def test_one_seed_is_enough_where_the_training_is_too_short():
    found = judged((0,), needed=10_000)
    assert found.kind_ours == tickets.NONE
    assert "One seed cannot support a verdict." not in found.sentence


# --- what the command says ---


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """The command in a folder of its own: said("plan", "fig1") -> (status, what it printed)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lthpaper", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code or 0, out + err

    return run


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["plan", "fig1", "--scale", "laptob"], "Did you mean 'laptop'?"),
        (["plan", "fig1", "--set", "seed=3"], "Did you mean 'seeds'?"),
        (["plan", "fig1", "--set", "learning_rate=0.1"], "Did you mean 'learning_rates'?"),
        (["plan", "01_fig1"], "Did you mean 'fig1'?"),
        (["figures", "01_fig1"], "Did you mean 'fig1'?"),
        (["figures", "fig1", "--set", "seed=3"], "Did you mean 'seeds'?"),
        (["list", "network"], "Did you mean 'networks'?"),
        (["check", "mynets.py:make", "--plan"], "drop the .py, mynets:make."),
        (["check", "nets/mine.py:make", "--plan"], "drop the .py, nets.mine:make."),
        (["check", "mlp", "--on", "mine.py:load", "--plan"], "drop the .py, mine:load."),
        (["plan", "own-network"], "`lthpaper check NETWORK --plan` says what it costs"),
    ],
)
def test_a_name_that_is_nearly_right_brings_a_suggestion(said, words, hint):
    status, text = said(*words)
    assert status == 2
    assert hint in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_none_was_found(said):
    assert "no GPU was found" in said("plan", "fig1", "--device", "cuda")[1]


def test_list_has_every_notebook_in_the_papers_order_and_imports_no_torch(tmp_path):
    script = "import sys; from lthpaper.cli.main import main; sys.argv = ['lthpaper', 'list', 'figures']\n"
    script += "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *lines, torch_imported = done.stdout.strip().splitlines()
    names = [line.split()[0] for line in lines[1:]]
    numbered = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert names == [stem.split("_")[1] for stem in numbered]
    first = names.index("fig1")
    assert names[first : first + 3] == ["fig1", "appendix-a", "fig2"]
    assert torch_imported == "False"


def test_list_and_claims_are_no_wider_than_the_terminal(monkeypatch):
    narrow = Console(width=60, soft_wrap=True, file=io.StringIO())
    monkeypatch.setattr(lists, "console", narrow)
    lists.list_("scales")
    assert max(map(len, narrow.file.getvalue().splitlines())) <= 60


def test_what_only_shows_results_shows_those_that_are_published():
    shown = (claims.claims, export.export, report.report, run.status)
    assert {inspect.signature(command).parameters["scale"].default for command in shown} == {"laptop"}


def test_version_says_what_a_report_needs(said):
    status, text = said("--version")
    assert status == 0
    assert re.match(r"lthpaper [\d.]+ \(Python 3\.\d+\.\d+\)\ntorch ", text)
    assert max(map(len, text.splitlines())) <= 80


def test_every_commands_help_has_examples_that_are_commands(said, monkeypatch):
    monkeypatch.setenv("LTHPAPER_DATA", "")  # parsing --data sets it
    for name, lines in cli.EXAMPLES.items():
        assert f"lthpaper {lines[0]}" in " ".join(said(name, "--help")[1].split())
        for line in lines:
            parse(line)


# --- plans ---

FIELDS = {"epochs": 1, "insufficient_epochs": 1, "rounds": [1], "learning_rates": [0.1], "train_images": 60}


def test_a_plan_says_when_the_data_is_missing_and_how_to_get_it(said):
    words = ["plan", "fig1", "--set", "data=cifar10", "--set", "epochs=1", "--on", "1xh100"]
    status, text = said(*words)
    assert status == 0
    assert "data: cifar10 was not found: looked for" in text
    assert "or set LTHPAPER_DOWNLOAD=1" in text


def test_in_a_notebook_missing_data_fails_at_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cifar10 was not found"):
        study("fig1", "smoke", data="cifar10", **FIELDS).costs()


def test_a_figure_that_is_named_twice_counts_once():
    once = options.studies_of(["fig1"], "smoke", {}, "", "", "cpu", 0)
    assert [p.name for p in options.studies_of(["fig1", "fig1"], "smoke", {}, "", "", "cpu", 0)] == ["fig1"]
    assert len(once) == 1


def test_small_dense_networks_are_one_line_and_called_so(store):
    todo = plan([t.run for t in SanityCheck.of("mlp", "digits", RECIPE, (0.1,), (1, 4), 2).trials], store)
    lines = costs.trainings(todo)
    assert len(lines) == 2
    assert "trainings of mlp on digits, 1 epoch" in lines[0]
    assert re.search(
        r"^4 trainings of mlp made narrow \(SDT\) on digits, 1 epoch, width 0\.\d+ to 0\.\d+$", lines[1]
    )
    assert sum(int(line.split()[0]) for line in lines) == len(todo.todo)


def test_large_amounts_are_in_gigabytes():
    assert costs.amount(180_599_200_000) == "180.6 GB"
    assert costs.amount(12_340_000) == "12.3 MB"


# --- another folder for other parameters ---


def test_changed_parameters_draw_into_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [study("fig1", "smoke", seeds=seeds).folder.name for seeds in (None, 1, 2)]
    assert folders == ["smoke", "smoke", "smoke,seeds=2"]  # the scale has one seed
    several = study("fig1", "smoke", learning_rates=[0.01, 0.1], data="digits", epochs=3).folder.name
    assert several == "smoke,epochs=3,learning_rates=0.01+0.1"
    assert study("fig1", "smoke", seeds=2, out="mine").folder == tmp_path / "mine"


def test_a_folders_name_stays_short_and_apart():
    many = [locations.changed("smoke", {"grid": [i / 1000 for i in range(n)]}) for n in (90, 91)]
    assert max(map(len, many)) <= 80
    assert many[0] != many[1]


# --- one sentence in a notebook ---


@pytest.mark.parametrize("error", [InputError("seeds is 0."), Unfinished("Stopped cleanly.")])
def test_a_notebook_shows_a_sentence_and_not_a_traceback(error, monkeypatch):
    shell = InteractiveShell()
    shown = []
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, value, lines: shown.extend(lines))
    for debug in ("", "1"):
        monkeypatch.setenv("LTHPAPER_DEBUG", debug)
        try:
            raise error
        except type(error):
            shell.showtraceback()
        if not debug:
            assert shown == [f"{type(error).__name__}: {error}"]
    assert any("Traceback" in line for line in shown)


def test_an_interrupt_in_a_notebook_ends_a_training_in_good_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)

    interrupts = iter([signal.SIGINT])

    def interrupted(run, state, fingerprint):  # as Jupyter does, in the midst of a training
        for number in interrupts:
            signal.raise_signal(number)

    monkeypatch.setenv("LTHPAPER_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr("lthpaper.store.checkpoints.Checkpoints.save", lambda self, *a: interrupted(*a))
    with pytest.raises(Unfinished, match="Stopped cleanly, since SIGINT asked for it"):
        study("fig1", "smoke", **FIELDS | {"epochs": 2}, workers=1).train(quiet=True)


def test_a_factory_for_colour_images_brings_a_hint_on_grey_ones(store):
    value = SanityCheck.of("torchvision.models:resnet18", "digits", RECIPE, **ONE)
    with pytest.raises(InputError, match=r"The images have 1 channel, and its factory takes no in_channels"):
        before_training(value)
