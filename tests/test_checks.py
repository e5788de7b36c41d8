"""The sanity check takes any network: from a notebook, by dotted path, from torchvision, stackable or not."""

import re
from dataclasses import replace

import pytest
import torch
from matplotlib import pyplot
from torch import nn
from torch.utils.data import TensorDataset

from lthpaper.checks import check
from lthpaper.data import Images, Source
from lthpaper.data.own import card_of
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.notes import before_training
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.sanity_check import SanityCheck
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import SETTINGS, nonzeros
from lthpaper.sweep import simulate
from lthpaper.sweep.plan import plan

RECIPE = Recipe(epochs=1, batch_size=30, milestones=())
ONE = {"learning_rates": (0.1,), "rounds": (1,), "seeds": 1, "train_images": 60}
TRIVIAL = "s = 0.200 is not above 0.6: ① fails there, whatever is trained."  # the note on one round


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


def test_a_function_from_a_notebook_goes_from_factory_to_verdict(tmp_path):
    def own(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
        return perceptron(num_classes, in_channels, size, width)

    places = {"store": tmp_path / "store", "out": tmp_path / "drawn", "device": "cpu", "workers": 2}
    mine = check(own, "digits", recipe=RECIPE, **ONE, **places)
    assert mine.scale.task.network.startswith("local:")
    assert mine.notes == [TRIVIAL]
    settings = ["pretraining", "LT-IMP", "RR-IMP", "LT-OMP", "RR-OMP", "SDT"]
    assert [t.setting for t in mine.trials] == settings
    assert len(mine.plan.todo) == 6
    assert simulate.here(mine.plan, "cpu", workers=2).makespan > 0  # what it costs, before it begins

    mine.train(quiet=True)  # no other process could build the function
    assert mine.plan.todo == ()
    assert mine.table["accuracy"].notna().all()
    assert mine.verdicts["pruning"].tolist() == ["IMP", "OMP"]
    assert mine.verdicts["sparsity"].tolist() == pytest.approx([0.2, 0.2])
    said = str(mine.findings())
    assert "6 of 6 runs" in said
    assert all(c.sentence in said for verdict in mine.verdicts["verdict"] for c in verdict.conditions)
    pyplot.close(mine.draw())
    written = sorted(p.suffix for p in (tmp_path / "drawn").iterdir())
    assert written == [".csv", ".json", ".pdf", ".png", ".svg"]


def test_a_function_with_data_from_a_notebook_goes_to_the_verdict_and_new_data_are_new_runs(tmp_path):
    pixels = torch.randint(0, 256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    labels = torch.arange(60) % 3

    def mine() -> Images:
        return Images.of(TensorDataset(pixels, labels), TensorDataset(pixels, labels))

    places = {"store": tmp_path / "store", "out": tmp_path / "drawn", "device": "cpu", "workers": 2}
    own = check(perceptron, mine, recipe=RECIPE, **ONE, **places)
    own.train(quiet=True)  # no other process could load these images
    assert own.table["accuracy"].notna().all()
    assert own.thresholds.similar == 0.5
    assert check(perceptron, mine(), recipe=RECIPE, **ONE, **places).scale.task.shape == own.scale.task.shape
    assert check(perceptron, mine, recipe=RECIPE, **ONE, **places).plan.todo == ()
    pixels = 1 - pixels  # edited: another data set, neither old results nor a clash with them
    edited = check(perceptron, mine, recipe=RECIPE, **ONE, **places)
    assert len(edited.plan.todo) == len(own.trials)


def test_the_scale_gives_what_is_not_given():
    mine = check(perceptron, "digits", "laptop", seeds=2).scale
    own = scale("laptop")
    assert (mine.recipe, mine.learning_rates, mine.rounds) == (own.recipe, own.grid, own.rounds)
    assert mine.seeds == 2
    assert check(perceptron, "digits", "desktop").scale.task.train_images == 0  # of another data set


def test_controls_are_trained_beside_the_paper_s_settings(tmp_path):
    asked = {"controls": ["LT-shuffled", "random-erk"]}
    mine = check("mlp", recipe=RECIPE, store=tmp_path, device="cpu", **ONE, **asked)
    paper_s = check("mlp", recipe=RECIPE, store=tmp_path, device="cpu", **ONE)
    added = [t.setting for t in mine.trials if t not in paper_s.trials]
    assert added == ["LT-shuffled-IMP", "LT-shuffled-OMP", "random-erk"]
    assert set(paper_s.trials) < set(mine.trials)
    mine.train(quiet=True)
    for verdict in mine.verdicts["verdict"]:
        assert verdict.shuffled.against[0] == f"LT-shuffled-{verdict.pruning}"
        assert [c.symbol for c in verdict.beside] == ["③m", "③ (random-erk)"]
        assert all(c.sentence in str(mine.findings()) for c in verdict.beside)
    one = {"rounds": [1], "grid": [0.1], "seeds": 1, "experiments": ["mlp/digits"]}
    names = [t.setting for t in FIGURES["fig3"].trials(scale("smoke", **one, controls=["LT-shuffled"]))]
    assert names == [*SETTINGS, "LT-shuffled-IMP", "LT-shuffled-OMP"]


def test_a_control_that_is_not_one_is_refused():
    with pytest.raises(InputError, match=r"Unknown control 'shuffled'. Did you mean 'LT-shuffled'\? Known: "):
        check("mlp", controls=["shuffled"])
    with pytest.raises(InputError, match=r"Unknown control 'RR'"):
        FIGURES["fig3"].trials(scale("smoke", controls=["RR"]))


def test_one_pattern_and_one_control_need_no_list():
    one = check(perceptron, prunable="*1.weight", controls="LT-shuffled").scale
    several = check(perceptron, prunable=["*1.weight"], controls=["LT-shuffled"]).scale
    assert (one.task.prunable_weights, one.controls) == (several.task.prunable_weights, several.controls)


def reseeding() -> nn.Module:
    torch.manual_seed(0)
    return perceptron(10, 1, 8)


def unseeded() -> nn.Module:
    network = perceptron(10, 1, 8)
    network[3].bias.data.uniform_(generator=UNSEEDED)
    return network


UNSEEDED = torch.Generator()


@pytest.mark.parametrize(
    ("network", "more", "sentence"),
    [
        (reseeding, {}, "the same prunable weights whatever the seed, so RR would be LT"),
        (unseeded, {}, "another 3.bias each time it is built, so LT could not begin where"),
        (nn.Linear(2, 2), {}, "The network is a Linear; give a function that builds one"),
        (None, {}, "The network is None; it must be a name"),
        ("mlp", {"data": perceptron}, "Data set 'perceptron' failed .* missing 2 required positional"),
        ("mlp", {"data": ([0], [0])}, "The data set is a tuple; it must be a name, package.module:name"),
        ("mlp", {"recipe": {"epochs": 3}}, r"recipe is {'epochs': 3}; give a Recipe"),
        ("mlp", {"recipe": RECIPE, "epochs": 60}, "epochs would have no effect beside recipe"),
        ("mlp", {"workers": -1}, "The number of workers is -1"),
        ("mlp", {"workers": 2.5}, "The number of workers is 2.5"),
    ],
)
def test_what_would_be_ignored_or_fail_later_is_refused(network, more, sentence):
    with pytest.raises(InputError, match=sentence):
        check(network, **more)


class Idle(Branching):
    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(2, 2)


def test_notes_name_layers_that_no_gradient_reaches_and_milestones_that_never_come():
    said = " ".join(before_training(SanityCheck.of(Idle, "digits", Recipe(epochs=8), **ONE)))
    assert "No gradient reaches idle.weight, idle.bias: weight decay shrinks them nevertheless" in said
    assert "never falls: the recipe's first milestone is epoch 80, and it ends after 8" in said


def half_frozen(num_classes: int, in_channels: int, size: int) -> nn.Module:
    network = perceptron(num_classes, in_channels, size)
    network[3].weight.requires_grad_(False)
    return network


def test_a_note_names_frozen_weights_that_would_be_pruned():
    said = " ".join(before_training(SanityCheck.of(half_frozen, "digits", RECIPE, **ONE)))
    assert "3.weight will be pruned without ever having been trained, since requires_grad is False" in said
    others = SanityCheck.of(half_frozen, "digits", RECIPE, prunable="1.weight", **ONE)
    assert "requires_grad" not in " ".join(before_training(others))


def test_a_dotted_path_is_the_same_network_as_the_function():
    named = SanityCheck.of(f"{__name__}:perceptron", "digits", RECIPE, **ONE)
    given = SanityCheck.of(perceptron, "digits", RECIPE, **ONE)
    assert named.task.network == f"{__name__}:perceptron"
    assert named.parameters == given.parameters
    assert named.task.architecture == given.task.architecture


def test_torchvisions_factory_is_planned_with_ten_classes_and_without_sdt(store):
    value = SanityCheck.of("torchvision.models:resnet18", "cifar10", RECIPE, **ONE)
    assert value.settings == ("pretraining", "LT-IMP", "RR-IMP", "LT-OMP", "RR-OMP")
    assert len(plan([t.run for t in value.trials], store).todo) == 5
    prunable = {name for name, (_, chosen) in value.parameters.items() if chosen}
    assert value.parameters["fc.weight"] == ((10, 512), False)
    assert not prunable & {"conv1.weight", "fc.weight", "bn1.weight"}
    assert prunable >= {"layer1.0.conv1.weight", "layer4.1.conv2.weight"}
    assert not store.folder.exists()


def test_a_network_that_cannot_be_stacked_is_said_and_trained_nevertheless(store):
    mine = check(Branching, "digits", recipe=RECIPE, store=store.folder, device="cpu", **ONE)
    trivial, without_width, one_by_one = mine.notes
    assert trivial == TRIVIAL
    assert "takes no `width`" in without_width
    assert one_by_one.startswith("Networks are trained one by one, not as packs: ")
    mine.train(quiet=True)
    assert mine.table["accuracy"].notna().all()


def test_patterns_choose_what_is_pruned():
    mine = check(perceptron, recipe=RECIPE, prunable=("1.*", "5.weight"), **ONE)
    chosen = mine.prunable.query("prunable")
    assert chosen["parameter"].tolist() == ["1.weight", "5.weight"]
    assert chosen["weights"].sum() == sum(mine.scale.task.prunable_weights.values()) == 64 * 24 + 24 * 10


def test_without_patterns_the_first_and_the_last_layer_are_not_pruned():
    mine = check(perceptron, recipe=RECIPE, **ONE)
    assert mine.prunable.query("prunable")["parameter"].tolist() == ["3.weight"]


def test_sdt_has_nearly_as_many_parameters_as_the_subnetwork_has_non_zeros():
    every = dict(ONE, rounds=(2, 6))
    value = SanityCheck.of(perceptron, "digits", RECIPE, prunable=("*.weight",), **every)
    subnetworks = {t.sparsity: nonzeros(t.run) for t in value.trials if t.setting == "LT-OMP"}
    small = {t.sparsity: t.run.task.parameters for t in value.trials if t.setting == "SDT"}
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
        (
            lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(9)),
            {},
            r"lazy layers.*1\.weight, 1\.bias",
        ),
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

    value = SanityCheck.of(for_larger_images, "digits", RECIPE, **ONE)
    with pytest.raises(InputError, match="fails on a batch"):
        before_training(value)
    with pytest.raises(InputError, match="fails on a batch"):  # before each of its runs does
        check(for_larger_images, "digits", recipe=RECIPE, store=store.folder, **ONE)
    assert not store.folder.exists()


def test_the_vision_transformer_goes_from_its_name_to_the_verdict_in_packs(tmp_path):
    recipe = Recipe(
        epochs=1,
        batch_size=30,
        milestones=(),
        optimizer="adamw",
        weight_decay=0.05,
        schedule="cosine",
        warmup_epochs=0.5,
        clip=1.0,
        decay_norms=False,
    )
    places = {"store": tmp_path / "store", "out": tmp_path / "drawn", "device": "cpu", "workers": 1}
    mine = check("vit", "digits", recipe=recipe, **ONE | {"learning_rates": (0.003,)}, **places)
    assert mine.notes == [TRIVIAL]
    mine.train(quiet=True)
    origins = {t.setting: mine.store.get(t.run).provenance for t in mine.trials}
    assert all(origin["not_stacked"] == "" for origin in origins.values())
    assert origins["LT-OMP"]["pack"] == 4  # with RR-OMP and both of IMP, which is OMP after one round
    assert mine.verdicts["pruning"].tolist() == ["IMP", "OMP"]
    total = sum(mine.scale.task.prunable_weights.values())
    (ticket,) = (trial.run for trial in mine.trials if trial.setting == "LT-IMP")
    assert mine.store.get(ticket).kept == total - round(0.2 * total)


def test_notes_say_where_images_are_too_few_to_learn_from_or_to_judge_by(store):
    def notes(data, **more):
        return check(perceptron, data, recipe=RECIPE, store=store.folder, **ONE | more).notes

    _, few, left_out = notes("digits", train_images=40)
    assert few.startswith("There are fewer training images (40) than 5 for each of the 10 classes")
    assert left_out == "One class has no training image and cannot be learned: 6."
    _, held_out, _ = notes("digits", train_images=60, validation_images=11)
    assert held_out.startswith("There are fewer training images (49) than 5")
    pixels = torch.rand(40, 1, 8, 8)
    of_four, of_one = (
        TensorDataset(pixels, labels) for labels in (torch.arange(40) % 4, torch.zeros(40).long())
    )
    _, _, untested = notes(Images.of(of_four, of_one), train_images=None)
    assert untested == "3 of 4 classes have no test image and count in no accuracy: 1, 2, 3."


def test_a_note_says_where_few_images_choose_the_learning_rates(store):
    held_out = {"train_images": 200, "validation_images": 20}
    said = check(perceptron, "digits", recipe=RECIPE, store=store.folder, **ONE | held_out).notes[-1]
    assert said.startswith("There are fewer validation images (20) than 5 for each of the 10 classes")


def test_a_note_says_where_the_small_dense_network_has_another_size(store):
    def coarse(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
        return perceptron(num_classes, in_channels, size, round(4 * width) / 4 or 0.25)

    (said,) = check(coarse, "digits", recipe=RECIPE, store=store.folder, **ONE | {"rounds": (8,)}).notes
    assert re.match(r"SDT at s = 0\.832 has \d+ % (more|fewer) parameters than the subnetwork", said)
    assert "② is easier" in said if "fewer" in said else "② is harder" in said


def test_a_note_says_where_the_width_changes_nothing_and_names_every_trivial_sparsity(store):
    def fixed(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
        return perceptron(num_classes, in_channels, size)

    said = check(fixed, "digits", recipe=RECIPE, store=store.folder, **ONE | {"rounds": (1, 2, 3)}).notes
    assert said[0] == "s = 0.200, 0.360 and 0.488 are not above 0.6: ① fails there, whatever is trained."
    assert said[1].startswith("SDT at s = 0.200 is as large as the dense network: `width` does not change")


def test_learning_rates_and_grid_are_one_thing_to_a_check():
    given = ONE | {"learning_rates": None, "grid": (0.05,)}
    assert check("mlp", "digits", recipe=RECIPE, **given).scale.learning_rates == (0.05,)
    with pytest.raises(InputError, match="the same rates in a check"):
        check("mlp", "digits", recipe=RECIPE, **ONE | {"learning_rates": (0.1,), "grid": (0.05,)})


def test_a_note_says_where_outputs_are_probabilities(store):
    def soft(num_classes: int, in_channels: int, size: int, width: float = 1.0) -> nn.Module:
        return nn.Sequential(perceptron(num_classes, in_channels, size, width), nn.Softmax(1))

    _, said = check(soft, "digits", recipe=RECIPE, store=store.folder, **ONE).notes
    assert said.endswith("leave the last Softmax out.")


def test_who_brings_images_learns_that_training_flips_and_shifts_them():
    one = TensorDataset(torch.rand(12, 1, 8, 8), torch.arange(12) % 2)
    mine = Images.of(one, one)
    _, said = check(perceptron, mine, recipe=RECIPE, **ONE | {"train_images": None}).notes
    assert "flipped, and shifted by up to 1 pixel," in said
    about = replace(card_of(mine), flip=False, pad=0)
    assert check(
        perceptron, Source(about, lambda root: mine), recipe=RECIPE, **ONE | {"train_images": None}
    ).notes == [TRIVIAL]
