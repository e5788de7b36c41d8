"""Figure 2 marks on its sketches what the verdict finds in them."""

from matplotlib import pyplot as plt

from lthpaper.figures import fig2
from lthpaper.figures.style import PAGE
from lthpaper.verdicts.tickets import JACKPOT, SECONDARY, verdict


def test_the_sketches_are_a_jackpot_and_a_secondary_prize():
    kinds = [
        verdict(fig2.sketched(c), fig2.SKETCHED).kind for c in (fig2.JACKPOT_SKETCH, fig2.SECONDARY_SKETCH)
    ]
    assert kinds == [JACKPOT, SECONDARY]


def test_nothing_is_trained_and_three_panels_are_drawn():
    assert fig2.trials() == []
    fig = fig2.plot()
    fig.canvas.draw()
    said = [t.get_text() for ax in fig.axes for t in ax.texts]
    assert [ax.get_title() for ax in fig.axes[:3]] == [
        "(a) the conditions",
        "(b) Jackpot winning ticket",
        "(c) secondary prize ticket",
    ]
    assert {"②", "③", "④", "⑤", "⑤ fails", "Jackpot", "secondary prize", "nowhere"} <= set(said)
    assert said.count("sketch, no data") == 3
    assert fig.get_size_inches()[0] == PAGE
    plt.close(fig)


def test_the_bars_span_the_learning_rates_at_which_the_conditions_hold():
    fig = fig2.plot()
    found = verdict(fig2.sketched(fig2.JACKPOT_SKETCH), fig2.SKETCHED)
    spans = [tuple(line.get_xdata()) for line in fig.axes[4].lines]
    assert spans == [(min(found[n].lrs), max(found[n].lrs)) for n in (5, 4, 3)]
    plt.close(fig)
