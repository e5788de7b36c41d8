"""The sanity check takes any network: from a notebook, by dotted path, from torchvision, stackable or not."""

import pytest
import torch
from matplotlib import pyplot
from torch import nn

from lthpaper.checks import SanityCheck
from lthpaper.errors import InputError
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import nonzeros
from lthpaper.sweep import simulate

RECIPE = Recipe(epochs=1, batch_size=30, milestones=())
ONE = {"learning_rates": (0.1,), "rounds": (1,), "seeds": 1, "train_images": 60}


def perceptron(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
    hidden = max(1, round(24 * width))
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(in_channels * size * size, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )


class Branching(nn.Module):
    """Which way it goes depends on the images, so no program stands for all of them."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 12), nn.Linear(12, 12), nn.Linear(12, 10)

    def forward(self, x):
        x = self.first(x.flatten(1))
        return self.last(self.second(x) if float(x.detach().mean()) > 0 else self.second(-x))


def test_a_function_from_a_notebook_goes_from_factory_to_verdict(store, tmp_path):
    def own(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
        return perceptron(num_classes, in_channels, size, width)

    check = SanityCheck.of(own, "digits", RECIPE, **ONE)
    assert check.task.network.startswith("local:")
    assert check.notes() == []
    assert [t.setting for t in check.trials] == ["pretraining", "LT-IMP", "RR-IMP", "LT-OMP", "RR-OMP", "SDT"]
    assert len(check.plan(store).todo) == 6
    assert simulate.here(check.plan(store), "cpu", workers=2).makespan > 0  # what it costs, before it begins

    check.train(store, workers=2, quiet=True)  # no other process could build the function
    assert check.plan(store).todo == ()
    assert check.table(store)["accuracy"].notna().all()
    verdicts = check.verdicts(store)
    assert verdicts["pruning"].tolist() == ["IMP", "OMP"]
    assert verdicts["sparsity"].tolist() == pytest.approx([0.2, 0.2])
    pyplot.close(check.draw(store, tmp_path / "drawn"))
    written = sorted(p.suffix for p in (tmp_path / "drawn").iterdir())
    assert written == [".csv", ".json", ".pdf", ".png"]


def test_a_dotted_path_is_the_same_network_as_the_function(store):
    named = SanityCheck.of(f"{__name__}:perceptron", "digits", RECIPE, **ONE)
    given = SanityCheck.of(perceptron, "digits", RECIPE, **ONE)
    assert named.task.network == f"{__name__}:perceptron"
    assert named.prunable().equals(given.prunable())
    assert named.task.architecture == given.task.architecture


def test_torchvisions_factory_is_planned_with_ten_classes_and_without_sdt(store):
    check = SanityCheck.of("torchvision.models:resnet18", "cifar10", RECIPE, **ONE)
    assert check.settings == ("pretraining", "LT-IMP", "RR-IMP", "LT-OMP", "RR-OMP")
    assert len(check.plan(store).todo) == 5
    weights = check.prunable().set_index("parameter")
    assert weights.loc["fc.weight", "shape"] == (10, 512)
    assert not weights.loc[["conv1.weight", "fc.weight", "bn1.weight"], "prunable"].any()
    assert weights.loc[["layer1.0.conv1.weight", "layer4.1.conv2.weight"], "prunable"].all()
    assert not store.folder.exists()


def test_a_network_that_cannot_be_stacked_is_said_and_trained_nevertheless(store):
    check = SanityCheck.of(Branching, "digits", RECIPE, **ONE)
    without_width, one_by_one = check.notes()
    assert "takes no `width`" in without_width
    assert one_by_one.startswith("Networks are trained one by one, not as packs: ")
    check.train(store, quiet=True)
    assert check.table(store)["accuracy"].notna().all()


def test_patterns_choose_what_is_pruned():
    check = SanityCheck.of(perceptron, "digits", RECIPE, prunable=("1.*", "5.weight"), **ONE)
    chosen = check.prunable().query("prunable")
    assert chosen["parameter"].tolist() == ["1.weight", "5.weight"]
    assert chosen["weights"].sum() == sum(check.task.prunable_weights.values()) == 64 * 24 + 24 * 10


def test_without_patterns_the_first_and_the_last_layer_are_not_pruned():
    check = SanityCheck.of(perceptron, "digits", RECIPE, **ONE)
    assert check.prunable().query("prunable")["parameter"].tolist() == ["3.weight"]


def test_sdt_has_nearly_as_many_parameters_as_the_subnetwork_has_non_zeros():
    every = dict(ONE, rounds=(2, 6))
    check = SanityCheck.of(perceptron, "digits", RECIPE, prunable=("*.weight",), **every)
    subnetworks = {t.sparsity: nonzeros(t.run) for t in check.trials if t.setting == "LT-OMP"}
    small = {t.sparsity: t.run.task.parameters for t in check.trials if t.setting == "SDT"}
    assert small.keys() == subnetworks.keys()
    step = 64 + 2 * 24 + 10 + 2  # parameters that one hidden unit more brings, at most
    assert all(abs(small[s] - subnetworks[s]) <= step for s in small)


@pytest.mark.parametrize(
    ("network", "more", "sentence"),
    [
        ("resnet9", {}, "Unknown network"),
        ("nowhere:make", {}, "cannot be imported"),
        (lambda: nn.Linear(64, 10), {}, "nothing is left to prune"),
        (lambda: torch.zeros(1), {}, "not an nn.Module"),
        (lambda depth: nn.Linear(64, 10), {}, "needs the argument depth"),
        (perceptron, {"prunable": ("conv*",)}, "matches conv"),
        (perceptron, {"learning_rates": ()}, "at least one learning rate"),
        (perceptron, {"learning_rates": (0.1, 0.0)}, "The learning rate is 0.0"),
        (perceptron, {"learning_rates": (0.1, 0.01, 0.1)}, "each value may stand there once"),
        (perceptron, {"rounds": (4, 4)}, "each value may stand there once"),
        (perceptron, {"rounds": (4, 0)}, "from 1 to 30"),
        (perceptron, {"rounds": (4, 2.0)}, "from 1 to 30"),
        (perceptron, {"seeds": 0}, "seeds is 0"),
        (perceptron, {"seeds": "3"}, "seeds is '3'"),
    ],
)
def test_a_check_that_cannot_be_is_refused(network, more, sentence):
    with pytest.raises(InputError, match=sentence):
        SanityCheck.of(network, "digits", RECIPE, **ONE | more)


def test_a_network_that_fails_on_the_images_is_told_before_training(store):
    def for_larger_images() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.Linear(9, 9), nn.Linear(9, 10))

    check = SanityCheck.of(for_larger_images, "digits", RECIPE, **ONE)
    with pytest.raises(InputError, match="fails on a batch"):
        check.notes()
    assert not store.folder.exists()
