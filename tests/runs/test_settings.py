"""The settings of §2.1 as runs, and the tidy table."""

import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import few_digits

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, setting
from lthpaper.runs.scales import LAPTOP, PAPER
from lthpaper.runs.settings import (
    SETTINGS,
    Trial,
    dynamic_sparse,
    fine_tuned,
    imp_sparsity,
    lt_imp,
    lt_omp,
    nonzeros,
    pretraining,
    random_reinit,
    rewound,
    rewound_rounds,
    sanity_check,
    small_dense,
)
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.store.table import COLUMNS, table
from lthpaper.training.loop import train

TASK = Task("resnet8", "digits")
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=20, milestones=(1,))
DENSE = pretraining(TASK, RECIPE, seed=3)
FEW = few_digits(train=20, test=20)


# --- the settings ---


def test_rounds_beyond_any_pruning_are_refused_at_once():
    assert lt_imp(DENSE, 0) == DENSE
    with pytest.raises(InputError, match="rounds is 1,000,000; it must be at most 1,000"):
        lt_imp(DENSE, 10**6)


def test_the_settings_bear_the_papers_names():
    imp, omp = lt_imp(DENSE, 2), lt_omp(DENSE, 0.36)
    made = {
        "pretraining": DENSE,
        "LT-IMP": imp,
        "RR-IMP": random_reinit(imp),
        "LT-OMP": omp,
        "RR-OMP": random_reinit(omp),
        "SDT": small_dense(omp),
        "WR-IMP": rewound(imp, DENSE, 1),
        "FT-OMP": fine_tuned(omp, DENSE),
    }
    assert {name: setting(run) for name, run in made.items()} == {name: name for name in made}
    assert {run.seed for run in made.values()} == {3}  # order and augmentation: paired across settings
    assert {run.recipe for run in made.values()} == {RECIPE}


def test_lt_and_rr_differ_in_the_start_alone():
    for lt in (lt_imp(DENSE, 2), lt_omp(DENSE, 0.5)):
        rr = random_reinit(lt)
        assert (lt.init, rr.init) == (Fresh(3), Fresh(3, draw=1))
        assert rr.with_(init=lt.init) == lt


def test_no_round_is_the_dense_run():
    assert lt_imp(DENSE, 0) == DENSE
    assert lt_imp(DENSE, 3).mask.after == lt_imp(DENSE, 2)


@given(rounds=st.integers(0, 30), rate=st.floats(0.01, 0.99))
def test_after_k_rounds_the_density_is_the_kept_share_to_the_k(rounds, rate):
    assert imp_sparsity(rounds, rate) == pytest.approx(1 - (1 - rate) ** rounds)
    run = lt_imp(DENSE, rounds, rate)
    if rounds:
        assert run.mask.sparsity == pytest.approx(imp_sparsity(rounds, rate), rel=1e-9)


def test_the_papers_sparsities_are_those_of_its_rounds():
    # Figure 1: s = 0.59, 0.832, 0.914 (rounds 4, 8, 11); §3.1 and Figure 4 reach 0.945 (round 13)
    assert [round(imp_sparsity(k), 3) for k in PAPER.rounds] == [0.59, 0.832, 0.914, 0.945]


def test_figure_1_has_three_panels_and_appendix_a_every_round_up_to_the_third_s():
    for of in (PAPER, LAPTOP, PAPER.with_(rounds=(13, 11, 8, 4))):
        assert of.panels == (4, 8, 11)
        shown = {t.sparsity for t in FIGURES["fig1"].trials(of)}
        assert {round(s, 3) for s in shown} == {0.0, 0.59, 0.832, 0.914}
        every = {t.sparsity for t in FIGURES["appendix-a"].trials(of)}
        assert every == {0.0, *(imp_sparsity(k) for k in range(1, 12))}


@given(st.floats(0, 0.99))
def test_sdt_has_the_width_whose_parameters_are_nearest_to_the_non_zeros(sparsity):
    task = Task("resnet8", "digits")
    sub = lt_omp(pretraining(task, RECIPE), sparsity)
    sdt = small_dense(sub)
    assert (sdt.mask, sdt.init, sdt.recipe) == (None, sub.init, sub.recipe)
    off = abs(sdt.task.parameters - nonzeros(sub))
    shape = task.shape | {"width": 0.0}
    for step in (-8, -1, 1, 8):  # neighbours are no nearer
        width = sdt.task.width + step / 1024
        if 0 < width <= 1:
            assert off <= abs(networks.count_parameters(**shape | {"width": width}) - nonzeros(sub))


def test_non_zeros_are_the_parameters_less_what_the_mask_removes():
    prunable = sum(TASK.prunable_weights.values())
    assert nonzeros(DENSE) == TASK.parameters
    assert nonzeros(lt_omp(DENSE, 0.5)) == TASK.parameters - round(0.5 * prunable)


@pytest.mark.parametrize("rounds", [-1, 1.5, "3", None, True])
def test_a_number_of_rounds_that_is_none_is_refused(rounds):
    with pytest.raises(InputError, match="number of IMP rounds"):
        lt_imp(DENSE, rounds)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, math.nan, math.inf, "0.5", None])
def test_a_sparsity_outside_0_to_1_is_refused(sparsity):
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        lt_omp(DENSE, sparsity)


@pytest.mark.parametrize("rate", [0, 1, -0.2, 1.2, math.nan, "0.2", None])
def test_an_imp_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(InputError, match="IMP rate"):
        lt_imp(DENSE, 1, rate)


@pytest.mark.parametrize("make", [random_reinit, small_dense])
def test_what_starts_from_trained_weights_has_no_fresh_relative(make):
    with pytest.raises(InputError, match="starts from rewound weights"):
        make(rewound(lt_imp(DENSE, 2), DENSE, 1))


MAKERS = {
    "lt_imp": lambda run: lt_imp(run, 3),
    "lt_omp": lambda run: lt_omp(run, 0.5),
    "random_reinit": random_reinit,
    "small_dense": small_dense,
    "rewound": lambda run: rewound(run, DENSE, 1),
    "rewound to": lambda run: rewound(lt_imp(DENSE, 2), run, 1),
    "rewound_rounds": lambda run: rewound_rounds(run, 2, 1),
    "fine_tuned": lambda run: fine_tuned(run, DENSE),
    "fine_tuned of": lambda run: fine_tuned(lt_imp(DENSE, 2), run),
    "dynamic_sparse": lambda run: dynamic_sparse(run, 0.5),
    "nonzeros": nonzeros,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("given", [None, "resnet8", TASK])
def test_what_is_no_run_is_named(make, given):
    with pytest.raises(InputError, match=f"^{re.escape(repr(given))} is not a Run; give one"):
        make(given)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"learning_rates": 0.1}, r"^learning_rates is 0.1; it must be several: \[0.1\]"),
        ({"rounds": 3}, "^rounds is 3; it must be several"),
        ({"seeds": "2"}, "^seeds is '2'; it must be a whole number"),
    ],
)
def test_a_number_where_the_sanity_check_takes_several_is_refused(how, said):
    with pytest.raises(InputError, match=said):
        next(sanity_check(TASK, RECIPE, **{"learning_rates": [0.1], "rounds": [2], "seeds": 1} | how))


def test_text_in_place_of_a_number_is_shown_as_text():
    with pytest.raises(InputError, match="The epoch to rewind to is '1';"):
        rewound(lt_imp(DENSE, 2), DENSE, "1")


@pytest.mark.parametrize("epoch", [-1, 3, 1.0, None])
def test_an_epoch_outside_the_dense_run_cannot_be_rewound_to(epoch):
    with pytest.raises(InputError, match="epochs 0 to 2"):
        rewound(lt_imp(DENSE, 2), DENSE, epoch)


# --- the sanity check and its table ---


def test_the_sanity_check_is_every_setting_at_every_rate_sparsity_and_seed():
    trials = list(sanity_check(TASK, RECIPE, (0.01, 0.1), (1, 2), seeds=3))
    count = pd.Series([t.setting for t in trials]).value_counts().to_dict()
    assert count == {"pretraining": 6} | dict.fromkeys(SETTINGS[1:], 12)
    assert len({t.run for t in trials}) == len(trials)
    for trial in trials:
        assert setting(trial.run) == trial.setting
        if trial.run.mask is not None:
            assert trial.run.mask.sparsity == pytest.approx(trial.sparsity)
            ancestor = trial.run
            while ancestor.mask is not None:
                ancestor = ancestor.mask.after
            assert ancestor.recipe == trial.run.recipe  # §2.2: one learning rate for both


def test_only_the_settings_asked_for_are_made():
    trials = list(sanity_check(TASK, RECIPE, (0.1,), (1,), 1, settings=("SDT", "LT-OMP")))
    assert [t.setting for t in trials] == ["LT-OMP", "SDT"]


def test_an_unknown_setting_is_named():
    with pytest.raises(InputError, match=r"Unknown setting LT-OPM\. Known: pretraining, LT-IMP"):
        list(sanity_check(TASK, RECIPE, (0.1,), (1,), 1, settings=("LT-OPM", "SDT")))


def test_the_table_has_a_row_a_trial_and_nan_for_what_is_not_trained(tmp_path):
    store = Store(tmp_path)
    (dense,) = train([DENSE], FEW)
    result = store.put(dense, "f00d", {})
    sub = lt_omp(DENSE, 0.5)
    mixed = sub.with_(recipe=RECIPE.with_(lr=0.1))  # Table 4: pruned at 0.05, trained at 0.1
    late = rewound(sub, DENSE, 1)
    trials = [Trial("pretraining", 0.0, DENSE), Trial("LT-OMP", 0.5, mixed), Trial("", 0.5, late)]
    found = table([*trials, Trial("SDT", 0.5, small_dense(sub))], store)
    assert list(found.columns) == COLUMNS
    first, second, third, fourth = found.to_dict("records")
    assert (first["accuracy"], first["fingerprint"]) == (result.accuracy, "f00d")
    assert first["best_accuracy"] == max(dense.curves["test_accuracy"])
    assert (first["train_loss"], first["test_loss"]) == (
        dense.curves["train_loss"][-1],
        dense.curves["test_loss"][-1],
    )
    assert (first["lr"], first["epochs"], first["seed"], first["width"]) == (0.05, 2, 3, 1.0)
    assert math.isnan(first["pretraining_lr"])
    assert math.isnan(first["rewind"])
    assert first["parameters"] == TASK.parameters
    assert (second["lr"], second["pretraining_lr"]) == (0.1, 0.05)
    assert (second["parameters"], second["fingerprint"]) == (nonzeros(sub), "")
    assert (third["setting"], third["rewind"]) == ("WR-OMP", 1)
    assert fourth["parameters"] == small_dense(sub).task.parameters
    assert found.accuracy.isna().tolist() == [False, True, True, True]
    assert found.digest.tolist() == [t.run.digest for t in trials] + [small_dense(sub).digest]


def test_the_tables_parameters_are_counted_from_the_mask_once_there_is_one(tmp_path):
    store = Store(tmp_path)
    imp = lt_imp(DENSE, 2)  # rounding in every round: the count may be another than the formula's
    for run in (DENSE, lt_imp(DENSE, 1), imp):
        (result,) = train([run], FEW, store.weights)
        store.put(result, "", {})
    (row,) = table([Trial("LT-IMP", imp_sparsity(2), imp)], store).to_dict("records")
    weights, mask = store.weights(imp)
    zeros = sum(int((~m).sum()) for m in mask.values())
    assert row["parameters"] == TASK.parameters - zeros
    assert all((weights[name][~m] == 0).all() for name, m in mask.items())


def test_a_subnetwork_whose_mask_comes_from_a_diverged_run_counts_as_diverged(tmp_path):
    store = Store(tmp_path)
    round1, round2 = lt_imp(DENSE, 1), lt_imp(DENSE, 2)
    omp = lt_omp(DENSE, 0.5)
    for run in (DENSE, round1, round2, random_reinit(round2), omp, small_dense(omp)):
        (result,) = train([run], FEW, store.weights)
        if run == round1:  # as a run is kept whose weights are no longer finite
            result = replace(result, curves={name: [math.nan] * 2 for name in result.curves})
        store.put(result, "f00d", {})
    trials = [Trial("", 0.36, run) for run in (round2, random_reinit(round2), omp, small_dense(omp))]
    found = table(trials, store)
    assert set(found["fingerprint"]) == {"f00d"}  # all were trained
    of_it, others = found.iloc[:2], found.iloc[2:]
    for column in ("accuracy", "best_accuracy", "train_loss", "test_loss"):
        assert of_it[column].isna().all()
        assert others[column].notna().all()  # one-shot pruning is of the dense run, which converged


def test_a_table_reads_each_result_once(tmp_path):
    read = []

    class Counting(Store):
        def get(self, run):
            read.append(run)
            return super().get(run)

    store = Counting(tmp_path)
    runs = [lt_imp(DENSE, k) for k in range(4)]
    for run in runs:
        (result,) = train([run], FEW, store.weights)
        store.put(result, "f00d", {})
    read.clear()
    table([Trial("", imp_sparsity(k), run) for k, run in enumerate(runs)] * 2, store)
    assert sorted(run.digest for run in read) == sorted(run.digest for run in runs)


def test_an_empty_table_has_its_columns(tmp_path):
    assert list(table([], Store(tmp_path)).columns) == COLUMNS
