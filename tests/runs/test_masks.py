"""Pruning is exact: the right number of weights, the smallest ones, over all layers at once (Table 1)."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.runs.masks import (
    Mask,
    dense_mask,
    global_magnitude,
    is_packed,
    kept,
    packed,
    prunable,
    unpacked,
)
from lthpaper.runs.pruning.imp import Imp
from lthpaper.runs.pruning.omp import Omp
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.task import Task

UNPRUNED = Run(Task("resnet8", "digits"), Recipe())


def drawn(seed: int, sizes: tuple[int, ...] = (40, 7, 123), levels: int = 0) -> dict[str, Tensor]:
    """Weights of layers of these sizes; with `levels`, so many different magnitudes that most are tied."""
    generator = torch.Generator().manual_seed(seed)
    weights = {f"layer{i}.weight": torch.randn(n, generator=generator) for i, n in enumerate(sizes)}
    return {n: (w * levels).round() / levels for n, w in weights.items()} if levels else weights


def everything(weights: dict[str, Tensor]) -> Mask:
    return dense_mask(weights, tuple(weights))


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors.values()])


def same(a: Mask, b: Mask) -> bool:
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) for n in a)


def smallest_one_by_one(weights: dict[str, Tensor], mask: Mask, count: int) -> Mask:
    """The definition, spelt out: `count` times, remove the first of the smallest |weights| still kept."""
    left = {(n, i) for n in mask for i in range(mask[n].numel()) if mask[n].reshape(-1)[i]}
    values = {(n, i): abs(weights[n].reshape(-1)[i].item()) for n, i in left}
    for _ in range(count):
        left.remove(min(left, key=lambda place: (values[place], place)))
    bits = {n: [(n, i) in left for i in range(mask[n].numel())] for n in mask}
    return {n: torch.tensor(bits[n], dtype=torch.bool).reshape(mask[n].shape) for n in mask}


def by_torch(network: nn.Module, names: tuple[str, ...], count: int) -> Mask:
    """What torch.nn.utils.prune keeps when it removes `count` more weights of the network."""
    layers = [(network.get_submodule(n.removesuffix(".weight")), "weight") for n in names]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=count)
    return {n: layer.weight_mask.bool() for n, (layer, _) in zip(names, layers, strict=True)}


NETWORKS = ["resnet20", "resnet8"]
SPARSITIES = [0.0, 0.2, 0.36, 0.59, 0.832, 0.914, 0.956, 0.988, 0.999]


def resnet(name: str, seed: int = 0) -> tuple[nn.Module, tuple[str, ...], dict[str, Tensor]]:
    network = networks.build_seeded(seed, name, 10)
    names = prunable(network)
    return network, names, {n: p.detach().clone() for n, p in network.named_parameters()}


# --- against torch ---


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("s", SPARSITIES)
def test_omp_is_torchs_global_unstructured(name, s):
    network, names, weights = resnet(name)
    mask = Omp(after=UNPRUNED, sparsity=s).prune(weights, dense_mask(weights, names))
    total = sum(weights[n].numel() for n in names)
    assert same(mask, by_torch(network, names, round(s * total)))
    assert kept(mask) == total - round(s * total)


def test_twelve_rounds_of_imp_are_torchs_with_the_weights_retrained_in_between():
    network, names, weights = resnet("resnet8")
    generator = torch.Generator().manual_seed(1)
    mask = dense_mask(weights, names)
    for _ in range(12):
        pruned = Imp(after=UNPRUNED).prune(weights, mask)
        assert same(pruned, by_torch(network, names, round(0.2 * kept(mask))))
        mask = pruned
        for n in names:  # "training": new values where a weight is left
            weights[n] = torch.randn(weights[n].shape, generator=generator) * mask[n]
            layer = network.get_submodule(n.removesuffix(".weight"))
            layer.weight_orig.data.copy_(weights[n])
            layer.weight = layer.weight_orig * layer.weight_mask  # torch prunes by this, set in a forward


# --- against the definition ---


@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    levels=st.sampled_from([0, 1, 3]),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_global_magnitude_is_the_definition_ties_included(seed, sizes, levels, shares):
    weights = drawn(seed, tuple(sizes), levels)
    first, second = (math.floor(share * sum(sizes) / 2) for share in shares)
    once = global_magnitude(weights, everything(weights), first)
    assert same(once, smallest_one_by_one(weights, everything(weights), first))
    again = drawn(seed + 1, tuple(sizes), levels)
    assert same(global_magnitude(again, once, second), smallest_one_by_one(again, once, second))


@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    s=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 99),
)
def test_omp_prunes_exactly_the_rounded_number(sizes, s, seed):
    weights, rule = drawn(seed, tuple(sizes), levels=2), Omp(after=UNPRUNED, sparsity=s)
    left = sum(sizes) - round(s * sum(sizes))
    if not left:
        with pytest.raises(InputError, match=f"leaves none of the {sum(sizes)} prunable weights"):
            rule.prune(weights, everything(weights))
    else:
        assert kept(rule.prune(weights, everything(weights))) == left


@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
    rate=st.floats(0.01, 0.99),
    rounds=st.integers(1, 15),
)
def test_every_imp_round_removes_exactly_the_rounded_share_of_what_is_left(sizes, rate, rounds):
    weights = drawn(0, tuple(sizes))
    mask, left = everything(weights), sum(sizes)
    for _ in range(rounds):
        if not round(rate * left):  # it would stay there, round after round
            with pytest.raises(InputError, match=f"removes none of the {left} weights that are left"):
                Imp(after=UNPRUNED, rate=rate).prune(weights, mask)
            break
        mask = Imp(after=UNPRUNED, rate=rate).prune(weights, mask)
        left -= round(rate * left)
        assert kept(mask) == left


def test_after_k_rounds_the_density_is_the_kth_power_of_08():
    _, names, weights = resnet("resnet20")
    mask, total = dense_mask(weights, names), 269_824
    assert kept(mask) == total
    for k in range(1, 21):
        mask = Imp(after=UNPRUNED).prune(weights, mask)
        assert abs(kept(mask) - total * 0.8**k) <= 2.5  # half a weight a round, shrinking by 0.8 each
    assert 1 - kept(mask) / total == pytest.approx(1 - 0.8**20, abs=1e-5)


@given(seed=st.integers(0, 999), rounds=st.integers(1, 8))
def test_a_weight_pruned_before_stays_pruned_and_is_not_counted_again(seed, rounds):
    mask = everything(drawn(seed))
    for k in range(rounds):
        weights = drawn(1000 * seed + k)  # the trained values change from round to round
        pruned = Imp(after=UNPRUNED).prune(weights, mask)
        assert not (flat(pruned) & ~flat(mask)).any()
        assert kept(mask) - kept(pruned) == round(0.2 * kept(mask))
        gone, left = flat(mask) & ~flat(pruned), flat(pruned)
        assert flat(weights).abs()[gone].max() <= flat(weights).abs()[left].min()
        mask = pruned


def test_omp_of_a_subnetwork_goes_on_from_its_mask():
    weights = drawn(0, (1000,))
    once = Omp(after=UNPRUNED, sparsity=0.5).prune(weights, everything(weights))
    twice = Omp(after=UNPRUNED, sparsity=0.7).prune(weights, once)
    assert (kept(once), kept(twice)) == (500, 300)
    assert same(Omp(after=UNPRUNED, sparsity=0.3).prune(weights, once), once)  # it has more already


# --- ties, zeros, NaN ---


def test_equal_weights_go_by_layer_name_and_position():
    weights = {"b.weight": torch.ones(3), "a.weight": torch.tensor([[1.0, -1.0], [1.0, 0.5]])}
    mask = global_magnitude(weights, everything(weights), 3)
    assert mask["a.weight"].tolist() == [[False, False], [True, False]]
    assert mask["b.weight"].all()


@given(seed=st.integers(0, 999), count=st.integers(0, 170), order=st.permutations(range(3)))
def test_the_order_of_the_layers_in_a_file_changes_no_mask(seed, count, order):
    weights = drawn(seed, levels=1)
    shuffled = {list(weights)[i]: list(weights.values())[i] for i in order}
    mask, again = (global_magnitude(w, everything(w), count) for w in (weights, shuffled))
    assert list(again) == list(shuffled)
    assert all(torch.equal(mask[n], again[n]) for n in mask)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_magnitudes_are_compared_in_the_weights_own_precision(dtype):
    small = torch.tensor([1.0], dtype=dtype)
    next_above = small + torch.finfo(dtype).eps  # in float32 both of float64's would be 1
    weights = {"a.weight": torch.cat([next_above, -small])}
    assert global_magnitude(weights, everything(weights), 1)["a.weight"].tolist() == [True, False]


def test_a_weight_that_is_zero_is_not_taken_for_a_pruned_one():
    weights = {"a.weight": torch.tensor([0.0, 0.0, 3.0, 2.0, 1.0, 4.0])}
    mask = {"a.weight": torch.tensor([True, True, True, True, False, True])}
    assert kept(mask) == 5
    assert kept(Imp(after=UNPRUNED).prune(weights, mask)) == 4  # 20 % of five, of which two are zero
    pruned = global_magnitude(weights, mask, 1)
    assert pruned["a.weight"].tolist() == [False, True, True, True, False, True]


def test_nan_counts_as_largest_and_disturbs_nothing():
    weights = {"a.weight": torch.tensor([math.nan, 2.0, -math.nan, 1.0, math.inf])}
    orders = [global_magnitude(weights, everything(weights), k)["a.weight"].tolist() for k in range(6)]
    gone = [next(i for i in range(5) if a[i] != b[i]) for a, b in pairwise(orders)]
    assert gone == [3, 1, 4, 0, 2]


def test_a_diverged_run_still_gives_a_mask_of_the_right_size():
    weights = {n: torch.full_like(w, math.nan) for n, w in drawn(0).items()}
    assert kept(Imp(after=UNPRUNED).prune(weights, everything(weights))) == 170 - 34


@pytest.mark.parametrize("count", [-1, 171])
def test_more_weights_than_there_are_cannot_be_pruned(count):
    with pytest.raises(ValueError, match="cannot prune"):
        global_magnitude(drawn(0), everything(drawn(0)), count)


@given(count=st.integers(0, 170))
def test_pruning_changes_neither_the_weights_nor_the_mask_it_was_given(count):
    weights, mask = drawn(0), everything(drawn(0))
    result = global_magnitude(weights, mask, count)
    assert all(m.all() for m in mask.values())
    assert all(torch.equal(w, v) for w, v in zip(weights.values(), drawn(0).values(), strict=True))
    assert all(result[n].shape == weights[n].shape and result[n].dtype == torch.bool for n in weights)


# --- which weights ---


@pytest.mark.parametrize("name", NETWORKS)
def test_first_convolution_classifier_batch_norm_and_biases_are_never_pruned(name):
    network, names, weights = resnet(name)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    spared = {id(layers[0]), id(layers[-1])}
    expected = [
        f"{n}.weight" for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and id(m) not in spared
    ]
    assert list(names) == expected
    assert isinstance(layers[0], nn.Conv2d)
    assert isinstance(layers[-1], nn.Linear)
    mask = Omp(after=UNPRUNED, sparsity=0.999).prune(weights, dense_mask(weights, names))
    assert set(mask) == set(names)
    assert not any(n.endswith("bias") or "bn" in n or n.startswith(("conv.", "fc.")) for n in mask)


@pytest.mark.parametrize(("name", "count"), [("resnet20", 269_824), ("resnet8", 19_072)])
def test_the_number_of_prunable_weights(name, count):
    network, names, _ = resnet(name)
    assert sum(network.get_parameter(n).numel() for n in names) == count


def test_patterns_choose_the_prunable_weights():
    network = networks.build("resnet8")
    assert prunable(network, ("fc.*", "conv.*")) == ("conv.weight", "fc.weight")
    assert prunable(network, ("blocks.0.*",)) == ("blocks.0.conv1.weight", "blocks.0.conv2.weight")
    assert set(prunable(network)) < set(prunable(network, ("*",)))
    assert not any("bn" in n or "bias" in n for n in prunable(network, ("*",)))


@pytest.mark.parametrize("patterns", [("nothing.*",), ("*.bias",), ("bn.*",)])
def test_patterns_that_match_no_convolution_or_linear_weight_are_refused(patterns):
    with pytest.raises(InputError, match=r"No convolution or linear weight matches .*conv\.weight"):
        prunable(networks.build("resnet8"), patterns)


def test_a_network_with_nothing_between_its_first_and_last_layer_is_refused():
    with pytest.raises(InputError, match="Name the prunable weights by patterns"):
        prunable(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))


def four_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))


def test_a_weight_that_two_layers_share_is_pruned_once_under_its_first_name():
    network = four_layers()
    network[2].weight = network[1].weight
    assert prunable(network) == ("1.weight",)
    assert prunable(network, ("2.weight",)) == ("1.weight",)
    assert prunable(network, ("*",)) == ("0.weight", "1.weight", "3.weight")


def test_the_first_and_the_last_layer_are_not_pruned_where_another_one_shares_their_weight():
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
    network[1].weight = network[0].weight
    assert prunable(network) == ("2.weight", "3.weight")
    network[3].weight = network[4].weight
    assert prunable(network) == ("2.weight",)


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_a_weight_that_is_computed_from_others_is_refused_unless_patterns_leave_it_out(norm):
    network = four_layers()
    norm(network[1])
    with pytest.raises(InputError, match=r"No mask can hold 1\.weight: it is no parameter"):
        prunable(network)
    assert prunable(network, ("2.*",)) == ("2.weight",)


# --- how sparse ---


def test_rules_that_would_leave_nothing_say_so():
    weights = drawn(0, (1000,))
    with pytest.raises(InputError, match=r"0\.9996 leaves none of the 1000 prunable weights"):
        Omp(after=UNPRUNED, sparsity=0.9996).prune(weights, everything(weights))
    with pytest.raises(InputError, match=r"rate 0\.2 removes none of the 2 weights that are left"):
        Imp(after=UNPRUNED).prune(drawn(0, (2,)), everything(drawn(0, (2,))))


@pytest.mark.parametrize("s", [1, 1.0, -0.1, 91.4, math.nan, math.inf, "0.9", None])
def test_a_sparsity_outside_0_to_1_is_refused(s):
    with pytest.raises(InputError, match=r"must be in \[0, 1\)"):
        Omp(after=UNPRUNED, sparsity=s)


@pytest.mark.parametrize("rate", [0, 1, -0.2, 20, math.nan])
def test_an_imp_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(InputError, match="must be between 0 and 1"):
        Imp(after=UNPRUNED, rate=rate)


@given(st.lists(st.integers(0, 6), max_size=3), st.integers(0, 2**32))
def test_a_packed_mask_is_the_mask_and_its_shape_takes_no_other_number_of_bytes(shape, seed):
    mask = {"w": torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5}
    (of, content) = packed(mask)["w"]
    assert is_packed(of, content)
    assert unpacked({"w": (of, content)})["w"].equal(mask["w"])
    for other in (content + b"\0", content[:-1] if content else b"\0\0"):
        assert not is_packed(of, other)
        with pytest.raises(ValueError, match="bytes for the shape"):
            unpacked({"w": (of, other)})


@pytest.mark.parametrize("shape", [(-1, -8), (None,), (8.0,), (True,), ("8",), (2**31, 0)], ids=str)
def test_what_is_no_shape_takes_no_bytes_at_all(shape):
    assert not is_packed(shape, b"\0")
    assert not is_packed(shape, b"")
