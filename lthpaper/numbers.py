"""The numbers that the paper's text states, beside ours."""

import pandas as pd

from lthpaper.quotes import QUOTES, Quote
from lthpaper.scales import Scale

PAPER_EPOCHS, PAPER_INSUFFICIENT = 160, 78


def beside(table: pd.DataFrame, scale: Scale, place: str = "") -> pd.DataFrame:
    """One row a stated accuracy: the paper's, ours (mean ± standard deviation, n) and the difference.

    table: settings.COLUMNS. place: only statements of places that contain it ("Fig. 1"). Where our
    network, data or epochs are not the paper's, ours stands for the same cell of the smaller
    experiment, `same` is False and no difference is given.
    """
    rows = [
        _row(quote, table, scale) for quote in QUOTES if quote.accuracy is not None and place in quote.place
    ]
    return pd.DataFrame(rows)


def _row(quote: Quote, table: pd.DataFrame, scale: Scale) -> dict[str, object]:
    epochs = {PAPER_EPOCHS: scale.epochs, PAPER_INSUFFICIENT: scale.insufficient_epochs}[quote.epochs]
    cell = table[
        (table["setting"] == quote.setting)
        & (table["lr"] == quote.lr)
        & (table["epochs"] == epochs)
        & ((table["sparsity"] - quote.sparsity).abs() < 0.005)
    ]
    ours = cell["accuracy"]
    same = (
        bool(len(cell))
        and set(cell["network"]) == {quote.network}
        and set(cell["data"]) == {quote.data}
        and epochs == quote.epochs
    )
    return {
        "place": quote.place,
        "setting": quote.setting,
        "lr": quote.lr,
        "sparsity": quote.sparsity,
        "epochs": f"{quote.epochs} (ours {epochs})" if epochs != quote.epochs else str(epochs),
        "paper": quote.accuracy,
        "ours": ours.mean(),
        "std": ours.std(ddof=1),
        "n": int(ours.count()),
        "difference": ours.mean() - quote.accuracy if same else float("nan"),
        "same": same,
    }
