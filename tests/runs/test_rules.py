"""The sanity check judges any pruning rule: the package's by name, one's own by its path or as a class."""

import importlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import own_rules
import pytest
import torch
from matplotlib import pyplot

from lthpaper.checks import check
from lthpaper.errors import InputError
from lthpaper.runs.inits.fresh import Fresh
from lthpaper.runs.masks import kept
from lthpaper.runs.pruning.own import code_of
from lthpaper.runs.pruning.snip import Snip
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.rules import lt
from lthpaper.runs.run import from_json, setting, to_json
from lthpaper.runs.settings import imp_sparsity, lt_imp, lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.sweep.plan import process_count

RECIPE = Recipe(epochs=1, batch_size=30, milestones=())
ONE = {"recipe": RECIPE, "learning_rates": (0.1,), "rounds": (2,), "seeds": 1, "train_images": 120}
DENSE = pretraining(Task("mlp", "digits", train_images=120), RECIPE.with_(lr=0.1), seed=3)


def places(folder, workers=1):
    return {"store": folder / "store", "out": folder / "drawn", "device": "cpu", "workers": workers}


def of(checked, name):
    (run,) = (trial.run for trial in checked.trials if trial.setting == name)
    return run


def test_rules_of_the_package_make_the_runs_that_they_always_made():
    assert lt("imp", DENSE, 3) == lt_imp(DENSE, 3)
    assert lt("omp", DENSE, 3) == lt_omp(DENSE, imp_sparsity(3))
    snip = Snip(DENSE.init, imp_sparsity(3), seed=DENSE.seed)  # on a batch of the run's own seed
    assert lt("snip", DENSE, 3) == DENSE.with_(mask=snip)
    assert check("mlp", **ONE).trials == check("mlp", pruning=["imp", "omp"], **ONE).trials


def test_a_rule_of_one_s_own_goes_to_the_verdict_and_its_mask_is_the_one_that_it_makes(tmp_path):
    rules = ("imp", "own_rules:Smallest", "own_rules:Gradual", "own_rules:Drawn")
    mine = check("mlp", pruning=rules, controls="LT-shuffled", **ONE, **places(tmp_path))
    labels = ["IMP", "smallest", "gradual", "drawn"]
    pairs = [f"{start}-{label}" for label in labels for start in ("LT", "RR")]
    shuffled = [f"LT-shuffled-{label}" for label in labels]
    assert [t.setting for t in mine.trials] == ["pretraining", *pairs, "SDT", *shuffled]
    assert all(t.setting == setting(t.run) for t in mine.trials)
    mine.train(quiet=True)
    assert mine.verdicts["pruning"].tolist() == sorted(labels)
    assert all(f"RR-{v.pruning}" in v[3].sentence and v.shuffled for v in mine.verdicts["verdict"])
    assert all(v.sentence in str(mine.findings()) for v in mine.verdicts["verdict"])
    pyplot.close(mine.draw())

    ticket = of(mine, "LT-smallest")
    mask = mine.store.mask(ticket)
    theta = Fresh(0).weights(ticket.task)
    sizes = np.concatenate([np.abs(theta[name].double().numpy()).ravel() for name in mask])
    left = len(sizes) - round(imp_sparsity(2) * len(sizes))
    smallest = np.zeros(len(sizes), bool)
    smallest[np.argsort(sizes)[:left]] = True  # no two are equal
    assert np.array_equal(np.concatenate([m.numpy().ravel() for m in mask.values()]), smallest)
    again = mine.store.mask(of(mine, "RR-smallest"))
    assert all(torch.equal(again[name], m) for name, m in mask.items())

    gradual = of(mine, "LT-gradual")
    assert gradual.mask.at.to.mask.sparsity == imp_sparsity(2) / 2  # trained in between
    assert gradual.mask.at.to.mask.at.to == of(mine, "pretraining")
    for label in labels:
        assert kept(mine.store.mask(of(mine, f"LT-{label}"))) == pytest.approx(left, abs=1)


def test_worker_processes_import_the_rule_by_its_path(tmp_path):
    mine = check("mlp", pruning="own_rules:Smallest", **ONE, **places(tmp_path, workers=2))
    assert process_count(mine.plan, "cpu", 2) == 2
    mine.train(quiet=True)
    assert mine.table["accuracy"].notna().all()


def test_a_class_of_a_notebook_is_judged_in_this_process(tmp_path):
    @dataclass(frozen=True)
    class Mine(own_rules.Smallest):
        label = "mine"

    mine = check("mlp", pruning=Mine, **ONE, **places(tmp_path, workers=2))
    assert process_count(mine.plan, "cpu", 2) == 1  # no other could make the mask
    mine.train(quiet=True)
    assert mine.verdicts["pruning"].tolist() == ["mine"]


SOURCE = """
from dataclasses import dataclass
from typing import Any
from lthpaper.runs.masks import down_to
SIGN = 1
UNUSED = 1
def score(weight):
    return SIGN * weight.double().abs()
@dataclass(frozen=True)
class Edited:
    at: Any
    sparsity: float
    def prune(self, weights, mask):
        return down_to(self.sparsity, {name: [score(weights[name]) for _ in "1"][0] for name in mask}, mask)
@dataclass(frozen=True)
class Other:
    at: Any
    sparsity: float
"""


def test_an_edited_rule_is_another_run_whether_its_class_a_function_or_a_constant_changed(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)

    def run_of(source):
        (tmp_path / "edited_rule.py").write_text(source)
        sys.modules.pop("edited_rule", None)
        importlib.invalidate_caches()
        return lt("edited_rule:Edited", DENSE, 2)

    first = run_of(SOURCE)
    assert first.mask.label == "Edited"  # the class's name, without a label
    for old, new in (
        ("SIGN = 1", "SIGN = -1"),
        ("double().abs()", "double().abs().log()"),
        ("lf.sparsity, {name:", "lf.sparsity, {name: 2 *"),
    ):
        assert old in SOURCE
        assert run_of(SOURCE.replace(old, new, 1)).digest != first.digest
    unseen = SOURCE.replace("UNUSED = 1", "UNUSED = 2\n").replace("class Other", "class Another")
    assert run_of(unseen).digest == first.digest  # what the rule does not use
    run_of(SOURCE.replace("SIGN = 1", "SIGN = -1"))
    weights = Fresh(3).weights(DENSE.task)
    with pytest.raises(InputError, match="edited_rule:Edited has changed since this run was described"):
        first.mask.prune_seeing(weights, {}, None)


def test_a_description_is_read_without_importing_the_rule_and_its_code_is_the_same_elsewhere():
    run = lt("own_rules:Gradual", DENSE, 2)
    document = json.dumps(to_json(run)).replace("own_rules", "own_rule_s")
    with pytest.raises(InputError, match="gives"):  # nothing of that name is looked for
        from_json(json.loads(document))
    script = (
        "import json, sys; from lthpaper.runs.run import from_json, setting; "
        "run = from_json(json.load(sys.stdin)); print(setting(run), 'own_rules' in sys.modules); "
        "import own_rules; from lthpaper.runs.pruning.own import code_of; print(code_of(own_rules.Gradual))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(to_json(run)),
        cwd=Path(own_rules.__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["LT-gradual", "False", code_of(own_rules.Gradual)]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("snop", "Unknown pruning rule 'snop'. Did you mean 'snip'.*own is package.module:Class"),
        ("own_rules:Nowhere", "cannot be imported"),
        ("own_rules:saliency", "is a function; it must be a class"),
        ("own_rules:NoDataclass", r"is no dataclass: write @dataclass\(frozen=True\)"),
        ("own_rules:NothingToDo", r"has no method prune\(self, weights, mask\)"),
        ("own_rules:ReadsNothing", "must have a field `after`.* or `at`"),
        ("own_rules:NoSparsity", "must have a field `sparsity: float`.* or `rate: float`"),
        ("own_rules:Needy", "needs images; .* give everything else a default"),
        ("own_rules:Falling", "schedule .* must be rising"),
        ("own_rules:CalledOmp", "label .* is 'OMP'"),
        ("random", r"are controls \(LT-shuffled, random-erk\)"),
        ("n-of-m", "must have a field `sparsity: float`"),
        (("omp", "omp"), "each value may stand there once"),
        (("own_rules:Smallest", "own_rules:Flat"), "is labelled smallest"),
        ((), "at least one pruning rule"),
        (3, "The pruning rule is 3"),
        (int, "is no dataclass"),
    ],
)
def test_a_rule_that_cannot_be_judged_is_refused_before_anything_is_trained(rule, sentence):
    with pytest.raises(InputError, match=sentence):
        check("mlp", pruning=rule, **ONE)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("Flat", r"returned torch.bool \(\d+,\) for .*; its mask is a bool tensor \(\d+, \d+\)"),
        ("NoMask", "returned NoneType; a mask is a dict"),
        ("Everything", "keeps 30,000 of 30,000 weights. At sparsity 0.36 it should keep 19,200"),
        ("Regrown", "which were pruned before"),
        ("Broken", r"failed \(KeyError: 'nowhere', own_rules.py line \d+\)"),
    ],
)
def test_a_rule_that_makes_no_mask_ends_the_training_with_a_sentence(tmp_path, rule, sentence):
    mine = check("mlp", pruning=f"own_rules:{rule}", **ONE, **places(tmp_path))
    with pytest.raises(InputError, match=f"Pruning rule 'own_rules:{rule}' .*{sentence}"):
        mine.train(quiet=True)


def test_of_a_run_that_diverged_the_rule_is_not_asked():
    run = lt("own_rules:Broken", DENSE, 2)
    theta = {"a": torch.tensor([1.0, torch.nan, 2.0])}
    mask = run.mask.prune_seeing(theta, {"a": torch.ones(3, dtype=torch.bool)}, None)
    assert kept(mask) == 2
