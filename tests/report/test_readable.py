"""A table that a person reads keeps its learning rates and sparsities."""

import numpy as np
import pandas as pd
from hand_made import results, rows

from lthpaper.report.accuracies import accuracies
from lthpaper.report.readable import readable
from lthpaper.verdicts.evidence import as_chance

NAN = float("nan")
TABLE = pd.DataFrame(
    {
        "setting": ["LT-IMP", "RR-IMP"],
        "lr": [0.005, 1e-4],
        "sparsity": [0.9450242, 0.0],
        "epochs": [160, 78],
        "accuracy": [91.4449, NAN],
        "difference": [-0.26, 0.04],
        "parameters": [270_896.0, NAN],
        "same": [np.True_, False],
        "lrs": [(0.01, 0.1), ()],
        "reason": ["1.5", None],
    }
)


def test_each_column_is_written_by_what_it_is():
    first, second = readable(TABLE).itertuples(index=False)
    numbers = ("0.005", "0.945", "160", "91.4", "−0.3", "270,896")
    assert tuple(first) == ("LT-IMP", *numbers, "yes", "0.01, 0.1", "1.5")
    assert tuple(second) == ("RR-IMP", "0.0001", "0", "78", "", "0.0", "", "no", "", "")


def test_a_confidence_is_never_said_to_be_certain():
    sure, of_3 = [0.99951, 0.99949, 0.0004, NAN], [1.0, 0.5, 0.0, 0.05]
    shown = readable(pd.DataFrame({"confidence": sure, "confidence_3": of_3}))
    assert shown["confidence"].tolist() == ["> 0.999", "0.999", "< 0.001", ""]
    assert shown["confidence_3"].tolist() == ["> 0.999", "0.500", "< 0.001", "0.050"]
    assert [as_chance(p, 2) for p in (0.996, 0.994, 0.004)] == ["> 0.99", "0.99", "< 0.01"]


def test_what_rounds_to_zero_has_no_sign_and_a_count_no_places():
    table = pd.DataFrame(
        {"gain": [-0.04, -0.06], "head": [10.0, NAN], "apart": [-7680.0, NAN], "implied": [272_474.0, NAN]}
    )
    first, second = readable(table).itertuples(index=False)
    assert tuple(first) == ("0.0", "10", "−7680", "272,474")
    assert tuple(second) == ("−0.1", "", "", "")


def test_a_pivoted_table_keeps_its_learning_rates_on_either_axis():
    means = TABLE.groupby(["lr", "sparsity", "setting"])["accuracy"].agg(["mean", "count"]).unstack("setting")
    shown = readable(means)
    assert shown.index.tolist() == [("0.0001", "0"), ("0.005", "0.945")]
    assert shown[("count", "LT-IMP")].tolist() == ["", "1"]
    assert shown[("mean", "LT-IMP")].tolist() == ["", "91.4"]
    by_rate = TABLE.pivot(index="setting", columns="lr", values="accuracy")
    assert readable(by_rate).columns.tolist() == ["0.0001", "0.005"]
    assert readable(by_rate).columns.name == "lr"


def test_more_places_where_they_are_asked_for_and_none_of_it_changes_the_table():
    before = TABLE.copy()
    assert readable(TABLE, digits=3)["accuracy"].tolist() == ["91.445", ""]
    pd.testing.assert_frame_equal(TABLE, before)


def test_a_claims_number_is_whole_and_its_name_stays():
    assert readable(pd.DataFrame({"claim": [1, "F1"]}), digits=3)["claim"].tolist() == ["1", "F1"]


def test_a_series_and_an_empty_table_are_tables_too():
    assert readable(TABLE["accuracy"])["accuracy"].tolist() == ["91.4", ""]
    assert readable(TABLE.iloc[:0]).empty
    assert readable(TABLE.iloc[:, :0]).shape == (2, 0)


def test_a_notebook_shows_sentences_to_their_end_and_every_row():
    sentence = "By the means no ticket: ① and ③ fail. " * 5
    shown = readable(pd.DataFrame({"reason": [sentence] * 100}))._repr_html_()
    assert shown.count(sentence.strip()) == 100
    assert "<th>0</th>" not in shown  # rows that are only counted
    assert "<th>small</th>" in readable(pd.DataFrame({"a": [1]}, index=["small"]))._repr_html_()


def test_an_accuracy_says_how_many_seeds_diverged_and_of_how_many_it_is_where_others_are_of_more():
    steady = ("pretraining", 93, 0), ("LT-IMP", 91, 0.8)
    parts = [rows(name, {0.1: mean}, s, around=(-0.2, 0.0, 0.2)) for name, mean, s in steady]
    fewer = rows("RR-IMP", {0.1: 90}, 0.8, around=(-0.5, 0.5))
    lost = rows("SDT", {0.1: 80}, 0.8, around=(-0.5, 0.5, NAN))
    none = rows("LT-OMP", {0.1: 80}, 0.8, around=(NAN, NAN, NAN))
    (cells,) = accuracies(results(*parts, fewer, lost, none).table).to_dict("records")
    assert cells == {
        "pretraining": "93.0 ± 0.2",
        "LT-IMP": "91.0 ± 0.2",
        "RR-IMP": "90.0 ± 0.7 (n = 2)",
        "LT-OMP": "3 of 3 diverged",
        "SDT": "80.0 ± 0.7 (1 of 3 diverged)",
    }
