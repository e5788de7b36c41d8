"""The guideline of §3.2 follows the network that it is given, and quotes its sources."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hand_made import AT_LARGE, AT_SMALL, experiment, minus, results
from torch import Tensor, nn

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.figures.guideline import _body as body
from lthpaper.runs.scales import scale
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.verdicts import characteristics
from lthpaper.verdicts.characteristics import large_rates, small_rates
from lthpaper.verdicts.guideline import NOTHING_YET, guideline

GRID = (0.001, 0.005, 0.01, 0.05, 0.1, 0.2)


def test_residual_connections_and_small_data_ask_for_imp_and_small_rates():
    g = guideline("resnet20", "cifar10", grid=GRID)
    assert g.about.residual_connections == 9
    assert (g.pruning, g.learning_rates) == ("IMP", (0.001, 0.005, 0.01))


@pytest.mark.parametrize("network", ["vgg16", "resnet32-noskip"])
def test_no_residual_connections_ask_for_omp_and_large_rates(network):
    g = guideline(network, "cifar10", grid=GRID)
    assert g.about.residual_connections == 0
    assert (g.pruning, g.learning_rates) == ("OMP", (0.05, 0.1, 0.2))


def test_larger_data_ask_for_omp_and_large_rates_whatever_the_network():
    g = guideline("resnet18-tiny", "tiny-imagenet", grid=GRID)
    assert g.about.residual
    assert (g.pruning, g.learning_rates) == ("OMP", (0.05, 0.1, 0.2))
    assert g.sparsities == (0.6, None)
    assert "no clear ticket" in str(g)


def test_the_sparsity_range_rises_with_redundancy_as_the_paper_found_it():
    found = {n: guideline(n, "cifar10").sparsities for n in ("resnet20", "resnet32", "resnet18", "vgg16")}
    assert found == {
        "resnet20": (0.6, 0.914),
        "resnet32": (0.6, 0.945),
        "resnet18": (0.6, 0.945),
        "vgg16": (0.6, 0.945),
    }


def test_fewer_training_images_make_a_network_redundant():
    assert not characteristics.characteristics("resnet20", "cifar10").redundant
    assert characteristics.characteristics("resnet20", "cifar10", 5_000).redundant


def test_every_learning_rate_is_small_or_large():
    assert small_rates(GRID) + large_rates(GRID) == GRID
    assert small_rates((0.005, 0.01)) == (0.005, 0.01)
    assert large_rates((0.1,)) == (0.1,)


def test_a_network_of_one_s_own_is_looked_into():
    g = guideline("torchvision.models.squeezenet:squeezenet1_0", "cifar10", grid=GRID)
    assert g.about.residual_connections == 0  # it concatenates
    assert g.pruning == "OMP"


class Looping(nn.Module):
    """As many residual blocks as its values ask for."""

    def __init__(self, num_classes: int, width: float, in_channels: int):
        super().__init__()
        self.layer, self.head = nn.Conv2d(in_channels, in_channels, 1), nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2 if x.sum() < 1 else 5):
            x = x + self.layer(x)
        return self.head(x.mean((2, 3)))


def test_a_network_of_one_s_own_may_read_values_in_its_forward_pass():
    assert characteristics.characteristics(f"{__name__}:Looping", "digits").residual_connections == 2


class Straight(nn.Module):
    def __init__(self, num_classes: int, in_channels: int):
        super().__init__()
        self.layer, self.head = nn.Conv2d(in_channels, in_channels, 1), nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean((2, 3)))


class Around(Straight):
    def forward(self, x: Tensor) -> Tensor:
        return self.head((x + self.layer(x)).mean((2, 3)))


def test_a_function_that_is_given_again_is_looked_into_again():
    def around(num_classes, in_channels):
        return Around(num_classes, in_channels)

    def straight(num_classes, in_channels):
        return Straight(num_classes, in_channels)

    around.__qualname__ = straight.__qualname__ = "make"  # as in a notebook's cell that was edited
    for make, count in ((around, 1), (straight, 0)):
        name = networks.local(make)
        assert characteristics.characteristics(name, "digits").residual_connections == count


def test_every_advice_has_its_place_and_our_results_where_there_are_any():
    for advice in guideline("resnet8", "digits").advice:
        assert advice.place.startswith("§3")
        assert advice.evidence
        assert advice.ours == NOTHING_YET
    found = results(experiment(AT_SMALL, minus(AT_SMALL, 2), minus(AT_SMALL, 4))).table
    ours = {a.question: a.ours for a in guideline("resnet8", "digits", found).advice}
    assert ours["learning rate"] == "0.832: small (+2.0); 0.914: small (+2.0)"
    assert ours["pruning"] == "0.832: IMP (+2.0); 0.914: IMP (+2.0)"
    assert ours["initial weights"] == "0.832: θ0 matters (+4.0); 0.914: θ0 matters (+4.0)"
    assert ours["sparsity"].startswith("IMP secondary prize at 0.914")
    other = guideline("vgg-small", "digits", found)  # another network's results are not its own
    assert {a.ours for a in other.advice} == {NOTHING_YET}


def test_a_lead_is_positive_whichever_side_is_better():
    found = results(experiment(AT_LARGE, minus(AT_LARGE, 2), minus(AT_LARGE, 4))).table
    rate = guideline("resnet8", "digits", found).advice[0]
    assert rate.ours == "0.832: large (+4.0); 0.914: large (+4.0)"


def test_the_picture_has_the_ticket_of_each_mask():
    found = results(experiment(AT_SMALL, minus(AT_SMALL, 0.3), minus(AT_SMALL, 4))).table
    lines = [line for line, _ in body([guideline("resnet8", "digits", found)])]
    assert lines[3:5] == ["ticket: IMP secondary prize at 0.914", "   OMP secondary prize at 0.914"]


def test_results_that_are_missing_are_no_results():
    planned = table(FIGURES["guideline"].trials(scale("smoke")), Store("a-store-that-is-not-there"))
    for rows in (planned, planned.iloc[:0], pd.DataFrame()):
        assert {a.ours for a in guideline("resnet8", "digits", rows).advice} == {NOTHING_YET}


def test_an_unknown_network_is_refused():
    with pytest.raises(InputError, match="Unknown network"):
        guideline("resnet21", "cifar10")


def test_the_figure_has_two_rows_an_experiment():
    small = scale("smoke")
    planned = table(FIGURES["guideline"].trials(small), Store("a-store-that-is-not-there"))
    frame = FIGURES["guideline"].tabulate(planned, small)
    assert len(frame) == 2 * len(small.tasks)
    assert "3 residual connections" in frame.index[1]
    fig = FIGURES["guideline"].plot(planned, small)
    fig.canvas.draw()
    plt.close(fig)
