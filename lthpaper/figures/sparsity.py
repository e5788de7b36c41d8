"""Accuracy against sparsity: all settings, a row an experiment, a column a learning rate."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lthpaper.figures import FigureSpec, appendix_a, appendix_f, fig3, register, style
from lthpaper.figures.style import PAGE, paper_style
from lthpaper.scales import Scale
from lthpaper.settings import SETTINGS
from lthpaper.ticket_cells import trained

trials = appendix_f.trials


def plot(table: pd.DataFrame, scale: Scale) -> Figure:
    """Means with standard deviations; pretraining is a level line. One range of accuracies a panel's row."""
    parts = fig3.experiments(table.assign(density=1 / (1 - table["sparsity"])), scale)
    rates = {(network, data): sorted(rows["lr"].unique()) for network, data, rows in parts}
    across = max(map(len, rates.values()))
    with paper_style():
        fig, axes = plt.subplots(
            len(parts), across, figsize=(PAGE, 0.75 + 1.45 * len(parts)), sharey="row", squeeze=False
        )
        fig.get_layout_engine().set(wspace=0.02, w_pad=0.02)
        for line, (network, data, rows) in zip(axes, parts, strict=True):
            limits = fig3.accuracies(rows[trained(rows)])
            for ax, lr in zip(line, rates[network, data], strict=False):
                of_rate = rows[(rows["lr"] == lr) & trained(rows)]
                style.level(ax, of_rate)
                style.curves(ax, of_rate[of_rate["sparsity"] > 0], "density", SETTINGS[1:], apart=1.03)
                appendix_a.sparsity_axis(ax, rows["sparsity"], most=3)
                ax.set_title(f"lr {lr:g}")
                ax.set(xlabel="", ylabel="")
            for ax in line[len(rates[network, data]) :]:
                ax.set_axis_off()
            if limits:
                style.accuracy_axis(line[0], *limits)
            line[0].set_ylabel(f"{network} · {data}\ntest accuracy (%)")
        fig.supxlabel("sparsity", fontsize=7)
        have = table[table["accuracy"].notna()]
        note = style.seeds_note(have) if len(have) else "nothing has run yet"
        note += f"; {table['epochs'].max()} epochs{style.diverged_note(table)}{style.unfinished_note(table)}"
        fig.suptitle(note, fontsize=6.5)
        marks = [style.swatch("pretraining", marker=""), *(style.swatch(s) for s in SETTINGS[1:])]
        fig.legend(handles=marks, loc="outside lower center", ncols=6)
    return fig


register("sparsity", FigureSpec("Accuracy against sparsity at every learning rate", trials, plot))
