"""Rounds of seeds go to the cells that could still decide a verdict, for every experiment of a figure."""

import signal
from collections import Counter

import pandas as pd
import pytest
from torch import nn

from benchmarks.deciding_on_results import replay
from lthpaper.checks import check
from lthpaper.cli.main import main
from lthpaper.errors import InputError
from lthpaper.runs.recipe import Recipe
from lthpaper.studies import study
from lthpaper.sweep.stopping import Unfinished
from lthpaper.until_decided import decide, expected

RECIPE = Recipe(epochs=1, batch_size=30, milestones=())
TINY = {"epochs": 1, "insufficient_epochs": 1, "rounds": [1], "grid": [0.05, 0.1], "train_images": 60}
TWO = {"experiments": ["mlp/digits", "resnet8/digits"]}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deciding")
    return {"store": folder / "store", "out": folder / "out", "device": "cpu", "workers": 1}


def place(trial):
    run = trial.run
    return (run.task.network, run.task.data, 1, trial.setting, trial.sparsity, run.recipe.lr)


def seeds_of(question, trials):
    """Seeds of every cell of some trials."""
    return Counter(map(place, trials))


def test_seeds_are_added_to_contested_cells_alone(places):
    mine = check("mlp", recipe=RECIPE, learning_rates=(0.05, 0.1), rounds=(1,), train_images=60, **places)
    found = mine.decide(most=5, quiet=True)
    question = mine.question(most=5)
    trials = list(question.trials_of(2))
    for reached in (3, 4, 5):  # what every look asks for, from the store alone
        wanted = question.contested(trials)
        more = question.more(trials, reached)
        assert {place(t) for t in more} <= wanted
        trials += more
    trained = [t for t in question.trials_of(5) if t.run in mine.store]
    asked, stored = seeds_of(question, trials), seeds_of(question, trained)
    assert all(asked[cell] <= stored[cell] for cell in asked)  # ancestors lie in the store as well
    assert found.attrs["seeds"] == max(asked.values())
    assert found["verdict"][0].conditions == question.verdicts(trials)["verdict"][0].conditions
    again = mine.decide(most=5, quiet=True)
    assert again.attrs["network_epochs"] == 0  # all is in the store
    assert again["reason"].tolist() == found["reason"].tolist()


def test_a_figure_is_decided_by_the_same_rule_each_experiment_by_itself(places):
    both = study("fig3", "smoke", **TINY, **TWO, **places)
    both.decide(most=5, quiet=True)
    alone = [study("fig3", "smoke", **TINY, experiments=[name], **places) for name in TWO["experiments"]]
    together = both.question(most=5)
    first = together.trials_of(2)
    apart = [one.question(most=5) for one in alone]
    assert together.contested(first) == set().union(*(q.contested(q.trials_of(2)) for q in apart))
    for one in alone:  # so nothing is left to train for either
        assert one.decide(most=5, quiet=True).attrs["network_epochs"] == 0


def test_fewer_epochs_than_the_most_are_no_ticket_and_get_no_seeds(monkeypatch, places):
    accuracies = {"pretraining": 93.0, "LT-IMP": 92.9, "RR-IMP": 92.6, "SDT": 89.0}
    results = pd.DataFrame(
        {"network": "mlp", "data": "digits", "epochs": epochs, "setting": setting, "lr": 0.1, "seed": seed}
        | {"accuracy": mean + seed / 2, "sparsity": 0.0 if setting == "pretraining" else 0.832}
        for epochs in (160, 78)
        for setting, mean in accuracies.items()
        for seed in range(2)
    )
    monkeypatch.setattr("lthpaper.until_decided.table", lambda trials, store: results)
    question = study("fig3", "smoke", **TINY, **places).question()
    assert {epochs for _, _, epochs, *_ in question.contested([])} == {160}


def test_a_look_never_trains_more_than_all_cells_would_cost(places):
    both = study("fig3", "smoke", **TINY, **TWO, **places)
    question = both.question(most=5)
    for _, share in replay(question, have=5) if question.more(question.trials_of(2), 3) else ():
        assert 0 < share <= 1


def test_what_it_will_cost_lies_between_the_first_look_and_the_last(places, tmp_path):
    fresh = study("fig3", "smoke", **TINY, **TWO, **places | {"store": tmp_path})
    costs = expected(fresh.question(most=20))
    begin, mean, most = (float(text.split()[0].replace(",", "")) for text in costs.values())
    assert list(costs) == ["to begin with, 2 seeds per cell", "expected in all", "at most, 20 seeds per cell"]
    assert begin < mean <= most
    assert begin == fresh.with_seeds(2).plan.network_epochs
    assert most == fresh.with_seeds(20).plan.network_epochs
    assert not list(tmp_path.iterdir())  # nothing has started


def test_a_figure_without_verdicts_is_refused():
    with pytest.raises(InputError, match="There is no verdict to decide: the runs are LT-IMP"):
        study("fig6", "smoke").question()


def test_who_trains_nothing_cannot_decide():
    with pytest.raises(InputError, match="train is false"):
        study("fig3", "smoke", train=False).decide()


def test_a_budget_that_is_over_reports_what_is_known(places, tmp_path):
    fresh = study("fig3", "smoke", **TINY, **places | {"store": tmp_path})
    said: list[str] = []
    found = decide(fresh.question(), fresh.data_root, "cpu", 1, budget=0.0, told=said.append, quiet=True)
    assert not found.attrs["finished"]
    assert "The budget ended it" in said[0]
    assert said[-1] == "0 network-epochs, up to 2 seeds per cell."


def test_a_time_limit_is_no_budget_it_ends_the_command_with_the_verdicts_so_far(places, tmp_path):
    fresh = study("fig3", "smoke", **TINY, **places | {"store": tmp_path})
    said: list[str] = []
    with pytest.raises(Unfinished, match="the time limit is reached: 0 runs were trained"):
        fresh.decide(budget=600.0, time_limit=0.0, told=said.append, quiet=True)
    assert "budget" not in " ".join(said)
    assert "① sparsity" in said[0]


def test_a_signal_ends_the_command_and_what_was_trained_is_counted(places, tmp_path):
    def stopped_when_the_first_pack_is_done(num_classes: int) -> nn.Module:
        heard = callable(signal.getsignal(signal.SIGTERM))
        if heard and any((tmp_path / "store").glob("*/result.json")):
            signal.raise_signal(signal.SIGTERM)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, num_classes))

    sizes = {"learning_rates": (0.1,), "rounds": (1,), "train_images": 60}
    places = places | {"store": tmp_path / "store"}
    mine = check(stopped_when_the_first_pack_is_done, recipe=RECIPE, **sizes, **places)
    said: list[str] = []
    with pytest.raises(Unfinished, match="SIGTERM asked for it: 2 runs were trained"):
        mine.decide(budget=600.0, told=said.append, quiet=True)
    assert "budget" not in " ".join(said)
    assert said[-1] == "2 network-epochs, up to 2 seeds per cell."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "fig6", "--until-decided"], "no verdict to decide"),
        (["run", "--until-decided"], "Name the figures"),
        (["run", "fig3", "--budget", "1h"], "--budget belongs to --until-decided"),
        (["run", "fig3", "--until-decided", "--max-seeds", "1"], "The most seeds is 1"),
        (["plan", "fig3", "--until-decided", "--on", "8xh100"], "leave --on out"),
        (["check", "mlp", "--budget", "1h"], "--budget belongs to --until-decided"),
        (["check", "mlp", "--max-seeds", "-1"], "--max-seeds belongs to --until-decided"),
        (["run", "fig1", "--max-seeds", "3"], "--max-seeds belongs to --until-decided"),
        (["plan", "fig1", "--max-seeds", "3"], "--max-seeds belongs to --until-decided"),
        (["plan", "fig3", "--until-decided", "--set", "seeds=5"], "--max-seeds limits them"),
        (["check", "mlp", "--until-decided", "--seeds", "3", "--plan"], "--max-seeds limits them"),
        (["check", "mlp", "--until-decided", "--max-seeds", "1"], "The most seeds is 1"),
    ],
)
def test_options_that_do_not_go_together_end_in_a_sentence(arguments, said, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lthpaper", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
