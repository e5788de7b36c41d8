"""R_p counts shared large positions; independent weights share what chance gives, and no more."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from lthpaper.errors import InputError
from lthpaper.measures.correlation import (
    chance_band,
    overlap,
    overlap_by_layer,
    overlap_within_layers,
    top_count,
)

SHAPES = {"narrow": (4, 3, 3, 3), "wide": (16, 4, 3, 3), "flat": (10, 16)}


def draw(seed: int, scales: dict[str, float] | None = None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scales = scales or {}
    return {n: torch.randn(s, generator=generator) * scales.get(n, 1.0) for n, s in SHAPES.items()}


def random_mask(seed: int, density: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(s, generator=generator) < density for n, s in SHAPES.items()}


def top(values: dict[tuple, float], p: float) -> set[tuple]:
    """The top positions by the definition: sort by magnitude, earlier position first among equals."""
    positions = list(values)
    ranked = sorted(positions, key=lambda at: (-abs(values[at]), positions.index(at)))
    return set(ranked[: max(1, round(p * len(ranked)))])


def spelled_out(weights, mask, names) -> dict[tuple, float]:
    return {
        (name, i): float(weights[name].flatten()[i])
        for name in names
        for i in range(weights[name].numel())
        if mask[name].flatten()[i]
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.floats(0.01, 1.0), st.sampled_from([None, 1.0]))
def test_r_p_is_its_definition_over_sets(seed, density, p, rounding):
    """Also with many ties (weights rounded to whole numbers)."""
    a, b, mask = draw(seed), draw(seed + 1), random_mask(seed + 2, density)
    mask["flat"][0, 0] = True
    if rounding:
        a, b = ({n: w.round() for n, w in weights.items()} for weights in (a, b))
    pooled_a, pooled_b = (top(spelled_out(w, mask, SHAPES), p) for w in (a, b))
    assert overlap(a, b, mask, p) == pytest.approx(len(pooled_a & pooled_b) / len(pooled_a))
    shared = of = 0
    for name, value in overlap_by_layer(a, b, mask, p).items():
        top_a, top_b = (top(spelled_out(w, mask, [name]), p) for w in (a, b))
        assert value == pytest.approx(len(top_a & top_b) / len(top_a))
        shared, of = shared + len(top_a & top_b), of + len(top_a)
    assert overlap_within_layers(a, b, mask, p) == pytest.approx(shared / of)


def test_weights_agree_with_themselves_whatever_their_sign_and_scale():
    a = draw(0)
    b = {n: -3 * w for n, w in a.items()}
    assert overlap(a, b) == overlap_within_layers(a, b) == 1
    assert set(overlap_by_layer(a, b).values()) == {1.0}


def test_with_p_1_every_position_is_common():
    assert overlap(draw(0), draw(1), p=1) == overlap_within_layers(draw(0), draw(1), p=1) == 1
    assert chance_band(50, 1.0) == (1.0, 1.0)


def test_pruned_positions_do_not_count():
    """R_p(θ0⊙m, θT⊙m) is the same whether the pruned weights are zero or were never cleared."""
    a, b, mask = draw(0), draw(1), random_mask(2, 0.3)
    cleared = [{n: w * mask[n] for n, w in weights.items()} for weights in (a, b)]
    assert overlap(a, b, mask, 0.2) == overlap(*cleared, mask, 0.2)
    assert overlap_by_layer(a, b, mask, 0.2) == overlap_by_layer(*cleared, mask, 0.2)


def test_a_layer_without_survivors_is_left_out():
    a, b, mask = draw(0), draw(1), random_mask(2, 0.3)
    mask["wide"][:] = False
    assert list(overlap_by_layer(a, b, mask)) == ["narrow", "flat"]
    assert 0 <= overlap_within_layers(a, b, mask) <= 1


def test_a_diverged_run_has_no_r_p():
    a, b = draw(0), draw(1)
    b["wide"][0, 0, 0, 0] = float("nan")
    assert math.isnan(overlap(a, b))
    assert math.isnan(overlap_within_layers(a, b))
    by_layer = overlap_by_layer(a, b)
    assert math.isnan(by_layer.pop("wide"))
    assert all(0 <= value <= 1 for value in by_layer.values())


def test_tops_hold_at_least_one_position():
    assert top_count(3, 0.1) == 1
    assert top_count(1000, 0.1) == 100
    assert overlap({"w": torch.tensor([1.0, 9.0])}, {"w": torch.tensor([2.0, 3.0])}, p=0.01) == 1


@pytest.mark.parametrize(("n", "p"), [(40, 0.1), (47, 0.3), (500, 0.1), (46_000, 0.1), (12, 0.9)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_band_of_one_layer_is_the_exact_central_interval(n, p, level):
    """At least `level` lies inside, at most half of the rest outside on each side, and it is minimal."""
    k = top_count(n, p)
    low, high = (round(edge * k) for edge in chance_band(n, p, level))
    by_chance, tail = hypergeom(n, k, k), (1 - level) / 2
    assert by_chance.cdf(low - 1) <= tail < by_chance.cdf(low)
    assert by_chance.sf(high) <= tail < by_chance.sf(high - 1)


def test_the_band_over_layers_is_that_of_the_summed_counts():
    """Against every pair of counts of two small layers, weighed one by one."""
    sizes, p, level = (30, 17), 0.2, 0.9
    k = [top_count(n, p) for n in sizes]
    odds = dict.fromkeys(range(sum(k) + 1), 0.0)
    for i in range(k[0] + 1):
        for j in range(k[1] + 1):
            odds[i + j] += hypergeom.pmf(i, sizes[0], k[0], k[0]) * hypergeom.pmf(j, sizes[1], k[1], k[1])
    low, high = (round(edge * sum(k)) for edge in chance_band(sizes, p, level))
    assert sum(o for count, o in odds.items() if count < low) <= 0.05
    assert sum(o for count, o in odds.items() if count <= low) > 0.05
    assert sum(o for count, o in odds.items() if count > high) <= 0.05
    assert sum(o for count, o in odds.items() if count >= high) > 0.05


def test_independent_draws_lie_in_the_band_as_often_as_it_says():
    """R_p(θ0′⊙m, θT⊙m) ≈ p (§4), layers of unequal scale included; 200 pairs, 90 % band."""
    scales = {"narrow": 3.0, "wide": 1.0, "flat": 0.3}
    mask = random_mask(5, 0.7)
    survivors = [int(m.sum()) for m in mask.values()]
    low, high = chance_band(survivors, 0.2, 0.9)
    values = [
        overlap_within_layers(draw(2 * i, scales), draw(2 * i + 1, scales), mask, 0.2) for i in range(200)
    ]
    inside = sum(low <= v <= high for v in values)
    assert inside >= 0.86 * 200  # the band holds at least 90 %; 0.86 is two standard deviations below
    assert sum(values) / 200 == pytest.approx(0.2, abs=0.01)


def test_ranking_unequal_layers_together_finds_agreement_where_there_is_none():
    """Why Figure 6 pools within layers: independent He draws of unequal layers exceed p in one ranking."""
    scales = {"narrow": 3.0, "wide": 1.0, "flat": 0.3}
    total = sum(w.numel() for w in draw(0).values())
    _, high = chance_band(total, 0.1, 0.999)
    values = [overlap(draw(2 * i, scales), draw(2 * i + 1, scales), p=0.1) for i in range(50)]
    assert sum(values) / 50 > high


@pytest.mark.parametrize("p", [0, -0.1, 1.1, float("nan")])
def test_p_out_of_range_is_refused(p):
    with pytest.raises(InputError, match="p is"):
        overlap(draw(0), draw(1), p=p)
    with pytest.raises(InputError, match="p is"):
        chance_band(100, p)


def test_weights_of_different_networks_are_refused():
    a, b = draw(0), draw(1)
    with pytest.raises(InputError, match="shapes"):
        overlap(a, {**b, "flat": torch.zeros(3)})
    with pytest.raises(InputError, match="missing"):
        overlap(a, {"flat": b["flat"]})
    with pytest.raises(InputError, match="surviving"):
        overlap(a, b, {n: torch.zeros(s, dtype=torch.bool) for n, s in SHAPES.items()})
    with pytest.raises(InputError, match="level"):
        chance_band(100, 0.1, 1.0)
    with pytest.raises(InputError, match="at least one"):
        chance_band([], 0.1)
