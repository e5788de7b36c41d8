"""How many points refinement computes, and what it misses: `python -m benchmarks.refinement`

Every published surface (a parquet file of `results/`) is refined from its own losses: nothing is evaluated.
"""

import argparse
from collections.abc import Iterable

import numpy as np
import pandas as pd

from lthpaper.measures.contours import grids
from lthpaper.measures.refinement import FLOOR, refined
from lthpaper.measures.ruggedness import basin_share, non_convexity, roughness

ERRORS = (0.01, 0.02, 0.05)


def compared(loss: np.ndarray, error: float) -> dict[str, float]:
    """One surface refined at an error. computed, within: shares of points; largest: share of loss + FLOOR."""
    found, computed = refined(lambda wanted: np.where(wanted, loss, np.nan), *loss.shape, error)
    missed = np.abs(found - loss) / (loss + FLOOR)
    return {
        "error": error,
        "computed": float(computed.mean()),
        "within": float((missed <= error).mean()),
        "largest": float(missed.max()),
        "roughness": abs(roughness(found) / roughness(loss) - 1),
        "non_convexity": abs(non_convexity(found) - non_convexity(loss)),
        "basin": abs(basin_share(found) / basin_share(loss) - 1),
    }


def table(surfaces: Iterable[np.ndarray]) -> pd.DataFrame:
    """One row per error: means of computed and within, the largest of all else. Finite surfaces only."""
    whole = [loss.astype(float) for loss in surfaces if np.isfinite(loss).all()]
    rows = pd.DataFrame([compared(loss, error) for loss in whole for error in ERRORS])
    most = rows.groupby("error").max().drop(columns="within").rename(columns={"computed": "most_computed"})
    return most.join(rows.groupby("error")[["computed", "within"]].mean()).assign(surfaces=len(whole))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default="results/laptop/surface.parquet")
    kept = pd.read_parquet(parser.parse_args().file)
    print(table(loss for _, _, _, loss in grids(kept)).round(4).to_string())
