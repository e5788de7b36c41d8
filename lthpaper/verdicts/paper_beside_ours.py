"""The numbers that the paper's text states, beside ours."""

import itertools

import pandas as pd

from lthpaper.paper import CIFAR, INSUFFICIENT
from lthpaper.paper.quotes import QUOTES, Quote
from lthpaper.runs.scales import Scale
from lthpaper.verdicts import cells
from lthpaper.verdicts.characteristics import characteristics
from lthpaper.verdicts.evidence import UNDECIDED
from lthpaper.verdicts.tickets import EITHER, JACKPOT, SECONDARY, verdicts

PAPER_EPOCHS, PAPER_INSUFFICIENT = CIFAR.epochs, INSUFFICIENT.epochs
PRIZES = (SECONDARY, EITHER, JACKPOT)
CLOSE_SPARSITY = 0.005  # as the text rounds sparsities


def stated(
    setting: str,
    epochs: int = PAPER_EPOCHS,
    lr: float = 0.005,
    network: str = "resnet20",
    sparsity: float = 0.914,
) -> float:
    """The accuracy that the text states, percent. Raises KeyError where it states none."""
    for q in QUOTES:
        at = (q.setting, q.epochs, q.lr, q.network)
        if q.accuracy is not None and at == (setting, epochs, lr, network) and q.sparsity in (0.0, sparsity):
            return q.accuracy
    raise KeyError(f"The text states no accuracy of {setting} of {network} at {lr:g}, {epochs} epochs.")


def in_captions(setting: str, network: str = "resnet32") -> tuple[float, float]:
    """What the captions of Figures 4 and 5 state, s = 0.945: at learning rates 0.01 and 0.1."""
    small, large = (stated(setting, lr=lr, network=network, sparsity=0.945) for lr in (0.01, 0.1))
    return small, large


def beside(table: pd.DataFrame, scale: Scale, place: str = "") -> pd.DataFrame:
    """One row per stated accuracy: the paper's, ours (mean ± standard deviation, n) and the difference.

    table: store.table.COLUMNS. place: only statements of places that contain it ("Fig. 1"). Where our
    network, data or epochs are not the paper's, ours stands for the same cell of the smaller
    experiment, `same` is False and no difference is given.
    """
    rows, table = [], cells.checked(table)
    for quote in QUOTES:
        if quote.accuracy is not None and place in quote.place:
            ours = _cell(quote, quote.setting, table, scale)["accuracy"]
            mean = ours.mean(skipna=False)  # NaN if a seed diverged, as in `_best`
            about = _about(quote, table, scale)
            difference = mean - quote.accuracy if about["same"] and len(ours) else float("nan")
            rows.append(
                {
                    "place": quote.place,
                    "network": quote.network,
                    "our network": about["our network"],
                    "setting": quote.setting,
                    "lr": quote.lr,
                    "sparsity": quote.sparsity,
                    "epochs": about["epochs"],
                    "paper": quote.accuracy,
                    "ours": mean,
                    "std": ours.std(ddof=1, skipna=False),
                    "n": len(ours),
                    "difference": difference,
                    "same": about["same"] and bool(len(ours)),
                }
            )
    return pd.DataFrame(rows)


def relations(table: pd.DataFrame, scale: Scale, place: str = "") -> pd.DataFrame:
    """One row per stated difference between two settings, and one per stated bound on a prize's sparsity.

    paper: what the text says; ours: the same of our means (at the stated learning rate, else of the
    bests over ours), NaN where it was not run; n: how many seeds the smaller of the two has, None of a bound;
    holds: whether ours agrees ("≈": within half a point), "not tried" for a bound on a sparsity above any
    that ours judged.
    `same`, `epochs`, table, place: as in `beside`.
    """
    rows, table = [], cells.checked(table)
    for quote in QUOTES:
        if place not in quote.place:
            continue
        tried, n = 1.0, None
        if quote.minus:
            sides = [_best(quote, setting, table, scale) for setting in (quote.setting, quote.minus)]
            ours, n = sides[0][0] - sides[1][0], min(seeds for _, seeds in sides)
            what, paper = f"{quote.setting} − {quote.minus}", quote.difference
        elif quote.sparsity and not quote.setting and quote.network:
            ours, tried = _largest_prize(quote, table, scale)
            what = "largest sparsity with a prize"
            paper = quote.sparsity
        else:
            continue
        assert paper is not None, quote
        about = _about(quote, table, scale)
        rows.append(
            {
                "place": quote.place,
                "network": quote.network,
                "what": what,
                "lr": "best" if quote.lr is None else f"{quote.lr:g}",
                "sparsity": quote.sparsity,
                "paper": _said(quote, paper),
                "ours": ours,
                "n": n,
                "difference": ours - paper if about["same"] else float("nan"),
                "holds": _holds(ours, quote, paper, tried),
                **about,
            }
        )
    return pd.DataFrame(rows)


def _said(quote: Quote, number: float) -> str:
    """ "< −0.5", "0.914", "≥ 0.945"."""
    relation = {"=": "", ">": "> " if quote.minus else "≥ "}.get(quote.relation, f"{quote.relation} ")
    return relation + f"{number:g}".replace("-", "−")


def _about(quote: Quote, table: pd.DataFrame, scale: Scale) -> dict[str, object]:
    """Our network and epochs in the place of the quote's, and whether they are the same."""
    epochs = _epochs(quote, scale)
    network, data = _counterpart(quote, table, scale)
    return {
        "epochs": f"{quote.epochs} (ours {epochs})" if epochs != quote.epochs else str(epochs),
        "our network": f"{network} on {data}" if network else "",
        "same": (network, data, epochs) == (quote.network, quote.data, quote.epochs),
    }


def _epochs(quote: Quote, scale: Scale) -> int:
    return scale.insufficient_epochs if quote.epochs == PAPER_INSUFFICIENT else scale.epochs


def _counterpart(quote: Quote, table: pd.DataFrame, scale: Scale) -> tuple[str, str]:
    """The quote's own network and data if the table has them, else ours with residual connections as its
    has: one with the quote's cell before others, then the scale's network. ("", "") if there is none."""
    pairs = list(zip(table["network"], table["data"], strict=True))
    there = list(dict.fromkeys(pairs))
    if (quote.network, quote.data) in there:
        return quote.network, quote.data
    wanted = characteristics(quote.network, quote.data).residual
    alike = [pair for pair in there if characteristics(*pair).residual == wanted]
    cell = table["setting"].isin(_settings(quote.setting)) & _near(table, quote.sparsity)
    have = set(itertools.compress(pairs, cell))
    order = {pair: (pair not in have, pair != (scale.network, scale.data)) for pair in alike}
    return min(alike, key=order.__getitem__, default=("", ""))


def _near(table: pd.DataFrame, sparsity: float | None) -> pd.Series:
    """Where the sparsity is this one; nowhere for None."""
    if sparsity is None:
        return table["sparsity"].isna() & False
    return (table["sparsity"] - sparsity).abs() < CLOSE_SPARSITY


def _rows(quote: Quote, table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Of our counterpart, over all settings, sparsities and learning rates, without runs still to be trained.
    A run that diverged is in it, and counts against its learning rate."""
    network, data = _counterpart(quote, table, scale)
    epochs = _epochs(quote, scale)
    ours = (table["network"] == network) & (table["data"] == data) & (table["epochs"] == epochs)
    return table[ours & cells.trained(table)]


def _settings(setting: str) -> tuple[str, ...]:
    """Those that a quote's setting stands for: §3.1's LT and RR are of either mask."""
    return (f"{setting}-IMP", f"{setting}-OMP") if setting in ("LT", "RR") else (setting,)


def _cell(quote: Quote, setting: str, table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The rows of one setting at the quote's sparsity, and learning rate if it has one."""
    rows = _rows(quote, table, scale)
    sparsity = 0.0 if setting == "pretraining" else quote.sparsity
    near = _near(rows, sparsity)
    if quote.lr is not None:
        near &= rows["lr"] == quote.lr
    return rows[near & rows["setting"].isin(_settings(setting))]


def _best(quote: Quote, setting: str, table: pd.DataFrame, scale: Scale) -> tuple[float, int]:
    """The best mean over learning rates at which no seed diverged, and its number of seeds."""
    groups = _cell(quote, setting, table, scale).groupby(["setting", "lr"])["accuracy"]
    means = groups.agg(lambda a: a.mean(skipna=False)).dropna()
    return (float(means.max()), int(groups.size()[means.idxmax()])) if len(means) else (float("nan"), 0)


def _largest_prize(quote: Quote, table: pd.DataFrame, scale: Scale) -> tuple[float, float]:
    """(largest sparsity with a prize by the means, with either pruning, largest sparsity judged).

    The first is 0 if there is no prize; both are NaN if no verdict could be reached.
    """
    rows = _rows(quote, table, scale)
    found = verdicts(rows) if rows["setting"].str.startswith("LT-").any() else rows.assign(kind=UNDECIDED)
    judged = found[found["kind"] != UNDECIDED]
    prizes = judged.loc[judged["kind"].isin(PRIZES), "sparsity"]
    if judged.empty:
        return float("nan"), float("nan")
    return float(prizes.max() if len(prizes) else 0.0), float(judged["sparsity"].max())


def _holds(ours: float, quote: Quote, paper: float, tried: float) -> str:
    """tried: the largest sparsity that a bound could have been found at."""
    if pd.isna(ours):
        return "not run"
    if not quote.minus and tried < paper - CLOSE_SPARSITY:
        return "not tried"
    close = CLOSE_SPARSITY if not quote.minus else 0.5
    agrees = {
        "=": abs(ours - paper) <= close,
        "≈": abs(ours - paper) <= close,
        "<": ours < paper,
        ">": ours > paper or (not quote.minus and abs(ours - paper) <= close),
    }
    return "yes" if agrees[quote.relation] else "no"
