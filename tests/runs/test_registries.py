"""What holds of every pruning rule and every init that there is: a new one needs an example here."""

import copy
import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_loop import few_digits

from lthpaper.errors import InputError
from lthpaper.networks import skeleton
from lthpaper.runs.inits import INITS
from lthpaper.runs.inits.fresh import Fresh
from lthpaper.runs.inits.norms import NormMatched
from lthpaper.runs.inits.rewind import Rewind
from lthpaper.runs.inits.signs import Signs
from lthpaper.runs.masks import dense_mask, kept, layers, prunable
from lthpaper.runs.pruning import RULES
from lthpaper.runs.pruning.own import Own
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import from_json, setting, to_json
from lthpaper.runs.settings import pretraining, random_reinit
from lthpaper.runs.task import Task
from lthpaper.training.start import start

TASK = Task("resnet8", "digits")
DENSE = pretraining(TASK, Recipe(epochs=2, lr=0.05, batch_size=20, milestones=(1,)), seed=3)
NETWORK = skeleton(**TASK.shape)
NAMES = prunable(NETWORK)
TOTAL = sum(NETWORK.get_parameter(n).numel() for n in NAMES)
FEW = few_digits(train=20, test=20)

# name -> the rule at a sparsity; those that have no sparsity of their own make nothing of it
RULES_AT = {
    "imp": lambda s: RULES["imp"](after=DENSE, rate=s),
    "omp": lambda s: RULES["omp"](after=DENSE, sparsity=s),
    "channels": lambda s: RULES["channels"](after=DENSE, sparsity=s),
    "n-of-m": lambda s: RULES["n-of-m"](after=DENSE, n=1 + int(3 * s), m=4),
    "magnitude": lambda s: RULES["magnitude"](at=Fresh(3), sparsity=s),
    "snip": lambda s: RULES["snip"](at=Fresh(3), sparsity=s, images=10),
    "grasp": lambda s: RULES["grasp"](at=Fresh(3), sparsity=s, images=10),
    "synflow": lambda s: RULES["synflow"](at=Fresh(3), sparsity=s, rounds=3),
    "random": lambda s: RULES["random"](sparsity=s, layers="erk"),
    "shuffled": lambda s: RULES["shuffled"](of=RULES["omp"](after=DENSE, sparsity=s)),
    "permuted": lambda s: RULES["permuted"](
        of=RULES["omp"](after=DENSE, sparsity=s), dense=DENSE, onto=random_reinit(DENSE)
    ),
    "own": lambda s: Own.of("own_rules:Smallest", Fresh(3), sparsity=s),
}
BY_CHANNELS_OR_GROUPS = ("channels", "n-of-m")  # their counts are whole channels' and groups'
STARTS = {
    "fresh": Fresh(3),
    "rewind": Rewind(to=DENSE, epoch=1),
    "norm-matched": NormMatched(of=Fresh(3), norms=Fresh(3, 1)),
    "signs": Signs(of=Fresh(3), signs=Fresh(3, 1)),
}


def loaded(run, epoch=None):
    """In the place of a store: the weights of a "trained" run are another draw."""
    weights = Fresh(1000 + run.init.draw, draw=0 if epoch is None else epoch + 1).weights(TASK)
    return weights, dense_mask(weights, NAMES)


def test_every_rule_and_every_init_has_an_example_here():
    assert set(RULES_AT) == set(RULES)
    assert set(STARTS) == set(INITS)


@pytest.mark.parametrize("name", RULES_AT)
@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
@given(s=st.floats(0.05, 0.95))
def test_a_rule_keeps_the_counts_that_it_says_and_only_prunable_weights(name, s):
    run = DENSE.with_(mask=RULES_AT[name](s))
    before = torch.get_rng_state()
    begun = start(run, loaded, FEW)
    assert list(begun.mask) == list(NAMES)
    assert {layers(NETWORK)[0], layers(NETWORK)[-1]}.isdisjoint(begun.mask)
    assert all(
        m.shape == NETWORK.get_parameter(n).shape and m.dtype == torch.bool for n, m in begun.mask.items()
    )
    if name not in BY_CHANNELS_OR_GROUPS:
        assert kept(begun.mask) == TOTAL - round(run.mask.sparsity * TOTAL)
    assert all(not begun.weights[n][~m].any() for n, m in begun.mask.items())
    again = start(run, loaded, FEW)
    assert all(torch.equal(again.mask[n], m) for n, m in begun.mask.items())
    assert torch.equal(torch.get_rng_state(), before)  # no global state is read or moved


@pytest.mark.parametrize("name", STARTS)
def test_an_init_gives_every_tensor_the_same_bits_each_time_and_moves_no_global_state(name):
    run = DENSE.with_(init=STARTS[name], mask=RULES_AT["omp"](0.8))
    before = torch.get_rng_state()
    one, two = (start(run, loaded, FEW).weights for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert set(one) == set(NETWORK.state_dict())
    for tensor_name, tensor in one.items():
        assert torch.equal(tensor, two[tensor_name])
        assert tensor.shape == NETWORK.state_dict()[tensor_name].shape
        assert torch.isfinite(tensor).all()


RUNS = [DENSE.with_(mask=make(0.5)) for make in RULES_AT.values()]
RUNS += [DENSE.with_(init=init, mask=RULES_AT["omp"](0.5)) for init in STARTS.values()]


@pytest.mark.parametrize("run", RUNS, ids=setting)
def test_each_survives_json_and_has_a_name(run):
    again = from_json(json.loads(json.dumps(to_json(run))))
    assert again == run
    assert setting(again) == setting(run)
    assert type(run.mask).__doc__.splitlines()[0]


HOSTILE = (None, -1, 2.0, "x", [], {}, {"run": "0" * 16}, {"kind": "nothing"}, True, 1e400)


@pytest.mark.parametrize("part", ["init", "mask"])
@pytest.mark.parametrize("run", RUNS, ids=setting)
def test_a_hostile_value_in_any_field_is_refused_as_input(run, part):
    """None crashes, and none passes as another run."""
    document = json.loads(json.dumps(to_json(run)))
    for field in document["runs"][run.digest][part]:
        for value in HOSTILE:
            changed = copy.deepcopy(document)
            changed["runs"][run.digest][part][field] = value
            if changed != document:
                with pytest.raises(InputError):
                    from_json(changed)
    document["runs"][run.digest][part]["unheard-of"] = 1
    with pytest.raises(InputError):
        from_json(document)
