"""The paper's statements, as data, agree with each other and with the networks."""

import pytest

from lthpaper import networks
from lthpaper.paper import (
    CIFAR,
    CLAIMS,
    IMAGENET,
    INSUFFICIENT,
    NAMED_RATES,
    RECIPES,
    SMALL_DATA_GRID,
    SPARSITIES,
    TABLE2,
    TABLE2_DATA,
    sparsity_after,
    thresholds,
)
from lthpaper.quotes import QUOTES
from lthpaper.recipe import Recipe


def test_the_sparsities_of_the_text_are_those_of_their_imp_rounds():
    for stated, rounds in SPARSITIES.items():
        assert round(sparsity_after(rounds), len(f"{stated}") - 2) == stated


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
def test_every_recipe_can_be_trained(recipe):
    assert Recipe(**recipe.arguments(), lr=0.1).epochs == recipe.epochs


def test_learning_rates_drop_after_half_and_three_quarters_or_two_thirds_and_five_sixths():
    assert CIFAR.milestones == (CIFAR.epochs / 2, CIFAR.epochs * 3 / 4)
    assert INSUFFICIENT.milestones == (INSUFFICIENT.epochs * 2 / 3, INSUFFICIENT.epochs * 5 / 6)
    assert "milestones" in INSUFFICIENT.ours
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
