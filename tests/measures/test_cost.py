"""What a ticket costs: counts by the definition, the same function without idle channels, honest ratios."""

import itertools
import re
from pathlib import Path

import pytest
import torch
from plain_loop import few_digits
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import lthpaper as lth
from lthpaper.cli.main import app
from lthpaper.measures import cost, speed
from lthpaper.networks import build_seeded, removal
from lthpaper.runs.pruning.channels import Channels
from lthpaper.runs.pruning.n_of_m import NOfM
from lthpaper.store.store import Store
from lthpaper.store.ticket import Ticket, ticket
from lthpaper.training.loop import train

RECIPE = lth.Recipe(epochs=1, lr=0.05, batch_size=20, milestones=())
RESNET = lth.pretraining(lth.Task("resnet8", "digits"), RECIPE)
MLP = lth.pretraining(lth.Task("mlp", "digits", prunable=("fc1.weight", "fc2.weight")), RECIPE)
RUNS = {
    "dense": RESNET,
    "omp": lth.lt_omp(RESNET, 0.9),
    "channels": RESNET.with_(mask=Channels(RESNET, 0.5)),
    "2of4": RESNET.with_(mask=NOfM(RESNET)),
    "mlp": lth.lt_omp(MLP, 0.95),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Trained through the real path on a few digits, for one epoch."""
    made = Store(tmp_path_factory.mktemp("cost"))
    data = few_digits(train=40, test=20)
    for runs in (
        [RESNET],
        [MLP],
        [run for name, run in RUNS.items() if name not in ("dense", "mlp")],
        [RUNS["mlp"]],
    ):
        for done in train(runs, data, made.weights):
            made.put(done, data.fingerprint, {})
    return made


def of(store: Store, name: str) -> Ticket:
    return ticket(RUNS[name], store)


def row(store: Store, name: str, form: str) -> dict:
    return lth.cost(of(store, name)).set_index("form").loc[form].to_dict()


@pytest.mark.parametrize("name", ["dense", "mlp"])
def test_operations_of_the_dense_network_are_torch_s_own_count(store, name):
    found = of(store, name)
    with FlopCounterMode(display=False) as counter:
        found.module(pruned=False)(torch.zeros(1, 1, 8, 8))
    assert row(store, name, "dense network")["flops"] == counter.get_total_flops()


def test_operations_with_kept_weights_are_those_of_each_layer_times_its_density(store):
    found = of(store, "omp")
    outputs: dict[str, int] = {}
    network = found.module(pruned=False)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, x, y, n=name: outputs.update({n: y[0, 0].numel()}))
    network(torch.zeros(1, 1, 8, 8))
    expected = 0.0
    for name, places in outputs.items():
        weight = network.get_parameter(f"{name}.weight")
        kept = int(found.mask[f"{name}.weight"].sum()) if f"{name}.weight" in found.mask else weight.numel()
        expected += 2 * places * kept
    assert row(store, "omp", "bitmask")["flops"] == pytest.approx(expected, abs=1)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_parameters_and_bytes_are_those_of_tensors_that_torch_makes(store):
    found = of(store, "mlp")
    network, mask = found.module(pruned=False), found.mask
    pruned = sum(int((~m).sum()) for m in mask.values())
    total = sum(p.numel() for p in network.parameters())
    assert row(store, "mlp", "CSR, 64-bit")["parameters"] == total - pruned
    rest = 4 * (total - sum(m.numel() for m in mask.values()))
    for form, kind in (("CSR, 64-bit", torch.int64), ("CSR, 32-bit", torch.int32)):
        stored = 0
        for kept in mask.values():
            csr = kept.float().to_sparse_csr()
            parts = (csr.crow_indices().to(kind), csr.col_indices().to(kind), csr.values())
            stored += sum(part.nbytes for part in parts)
        assert row(store, "mlp", form)["bytes"] == rest + stored
    bits = sum(-(-m.numel() // 8) + 4 * int(m.sum()) for m in mask.values())
    assert row(store, "mlp", "bitmask")["bytes"] == rest + bits


TOKENS, FEATURES, HIDDEN, CLASSES = 16, 64, 128, 10  # of `vit` on a digit: 4×4 patches of 2×2 pixels


def by_hand(projections: float, products: float) -> float:
    """Operations of one block: each of T tokens through four F×F matrices and an MLP, whose share
    `projections` is kept; queries times keys, and their weights times values, T×T for each of F channels."""
    own = 2 * TOKENS * (4 * FEATURES**2 + 2 * FEATURES * HIDDEN)
    return projections * own + products * 2 * (2 * TOKENS**2 * FEATURES)


def test_operations_of_attention_count_its_products_too():
    network, mask = build_seeded(0, "vit", CLASSES, 1.0, 1, 8), {}
    for i, block in enumerate(network.blocks):
        for name in ("attention.qkv", "attention.out", "fc1", "fc2"):
            mask[f"blocks.{i}.{name}.weight"] = kept = torch.zeros_like(block.get_submodule(name).weight) > 0
            kept[: len(kept) // 4] = True
    first = (
        2 * 64 * 9 * FEATURES // 2
    )  # a 3×3 convolution at each of 64 pixels, and at every second, both ways
    second = 2 * TOKENS * 9 * FEATURES // 2 * FEATURES
    ends = first + second + 2 * FEATURES * CLASSES  # the head
    everything, with_kept = cost.flops(network, (1, 8, 8), mask)
    assert everything == 4 * by_hand(1, 1) + ends
    assert with_kept == 4 * by_hand(1 / 4, 1) + ends  # what is pruned never makes attention's products fewer


class Encoded(nn.Module):
    """An `nn.TransformerEncoderLayer`, or its attention alone, over the rows of an image."""

    def __init__(self, whole: bool):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True) if whole else None
        self.attention = None if whole else nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = x[:, 0]
        return self.layer(x) if self.layer is not None else self.attention(x, x, x)[0]


@pytest.mark.parametrize(("whole", "hidden"), [(False, 0), (True, 32)])
def test_operations_of_torch_s_own_attention_count_too(whole, hidden):
    tokens = features = 8
    expected = 2 * tokens * (4 * features**2 + 2 * features * hidden) + 2 * (2 * tokens**2 * features)
    assert cost.flops(Encoded(whole), (1, 8, 8)) == (expected, expected)


def test_zeros_that_are_stored_save_nothing(store):
    zeros, dense = (row(store, "omp", form) for form in ("zeros stored", "dense network"))
    assert zeros == dense


def test_a_dense_network_has_one_form(store):
    assert lth.cost(of(store, "dense"))["form"].tolist() == ["dense network"]


def test_2_of_4_is_a_form_of_masks_of_that_pattern_alone(store):
    assert "2:4" not in set(lth.cost(of(store, "omp"))["form"])
    found = of(store, "2of4")
    total = sum(m.numel() for m in found.mask.values())
    saved = row(store, "2of4", "dense network")["bytes"] - row(store, "2of4", "2:4")["bytes"]
    assert saved == 4 * total - (4 * total // 2 + total // 8)
    assert any("2:4 is not timed" in sentence for sentence in speed.unmeasured(found))


# --- channels that are really removed ---


@pytest.mark.parametrize("name", ["channels", "mlp"])
def test_without_idle_channels_the_function_is_the_same(store, name):
    found = of(store, name)
    whole = found.module(pruned=False)
    smaller, removed = removal.without_idle_units(whole, (1, 8, 8))
    assert removed > 0
    images = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(smaller.double()(images.double()), whole.double()(images.double()), atol=1e-9)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in whole.parameters())


def emptied_channel(bias: float) -> nn.Module:
    """ResNet-8 whose first inner channel has no weights and this batch-norm bias."""
    made = build_seeded(0, "resnet8", 10, 1.0, 1, 8).eval()
    with torch.no_grad():
        made.blocks[0].conv1.weight[0] = 0
        made.blocks[0].bn1.bias[0] = bias
    return made


def test_a_channel_that_passes_on_a_constant_stays_and_a_silent_one_goes():
    quiet, removed = removal.without_idle_units(emptied_channel(-1.0), (1, 8, 8))
    assert (removed, quiet.blocks[0].conv1.out_channels, quiet.blocks[0].conv2.in_channels) == (1, 7, 7)
    loud, removed = removal.without_idle_units(emptied_channel(1.0), (1, 8, 8))
    assert (removed, loud.blocks[0].conv1.out_channels) == (0, 8)


def test_units_that_nobody_reads_go_and_with_them_those_that_only_they_read():
    made = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 2)).double()
    with torch.no_grad():
        made[4].weight[:, 0] = 0  # nobody reads unit 0 of the last hidden layer
        made[3].weight[1:, 2] = 0  # which alone reads unit 2 of the first
    smaller, removed = removal.without_idle_units(made, (1, 2, 2))
    assert removed == 2
    assert [tuple(smaller[i].weight.shape) for i in (1, 3, 4)] == [(2, 4), (2, 2), (2, 2)]
    x = torch.rand(5, 1, 2, 2, dtype=torch.float64)
    assert torch.allclose(smaller(x), made(x))


def test_of_a_layer_without_any_weights_one_unit_stays():
    made = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        made[1].weight.zero_()
    smaller, removed = removal.without_idle_units(made, (1, 2, 2))
    assert (removed, smaller[1].out_features) == (2, 1)


# --- speed ---


def test_ratios_are_to_the_dense_network_in_the_same_round(store):
    """By a clock of which form i takes i seconds, on a machine that slows tenfold from round to round."""
    names = list(speed.forms(of(store, "mlp")))
    assert names[:3] == ["dense network", "zeros stored", "CSR, 64-bit"]
    lasts = [(i + 1) * scale for scale in (1, 10, 100) for i in range(len(names))]
    times = itertools.chain.from_iterable((0.0, float(last)) for last in lasts)
    found = lth.speeds(of(store, "mlp"), images=2, repeats=3, clock=lambda: next(times))
    assert found["of dense"].tolist() == [float(i + 1) for i in range(len(names))]
    assert found["milliseconds"].iloc[0] == 10_000
    assert set(found["n"]) == {3}


def test_a_sparse_linear_layer_computes_what_the_dense_one_does(store):
    forms = speed.forms(of(store, "mlp"))
    assert isinstance(forms["CSR, 64-bit"].fc1, speed.CsrLinear)
    x = torch.rand(4, 1, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(forms["CSR, 64-bit"](x), forms["zeros stored"](x), atol=1e-5)


def test_what_has_no_kernel_is_said(store):
    said = " ".join(speed.unmeasured(of(store, "omp")))
    assert "no kernel for convolutions" in said
    assert "no prunable layer is linear" in said
    assert speed.unmeasured(of(store, "dense")) == []


@pytest.mark.parametrize("bad", [{"images": 0}, {"repeats": 0}, {"images": 1.5}])
def test_a_number_that_is_none_is_refused(store, bad):
    with pytest.raises(lth.InputError, match="must be a whole number from 1"):
        lth.speeds(of(store, "omp"), **bad)


def test_the_command_prints_every_form_and_what_it_measured(store):
    words = [
        "ticket",
        "cost",
        RUNS["mlp"].digest[:8],
        "--store",
        str(Path(store.folder)),
        "--images",
        "2",
        "--repeats",
        "2",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    for form in ("dense network", "zeros stored", "bitmask", "CSR, 64-bit", "n = 2 rounds"):
        assert form in result.output
    counted = re.findall(r"^.*(?:\(\d\.\d{3}\)|bytes)$", result.output, re.MULTILINE)
    assert len(counted) > 4
    assert set(map(len, counted)) == {79}  # in a terminal of 80 columns
