"""K networks as one program compute what each computes alone; what cannot be stacked still trains right."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_loop import few_digits, plain_training, same_bits
from torch import nn

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.networks import NETWORKS
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.training import stacked_tokens
from lthpaper.training.loop import train
from lthpaper.training.pack import Pack
from lthpaper.training.result import Start
from lthpaper.training.stacking import OneByOne, Program, program, stack
from lthpaper.training.start import initial_weights

FEW = few_digits(train=40, test=20)
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=15, milestones=())
GPU_SIZED = {"resnet18", "resnet18-imagenet", "resnet50", "resnet18-tiny", "resnet50-tiny", "vgg16"}


def small(name: str, seed: int) -> nn.Module:
    width = 1 / 16 if name in GPU_SIZED | {"mobilenet-v1"} else 1 / 4
    return networks.build_seeded(seed, name, 10, width, 3, 32).double()


def state_of(nets: list[nn.Module]) -> dict[str, torch.Tensor]:
    return stack([dict(net.named_parameters()) | dict(net.named_buffers()) for net in nets])


STRIDED = """
import torch
from torch import nn
from lthpaper.training.stacking import Program, stack

torch.set_num_threads(1)
torch.manual_seed(0)
for channels in (2, 5, 9, 15):
    strided = nn.Conv2d(channels, 2 * channels, 1, stride=2)
    net = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), strided, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    state = stack([{name: p.detach() for name, p in net.named_parameters()}])
    for tensor in state.values():
        tensor.requires_grad_()
    x = torch.randn(1, 64, 3, 16, 16)
    program = Program(net, channels_last=True)
    for _ in range(20):
        program(state, x, training=True).square().sum().backward()
    net.double()(x[0].double()).square().sum().backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(state[name].grad[0].double() / 20, p.grad, rtol=1e-3, atol=1e-2)
print("equal")
"""


def test_few_channels_into_a_strided_convolution_of_1x1_have_their_gradient():
    """oneDNN writes it beyond its end, so the process may die: in one of its own."""
    ended = subprocess.run([sys.executable, "-c", STRIDED], capture_output=True, text=True)
    assert ended.stdout == "equal\n", ended.stderr


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_of_ours_is_stacked_and_computes_what_it_computes_alone(name):
    nets = [small(name, seed) for seed in range(3)]
    x = torch.randn(3, 4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    forward, why = program(networks.build_seeded(0, name, 10, 1 / 16, 3, 32), x[0].float())
    assert isinstance(forward, Program), why
    state = state_of(nets)
    parameters = [key for key, _ in nets[0].named_parameters()]
    for key in parameters:
        state[key].requires_grad_()
    packed = Program(small(name, 9), channels_last=True)
    logits = packed(state, x, training=True)
    logits.square().sum().backward()
    for i, net in enumerate(nets):
        own = net.train()(x[i])
        own.square().sum().backward()
        torch.testing.assert_close(logits[i], own, rtol=1e-9, atol=1e-9)
        for key, parameter in net.named_parameters():
            torch.testing.assert_close(state[key].grad[i], parameter.grad, rtol=1e-7, atol=1e-7)
        for key, buffer in net.named_buffers():
            if not key.endswith("num_batches_tracked"):
                torch.testing.assert_close(state[key][i], buffer, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            evaluated = packed(state, x, training=False)[i]
            torch.testing.assert_close(evaluated, net.eval()(x[i]), rtol=1e-9, atol=1e-9)


# --- custom networks, by dotted path as a user names them ---


class Own(nn.Module):
    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.first, self.second = nn.Linear(64, 24), nn.Linear(24, 24)
        self.third, self.last = nn.Linear(24, 24), nn.Linear(24, num_classes)

    def hidden(self, x):
        return self.third(F.relu(self.second(F.relu(self.first(x.flatten(1))))))

    def forward(self, x):
        return self.last(F.relu(self.hidden(x)))


class Dropping(Own):
    def forward(self, x):
        return self.last(F.dropout(F.relu(self.hidden(x)), 0.5, self.training))


class Noisy(Own):
    def forward(self, x):
        hidden = self.hidden(x)
        return self.last(F.relu(hidden) + torch.randn_like(hidden))


class Tied(Own):
    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.third.weight = self.second.weight


class Branching(Own):
    def forward(self, x):
        return super().forward(x if self.training else 2 * x)


class Constant(Own):
    """A buffer that is not saved, and a tensor that is neither buffer nor parameter."""

    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.register_buffer("shift", torch.full((24,), 0.5), persistent=False)
        self.scale = torch.tensor(2.0)

    def forward(self, x):
        return self.last(F.relu(self.hidden(x) * self.scale + self.shift))


class Normalising(Own):
    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.norm = nn.LayerNorm(24)

    def forward(self, x):
        return self.last(self.norm(self.hidden(x)))


class Frozen(Own):
    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.first.weight.requires_grad_(False)


class Raising(Own):
    def forward(self, x):
        raise KeyError("no such layer")


class Headless(Own):
    def forward(self, x):
        return self.hidden(x)


class Normed(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first, self.norm = nn.Linear(64, 8), nn.BatchNorm1d(8)
        self.hidden, self.last = nn.Linear(8, 8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.last(self.hidden(self.norm(self.first(x.flatten(1))).relu()))


class Repeated(nn.Module):
    """One layer in three places."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 64)] * 3)
        self.last = nn.Linear(64, num_classes)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return self.last(x)


class Odd(nn.Sequential):
    """Layers that no pack form has, whose weights begin anywhere in a pack's memory."""

    def __init__(self, num_classes=10):
        first = nn.Conv2d(1, 7, 3), nn.InstanceNorm2d(7, affine=True), nn.PReLU()
        last = nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(7, num_classes)
        super().__init__(*first, nn.Conv2d(7, 7, 3, groups=7), nn.BatchNorm2d(7), *last)


class Squeezed(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.last = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.last(x.flatten(1)).squeeze()


class WithoutGradients(Own):
    def forward(self, x):
        with torch.no_grad():
            target = self.hidden(x)
        return self.last(F.relu(self.hidden(x)) + target)


class Averaging(Own):
    """Assigns its buffer anew."""

    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.register_buffer("mean", torch.zeros(24))

    def forward(self, x):
        hidden = self.hidden(x)
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * hidden.detach().mean(0)
        return self.last(hidden - self.mean)


class Counting(Own):
    """Decides on a buffer that it counts in."""

    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x):
        if self.training:
            self.steps += 1
        return super().forward(2 * x if int(self.steps) > 3 else x)


class ZeroHead(Branching):
    """Begins with logits of zero, in whatever way they are computed."""

    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        nn.init.zeros_(self.last.weight), nn.init.zeros_(self.last.bias)


class InPlace(Own):
    def forward(self, x):
        x.sub_(0.5)
        return super().forward(x)


class Hooked(Own):
    """Its gradient is turned round between two layers."""

    def __init__(self, num_classes: int = 10):
        super().__init__(num_classes)
        self.third.register_full_backward_hook(lambda layer, inputs, outputs: (-inputs[0],))


class Skipping(Own):
    """Stochastic depth by numbers of Python's. It draws in training alone, and rarely skips."""

    def forward(self, x):
        if self.training:
            drawn = torch.rand(1).item(), random.random(), np.random.random()  # noqa: NPY002
            x = 0 * x if min(drawn) < 0.05 else x
        return super().forward(x)


class Remembering(Own):
    """Counts in a number of Python's."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(self.calls * x)


class Late(Own):
    def forward(self, x):
        if not hasattr(self, "later"):
            self.later = nn.Linear(10, 10)
        return self.later(super().forward(x))


class Cached(Own):
    def __init__(self):
        super().__init__()
        self.register_buffer("ones", None)

    def forward(self, x):
        if self.ones is None:
            self.ones = torch.ones(10)
        return super().forward(x) * self.ones


class Auxiliary(Own):
    def forward(self, x):
        return (super().forward(x), x) if self.training else super().forward(x)


def own(kind: type) -> Task:
    return Task(f"{__name__}:{kind.__name__}", "digits")


STACKED = {Own: "", Repeated: "", Frozen: "", Normalising: "", Dropping: ""}
ONE_BY_ONE = {
    Noisy: "no pack form of randn_like",
    Tied: "its layers share a weight, second.weight and third.weight",
    Branching: "something else",
    Constant: "neither a parameter nor a buffer",
    WithoutGradients: "switches gradients off",
    Averaging: "something else",
    Counting: "cannot be traced",
    ZeroHead: "something else",
    InPlace: "no pack form of sub_",
    Hooked: "hooks",
    Skipping: "draws at random",
}


@pytest.mark.parametrize("kind", [*STACKED, *ONE_BY_ONE])
def test_networks_of_ones_own_train_as_their_plain_loop_stacked_or_not(kind):
    runs = [pretraining(own(kind), RECIPE.with_(precision="fp64", lr=lr), 4) for lr in (0.05, 0.02)]
    results = list(train(runs, FEW))
    for run, result in zip(runs, results, strict=True):
        assert (STACKED | ONE_BY_ONE)[kind] in result.not_stacked
        assert bool(result.not_stacked) == (kind in ONE_BY_ONE)
        assert math.isfinite(result.curves["train_loss"][-1])
        if kind in (Dropping, Noisy, Skipping):  # the plain loop would draw from the global generator
            continue
        network = kind()
        network.load_state_dict(initial_weights(run), strict=False)
        losses, trained = plain_training(run, network, None, FEW)
        means = [np.average(losses[i : i + 3], weights=[15, 15, 10]) for i in (0, 3)]
        assert result.curves["train_loss"] == pytest.approx(means, rel=1e-12)
        for key, weight in trained.named_parameters():
            torch.testing.assert_close(result.weights[key], weight.detach(), rtol=1e-9, atol=1e-12)


def test_a_last_batch_of_one_image_whose_logits_lose_an_axis_is_refused():
    run = pretraining(own(Squeezed), RECIPE.with_(batch_size=39), 0)
    with pytest.raises(InputError, match=r"the last of 40 in batches of 39: it gives logits \(10,\)"):
        list(train([run], FEW))


def test_a_last_test_batch_of_one_image_whose_logits_lose_an_axis_is_tested(monkeypatch):
    monkeypatch.setattr("lthpaper.training.batches.EVALUATION_BATCH", 19)
    (result,) = train([pretraining(own(Squeezed), RECIPE, 0)], FEW)
    assert math.isfinite(result.curves["test_loss"][-1])


def test_alone_and_one_by_one_in_a_pack_a_network_has_the_same_bits_whatever_its_layers_sizes():
    runs = [pretraining(own(Odd), RECIPE, seed) for seed in range(3)]
    together = list(train(runs, FEW))
    assert all(same_bits(next(train([run], FEW)), one) for run, one in zip(runs, together, strict=True))


def test_frozen_parameters_stay_as_they_are():
    (result,) = train([pretraining(own(Frozen), RECIPE, 4)], FEW)
    begin = initial_weights(pretraining(own(Frozen), RECIPE, 4))
    assert torch.equal(result.weights["first.weight"], begin["first.weight"])
    assert not torch.equal(result.weights["second.weight"], begin["second.weight"])


@pytest.mark.parametrize("kind", [Dropping, Noisy, Skipping])
def test_a_network_that_draws_in_its_forward_depends_on_its_runs_seed_alone(kind):
    runs = [pretraining(own(kind), RECIPE, seed) for seed in range(3)]
    before = torch.get_rng_state()
    alone = next(train(runs[:1], FEW))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        in_company = list(train(runs[::-1], FEW))[-1]
    assert repr(alone.curves) == repr(in_company.curves)
    assert all(torch.equal(alone.weights[key], in_company.weights[key]) for key in alone.weights)


@pytest.mark.parametrize("form", [OneByOne, Program])
def test_what_a_network_draws_differs_from_step_to_step_and_seed_to_seed(form):
    forward = form(Dropping())
    state, x = state_of([Dropping()] * 2), torch.rand(1, 3, 1, 8, 8).expand(2, -1, -1, -1, -1)
    state = {key: value[:1].expand_as(value) for key, value in state.items()}
    one, other = forward(state, x, True, [1, 2])
    assert not torch.equal(one, other)
    assert torch.equal(one, forward(state, x, True, [1, 2])[0])


def test_the_form_of_a_pack_does_not_depend_on_the_weights_in_it():
    # NaN or huge weights of a first pack-mate must not send its neighbours another way.
    run = pretraining(Task("resnet8", "digits"), RECIPE, 0)
    weights = initial_weights(run)
    wild = {
        key: torch.full_like(value, 1e30) if value.is_floating_point() else value
        for key, value in weights.items()
    }
    pack = Pack([run, run], [Start(wild, None), Start(weights, None)], FEW, torch.device("cpu"))
    assert pack.not_stacked == ""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Raising, "fails on a batch.*no such layer"),
        (Headless, r"gives \(4, 24\).*\(4, 10\)"),
        (Remembering, "other logits the second time"),
        (Late, "makes later.bias, later.weight in its first forward"),
        (Auxiliary, r"it returns a tuple; its forward must return a tensor of logits .*, in training too\.$"),
    ],
)
def test_a_network_that_cannot_take_the_images_is_named(kind, said):
    with pytest.raises(InputError, match=said):
        next(train([pretraining(own(kind), RECIPE, 0)], FEW))


def test_a_buffer_may_be_made_in_the_first_forward():
    next(train([pretraining(own(Cached), RECIPE, 0)], FEW))


@pytest.mark.parametrize("change", [{"batch_size": 9}, {"batch_size": 18, "micro_batch": 9}])
def test_a_last_batch_of_one_image_is_refused_where_the_network_cannot_take_it(change):
    images, recipe = few_digits(19, 20), RECIPE.with_(**change)
    with pytest.raises(InputError, match="fails on a batch of one image, the last of 19 in batches of 9"):
        next(train([pretraining(own(Normed), recipe, 0)], images))
    next(train([pretraining(own(Normed), recipe.with_(batch_size=18, micro_batch=6), 0)], few_digits(20, 20)))
    next(train([pretraining(Task("mlp", "digits"), recipe, 0)], images))


# --- operations that are refused rather than computed wrongly ---

REFUSED = {
    "padding by reflection": nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(256, 10)
    ),
    "batch-norm without momentum": nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=None), nn.Flatten(), nn.Linear(144, 10)
    ),
    "dropout of whole channels": nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(144, 10)
    ),
}
TAKEN = {
    "flatten of two axes": nn.Sequential(nn.Flatten(1, 2), nn.Flatten(), nn.Linear(64, 10)),
    "dropout": nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10)),
    "convolutions with bias, groups and pooling": nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 8, 3, groups=2),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    ),
    "batch-norm over vectors": nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10)
    ),
    "group-norm over images": nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.GroupNorm(3, 6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 10)
    ),
    "group-norm over vectors, layer-norm over images, without weights": nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.LayerNorm([4, 6, 6]), nn.Flatten(), nn.Linear(144, 12)),
        *(nn.GroupNorm(4, 12, affine=False), nn.LayerNorm(12, elementwise_affine=False), nn.Linear(12, 10)),
    ),
    "batch-norm without weights or statistics": nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4, affine=False, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(144, 10),
    ),
}


@pytest.mark.parametrize("name", [*REFUSED, *TAKEN])
def test_a_pack_form_is_used_only_where_it_is_right(name):
    network = (REFUSED | TAKEN)[name]
    x = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    forward, why = program(network, x[0])
    assert isinstance(forward, Program) == (name in TAKEN), why
    assert bool(why) == (name in REFUSED)
    with torch.no_grad():
        found = forward(state_of([network, network]), x, training=False)
        torch.testing.assert_close(found[1], network.eval()(x[1]), rtol=1e-4, atol=1e-5)


class Scaled(nn.Module):
    """Two networks of two classes: without alignment a scale of each network meets the classes' axis."""

    def __init__(self):
        super().__init__()
        self.last, self.scale = nn.Linear(64, 2), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.mul(self.last(x.flatten(1)), other=self.scale)


def test_a_tensor_given_by_keyword_is_each_networks_own():
    network, x = Scaled(), torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    forward, why = program(network, x[0])
    assert isinstance(forward, Program), why
    state = state_of([network, network])
    state["scale"] = torch.tensor([1.0, 5.0])
    with torch.no_grad():
        found, expected = (form(state, x, training=False) for form in (forward, OneByOne(network)))
    torch.testing.assert_close(found, expected)


def test_a_pack_form_that_mixes_networks_is_found_out_though_the_trial_has_one_network(monkeypatch):
    monkeypatch.setattr(stacked_tokens, "aligned", list)
    forward, why = program(Scaled(), torch.randn(4, 1, 8, 8))
    assert isinstance(forward, OneByOne)
    assert "something else" in why


@pytest.mark.parametrize("channels", [3, 6, 16])
def test_a_normed_networks_bits_do_not_depend_on_its_slot_or_its_pack_mates(channels):
    """A lone run trains beside a copy of itself, so a pair is the smallest pack. Three channels fill no
    vector instruction."""
    layers = (nn.Conv2d(1, channels, 3), nn.GroupNorm(3 if channels % 3 == 0 else 4, channels), nn.ReLU())
    network = nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(channels * 36, 24), nn.LayerNorm(24), nn.Linear(24, 10)
    )
    forward, why = program(network, torch.randn(4, 1, 8, 8), channels_last=True)
    assert not why
    states = [{n: torch.randn_like(p) for n, p in network.named_parameters()} for _ in range(5)]
    x = torch.randn(5, 4, 1, 8, 8)

    def bits(places: list[int]) -> list[dict[str, torch.Tensor]]:
        state = {n: t.requires_grad_() for n, t in stack([states[i] for i in places]).items()}
        forward(state, x[places], training=True).square().sum().backward()
        return [{n: t.grad[slot] for n, t in state.items()} for slot in range(len(places))]

    alone = [bits([i, i])[0] for i in range(5)]
    for places in ([0, 1, 2, 3, 4], [4, 2, 0], [3, 1]):
        for place, found in zip(places, bits(places), strict=True):
            assert all(torch.equal(found[name], alone[place][name]) for name in found)


def test_looking_for_the_pack_form_leaves_the_network_and_the_generators_alone():
    network = Dropping()
    before = {key: value.clone() for key, value in network.state_dict().items()}, torch.get_rng_state()
    program(network, torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(torch.equal(network.state_dict()[key], before[0][key]) for key in before[0])
