"""An audit trains published runs again: equal bits are said, others are compared with the seeds' spread."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from lthpaper.cli import main as cli
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.report.results_export import export
from lthpaper.runs.controls import at_norms_of, shuffled
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import ancestors
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import lt_imp, pretraining, random_reinit
from lthpaper.runs.task import Task
from lthpaper.store import published
from lthpaper.store.store import Store
from lthpaper.sweep.audit import (
    Audited,
    Report,
    _cells,
    advice,
    audit,
    choose,
    cost_of,
    spread_of_cells,
    verdict,
)
from lthpaper.sweep.execute import execute

TINY = scale("smoke", train_images=60, seeds=2, epochs=2, learning_rates=(0.05,), rounds=(1, 2))
DENSE = pretraining(TINY.task, TINY.recipe.with_(lr=0.05), 0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Published results of a tiny figure of two seeds."""
    folder = tmp_path_factory.mktemp("audited")
    store = Store(folder / "store")
    execute([trial.run for trial in FIGURES["fig1"].trials(TINY)], store, workers=1, quiet=True)
    export(["fig1"], TINY, store, folder / "results")
    return folder / "results"


def test_a_run_trained_again_has_the_published_bits(results):
    one = published.Scale(results / "smoke")
    chosen = choose(one.runs.values(), 2, seed=1)
    report = audit(one, chosen, workers=1, quiet=True)
    assert [a.run for a in report.audited] == chosen
    assert {a.run for a in report.also} == set(ancestors(chosen)) - set(chosen)
    assert all(a.equal and a.difference == 0 for a in (*report.audited, *report.also))
    found = verdict(report)
    assert found.consistent
    assert "all 2 runs were trained here with the published bits" in found.sentence


def test_the_command_says_which_runs_it_chose_and_ends_with_a_verdict(results, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["lthpaper", "results", "audit", "--sample", "1", "--scale", "smoke"])
    sys.argv += ["--results", str(results), "--seed", "7", "--device", "cpu", "--workers", "1"]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "chosen with --seed 7" in out
    assert "Consistent: the one run was trained here with the published bits." in out


def test_images_of_another_copy_are_refused_before_anything_is_trained(results):
    one = published.Scale(results / "smoke")
    get = one.get
    one.get = lambda run: replace(get(run), fingerprint="another")
    with pytest.raises(InputError, match="another copy of digits"):
        audit(one, choose(one.runs.values(), 1, 0), quiet=True)


def test_a_cell_is_the_runs_that_differ_in_their_seeds_alone(results):
    one = published.Scale(results / "smoke")
    cells = spread_of_cells(one)
    assert set(cells.index) == set(one.runs)
    assert set(cells["seeds"]) == {2}
    accuracies = [one.get(run).accuracy for run in one.runs.values() if run.mask is None and run.cost == 2]
    assert cells.loc[DENSE.digest, "spread"] == pytest.approx(np.std(accuracies, ddof=1))


def test_every_run_can_be_chosen_and_cheap_ones_are_chosen_more_often():
    runs = [lt_imp(DENSE, k) for k in range(6)]
    assert [cost_of(run) for run in runs] == [2, 4, 6, 8, 10, 12]
    first = [choose(runs, 1, seed)[0] for seed in range(3000)]
    share = np.array([first.count(run) for run in runs]) / len(first)
    expected = np.array([1 / cost_of(run) for run in runs])
    assert share == pytest.approx(expected / expected.sum(), abs=0.03)
    assert choose(runs, 3, 5) == choose(reversed(runs), 3, 5)  # by the seed alone
    assert set(choose(runs, 99, 0)) == set(runs)
    with pytest.raises(InputError, match="one or more"):
        choose(runs, 0, 0)


# --- the verdict ---


def audited(difference, spread=0.5, seeds=10, equal=False, diverges=False):
    return Audited(DENSE, 90.0, 90.0 + difference, equal, spread, seeds, diverges)


def said(*sample):
    return verdict(Report(sample, (), ("a processor with torch 1",), "another with torch 2"))


def test_differences_within_the_seeds_spread_are_consistent():
    found = said(*(audited(d) for d in (0.3, -0.6, 0.8, -0.2, 0.0)), audited(0.0, equal=True))
    assert found.consistent
    assert found.sentence.startswith(
        "Consistent: 1 of 6 runs trained here with the published bits (published on a"
    )


@pytest.mark.parametrize(
    "sample",
    [
        [audited(0.1), audited(-6.0)],  # one far off
        [audited(-1.2, equal=False)] * 12,  # none of them far, all to one side
        [audited(0.0), audited(math.nan)],  # diverged in one place only
    ],
    ids=["one", "all", "diverged"],
)
def test_what_seeds_do_not_explain_is_not_consistent(sample):
    found = said(*sample)
    assert not found.consistent
    assert found.sentence.startswith("Not consistent: 0 of")


@pytest.mark.parametrize(
    ("published", "here", "equal", "said"),
    [
        ("EPYC (AVX2) with torch 2", "EPYC (AVX512) with torch 2", False, True),
        ("EPYC with torch 2", "Xeon (AVX512) with torch 2", False, True),  # not recorded: of earlier versions
        ("EPYC (AVX512) with torch 2", "Xeon (AVX512) with torch 2", False, False),  # it would not help
        ("EPYC (AVX512) with torch 2", "EPYC (AVX2) with torch 2", False, False),  # it cannot be done
        ("NVIDIA H100 with torch 2", "EPYC (AVX512) with torch 2", False, False),
        ("EPYC (AVX512, oneDNN AVX2) with torch 2", "EPYC (AVX512) with torch 2", False, False),
        ("Intel(R) Xeon(R) with torch 2", "EPYC (AVX512) with torch 2", False, True),
        ("EPYC (AVX2) with torch 2", "NVIDIA H100 with torch 2", False, False),
        ("EPYC (AVX2) with torch 2", "EPYC (AVX512) with torch 2", True, False),
    ],
)
def test_where_only_the_instructions_differ_the_audit_says_how_to_get_the_bits(published, here, equal, said):
    found = advice(Report((audited(0.1, equal=equal),), (), (published,), here))
    assert ("ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" in found) == said


def test_a_run_of_a_cell_that_diverges_for_some_seeds_contradicts_nothing():
    assert said(audited(math.nan, diverges=True), audited(0.1)).consistent


def test_one_seed_decides_nothing_and_says_so():
    found = said(audited(3.0, spread=math.nan, seeds=1))
    assert found.sentence.startswith("Not decided")


def test_seeds_that_agree_by_chance_do_not_make_one_test_image_a_contradiction():
    assert said(*[audited(100 / 1497, spread=0.0)] * 2).consistent


def test_honest_results_are_called_inconsistent_once_in_five_hundred_times_at_most():
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(2000):
        draws = rng.normal(0, 0.7, (8, 5))  # 8 cells of 5 seeds
        spread = draws.std(axis=1, ddof=1)
        again = rng.normal(0, 0.7, 8)
        sample = [audited(a - d[0], s, 5) for a, d, s in zip(again, draws, spread, strict=True)]
        wrong += not said(*sample).consistent
    assert wrong <= 2000 * 0.002 + 3 * math.sqrt(2000 * 0.002)


def test_controls_that_differ_in_their_seeds_alone_are_one_cell():
    def control(seed):
        dense = pretraining(Task("resnet8", "digits"), Recipe(epochs=2, milestones=()), seed)
        lt = lt_imp(dense, 1)
        return list(ancestors([at_norms_of(lt, random_reinit(lt)), shuffled(lt)]))

    one, other = control(0), control(1)
    cells = _cells([*one, *other])
    assert [cells[run.digest] for run in one] == [cells[run.digest] for run in other]
    assert len(set(cells.values())) == len(one)
