"""The paper's statements, as data, agree with each other and with the networks."""

from dataclasses import fields

import pytest

from lthpaper import networks
from lthpaper.paper import (
    CIFAR,
    CLAIMS,
    EXPERIMENTS,
    FIGURE6,
    IMAGENET,
    IMAGENET_GRID,
    INSUFFICIENT,
    NAMED_RATES,
    PRUNED_PER_ROUND,
    RECIPES,
    SMALL_DATA_GRID,
    SPARSITIES,
    TABLE2,
    TABLE2_DATA,
    experiment,
    grid_of,
    recipe_of,
    thresholds,
)
from lthpaper.paper.quotes import QUOTES
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import imp_sparsity


def test_the_sparsities_of_the_text_are_those_of_their_imp_rounds():
    for stated, rounds in SPARSITIES.items():
        assert round(imp_sparsity(rounds, PRUNED_PER_ROUND), len(f"{stated}") - 2) == stated


def test_similar_is_half_a_point_on_cifar10_and_wider_on_larger_data():
    assert [thresholds(d).similar for d in ("cifar10", "cifar100", "tiny-imagenet", "imagenet")] == [
        0.5,
        1.0,
        1.0,
        1.5,
    ]
    assert all(thresholds(d).gap == 0.5 and not thresholds(d).ours for d in RECIPES)
    assert thresholds("digits").similar == 0.5
    assert thresholds("digits").ours


@pytest.mark.parametrize("recipe", [*RECIPES.values(), INSUFFICIENT])
def test_every_recipe_can_be_trained_at_its_length_and_at_others(recipe):
    made = Recipe(**recipe.arguments(), lr=0.1)
    for f in fields(recipe):
        assert f.name == "ours" or getattr(made, f.name) == getattr(recipe, f.name)
    for epochs in (1, 2, 7, 300):
        other = Recipe(**recipe.arguments(epochs))
        assert other.epochs == epochs
        assert other.warmup_epochs / epochs == pytest.approx(recipe.warmup_epochs / recipe.epochs)
        assert set(other.milestones) == {m * epochs // recipe.epochs for m in recipe.milestones} - {0}


def test_what_is_ours_in_a_recipe_is_named_and_is_a_field_of_it():
    for recipe in (*RECIPES.values(), INSUFFICIENT):
        assert set(recipe.ours) <= {f.name for f in fields(recipe)} - {"ours"}
    assert not CIFAR.ours
    assert IMAGENET.ours == ("precision",)
    assert set(recipe_of("fashion-mnist").ours) == {f.name for f in fields(CIFAR)} - {"ours"}
    assert recipe_of("fashion-mnist").arguments() == CIFAR.arguments()


def test_every_experiment_is_a_network_of_table_2_on_its_data_with_a_grid():
    ours = {"resnet18-tiny": "resnet18", "resnet50-tiny": "resnet50", "resnet18-imagenet": "resnet18"}
    in_table = {(row.network, data) for row in TABLE2 for data in row.data}
    named = [(ours.get(e.network, e.network), e.data) for e in EXPERIMENTS]
    assert set(named) <= in_table
    assert len(set(named)) == len(named)
    assert {e.data for e in EXPERIMENTS} == set(RECIPES)
    for e in EXPERIMENTS:
        assert e.shown in e.rounds
        assert experiment(e.network, e.data) is e
        assert grid_of(e.data) == tuple(rate.lr for rate in e.grid)  # one grid a data set


def test_the_panels_that_the_text_names_are_marked_the_papers_and_no_others():
    said = {e.name: e.shown for e in EXPERIMENTS if "shown" not in e.ours}
    assert said == {"resnet20/cifar10": 11, "vgg16/cifar10": 11, "mobilenet-v1/cifar10": 8}  # §3.1


def test_no_rate_of_imagenet_is_the_texts():
    assert all(rate.ours for rate in IMAGENET_GRID)
    assert [rate.lr for rate in IMAGENET_GRID] == sorted(rate.lr for rate in IMAGENET_GRID)


def test_figure_6_is_at_0_832_on_networks_of_the_experiments():
    assert SPARSITIES[0.832] == FIGURE6.rounds
    assert all(experiment(network, FIGURE6.data) for network in FIGURE6.networks)


def test_learning_rates_drop_after_half_and_three_quarters_or_two_thirds_and_five_sixths():
    assert CIFAR.milestones == (CIFAR.epochs / 2, CIFAR.epochs * 3 / 4)
    assert INSUFFICIENT.milestones == (INSUFFICIENT.epochs * 2 / 3, INSUFFICIENT.epochs * 5 / 6)
    assert INSUFFICIENT.ours == ("batch_size", "milestones")
    assert IMAGENET.weight_decay == 2.0**-15


def test_the_grid_holds_the_learning_rates_that_the_text_names_and_marks_the_rest_ours():
    assert {r.lr for r in SMALL_DATA_GRID if not r.ours} == set(NAMED_RATES)
    rates = [r.lr for r in SMALL_DATA_GRID]
    assert rates == sorted(rates)


@pytest.mark.parametrize("row", TABLE2, ids=lambda r: f"{r.network}-{r.data[0]}")
def test_the_exact_count_is_the_printed_one_rounded_or_cut(row):
    millions = row.count / 1e6
    assert row.printed in (round(millions, 2), int(millions * 100) / 100)


@pytest.mark.parametrize("row", TABLE2[:5], ids=lambda r: r.network)
def test_our_networks_for_small_images_have_the_papers_counts(row):
    assert networks.count_parameters(row.network, row.classes) == row.count


def test_table_2_has_every_data_set_of_the_recipes():
    assert [d.data for d in TABLE2_DATA] == list(RECIPES)
    assert {d for row in TABLE2 for d in row.data} == set(RECIPES)


def test_there_are_fourteen_claims():
    assert [c.id for c in CLAIMS] == list(range(1, 15))
    assert len({c.text for c in CLAIMS}) == 14


def quoted(**fields):
    return [q for q in QUOTES if all(getattr(q, k) == v for k, v in fields.items())]


def test_the_quoted_accuracies_are_those_of_the_text():
    def of(network, epochs=160, **more):
        return [q.accuracy for q in quoted(network=network, epochs=epochs, **more) if q.accuracy is not None]

    assert of("resnet20", 78, lr=0.005) == [88.0, 87.1, 80.3]
    assert of("resnet20", 160, lr=0.005) == [89.6, 87.4, 82.9]
    assert of("resnet20", 160, lr=0.1) == [92.3]
    assert of("resnet32") == [92.9, 91.4, 91.8, 91.6]
    assert of("resnet32-noskip") == [89.4, 89.6, 89.7, 90.7]


def test_the_text_quotes_for_and_against_similarity_at_the_same_learning_rate():
    """§2.1's numbers and §3.1's secondary prize cannot both hold; the quote says so."""
    at = {q.setting: q.accuracy for q in quoted(network="resnet20", lr=0.005, epochs=160) if q.accuracy}
    assert at["LT-IMP"] - at["pretraining"] < -thresholds("cifar10").similar
    (secondary,) = quoted(network="resnet20", lr=0.005, minus="pretraining")
    assert secondary.difference == -thresholds("cifar10").similar
    assert "at odds" in secondary.note


def test_eleven_rounds_of_160_epochs_are_1760():
    (cost,) = quoted(place="§1")
    assert cost.epochs == 11 * CIFAR.epochs
    assert SPARSITIES[cost.sparsity] == 11


def test_every_quote_is_about_a_network_and_data_of_the_paper():
    known = {row.network for row in TABLE2} | {"resnet32-noskip", ""}
    assert {q.network for q in QUOTES} <= known
    assert {q.data for q in QUOTES} <= set(RECIPES)
    for q in QUOTES:
        assert q.statement
        assert q.relation in ("=", "<", ">", "≈")
        assert (q.difference is not None) == bool(q.minus)
