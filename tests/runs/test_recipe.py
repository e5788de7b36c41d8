"""The learning rate of every step is torch's; a value that cannot be used never becomes a recipe."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lthpaper.errors import InputError
from lthpaper.runs import digest as canonical
from lthpaper.runs.inits.fresh import Fresh
from lthpaper.runs.recipe import PRECISIONS, SCHEDULES, Recipe, learning_rate
from lthpaper.runs.run import Run
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task

NAN, INF = math.nan, math.inf


def ours(recipe: Recipe, steps: int) -> list[float]:
    """Learning rate of every step of the training, in order."""
    return [
        learning_rate(recipe, epoch, step, steps) for epoch in range(recipe.epochs) for step in range(steps)
    ]


def torchs(recipe: Recipe, scheduler, count: int) -> list[float]:
    """Learning rates of `count` steps as torch's scheduler, stepped after each, gives them."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    schedule = scheduler(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@given(
    milestones=st.sets(st.integers(1, 12), max_size=4),
    gamma=st.floats(0.05, 1),
    lr=st.floats(1e-4, 1),
    epochs=st.integers(1, 12),
    steps=st.integers(1, 7),
)
def test_the_step_schedule_is_multisteplr(milestones, gamma, lr, epochs, steps):
    recipe = Recipe(epochs, lr, gamma=gamma, milestones=tuple(sorted(milestones)))
    by_epoch = torchs(recipe, lambda o: lr_scheduler.MultiStepLR(o, recipe.milestones, gamma), epochs)
    assert ours(recipe, steps) == pytest.approx([rate for rate in by_epoch for _ in range(steps)], rel=1e-12)


@given(lr=st.floats(1e-4, 1), epochs=st.integers(1, 12), steps=st.integers(1, 7))
def test_the_cosine_schedule_is_cosineannealinglr_by_step(lr, epochs, steps):
    recipe = Recipe(epochs, lr, schedule="cosine", milestones=(1, 2))
    total = epochs * steps
    theirs = torchs(recipe, lambda o: lr_scheduler.CosineAnnealingLR(o, total), total)
    assert ours(recipe, steps) == pytest.approx(theirs, rel=1e-9, abs=1e-12 * lr)


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(lr=st.floats(1e-4, 1), warmup=st.integers(1, 5), steps=st.integers(1, 7))
def test_warm_up_is_linearlr_and_then_the_schedule_starts(schedule, lr, warmup, steps):
    recipe = Recipe(12, lr, schedule=schedule, milestones=(8,), warmup_epochs=warmup)
    rates, count = ours(recipe, steps), warmup * steps
    linear = torchs(recipe, lambda o: lr_scheduler.LinearLR(o, 1 / (count + 1), 1.0, count), count)
    assert rates[:count] == pytest.approx(linear, rel=1e-9)
    assert rates[: count + 1] == sorted(rates[: count + 1])
    assert rates[count] == pytest.approx(lr)


@given(lr=st.floats(1e-4, 1), warmup=st.integers(1, 11), steps=st.integers(1, 7))
def test_after_warm_up_the_cosine_covers_the_epochs_that_are_left(lr, warmup, steps):
    recipe = Recipe(12, lr, schedule="cosine", milestones=(), warmup_epochs=warmup)
    left = (12 - warmup) * steps
    theirs = torchs(recipe, lambda o: lr_scheduler.CosineAnnealingLR(o, left), left)
    assert ours(recipe, steps)[warmup * steps :] == pytest.approx(theirs, rel=1e-9, abs=1e-12 * lr)


@given(st.builds(Recipe, epochs=st.integers(1, 30), schedule=st.sampled_from(SCHEDULES)), st.integers(1, 9))
def test_the_learning_rate_is_never_negative_and_never_above_the_initial_one(recipe, steps):
    assert all(0 <= rate <= recipe.lr for rate in ours(recipe, steps))


def test_the_defaults_are_the_papers():
    # §3.1: 160 epochs, lr 0.1 divided by 10 at 80 and 120
    rates = ours(Recipe(), 1)
    assert rates[0] == rates[79] == 0.1
    assert rates[80] == rates[119] == pytest.approx(0.01)
    assert rates[120] == rates[159] == pytest.approx(0.001)


NO_NUMBER = ["0.1", None, True, NAN, INF, -INF, (1.0,), 10**400]
NOT_WHOLE = [0, -1, 1.0, 2.5, "3", None, True, NAN, INF]
BAD = {
    "epochs": NOT_WHOLE,
    "batch_size": NOT_WHOLE,
    "lr": [*NO_NUMBER, 0, 0.0, -0.1],
    "momentum": [*NO_NUMBER, 1, -0.1, 1.5],
    "weight_decay": [*NO_NUMBER, -1e-4],
    "schedule": ["linear", "", None, 1, ["step"]],
    "milestones": [(0, 1), (2, 1), (3, 3), (1.5,), (True,), ("80",), "80", 80, None, (NAN,)],
    "gamma": [*NO_NUMBER, 0, -0.1],
    "warmup_epochs": [*NO_NUMBER, -1, 160.5],
    "label_smoothing": [*NO_NUMBER, 1, -0.1],
    "precision": ["fp16", "", None, 32, ["fp32"]],
    "mixup": [*NO_NUMBER, -0.1],
    "micro_batch": [-1, -64, 3, 128, 32.0, "32", None, True, False, NAN],
    "optimizer": ["adam", "SGD", "", None, 1, ["sgd"]],
    "clip": [*NO_NUMBER, -0.1],
    "decay_norms": [0, 1, "false", None],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in BAD for value in BAD[field]])
def test_a_bad_value_is_refused_in_one_sentence(field, value):
    with pytest.raises(InputError) as refused:
        Recipe(**{field: value})
    sentence = str(refused.value)
    assert {"lr": "learning rate"}.get(field, field) in sentence
    assert "must be" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Recipe(lr=np.float32(0.1)), r"must be a number above 0, a Python float: float\(…\)\.$"),
        (lambda: Recipe(epochs=np.int64(5)), r"must be a whole number from 1, a Python int: int\(…\)\.$"),
        (lambda: Fresh(np.int64(1)), r"from 0, below 2\*\*63, a Python int: int\(…\)\.$"),
        (lambda: Task("resnet8", "digits", width=torch.tensor(2)), r"above 0, a Python float: float\(…\)\.$"),
        (lambda: Task("resnet8", "digits", width="2"), r"width is '2'; it must be a number above 0\.$"),
    ],
)
def test_a_number_of_numpy_or_torch_is_refused_with_pythons(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_a_field_that_a_recipe_lacks_is_refused_with_those_that_it_has():
    with pytest.raises(InputError, match=r"no field 'learning_rate'\. Known: epochs, lr, batch_size, "):
        Recipe().with_(learning_rate=0.1)
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        Recipe().with_(epoch=3)
    task = Task("resnet8", "digits")
    for value, wrong in ((task, "widht"), (pretraining(task, Recipe()), "sed")):
        with pytest.raises(InputError, match=f"has no field '{wrong}'. Did you mean '(width|seed)'"):
            value.with_(**{wrong: 1})


def test_no_field_is_without_bad_values():
    assert set(BAD) == {f.name for f in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_edges_of_what_is_allowed_are_allowed(precision, schedule):
    recipe = Recipe(1, 1e-9, 1, 0, 0, schedule, (), 1, 1, 0, precision)
    assert Recipe(**dataclasses.asdict(recipe)) == recipe


def test_whole_numbers_and_lists_are_taken_for_what_they_mean():
    assert Recipe(lr=1, milestones=[80, 120]) == Recipe(lr=1.0, milestones=(80, 120))
    assert math.copysign(1, Recipe(momentum=-0.0).momentum) == 1


def test_an_unknown_optimizer_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="optimizer is 'adam'; it must be one of sgd, nesterov, adamw"):
        Recipe(optimizer="adam")


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(InputError, match="with the optimizer nesterov it must be above 0"):
        Recipe(optimizer="nesterov", momentum=0)


OTHER = {"optimizer": "adamw", "clip": 1.0, "decay_norms": False}


def test_optimizer_clipping_and_decay_are_part_of_a_training_and_absent_while_they_are_the_papers():
    plain, task = Recipe(), Task("resnet8", "digits")
    recipes = [plain, plain.with_(optimizer="nesterov"), *(plain.with_(**{f: v}) for f, v in OTHER.items())]
    assert len({Run(task, recipe).digest for recipe in recipes}) == len(recipes)
    assert not OTHER.keys() & set(canonical.describe(plain))
    for recipe in recipes:
        assert canonical.rebuild(Recipe, canonical.describe(recipe)) == recipe


@given(micro=st.sampled_from((1, 2, 8, 32)), mixup=st.floats(0, 8, exclude_min=True))
def test_mixup_and_micro_batches_are_other_trainings(micro, mixup):
    plain, task = Recipe(), Task("resnet8", "digits")
    digests = {Run(task, r).digest for r in (plain, plain.with_(mixup=mixup), plain.with_(micro_batch=micro))}
    assert len(digests) == 3


def test_a_recipe_without_them_has_the_digest_that_it_had_before_they_existed():
    # as computed by the version that had neither field
    assert Run(Task("resnet20", "cifar10"), Recipe(lr=0.1)).digest == "ffe5e26c9a957923"
    assert Run(Task("resnet8", "digits"), Recipe(mixup=0, micro_batch=0)).digest == "ee58ae5c0fb4d358"
    assert not {"mixup", "micro_batch"} & set(canonical.describe(Recipe()))


def test_a_micro_batch_of_the_whole_batch_is_the_whole_batch():
    assert Recipe(batch_size=64, micro_batch=64) == Recipe(batch_size=64)


def test_micro_batches_and_mixup_are_read_back_from_a_description():
    for recipe in (Recipe(), Recipe(mixup=0.2, micro_batch=16)):
        assert canonical.rebuild(Recipe, canonical.describe(recipe)) == recipe
