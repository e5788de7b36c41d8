"""The guideline of §3.2 for the scale's networks and data sets, beside what our results say."""

import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, appendix_f, register
from lthpaper.figures.drawn_table import draw_table
from lthpaper.runs.scales import Scale
from lthpaper.verdicts.guideline import Guideline, guideline

trials = appendix_f.trials  # the evidence
TRY, FOUND = "the paper: try", "our results"


def guidelines(table: pd.DataFrame, scale: Scale) -> list[Guideline]:
    """One an experiment of the scale; rates from its grid, evidence from the table."""
    return [
        guideline(t.network, t.data, table, scale.grid_for(t.data), scale.train_images) for t in scale.tasks
    ]


def tabulate(table: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Two rows an experiment: what the guideline says, what our results say; a column a question."""
    rows = []
    for g in guidelines(table, scale):
        about = g.about
        facts = (
            f"{about.residual_connections} residual connections",
            f"{'large' if about.large_data else 'small'} data",
            f"{about.redundancy:.2g} parameters an image and class",
        )
        said = {a.question: a.answer.replace(": ", ":; ") for a in g.advice}
        rows.append({"network": f"{about.network}; {about.data}", "": TRY} | said)
        found = {a.question: a.ours for a in g.advice}
        rows.append({"network": "; ".join(facts), "": FOUND} | found)
    return pd.DataFrame(rows).set_index("network")


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """The table as a picture."""
    notes = [
        "Try: §3.2. Residual connections are counted in the network; what is small data, a redundant network "
        "(parameters an image and class) and a small learning rate is our reading of the paper's examples.",
        "Our results, by sparsity and by the means, a question mark where the seeds leave them undecided. In "
        "brackets, points: small less large rates; IMP less OMP; LT less RR.",
    ]
    frame = tabulate(table, scale)
    return draw_table(frame, "How to win a prize (§3.2)", notes, rules=range(2, len(frame), 2))


register(
    "guideline", FigureSpec("How to win a prize: the guideline of §3.2", trials, plot, tabulate=tabulate)
)
