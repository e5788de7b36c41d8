"""A scale is a value: what it computes, the paper's numbers by data set, and what it refuses."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lthpaper import paper
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.runs import experiments
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run, ancestors
from lthpaper.runs.scales import BY_DATA, FIELDS, LAPTOP, PAPER, SCALES, SMOKE, Scale, scale
from lthpaper.runs.task import Task
from lthpaper.sweep.measure import timed_images
from lthpaper.verdicts.characteristics import small_rates

TRAINED = ("fig1", "appendix-a", "appendix-d", "appendix-f", "fig3", "fig4", "fig5", "fig6", "table4")


def runs_of(figure: str, of: Scale) -> list[Run]:
    return [trial.run for trial in FIGURES[figure].trials(of)]


# --- the same trainings as ever ---


@pytest.mark.parametrize(
    ("name", "count", "known"),
    [
        ("smoke", 241, "c2e6c80361da6cc6"),
        ("laptop", 3610, "c95e891a8bd939fe"),
        ("desktop", 975, "ac8f8d114a927399"),
    ],
)
def test_the_runs_of_the_small_scales_are_those_that_are_published(name, count, known):
    """A change of these digests orphans every result that anyone has; SHA-256 of all, in order."""
    digests = sorted({run.digest for figure in TRAINED for run in runs_of(figure, SCALES[name])})
    assert len(digests) == count
    assert hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16] == known


# --- the paper's scale is the paper's data ---


def smallest_of(data: str) -> Scale:
    """The paper scale with the first experiment of a data set, one seed."""
    name = next(e.name for e in paper.EXPERIMENTS if e.data == data)
    return PAPER.with_(experiments=name, seeds=1)


def test_the_paper_scale_has_the_papers_experiments():
    assert PAPER.experiments == tuple(e.name for e in paper.EXPERIMENTS)
    assert PAPER.as_paper == BY_DATA
    assert SMOKE.as_paper == LAPTOP.as_paper == ()


@pytest.mark.parametrize("data", paper.RECIPES)
def test_every_experiment_trains_with_its_data_s_own_recipe_grid_and_sparsities(data):
    stated = paper.RECIPES[data]
    recipe = PAPER.recipe_for(data)
    assert recipe == Recipe(**stated.arguments())
    runs = runs_of("fig3", smallest_of(data))
    assert {run.recipe.with_(lr=recipe.lr) for run in ancestors(runs)} == {recipe}
    (sample, *_) = (e for e in paper.EXPERIMENTS if e.data == data)
    assert {run.recipe.lr for run in runs} == {rate.lr for rate in sample.grid}
    assert PAPER.grid_for(data) == tuple(rate.lr for rate in sample.grid)
    assert PAPER.rounds_for(sample.network, data) == sample.rounds


def test_cifar_trains_in_float32_as_before():
    # what the published code did, and what digests at this scale have been so far
    old = Recipe(epochs=160, lr=0.1, batch_size=64, milestones=(80, 120))
    assert PAPER.recipe == PAPER.recipe_for("cifar100") == PAPER.recipe_for("tiny-imagenet") == old
    few = PAPER.insufficient_recipe
    assert few == old.with_(epochs=78, milestones=(52, 65))


def test_imagenet_has_the_authors_recipe():
    recipe = PAPER.recipe_for("imagenet")
    assert (recipe.epochs, recipe.schedule, recipe.warmup_epochs) == (90, "cosine", 5.0)
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (1024, 0.875, 2**-15)
    assert (recipe.label_smoothing, recipe.mixup, recipe.precision) == (0.1, 0.2, "bf16")
    assert PAPER.grid_for("imagenet") == (0.2048, 0.4, 1.024, 1.6, 2.048)
    assert small_rates(PAPER.grid_for("imagenet"), "imagenet") == (0.2048, 0.4)  # so both kinds are there


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_an_experiment_of_appendix_f_is_as_large_as_its_grid_says(data):
    """7 rates × (a pretraining, 13 IMP rounds, four settings at each of 4 sparsities), a seed."""
    assert len(list(ancestors(runs_of("appendix-f", smallest_of(data))))) == 7 * (1 + 13 + 4 * 4)


def test_planning_times_a_part_of_a_batch_that_would_not_fit():
    """1,024 photographs of 224×224 through ResNet-50 take a hundred gigabytes."""
    cpu = torch.device("cpu")
    photographs = Run(Task("resnet50", "imagenet"), PAPER.recipe_for("imagenet"))
    assert 8 <= timed_images(photographs, cpu) <= 64
    assert timed_images(photographs, torch.device("cuda")) > timed_images(photographs, cpu)
    for data in ("cifar10", "tiny-imagenet"):
        assert timed_images(Run(Task("resnet20", data), PAPER.recipe_for(data)), cpu) == 64


def test_a_changed_field_changes_every_experiment():
    of = PAPER.with_(epochs=16, precision="bf16", batch_size=128, grid=(0.1, 0.4), rounds=(8,))
    for data in paper.RECIPES:
        recipe = of.recipe_for(data)
        assert (recipe.epochs, recipe.precision, recipe.batch_size) == (16, "bf16", 128)
        assert of.grid_for(data) == (0.1, 0.4)
        assert of.rounds_for("resnet20", data) == (8,)
    assert of.recipe_for("cifar10").milestones == (8, 12)
    assert of.recipe_for("imagenet").warmup_epochs == pytest.approx(16 * 5 / 90)
    assert PAPER.with_(seeds=5).as_paper == BY_DATA
    assert PAPER.with_(epochs=160).recipe_for("imagenet").epochs == 160  # asked for, so it is done


def test_a_data_set_that_the_paper_lacks_has_cifar_s_recipe():
    of = PAPER.with_(experiments="resnet20/fashion-mnist")
    assert of.recipe_for("fashion-mnist") == of.recipe
    assert of.grid_for("fashion-mnist") == of.grid
    assert of.rounds_for("resnet20", "fashion-mnist") == of.rounds


def test_micro_batches_are_made_where_a_batch_is_larger_and_nowhere_else():
    of = PAPER.with_(micro_batch=256)
    assert of.recipe_for("imagenet").micro_batch == 256
    assert of.recipe_for("cifar10") == PAPER.recipe_for("cifar10")
    assert PAPER.with_(micro_batch=32).recipe_for("cifar10").micro_batch == 32


def test_the_sparsity_of_a_panel_is_one_that_the_scale_has():
    for task in PAPER.tasks:
        assert experiments.shown_rounds(task, PAPER) == paper.experiment(task.network, task.data).shown
    assert experiments.shown_rounds(Task("resnet32", "cifar10"), PAPER.with_(rounds=(4, 8))) == 8


# --- scales ---


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_is_complete(name):
    of = scale(name)
    assert of == SCALES[name]
    assert of.insufficient_epochs < of.epochs
    assert set(of.learning_rates) <= set(of.grid)
    for network, data in ((t.network, t.data) for t in of.tasks):
        assert of.recipe_for(data).epochs > of.insufficient_epochs
        assert of.rounds_for(network, data)
        assert of.grid_for(data)


def test_the_figures_about_one_network_are_about_resnet20_on_cifar10():
    assert (PAPER.network, PAPER.data, PAPER.seeds) == ("resnet20", "cifar10", 3)


@given(epochs=st.integers(1, 300), insufficient=st.integers(1, 300))
def test_milestones_fall_within_the_epochs_at_any_length(epochs, insufficient):
    of = SMOKE.with_(epochs=epochs, insufficient_epochs=insufficient)
    for recipe, length in ((of.recipe, epochs), (of.insufficient_recipe, insufficient)):
        assert recipe.epochs == length
        assert all(0 < m <= length for m in recipe.milestones)


TAKEN = {
    "epochs": [5, "5", " 5 ", 5.0, np.int64(5)],
    "learning_rates": ["0.1, 0.2", "[0.1, 0.2]", [0.1, 0.2], (0.1, "0.2"), np.array([0.1, 0.2])],
    "grid": [0.3, "0.3", [0.3]],
    "rounds": ["1,2", [1, 2], (1.0, 2)],
    "precision": ["bf16"],
    "optimizer": ["adamw"],
    "clip": [1, "1", 1.0],
    "decay_norms": [False, "false", " False "],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in TAKEN.items() for v in values])
def test_a_field_may_come_from_a_shell_a_notebook_or_python(field, value):
    expected = {
        "epochs": 5,
        "learning_rates": (0.1, 0.2),
        "grid": (0.3,),
        "rounds": (1, 2),
        "precision": "bf16",
        "optimizer": "adamw",
        "clip": 1.0,
        "decay_norms": False,
    }
    changed = scale("laptop", **{field: value})
    assert getattr(changed, field) == expected[field]
    assert repr(getattr(changed, field)) == repr(expected[field])  # 5, not 5.0
    assert changed.with_(**{field: getattr(LAPTOP, field)}) == LAPTOP


def test_none_is_the_scales_own_value():
    assert scale("paper", **dict.fromkeys(FIELDS)) == scale("paper")  # as_paper too


REFUSED = {
    "epochs": [0, -1, 1.5, "many", "", True, math.nan, math.inf, [1]],
    "insufficient_epochs": [0, "1.5"],
    "batch_size": [0, -50],
    "seeds": [0, -1, 2.5, "x"],
    "learning_rates": [0, -0.1, "0.1,,x", [], "", [math.nan], [math.inf], [0.1, 0.1], [True]],
    "grid": [[0.0], [], [0.1, 0.2, 0.1]],
    "rounds": [0, 31, -1, 1.5, [], [4, 4], "four"],
    "train_images": [-1, 301, 2.5],
    "network": ["resnet9000", "", 7],
    "data": ["no-such-data", ""],
    "precision": ["fp16", ""],
    "micro_batch": [-1, 1.5, 3],
    "surface_points": [1, 0],
    "surface_images": [0, "all"],
    "surface_error": [-0.01, 0.2, "small", math.nan],
    "as_paper": ["seeds", ["epochs", "network"]],
    "optimizer": ["adam", "", 1],
    "clip": [-1, "much", math.nan, True],
    "decay_norms": [0, "no", 1.0, [True]],
}


def test_every_training_of_a_scale_has_its_optimizer():
    of = scale("paper", optimizer="adamw", clip=1, decay_norms="false")
    for data in paper.RECIPES:
        recipe = of.recipe_for(data)
        assert (recipe.optimizer, recipe.clip, recipe.decay_norms) == ("adamw", 1.0, False)
    assert of.insufficient_recipe.optimizer == "adamw"


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in REFUSED.items() for v in values])
def test_what_a_scale_cannot_compute_is_refused_in_one_sentence(field, value):
    with pytest.raises(InputError) as said:
        scale("laptop", **{field: value})
    assert "\n" not in str(said.value)
    assert str(said.value).endswith((".", "?"))


def test_unknown_scales_and_fields_are_named_with_what_there_is():
    with pytest.raises(
        InputError, match=r"'papre'\. Did you mean 'paper'\? Known: smoke, laptop, desktop, paper"
    ):
        scale("papre")
    with pytest.raises(InputError, match=r"no field 'epoch'\. Did you mean 'epochs'\? Known: .*epochs"):
        scale("smoke", epoch=3)
    with pytest.raises(InputError, match="no field 'name'"):
        scale("smoke", name="mine")


@pytest.mark.parametrize("seeds", [0, 1.0, True, "1"])
def test_a_scale_made_by_hand_is_checked_too(seeds):
    with pytest.raises(InputError, match="seeds"):
        Scale("mine", "resnet8", "digits", 2, 1, 50, seeds=seeds)
