"""What a person sees of an execution, and what stays of it in the logs."""

import io
import sys
import time

import pytest
from tqdm.notebook import tqdm as tqdm_notebook

from lthpaper.errors import InputError, Stopped
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import lt_imp, lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.check import check_store
from lthpaper.store.logs import Logged, log_of, note
from lthpaper.store.store import Store
from lthpaper.sweep import progress
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import plan
from lthpaper.sweep.progress import Bar
from lthpaper.sweep.scheduler import Scheduler

TASK = Task("resnet8", "digits", width=0.25, train_images=60)
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=30, milestones=(1,))
DENSE = pretraining(TASK, RECIPE)
RUNS = [lt_imp(DENSE, 2), *(lt_omp(DENSE, s) for s in (0.5, 0.9)), pretraining(TASK, RECIPE, 1)]


@pytest.fixture
def bar(store) -> Bar:
    return Bar(plan(RUNS, store), quiet=False)


class Terminal(io.StringIO):
    """A screen that remembers."""

    def isatty(self) -> bool:
        return True


def test_every_run_is_done_training_waiting_or_failed(bar, store):
    scheduler = Scheduler(bar_plan := plan(RUNS, store), lambda run: (1, 8))
    number, _ = scheduler.begin()
    bar.state(scheduler)
    assert bar.counts == {"done": 0, "training": 2, "waiting": 4, "failed": 0}
    scheduler.ended(number)
    number, _ = scheduler.begin(idle=9)
    scheduler.ended(number, InputError("no"))
    bar.state(scheduler)
    assert sum(bar.counts.values()) == len(bar_plan.todo) == 6
    assert bar.counts["done"] == 2
    assert bar.counts["failed"] >= 1


def test_it_says_how_fast_and_how_long_and_where(bar, store, monkeypatch):
    scheduler = Scheduler(plan(RUNS, store), lambda run: (1, 1))
    for _ in range(2):
        scheduler.begin()
    monkeypatch.setattr(time, "monotonic", lambda: bar.began + 3600)
    bar.advance(5, trained=False)  # that checkpoints had done
    bar.advance(2)
    bar.state(scheduler, {1: "node7", 2: "node8"})
    assert bar.per_hour == pytest.approx(2)
    said = f"{bar}; {bar._packs}"
    assert said.startswith("2:30:00 left, 6 runs: ")
    assert "7 of 12 network-epochs (5 resumed), 2 an hour" in said
    assert "1× SDT resnet8 lr 0.05 on node7" in said


@pytest.mark.parametrize("columns", [20, 40, 80, 100, 200])
def test_the_time_left_comes_first_and_the_rest_as_far_as_it_fits(bar, store, monkeypatch, columns):
    scheduler = Scheduler(plan(RUNS, store), lambda run: (1, 1))
    scheduler.begin()
    monkeypatch.setattr(time, "monotonic", lambda: bar.began + 3600)
    bar.advance(2)
    bar.state(scheduler)
    said = bar.fitted(columns)
    assert said.startswith("5:00:00 left")
    assert len(said) <= columns
    assert ("training 1×" in said) == (columns == 200)


def test_a_terminal_of_80_columns_shows_the_time_left_on_one_line(store, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    with Bar(plan(RUNS, store), quiet=False) as bar:
        monkeypatch.setattr(time, "monotonic", lambda: bar.began + 3600)
        bar.advance(2)
        bar._show(last=True)
    shown = screen.getvalue().split("\r")[-1].strip()
    assert "5:00:00 left" in shown
    assert len(shown) < 80


def test_a_notebook_has_one_bar(monkeypatch):
    """A width in {bar} would have tqdm write a second one of letters beside its widget."""
    assert "{bar}" in progress.WIDGET
    assert not progress._shows_widgets()

    class Notebook(tqdm_notebook):
        pass

    monkeypatch.setattr(progress, "tqdm", Notebook)
    assert progress._shows_widgets()


def test_the_line_says_how_full_packs_are_where_they_are_not(store):
    many = [pretraining(TASK, RECIPE, seed) for seed in range(5)]
    for largest, said in ((8, ", packs 62% full"), (5, "")):
        bar, limits = Bar(plan(many, store), quiet=True), (1, largest)
        scheduler = Scheduler(plan(many, store), lambda run, limits=limits: limits)
        scheduler.begin()
        bar.state(scheduler)
        assert str(bar).partition(" network-epochs")[2] == said


def test_of_many_packs_the_first_are_named(store):
    many = [pretraining(TASK, RECIPE, seed) for seed in range(9)]
    bar, scheduler = Bar(plan(many, store), quiet=True), Scheduler(plan(many, store), lambda run: (1, 1))
    for _ in many:
        scheduler.begin()
    bar.state(scheduler)
    assert bar._packs.count("×") == 3
    assert bar._packs.endswith("6 packs more")


def test_a_log_file_gets_whole_lines_and_few(store, capsys):
    execute(RUNS, store, workers=1)
    said = capsys.readouterr().err
    assert "\r" not in said
    lines = said.splitlines()
    assert 2 <= len(lines) <= 3  # more only each minute
    assert "6 runs: 6 done, 12 of 12 network-epochs" in lines[-1]


def test_a_terminal_gets_a_bar(store, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    execute(RUNS, store, workers=1)
    assert "100%|" in screen.getvalue()
    assert "6 done" in screen.getvalue()
    assert screen.getvalue().count("\n") <= 2


def test_quiet_is_quiet(store, capsys):
    execute(RUNS, store, workers=1, quiet=True)
    assert capsys.readouterr() == ("", "")


# --- logs ---


def test_every_run_has_a_log_of_its_losses_and_where(store):
    execute(RUNS, store, workers=1, quiet=True)
    for run in plan(RUNS, Store("nowhere")).runs:
        *_, last = log_of(store.folder, run).read_text().splitlines()
        accuracy = store.get(run).accuracy
        assert f"cpu: 2 of 2 epochs, train loss {store.get(run).curves['train_loss'][-1]:.4f}" in last
        assert f"accuracy {accuracy:.2f} %" in last


def test_a_log_says_what_a_run_failed_of_and_when_it_stopped(store):
    with pytest.raises(LookupError), Logged(store.folder, [DENSE], "cpu"):
        raise LookupError("no such layer")
    with pytest.raises(Stopped), Logged(store.folder, [DENSE], "cpu"):
        raise Stopped("stopped after 3 epochs")
    text = log_of(store.folder, DENSE).read_text()
    assert "Traceback" in text
    assert "LookupError: no such layer" in text
    assert text.splitlines()[-1].endswith("cpu: stopped after 3 epochs")


def test_a_log_that_cannot_be_written_stops_nothing(store):
    store.folder.mkdir()
    (store.folder / ".logs").write_text("a file")
    note(store.folder, [DENSE], "begins")
    execute([DENSE], store, workers=1, quiet=True)
    assert DENSE in store


def test_logs_are_no_results(store):
    execute(RUNS, store, workers=1, quiet=True)
    assert {checked.status for checked in check_store(store)} == {"good"}
    assert {result.run for result in store} == set(plan(RUNS, Store("nowhere")).runs)
