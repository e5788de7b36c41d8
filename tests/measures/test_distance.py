"""The distance that training moves the weights, in units of where they began."""

import pytest
import torch

from lthpaper.errors import InputError
from lthpaper.measures.distance import distance, travelled
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute

START = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}


def test_weights_that_stay_travel_nothing_and_weights_that_vanish_travel_one():
    assert distance(START, START) == 0
    assert distance(START, {name: 0 * w for name, w in START.items()}) == 1
    assert distance(START, {name: -2 * w for name, w in START.items()}) == 3


def test_all_layers_together_are_one_vector():
    moved = START | {"a": torch.tensor([3.0, 5.0])}
    assert distance(START, moved) == 1  # |(0, 5, 0)| of |(3, 0, 4)|
    assert distance(START, moved, ["b"]) == 0


def test_the_scale_of_a_network_does_not_change_its_distance():
    end = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    scaled = [{name: 10 * w for name, w in some.items()} for some in (START, end)]
    assert distance(*scaled) == pytest.approx(distance(START, end))


def test_a_diverged_network_has_no_distance():
    assert torch.isnan(torch.tensor(distance(START, START | {"b": torch.tensor([[torch.inf]])})))


def test_weights_of_two_networks_are_refused():
    with pytest.raises(InputError, match="compares b"):
        distance(START, {"a": START["a"]})
    with pytest.raises(InputError, match="units of"):
        distance({"a": torch.zeros(2)}, {"a": torch.ones(2)})


def test_more_training_travels_further_and_the_number_is_kept(tmp_path):
    task, recipe = Task("mlp", "digits", train_images=60), Recipe(epochs=1, batch_size=30, milestones=())
    runs = [pretraining(task, recipe.with_(epochs=n, lr=0.1)) for n in (1, 10)]
    store = Store(tmp_path)
    assert torch.isnan(torch.tensor(travelled(runs[0], store)))
    execute(runs, store, workers=1, quiet=True)
    short, long = (travelled(run, store) for run in runs)
    assert 0 < short < long
    for path in store.folder.rglob("weights.safetensors"):
        path.unlink()  # from here on only what is kept can answer
    assert [travelled(run, store) for run in runs] == [short, long]
