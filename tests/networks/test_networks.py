"""The networks are those of Table 2; their draws are reproducible; their counts say what the paper says."""

import random
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.networks.structure import residual_connections
from lthpaper.paper import EXPERIMENTS
from lthpaper.runs.masks import prunable
from lthpaper.runs.settings import imp_sparsity
from lthpaper.runs.task import Task
from lthpaper.torchvision_compat import torchvision
from lthpaper.training.forms import why_not_stacked

ALL = sorted(networks.NETWORKS)


def prunable_count(name: str) -> int:
    network = networks.skeleton(name)
    sizes = {n: p.numel() for n, p in network.named_parameters()}
    return sum(sizes[n] for n in prunable(network))


@pytest.mark.parametrize(
    ("name", "classes", "parameters", "printed"),
    [
        ("resnet20", 10, 272_474, "0.27"),
        ("resnet32", 10, 1_860_522, "1.86"),
        ("mobilenet-v1", 10, 3_217_226, "3.21"),
        ("resnet18", 10, 11_173_962, None),
        ("resnet18", 100, 11_220_132, "11.22"),
        ("vgg16", 10, 14_724_042, "14.72"),
        ("resnet18-tiny", 1000, 11_681_832, "11.68"),
        ("resnet50-tiny", 1000, 25_549_352, None),  # Table 2 prints 25.56
        ("resnet18-imagenet", 1000, 11_689_512, "11.69"),
        ("resnet50", 1000, 25_557_032, "25.56"),
    ],
)
def test_parameter_counts_are_those_of_table_2(name, classes, parameters, printed):
    count = networks.count_parameters(name, classes)
    assert count == parameters
    if printed:  # the table rounds, or cuts (MobileNet-v1)
        assert printed in (f"{count / 1e6:.2f}", f"{count // 10_000 / 100:.2f}")


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet20", 269_824),
        ("resnet32", 1_843_200 + 10_240),  # the authors leave the shortcuts out, we do not
        ("resnet32-noskip", 1_843_200),
        ("vgg16", 14_710_464 - 3 * 64 * 9),  # every convolution but the first
    ],
)
def test_prunable_are_all_convolutions_but_the_first(name, weights):
    assert prunable_count(name) == weights


def test_without_residual_connections_resnet32_loses_its_shortcuts_and_nothing_else():
    with_, without = (
        {n: p.shape for n, p in networks.skeleton(name).named_parameters()}
        for name in ("resnet32", "resnet32-noskip")
    )
    gone = {n: shape for n, shape in with_.items() if n not in without}
    assert all(".shortcut." in n for n in gone)
    assert without == {n: shape for n, shape in with_.items() if n not in gone}
    assert sum(shape.numel() for shape in gone.values()) == 10_624


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("width", "channels"), [(0.001, 1), (0.06, 3)])
def test_every_network_learns_at_every_width(name, width, channels):
    """Logits have one column a class, and a gradient reaches every parameter."""
    network = networks.build_seeded(0, name, 7, width, channels, size=16)
    images = torch.randn(4, channels, 16, 16, generator=torch.Generator().manual_seed(1))
    logits = network(images)
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", ALL)
def test_equal_seeds_draw_equal_weights_and_leave_the_global_generator_alone(name):
    before = torch.get_rng_state()
    first, again, other = (networks.build_seeded(seed, name, 10, 0.1).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


@pytest.mark.parametrize("name", ALL)
def test_a_skeleton_counts_without_memory_or_randomness(name):
    before = torch.get_rng_state()
    network = networks.skeleton(name, 10, 0.3)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.is_meta for p in network.parameters())
    real = networks.build_seeded(0, name, 10, 0.3)
    assert [p.shape for p in network.parameters()] == [p.shape for p in real.parameters()]


def test_a_skeleton_of_one_s_own_draws_what_has_memory_and_skips_the_rest():
    skipped = networks.skeleton(f"{__name__}:draws_both")
    assert skipped.kept.abs().sum() > 0
    assert skipped.weight.is_meta


def test_counting_does_not_wait_for_torch_s_compiler():
    """Its import takes seconds in every process. Filling a tensor without memory would ask for it, and so
    would following a network's units, unless told otherwise."""
    script = (
        "import sys; from lthpaper import networks; from lthpaper.networks import units; "
        "counts = networks.count_parameters('vgg16'); "
        "assert units.of(networks.build('resnet8'), (3, 8, 8)); "
        "print(counts, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["14724042", "False"]


@pytest.mark.parametrize("name", ["resnet20", "resnet32", "vgg16", "resnet18-imagenet"])
def test_convolutions_start_from_he_s_fan_out_distribution(name):
    for module in networks.build_seeded(0, name, 10).modules():
        if isinstance(module, nn.Conv2d):
            w = module.weight.detach()
            he = (2 / (w.shape[0] * w.shape[2] * w.shape[3])) ** 0.5
            slack = 5 / w.numel() ** 0.5  # five standard errors
            assert float(w.mean()) == pytest.approx(0, abs=slack * he)
            assert float(w.std()) == pytest.approx(he, rel=slack)


@pytest.mark.parametrize("name", ["resnet32", "resnet32-noskip", "vgg16"])
def test_the_classifiers_of_resnet32_and_vgg16_start_small(name):
    fc = networks.build_seeded(0, name, 100).fc
    assert float(fc.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert not fc.bias.any()


def test_at_width_1_the_imagenet_networks_are_torchvision_s():
    models = torchvision().models
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        theirs = models.resnet18().state_dict()
    ours = networks.build_seeded(5, "resnet18-imagenet", 1000).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[n], theirs[n]) for n in theirs)
    with torch.device("meta"):
        theirs = models.resnet50().state_dict()
    ours = networks.skeleton("resnet50", 1000).state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}


@pytest.mark.parametrize("name", ALL)
def test_the_count_never_falls_as_the_width_rises(name):
    """What the bisection for θ_SD relies on."""
    counts = [networks.count_parameters(name, 10, width / 64) for width in (1, 8, 32, 64)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_small_dense_network_has_the_nearest_count_that_any_width_gives():
    """resnet8 has at most 32 channels, so multiples of 1/128 meet every count that its widths can give."""
    counts = [networks.count_parameters("resnet8", 10, step / 128) for step in range(1, 129)]
    for parameters in (1, 777, 5_555, 15_000, counts[-1]):
        width = networks.small_dense_width("resnet8", parameters)
        achieved = networks.count_parameters("resnet8", 10, width)
        assert abs(achieved - parameters) == min(abs(count - parameters) for count in counts)
    with pytest.raises(InputError, match="has only"):
        networks.small_dense_width("resnet8", counts[-1] + 1)


@pytest.mark.parametrize(("sparsity", "miss"), [(0.832, 0.014), (0.914, 0.022), (0.945, 0.003)])
def test_resnet20_s_small_dense_networks_match_their_subnetworks(sparsity, miss):
    """θ_SD has as many parameters as the subnetwork has non-zeros (Table 1), within about 2 %."""
    nonzero = 272_474 - round(sparsity * 269_824)
    achieved = networks.count_parameters("resnet20", 10, networks.small_dense_width("resnet20", nonzero))
    assert abs(achieved / nonzero - 1) < miss


@pytest.mark.parametrize("of", EXPERIMENTS, ids=lambda e: e.name)
def test_every_experiment_has_a_small_dense_network_within_two_percent_and_a_half(of):
    """Table 1's θ_SD at s = 0.914, counted with the data set's own classes; the network takes its images."""
    task = Task(of.network, of.data)
    nonzero = task.parameters - round(imp_sparsity(11) * sum(task.prunable_weights.values()))
    shape = {key: value for key, value in task.shape.items() if key != "width"}
    small = task.with_(width=networks.small_dense_width(parameters=nonzero, **shape))
    assert abs(small.parameters / nonzero - 1) < 0.025
    network = networks.build_seeded(0, **small.shape).eval()
    assert sum(p.numel() for p in network.parameters()) == small.parameters
    side = small.shape["size"]
    with torch.no_grad():
        assert network(torch.zeros(1, 3, side, side)).shape == (1, small.shape["num_classes"])


RESIDUAL = {
    "resnet8": 3,
    "resnet20": 9,
    "resnet32": 15,
    "resnet18": 8,
    "vit": 8,  # two a block
    "resnet18-imagenet": 8,
    "resnet18-tiny": 8,
    "resnet50": 16,
    "resnet50-tiny": 16,
}


@pytest.mark.parametrize("name", ALL)
def test_residual_connections_are_counted_from_the_forward_pass(name):
    """One a block; none in VGG, MobileNet-v1, the MLP and the networks without shortcuts (§3.2)."""
    assert residual_connections(networks.skeleton(name, 10, 0.1), (3, 32, 32)) == RESIDUAL.get(name, 0)


class Branches(nn.Module):
    """Additions of every kind around one convolution and two, in a loop that depends on the input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.bn, self.offset = nn.BatchNorm2d(3), nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x):
        for _ in range(2 if x.sum() < 1 else 5):
            x = self.offset + x + 1 + x  # no layer is skipped
            x = self.a(x) + self.b(x)  # two branches, equally deep
            x = torch.cat([x, self.a(x)], 1)[:, :3]
            x += self.bn(self.a(x))  # a residual connection, in place and on a view
            x = self.a(x) + self.b(self.a(x)).relu_()  # one with a projection
        return x.mean((2, 3))


def test_only_additions_that_skip_a_layer_are_residual_connections():
    network = Branches().train()
    before = {n: t.clone() for n, t in network.state_dict().items()}
    assert residual_connections(network, (3, 8, 8)) == 4
    assert network.training
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_a_frozen_network_has_its_residual_connections_too():
    network = networks.build_seeded(0, "resnet8", 10).requires_grad_(False)
    assert residual_connections(network, (3, 8, 8)) == 3
    assert not any(p.requires_grad for p in network.parameters())


ALONE: dict[str, str] = {}  # networks of this package that cannot be stacked, and why


@pytest.mark.parametrize("name", ALL)
def test_every_network_packs_or_says_why_not(name):
    task = Task(name, "cifar10", width=0.06)  # the width changes no operation of a forward pass
    assert why_not_stacked(task) == ALONE.get(name, "")


def test_residual_connections_of_a_network_that_does_not_run_are_an_error():
    with pytest.raises(InputError, match="cannot be counted"):
        residual_connections(networks.build_seeded(0, "resnet8", 10), (1, 8, 8))
    with pytest.raises(InputError, match="must return one tensor"):
        residual_connections(nn.RNN(3, 4), (5, 3))


def fixed(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def needs_depth(depth: int, num_classes: int = 10) -> nn.Module:
    return nn.Linear(depth, num_classes)


def reads_values(num_classes: int = 10, width: float = 1.0) -> nn.Module:
    widths = [int(w.item()) for w in torch.linspace(8, 16, 2) * width]
    return nn.Sequential(nn.Conv2d(3, widths[0], 3), nn.Conv2d(widths[0], widths[1], 3))


def draws_both(num_classes: int = 10) -> nn.Module:
    """A truncated and a normal draw, and a buffer that it keeps on the CPU whatever the default device is."""
    network = nn.Linear(3, num_classes)
    nn.init.trunc_normal_(network.weight)
    nn.init.normal_(tensor=network.bias)
    network.register_buffer("kept", torch.empty(3, device="cpu").normal_())
    return network


def returns_nothing() -> None:
    return None


def test_a_network_of_one_s_own_is_counted_even_if_it_reads_values_while_it_builds():
    before = torch.get_rng_state()
    assert networks.count_parameters(f"{__name__}:reads_values") == 8 * 28 + 16 * 73
    assert torch.equal(torch.get_rng_state(), before)


def wide(num_classes: int = 10, width: int = 4) -> nn.Module:
    return nn.Linear(width, num_classes)


def scripted() -> nn.Module:
    return torch.jit.script(nn.Linear(2, 2))


def complex_numbers() -> nn.Module:
    return nn.Linear(2, 2, dtype=torch.complex64)


def hooked() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight.register_hook(lambda gradient: 0 * gradient)
    return layer


def by_numpy() -> nn.Module:
    layer = nn.Linear(2, 2)
    drawn = np.random.randn(2, 2)  # noqa: NPY002
    layer.weight.data.copy_(torch.from_numpy(drawn + random.random()))
    return layer


def test_numpy_s_and_python_s_draws_are_the_seed_s_too():
    before = random.getstate(), np.random.get_state()[2]  # noqa: NPY002
    one, again, other = (networks.build_seeded(seed, f"{__name__}:by_numpy", 10).weight for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert (random.getstate(), np.random.get_state()[2]) == before  # noqa: NPY002


@pytest.mark.parametrize(
    ("name", "width", "size", "said"),
    [
        ("resnet_20", 1.0, 32, "Did you mean 'resnet20'"),
        ("resnet20", 0.0, 32, "width is 0.0"),
        ("resnet20", float("nan"), 32, "width is nan"),
        ("vgg16", 1.0, 8, "at least 16×16 pixels"),
        (f"{__name__}:fixed", 0.5, 32, "no argument 'width'"),
        (f"{__name__}:needs_depth", 1.0, 32, "needs the argument depth"),
        (f"{__name__}:returns_nothing", 1.0, 32, "returned NoneType"),
        (f"{__name__}:wide", 1.0, 32, "'width' that is 4 by default. Here width is a factor"),
        (f"{__name__}:scripted", 1.0, 32, "scripted or wrapped .*: return the module itself"),
        (f"{__name__}:complex_numbers", 1.0, 32, "complex parameters .weight, bias., and only real ones"),
        (f"{__name__}:hooked", 1.0, 32, "hooks on the gradients of its parameters .weight., which"),
        (f"{__name__}:absent", 1.0, 32, "cannot be imported"),
        (f"{__name__}:return_nothing", 1.0, 32, "Did you mean 'returns_nothing'"),
    ],
)
def test_a_network_that_cannot_be_built_says_why(name, width, size, said):
    with pytest.raises(InputError, match=said):
        networks.build(name, width=width, size=size)


class Sharing(nn.Module):
    """Two layers share a weight, and no state_dict has its buffer."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, num_classes)
        self.second.weight = self.first.weight
        self.register_buffer("shift", torch.zeros(3), persistent=False)

    def forward(self, x):
        return self.last(self.second(self.first(x + self.shift)))


def test_shared_weights_and_buffers_outside_the_state_dict_are_loaded():
    name, x = networks.local(Sharing), torch.ones(1, 3)
    trained = networks.build_seeded(1, name, 10)
    trained.shift += 2
    weights = networks.tensors(trained)
    assert "second.weight" not in weights
    again = networks.loaded(weights, name, num_classes=10)
    assert torch.equal(again(x), trained(x))
    assert again.second.weight is again.first.weight
    lacking = {n: w for n, w in weights.items() if n != "shift"}
    for other in (lacking, weights | {"shift": torch.zeros(1)}):
        with pytest.raises(InputError, match="do not fit the network 'local:Sharing': shift is on one side"):
            networks.loaded(other, name, num_classes=10)


FAILING = {  # a file of the user's own -> what is said
    "syntax": ("def make(:", "its file failed .SyntaxError: .*syntax_file.py, line 1"),
    "raising": ("1 / 0", "its file failed .ZeroDivisionError: division by zero, raising_file.py line 1"),
    "leaving": ("import sys; sys.exit(3)", "its file failed .SystemExit: 3"),
    "typo": (
        "from torch import nn\ndef make(): return nn.Sequentail()",
        "factory failed .*Sequentail.* line 2",
    ),
    "half": (
        "from torch import nn\ndef make(): return nn.Linear(3.5, 2)",
        "TypeError.*, half_file.py line 2",
    ),
    "built": (
        "from torch import nn\nmake = nn.Linear(3, 2)",
        "is of type Linear; name a function that builds",
    ),
}


@pytest.mark.parametrize("case", FAILING)
def test_errors_in_a_file_of_one_s_own_are_one_sentence(case, tmp_path, monkeypatch):
    source, said = FAILING[case]
    (tmp_path / f"{case}_file.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=said):
        networks.skeleton(f"{case}_file:make", 10)


def test_a_file_is_named_as_a_module():
    with pytest.raises(InputError, match=r"drop the \.py, mynets:make"):
        networks.factory("./mynets.py:make")


def test_an_edited_base_class_is_another_architecture(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = "from torch import nn\nclass Base(nn.Linear):\n    def forward(self, x): return {}\n"
    found = set()
    for number, result in enumerate(("x", "2 * x")):
        (tmp_path / f"bases{number}.py").write_text(source.format(result))
        made = f"from bases{number} import Base\nclass Net(Base): pass\ndef make(): return Net(3, 2)\n"
        (tmp_path / f"derived{number}.py").write_text(made)
        found.add(networks.architecture(f"derived{number}:make", num_classes=2))
    assert len(found) == 2


def scaled_draw(num_classes: int = 10, scale: float = 1.0) -> nn.Module:
    network = nn.Linear(3, num_classes)
    network.weight.data.mul_(scale)
    return network


class Maker:
    def __call__(self, num_classes: int = 10) -> nn.Module:
        return nn.Linear(3, num_classes)


def test_partials_and_objects_that_are_called_have_an_architecture_of_their_own():
    makers = [partial(scaled_draw, scale=2.0), partial(scaled_draw, scale=3.0), scaled_draw, Maker()]
    found = [networks.architecture(networks.local(make)) for make in makers]
    assert len(set(found)) == len(makers)  # what they build looks the same
    again = [networks.architecture(networks.local(make)) for make in (makers[0], Maker())]
    assert again == [found[0], found[3]]


def test_torchs_default_dtype_changes_no_draw():
    expected = networks.build_seeded(3, "resnet8", 10).state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        found = networks.build_seeded(3, "resnet8", 10).state_dict()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(found[n], expected[n]) and found[n].dtype == t.dtype for n, t in expected.items())
