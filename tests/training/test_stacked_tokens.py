"""Transformers and dropout in packs: what each network computes alone, bits that no slot changes."""

import pytest
import torch
import torch.nn.functional as F
from plain_loop import bits, few_digits, plain_training, same_bits
from torch import nn

from lthpaper import networks
from lthpaper.networks import skeleton
from lthpaper.networks.vit import Block
from lthpaper.runs.masks import layers, prunable
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.training.loop import train
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import Start
from lthpaper.training.stacking import OneByOne, Program, draws, program, stack
from lthpaper.training.start import initial_weights

FEW = few_digits(train=40, test=20)
RECIPE = Recipe(epochs=2, lr=0.003, batch_size=15, milestones=(), optimizer="adamw")
CPU = torch.device("cpu")


class Own(nn.Module):
    """Attention as many write it: a class token, sizes read from the tensor, reshape and permute."""

    def __init__(self, features: int = 12):
        super().__init__()
        self.patches = nn.Conv2d(1, features, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, features))
        self.position = nn.Parameter(torch.randn(17, features))
        self.norm, self.qkv = nn.LayerNorm(features), nn.Linear(features, 3 * features)
        self.scale = nn.Parameter(torch.randn(features))
        self.head = nn.Linear(features, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        count, tokens, features = x.shape
        x = torch.cat([self.token.expand(count, -1, -1), x], dim=1) + self.position
        qkv = self.qkv(self.norm(x)).reshape(count, tokens + 1, 3, 2, features // 2).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        shares = ((q / 6**0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        x = x + self.scale * (shares @ v).transpose(1, 2).reshape(count, tokens + 1, features)
        return self.head(F.gelu(x)[:, 0])


class Multihead(nn.Module):
    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.first, self.last = nn.Linear(8, 12), nn.Linear(12, 10)
        self.attention = nn.MultiheadAttention(12, 3, dropout=dropout, batch_first=True)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        x = self.first(x.flatten(1, 2))
        mixed, _ = self.attention(x, x, x, need_weights=False)
        return self.last(self.drop(mixed).mean(1))


class Weighing(Multihead):
    """Reads the attention's weights, which no pack form gives."""

    def forward(self, x):
        x = self.first(x.flatten(1, 2))
        mixed, weights = self.attention(x, x, x)
        return self.last((weights @ mixed).mean(1))


class Encoder(nn.Module):
    def __init__(self, dropout: float = 0.0, norm_first: bool = True):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout, "gelu", batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.encoder(x.squeeze(1)).flatten(1))


class ChannelsLast(nn.Module):
    """From images to channels-last and back, as a ConvNeXt does."""

    def __init__(self):
        super().__init__()
        self.stem, self.deep = nn.Conv2d(1, 6, 2, 2), nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm, self.wide, self.back = nn.LayerNorm(6), nn.Linear(6, 20), nn.Linear(20, 6)
        self.drop, self.head = nn.Dropout(0.2), nn.Linear(6, 10)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        x = x + self.back(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return self.head(self.drop(self.deep(x)).mean((2, 3)))


NETWORKS = {
    "own attention": Own,
    "multi-head attention": Multihead,
    "multi-head attention with dropout": lambda: Multihead(0.3),
    "encoder": Encoder,
    "encoder, norms last, dropout": lambda: Encoder(0.2, False),
    "encoder, norms first, dropout": lambda: Encoder(0.2),
    "channels-last": ChannelsLast,
}
DROPPING = {name for name in NETWORKS if "dropout" in name} | {"channels-last"}


class Fused(nn.Module):
    """Attention by torch's own function, and a dropout of its own in the forward."""

    def __init__(self, dropout: float, attention: float):
        super().__init__()
        self.head, self.dropout, self.attention = nn.Linear(64, 10), dropout, attention

    def forward(self, x):
        x = F.dropout(x.squeeze(1), self.dropout)
        return self.head(F.scaled_dot_product_attention(x, x, x, None, self.attention).flatten(1))


def test_a_forward_draws_only_where_a_probability_is_above_0():
    for dropout, attention in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.1)):
        assert draws(Program(Fused(dropout, attention))) == (dropout + attention > 0)
    assert not draws(Program(networks.build_seeded(0, "vit", 10, 0.1, 1, 8)))  # so its steps can be recorded


def state_of(nets: list[nn.Module]) -> dict[str, torch.Tensor]:
    return stack([dict(net.named_parameters()) | dict(net.named_buffers()) for net in nets])


def three(name: str) -> list[nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return [NETWORKS[name]().double() for _ in range(3)]


@pytest.mark.parametrize("layout", [True, False], ids=["channels-last", "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_pack_of_transformers_computes_what_each_computes_alone_and_draws_what_each_draws(name, layout):
    nets, seeds = three(name), [5, 6, 7]
    x = torch.randn(3, 4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    packed, why = program(three(name)[0].float(), x[0].float(), layout)
    assert isinstance(packed, Program), why
    assert draws(packed) == (name in DROPPING)
    packed = Program(nets[0], layout)
    for training in (True, False):
        state, alone = state_of(nets), state_of(nets)
        found, expected = [], []
        for forward, of, into in ((packed, state, found), (OneByOne(nets[0]), alone, expected)):
            leaves = {n: t.requires_grad_() for n, t in of.items()}
            logits = forward(leaves, x, training, seeds)
            logits.square().sum().backward()
            into += [logits, *(t.grad for t in leaves.values())]
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("features", [12, 7])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_transformer_s_bits_do_not_depend_on_its_slot_or_its_pack_mates(features, precision):
    """Seven channels fill no vector instruction, and no network begins at a multiple of 64 bytes."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 4 * features, 2, 2), nn.Flatten(2), nn.Linear(16, 4 * features), nn.Dropout(0.1)),
        *(Block(4 * features), nn.SiLU(), nn.Flatten(), nn.Linear(16 * features**2, 10)),
    )
    forward, why = program(network, torch.randn(4, 1, 8, 8), channels_last=True)
    assert not why
    generator = torch.Generator().manual_seed(0)
    states = [
        {n: torch.randn(p.shape, generator=generator) / 4 for n, p in network.named_parameters()}
        for _ in range(5)
    ]
    x = torch.randn(5, 4, 1, 8, 8, generator=generator)

    def bits_of(places: list[int]) -> list[dict[str, torch.Tensor]]:
        state = {n: t.requires_grad_() for n, t in stack([states[i] for i in places]).items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = forward(state, x[places], training=True, seeds=places)
        logits.float().square().sum().backward()
        return [{n: t.grad[slot] for n, t in state.items()} for slot in range(len(places))]

    with repeatable(CPU):
        alone = [bits_of([i, i])[0] for i in range(5)]
        for places in ([0, 1, 2, 3, 4], [4, 2, 0], [3, 1]):
            for place, found in zip(places, bits_of(places), strict=True):
                assert all(torch.equal(found[name], alone[place][name]) for name in found)


def test_an_attention_whose_weights_are_read_trains_one_by_one():
    forward, why = program(Weighing(), torch.randn(4, 1, 8, 8))
    assert isinstance(forward, OneByOne)
    assert why


# --- the vision transformer ---


def test_the_vision_transformer_in_a_pack_trains_as_the_plain_loop_does():
    task = Task("vit", "digits", width=1 / 8)
    recipe = RECIPE.with_(precision="fp64", clip=1.0, decay_norms=False)
    runs = [pretraining(task, recipe.with_(lr=lr), seed) for seed, lr in enumerate((0.003, 0.001))]
    starts = [Start(initial_weights(run), None) for run in runs]
    pack = Pack(runs, starts, FEW, CPU)
    assert pack.not_stacked == ""
    for _ in range(2):
        pack.train_epoch()
    for i, run in enumerate(runs):
        _, network = plain_training(run, starts[i].weights, None, FEW)
        for key, weight in network.named_parameters():
            torch.testing.assert_close(pack.weights(i)[key], weight.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("width", [1 / 16, 3 / 16])
def test_a_vision_transformers_bits_are_its_own_in_any_company(width):
    task = Task("vit", "digits", width=width)
    runs = [pretraining(task, RECIPE.with_(lr=0.001 * (i + 1)), i) for i in range(4)]
    alone = next(train(runs[:1], FEW))
    for size in (3, 4):
        last = list(train([*runs[1:size], runs[0]], FEW))[-1]
        assert (last.not_stacked, last.pack) == ("", size)
        assert same_bits(last, alone)
    assert bits(alone.weights) != bits(next(train(runs[1:2], FEW)).weights)


def test_prunable_of_a_vision_transformer_are_the_matrices_of_attention_and_mlp():
    network = skeleton("vit", 10, size=8, in_channels=1)
    assert (layers(network)[0], layers(network)[-1]) == ("patches.0.weight", "head.weight")
    second, *others = prunable(network)
    assert second == "patches.2.weight"  # the first convolution's, never
    kinds = {name.split(".", 2)[2] for name in others}
    assert kinds == {"attention.qkv.weight", "attention.out.weight", "fc1.weight", "fc2.weight"}


@pytest.mark.parametrize(("size", "tokens"), [(8, 16), (16, 64), (28, 100), (32, 64), (64, 64), (100, 81)])
def test_a_vision_transformer_has_16_tokens_of_a_digit_and_64_of_larger_images(size, tokens):
    assert skeleton("vit", 10, size=size).position.shape[1] == tokens
