"""A figure is found by its name, a custom one by its path."""

import pytest

from lthpaper.errors import InputError
from lthpaper.figures import FIGURES, FigureSpec, figure
from lthpaper.studies import study

OWN = FigureSpec("Mine", FIGURES["fig1"].trials, FIGURES["fig1"].plot)


def test_a_figure_of_one_s_own_is_named_by_its_path(tmp_path):
    assert figure(f"{__name__}:OWN") is OWN
    page = study(f"{__name__}:OWN", "smoke", store=str(tmp_path), out=str(tmp_path))
    assert page.trials == FIGURES["fig1"].trials(page.scale)
    assert ":" not in page.name  # which names its files


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fig9", "Unknown figure 'fig9'. Did you mean"),
        ("nowhere:SPEC", "cannot be imported"),
        ("lthpaper.figures.fig1:SPEC", "cannot be imported"),
        ("lthpaper.figures.fig1:trials", "is a function, not a FigureSpec"),
    ],
)
def test_a_name_that_is_no_figure_says_why(name, said):
    with pytest.raises(InputError, match=said):
        figure(name)
