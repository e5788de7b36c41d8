"""The length over which curves vary is found again from curves that were drawn with it."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.smoothness import LENGTHS, curves, likelihood
from lthpaper.verdicts.probabilities import alike

DECADES = np.log10([0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5])


@pytest.mark.parametrize("length", [0.25, 1.0, 4.0])
def test_the_length_that_curves_were_drawn_with_is_the_likeliest(length):
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(alike(DECADES, length) + 1e-9 * np.eye(7))
    noise = np.full(7, 0.01)
    drawn = 90 + 3 * (root @ rng.standard_normal((7, 200))).T + 0.1 * rng.standard_normal((200, 7))
    logs = {x: sum(likelihood(DECADES, means, noise, x) for means in drawn) for x in LENGTHS}
    assert max(logs, key=logs.get) == length


def test_a_curve_is_the_means_over_seeds_of_one_setting():
    about = {"network": "mlp", "data": "digits", "sparsity": 0.0, "setting": "pretraining"}
    rows = [about | {"lr": lr, "accuracy": 90 + 10 * lr + s} for lr in (0.01, 0.1, 0.2, 0.5) for s in (-1, 1)]
    (found,) = curves(pd.DataFrame(rows), least=0.0)
    decades, means, variances = found
    assert decades == pytest.approx(np.log10([0.01, 0.1, 0.2, 0.5]))
    assert means == pytest.approx([90.1, 91, 92, 95])
    assert variances == pytest.approx([1.0] * 4)  # sample variance 2, two seeds
    assert not list(curves(pd.DataFrame(rows), least=0.1))  # too few learning rates
