"""The first hour of somebody with data and a network of their own."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hand_made import DENSE, S8, experiment, minus
from torch import nn
from typer.testing import CliRunner

from lthpaper import masks, networks, tickets
from lthpaper.check import SanityCheck
from lthpaper.cli import app
from lthpaper.data import Images, load
from lthpaper.errors import InputError
from lthpaper.recipe import Recipe

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
    """A data set of one's own as a function that reads arrays below the folder of data sets; that folder."""
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


# --- data of one's own ---


def test_the_data_option_reaches_a_data_function_of_ones_own(mine):
    words = ["check", "mlp", "--on", "own_home:arrays", "--data", "elsewhere", "--epochs", "1", "--plan"]
    said = invoke(*words, "--rounds", "1", "--seeds", "1", "--learning-rates", "0.1")
    assert "to train: 6" in said


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
    check = SanityCheck.of(Attending, "digits", RECIPE, prunable=("attention.*",), **ONE)
    assert check.prunable().query("prunable")["weights"].sum() == 4 * 16 * 16
    check.train(store, quiet=True)
    ticket = next(t.run for t in check.trials if t.setting == "LT-OMP")
    weights, mask = store.weights(ticket)
    pruned = ~mask["attention.in_proj_weight"]
    assert pruned.any()
    assert (weights["attention.in_proj_weight"][pruned] == 0).all()


def test_that_projections_are_pruned_is_part_of_what_names_a_network_with_an_attention(monkeypatch):
    def architectures() -> list[str]:
        networks._architecture.cache_clear()
        attending = networks.architecture(networks.local(Attending), num_classes=10)
        return [attending, networks.architecture("resnet8", num_classes=10)]

    now = architectures()
    monkeypatch.setattr(networks, "ATTENTION", "once they were not")
    attending, plain = architectures()
    assert attending != now[0]
    assert plain == now[1]
    networks._architecture.cache_clear()


@pytest.mark.parametrize("pattern", ["blocks.*", "attention.in_proj"])
def test_a_pattern_that_matches_nothing_is_named_even_beside_one_that_does(pattern):
    with pytest.raises(InputError, match=rf"weight matches {pattern.replace('*', '[*]')}; the network has"):
        SanityCheck.of(Attending, "digits", RECIPE, prunable=("attention.*", pattern), **ONE)


# --- what the verdict says ---


def judged(seeds):
    table = pd.DataFrame(experiment(minus(DENSE, 0), minus(DENSE, 1), minus(DENSE, 6), sparsities=(S8,)))
    return tickets.verdict(table[table["seed"].isin(seeds)], pruning="IMP", sufficient_epochs=1)


def test_a_verdict_prints_as_a_sentence_with_its_evidence_and_shows_itself_in_a_notebook():
    verdict = judged((0, 1, 2))
    first, *evidence = str(verdict).splitlines()
    assert first == (
        "resnet8 on digits, s = 0.832, IMP: By the means Jackpot: ① to ⑤ hold. The seeds bear it out."
    )
    assert [line.strip()[0] for line in evidence] == list("①②③④⑤")
    shown = verdict._repr_html_()
    assert "<b>resnet8 on digits" in shown
    assert shown.count("<li>") == 5


def test_with_one_seed_nothing_is_borne_out():
    verdict = judged((0,))
    assert verdict.kind_ours == tickets.UNDECIDED
    assert "One seed bears nothing out." in verdict.sentence
    assert "bear it out" not in verdict.sentence
