"""Hand-made results for the tests of claims and of the guideline: tidy tables of steady seeds."""

import math

import pandas as pd

from lthpaper.runs import settings
from lthpaper.runs.scales import Scale, scale
from lthpaper.runs.settings import imp_sparsity
from lthpaper.verdicts.claims.results import Results

STEADY = (-0.05, 0.0, 0.05)  # three seeds so close that nothing is undecided
S4, S8, S11 = (imp_sparsity(k) for k in (4, 8, 11))
GRID = (0.005, 0.01, 0.1, 0.2)
SMALL = scale("laptop", grid=GRID, rounds=(4, 8, 11))


def rows(setting, means, sparsity=0.0, around=STEADY, **more):
    """means: learning rate -> mean accuracy."""
    about = {"network": SMALL.network, "data": SMALL.data, "width": 1.0, "epochs": SMALL.epochs}
    about |= {"setting": setting, "sparsity": sparsity, "rewind": math.nan, "fingerprint": "f"}
    made = []
    for lr, mean in means.items():
        for seed, off in enumerate(around):
            row = about | {"lr": lr, "pretraining_lr": lr, "seed": seed, "accuracy": mean + off} | more
            made.append(row | {"digest": f"{setting}{sorted(row.items())}"})
    return made


def results(*parts, of: Scale = SMALL, **more):
    table = pd.DataFrame([row for part in parts for row in part], columns=settings.COLUMNS)
    return Results(of, table.astype({"accuracy": float}), **more)


RESIDUAL, BARE = {"network": "resnet8"}, {"network": "vgg-small"}
DENSE = {0.005: 84.0, 0.01: 88.0, 0.1: 93.0, 0.2: 92.0}
AT_SMALL = {0.005: 84.0, 0.01: 88.0, 0.1: 86.0, 0.2: 85.0}  # LT's best is below pretraining's best rate
AT_LARGE = {0.005: 82.0, 0.01: 84.0, 0.1: 88.0, 0.2: 87.0}


def minus(means, points):
    return {lr: a - points for lr, a in means.items()}


def experiment(imp, omp, rr, sdt=None, sparsities=(S8, S11), dense=DENSE, **more):
    made = rows("pretraining", dense, **more)
    for s in sparsities:
        for setting, means in (("LT-IMP", imp), ("LT-OMP", omp), ("RR-IMP", rr), ("RR-OMP", rr)):
            made += rows(setting, means, s, **more)
        made += rows("SDT", sdt or minus(rr, 3), s, **more)
    return made
