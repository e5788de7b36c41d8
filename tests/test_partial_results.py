"""Figures draw with the runs that are there: any seeds, any cells, from published tables alone."""

import math
import random

import matplotlib.pyplot as plt
import pyarrow as pa
import pytest

from lthpaper.figures import FIGURES
from lthpaper.runs.run import ancestors
from lthpaper.runs.scales import scale
from lthpaper.store import parquet, published
from lthpaper.store.entry import MASK, WEIGHTS
from lthpaper.store.published import MANIFEST, RUNS
from lthpaper.store.results_files import to_row
from lthpaper.store.store import Result, Store

OF = scale("smoke", seeds=3, grid=(0.01, 0.1), learning_rates=(0.01, 0.1))
PRINT = "0123456789abcdef"


def hand_made(run, draw):
    """A result as a training would leave it, for a test of drawing alone; one in thirty diverged."""
    accuracy = math.nan if draw.random() < 0.03 else 60 + 30 * draw.random()
    curves = {name: [math.nan] * (run.cost - 1) + [accuracy / 50] for name in ("train_loss", "test_loss")}
    curves["test_accuracy"] = [math.nan] * (run.cost - 1) + [accuracy]
    files = {WEIGHTS: "0" * 64} | ({MASK: "0" * 64} if run.mask else {})
    total = sum(run.task.prunable_weights.values())
    kept = total - round((run.mask.sparsity if run.mask else 0.0) * total)
    return Result(run, curves, kept, 1 - kept / total, PRINT, 1.0, {}, None, files)


def publish(runs, folder, seed):
    draw = random.Random(seed)
    rows = sorted((to_row(hand_made(run, draw), {}) for run in runs), key=lambda row: row["name"])
    content = parquet.content_of(pa.Table.from_pylist(rows, schema=published.SCHEMA))
    parquet.write(folder / OF.name / RUNS, content)
    manifest = f'{{"format": 1, "files": {{"{RUNS}": {{"sha256": "{parquet.checksum(content)}"}}}}}}'
    (folder / OF.name / MANIFEST).write_text(manifest)


@pytest.mark.parametrize("there", ["one seed", "half", "uneven seeds", "one run", "nothing"])
@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_is_drawn_with_what_is_there(name, there, tmp_path):
    spec = FIGURES[name]
    trials = spec.trials(OF)
    runs, draw = [trial.run for trial in trials], random.Random(name)
    chosen = {
        "one seed": [run for run in runs if run.seed == 1],
        "half": draw.sample(runs, len(runs) // 2),
        "uneven seeds": [run for run in runs if run.seed <= (run.recipe.lr < 0.05)],
        "one run": runs[:1],
        "nothing": [],
    }[there]
    publish(list(ancestors(dict.fromkeys(chosen))), tmp_path / "results", name)
    store = Store(tmp_path / "store", tmp_path / "results")
    plt.close(spec.plot(spec.measure(trials, store, OF, None), OF))
