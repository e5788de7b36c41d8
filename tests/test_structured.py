"""Patterns that hardware can use, and IMP rewound in every round: exact, by the definition."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import few_digits

import lthpaper as lth
from lthpaper.errors import InputError
from lthpaper.runs.masks import dense_mask, kept
from lthpaper.runs.pruning.channels import Channels
from lthpaper.runs.pruning.n_of_m import NOfM
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Rewind, ancestors, from_json, setting, to_json
from lthpaper.runs.settings import lt_imp, pretraining, random_reinit, rewound, rewound_rounds
from lthpaper.runs.task import Task
from lthpaper.training.loop import train

DENSE = pretraining(Task("resnet8", "digits"), Recipe(epochs=2, lr=0.05, batch_size=20, milestones=(1,)))
FEW = few_digits(train=20, test=20)


def drawn(seed: int, shape, levels: int = 0):
    """A layer's weights; with `levels`, so few magnitudes that most are tied; and a mask of two thirds."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    weight = (weight * levels).round() / levels if levels else weight
    return {"a": weight}, {"a": torch.rand(shape, generator=generator) < 0.67}


SHAPES = st.one_of(
    st.tuples(st.integers(1, 5), st.integers(1, 11)),
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)),
)


@given(
    seed=st.integers(0, 999),
    shape=SHAPES,
    n=st.integers(1, 3),
    more=st.integers(1, 3),
    levels=st.sampled_from([0, 1]),
    masked=st.booleans(),
)
def test_n_of_m_keeps_the_n_largest_of_every_group_along_the_inputs(seed, shape, n, more, levels, masked):
    weights, mask = drawn(seed, shape, levels)
    mask = mask if masked else dense_mask(weights, ("a",))
    m = n + more
    found = NOfM(DENSE, n, m).prune(weights, mask)["a"]
    w, before, after = (t.reshape(*shape[:2], -1) for t in (weights["a"], mask["a"], found))
    for o in range(w.shape[0]):
        for p in range(w.shape[2]):
            for first in range(0, w.shape[1], m):
                group = [i for i in range(first, min(first + m, w.shape[1])) if before[o, i, p]]
                group.sort(key=lambda i: (abs(float(w[o, i, p])), i))
                left = {i for i in range(first, min(first + m, w.shape[1])) if after[o, i, p]}
                assert left == set(group[-n:])


def test_two_of_four_removes_half():
    weights, _ = drawn(0, (8, 16, 3, 3))
    found = NOfM(DENSE).prune(weights, dense_mask(weights, ("a",)))["a"]
    assert (found.movedim(1, -1).unflatten(-1, (-1, 4)).sum(-1) == 2).all()
    assert NOfM(DENSE).sparsity == 0.5


@given(seed=st.integers(0, 999), shape=SHAPES, s=st.floats(0, 0.999), masked=st.booleans())
def test_channels_go_whole_the_smallest_first(seed, shape, s, masked):
    weights, mask = drawn(seed, shape)
    mask = mask if masked else dense_mask(weights, ("a",))
    found = Channels(DENSE, s).prune(weights, mask)["a"]
    norms = [float((weights["a"][o].double().abs() * mask["a"][o]).sum()) for o in range(shape[0])]
    gone = sorted(range(shape[0]), key=lambda o: (norms[o], o))[: min(round(s * shape[0]), shape[0] - 1)]
    for o in range(shape[0]):
        assert torch.equal(found[o], mask["a"][o] & (o not in gone))


def test_structured_masks_train_and_stay(store):
    weights = {}
    for done in train([DENSE], FEW):
        weights[done.run] = (done.weights, None)
    runs = [DENSE.with_(mask=NOfM(DENSE)), DENSE.with_(mask=Channels(DENSE, 0.5))]
    assert [setting(run) for run in runs] == ["LT-2of4", "LT-channels"]
    assert [setting(random_reinit(run)) for run in runs] == ["RR-2of4", "RR-channels"]
    for done in train(runs, FEW, lambda run, epoch=None: weights[run]):
        total = sum(m.numel() for m in done.mask.values())
        assert kept(done.mask) == total / 2
        assert not any(done.weights[n][~m].any() for n, m in done.mask.items())
        assert from_json(json.loads(json.dumps(to_json(done.run)))) == done.run


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (2.0, 4), (2, 65), (True, 4), ("2", 4)])
def test_a_pattern_that_cannot_be_is_refused(n, m):
    with pytest.raises(InputError, match="1 ≤ n < m ≤ 64"):
        NOfM(DENSE, n, m)


def test_imp_rewound_in_every_round_is_another_chain_than_rewinding_at_the_end():
    every, end = rewound_rounds(DENSE, 3, 1), rewound(lt_imp(DENSE, 3), DENSE, 1)
    assert (setting(every), setting(end)) == ("WR-IMPrewound", "WR-IMP")
    assert every != end
    chain = list(ancestors([every]))
    assert len(chain) == 4
    assert {run.init for run in chain[1:]} == {Rewind(DENSE, 1)}
    assert every.mask.sparsity == end.mask.sparsity
    assert rewound_rounds(DENSE, 1, 1) == rewound(lt_imp(DENSE, 1), DENSE, 1)
    assert setting(every.with_(init=DENSE.init)) == "LT-IMPrewound"
    assert setting(every.with_(init=Fresh(0, draw=1))) == "RR-IMPrewound"
    assert (lth.rewound(lth.lt_imp(DENSE, 3), DENSE, 1), lth.rewound_rounds(DENSE, 3, 1)) == (end, every)
    with pytest.raises(InputError, match="IMP rounds from 1"):
        rewound_rounds(DENSE, 0, 1)


def test_a_dense_sibling_from_rewound_weights_is_no_pretraining():
    sibling = DENSE.with_(init=Rewind(DENSE, 1), seed=7)
    assert setting(DENSE) == "pretraining"
    assert setting(sibling) == "WR-dense"
    assert setting(DENSE.with_(init=Rewind(DENSE, DENSE.recipe.epochs, restart=True))) == "FT-dense"
