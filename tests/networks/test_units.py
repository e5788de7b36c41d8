"""Units: permuting them leaves a network's function, and matching finds a permutation again."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lthpaper.errors import InputError
from lthpaper.networks import alignment, build_seeded, units

NETWORKS = {  # name -> (channels, size) of its images
    "resnet8": (1, 8),
    "resnet20-noskip": (3, 8),
    "vgg-small": (1, 8),
    "mlp": (1, 8),
    "mobilenet-v1": (3, 8),
    "resnet50-tiny": (3, 8),
}


def network(name: str, seed: int = 0) -> nn.Module:
    """In evaluation mode, narrow, with batch-norms that are not all alike."""
    channels, size = NETWORKS[name]
    made = build_seeded(seed, name, 10, 0.125 if "50" in name or "mobile" in name else 1.0, channels, size)
    generator = torch.Generator().manual_seed(seed)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data = 1 + 0.1 * torch.randn(tensor.shape, generator=generator)
    return made.double().eval()


def parameters(of: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in of.named_parameters()}


def drawn_orders(groups, seed: int):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(group.size, generator=generator) for group in groups]


@pytest.mark.parametrize("name", NETWORKS)
def test_permuting_a_network_s_units_leaves_its_function(name):
    channels, size = NETWORKS[name]
    whole = network(name)
    groups = units.of(whole, (channels, size, size))
    images = torch.randn(
        3, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    before = whole(images).detach()
    moved = units.taken(whole.state_dict(), groups, drawn_orders(groups, 2))
    assert any(not torch.equal(moved[n], w) for n, w in whole.state_dict().items())
    whole.load_state_dict(moved)
    assert torch.allclose(whole(images), before, rtol=1e-9, atol=1e-9 * float(before.abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_is_covered_along_each_axis_that_has_units(name):
    """All but the pixels' channels of the first layer and the classes of the last."""
    channels, size = NETWORKS[name]
    whole = network(name)
    groups = units.of(whole, (channels, size, size))
    covered = {(at.name, at.axis) for group in groups for at in group.axes}
    weights = [(n, p) for n, p in whole.named_parameters() if p.ndim > 1]
    missing = {(n, axis) for n, p in weights for axis in (0, 1) if p.shape[axis] > 1} - covered
    first, last = weights[0][0], weights[-1][0]
    assert missing == ({(first, 1)} if weights[0][1].shape[1] > 1 else set()) | {(last, 0)}


def test_a_chain_of_shortcuts_is_one_group_and_a_branch_has_its_own():
    groups = units.of(network("resnet8"), (1, 8, 8))
    assert [group.size for group in groups] == [8, 8, 16, 16, 32, 32]
    stream = {at.name for at in groups[0].axes}
    assert {"conv.weight", "blocks.0.conv2.weight", "blocks.1.shortcut.0.weight"} <= stream
    assert "blocks.0.conv1.weight" in stream  # it reads them
    assert len(units.of(network("resnet20-noskip"), (3, 8, 8))) == 19  # nothing is tied


def test_a_flattened_image_makes_blocks_of_its_pixels():
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5), nn.Linear(5, 2))
    first, second = units.of(made, (1, 8, 8))
    assert units.Axis("3.weight", 1, 36, reads=True) in first.axes
    assert [at.name for at in second.axes] == ["3.weight", "3.bias", "4.weight"]


class Concatenating(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.fc = nn.Conv2d(1, 4, 1), nn.Linear(8, 2)

    def forward(self, x):
        x = self.one(x)
        return self.fc(torch.cat([x, x], 1).mean((2, 3)))


REFUSED = {
    "uses cat": Concatenating(),
    "uses native_group_norm": nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten()),
    "has 2 groups": nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten()),
    "fails": nn.Conv2d(3, 4, 3),
    "works out": nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3)),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_network_whose_units_are_not_understood_is_refused_in_a_sentence(sentence):
    with pytest.raises(InputError, match=f"units cannot be followed: .*{sentence}"):
        units.of(REFUSED[sentence], (1, 8, 8))


# --- matching ---


@pytest.mark.parametrize("name", ["resnet8", "vgg-small", "mlp", "mobilenet-v1"])
def test_a_network_and_its_own_permuted_copy_are_matched_exactly(name):
    channels, size = NETWORKS[name]
    whole = network(name)
    groups = units.of(whole, (channels, size, size))
    own, orders = parameters(whole), drawn_orders(groups, 5)
    found = alignment.matched(own, units.taken(own, groups, orders), groups)
    assert all(torch.equal(a, b) for a, b in zip(found, orders, strict=True))


def tiny(seed: int, *sizes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        return nn.Sequential(nn.Flatten(), *layers).double()


def by_trying_all(own, other, groups) -> float:
    """The greatest likeness over every permutation."""
    each = [[torch.tensor(p) for p in itertools.permutations(range(group.size))] for group in groups]
    return max(alignment.likeness(own, other, groups, orders) for orders in itertools.product(*each))


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_one_group_is_matched_as_well_as_by_trying_all(seed):
    own, other = (parameters(tiny(2 * seed + i, 4, 5, 2)) for i in (0, 1))
    groups = units.of(tiny(0, 4, 5, 2), (1, 2, 2))
    found = alignment.matched(own, other, groups)
    reached = alignment.likeness(own, other, groups, found)
    assert reached == pytest.approx(by_trying_all(own, other, groups), rel=1e-9)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_no_group_alone_can_be_matched_better(seed):
    own, other = (parameters(tiny(2 * seed + i, 4, 3, 4, 2)) for i in (0, 1))
    groups = units.of(tiny(0, 4, 3, 4, 2), (1, 2, 2))
    found = alignment.matched(own, other, groups)
    reached = alignment.likeness(own, other, groups, found)
    assert reached <= by_trying_all(own, other, groups) + 1e-9
    for k, group in enumerate(groups):
        for order in itertools.permutations(range(group.size)):
            changed = [*found]
            changed[k] = torch.tensor(order)
            assert alignment.likeness(own, other, groups, changed) <= reached + 1e-7 * abs(reached)


def test_a_diverged_network_is_matched_all_the_same():
    groups = units.of(tiny(0, 4, 3, 2), (1, 2, 2))
    broken = {n: torch.full_like(w, torch.nan) for n, w in parameters(tiny(0, 4, 3, 2)).items()}
    (order,) = alignment.matched(broken, parameters(tiny(1, 4, 3, 2)), groups)
    assert sorted(order.tolist()) == [0, 1, 2]
