"""Student's interval of a mean over seeds."""

import math
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from lthpaper import data
from lthpaper.errors import InputError


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


def student(values: np.ndarray, grain: float, level: float = 0.95) -> Interval:
    """Of the mean of n seeds' values, points. The bounds are NaN for one seed; all three if one diverged.

    values: (n,). grain: what one test image is worth. The scatter is not taken below half of it: of few
    images, two seeds often agree to the last one by chance.
    """
    n, mean, half = len(values), float(np.mean(values)), math.nan
    if n > 1:
        scatter = np.maximum(np.std(values, ddof=1), grain / 2)
        half = float(scipy.stats.t.ppf((1 + level) / 2, n - 1) * scatter / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def grain_of(table: pd.DataFrame) -> float:
    """Points of accuracy that one test image is worth; of 10,000 images where the data set is not known."""
    for name in table["data"].iloc[:1]:
        with suppress(InputError):
            return 100 / data.card(name).test
    return 0.01
