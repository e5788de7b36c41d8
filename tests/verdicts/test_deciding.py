"""Seeds until decided: what looking repeatedly costs, and which cells get more seeds."""

import pandas as pd
import pytest
from test_tickets import JACKPOT_TABLE, rows, table, with_

from lthpaper.errors import InputError
from lthpaper.verdicts.deciding import contested, level_of_a_look, looks


def test_five_evenly_spaced_looks_ask_for_pococks_level():
    assert level_of_a_look((10,), 0.95) == 0.95
    assert level_of_a_look((20, 40, 60, 80, 100), 0.95) == pytest.approx(0.98308, abs=2e-4)  # z = 2.122
    assert 0.95 < level_of_a_look((3, 5), 0.95) < level_of_a_look((3, 5, 8), 0.95) < 0.99


def test_the_last_look_is_at_the_most_seeds():
    assert looks(20) == (3, 5, 8, 13, 20)
    assert looks(10) == (3, 5, 8, 10)
    assert looks(3) == (3,)
    for most in (2, 10.0):
        with pytest.raises(InputError, match="most seeds"):
            looks(most)


def open_cells(results, level=0.98):
    return contested(results, None, ["IMP"], level)


def test_a_decided_verdict_gets_no_more_seeds():
    assert open_cells(table(**JACKPOT_TABLE)) == frozenset()


def test_seeds_go_to_the_contenders_of_the_open_condition_alone():
    close = {0.001: 60.0, 0.01: 85.0, 0.1: 92.2}  # RR: ③ is open, ② is not
    wide = (-0.5, 0.0, 0.5)
    results = pd.concat([with_(JACKPOT_TABLE, rr=None), pd.DataFrame(rows("RR-IMP", close, around=wide))])
    found = open_cells(results)
    assert ("RR-IMP", 0.1) in found
    assert ("LT-IMP", 0.1) in found
    assert not {("RR-IMP", 0.001), ("RR-IMP", 0.01), ("SDT", 0.1), ("SDT", 0.01)} & found


def test_what_has_not_run_asks_for_no_seeds_elsewhere():
    assert open_cells(with_(JACKPOT_TABLE, sdt=None)) == frozenset()
