"""Two processes train one run: what one process computes, one of them writes, and what becomes of deaths.

The processes are started three times for all tests together: a start takes seconds.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from team_trial import FEW, RECIPES, run_of

from lthpaper.cli import main
from lthpaper.errors import InputError
from lthpaper.runs.recipe import Recipe
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.store import Store
from lthpaper.studies import study
from lthpaper.sweep.execute import execute
from lthpaper.sweep.torchrun import Together, check_shares
from lthpaper.training.loop import train
from lthpaper.training.pack import repeatable

HERE = Path(__file__).parents[1]
State = tuple[int, list[tuple[int, int]]]  # entries of a store, positions of its checkpoints
SCALE = {"rounds": 1, "learning_rates": 0.1, "grid": 0.1, "epochs": 5, "micro_batch": 25}  # three runs
RUN = ["run", "table4", *(word for name, value in SCALE.items() for word in ("--set", f"{name}={value}"))]


def torchrun(*words: str) -> subprocess.Popen:
    """Two processes on this machine, at a port that is free."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LTHPAPER_CHECKPOINT_SECONDS": "0.01"}
    return subprocess.Popen(
        command, cwd=HERE.parent, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def children(number: int) -> list[int]:
    """Process numbers, in the order of their start."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = (map(int, line.split()) for line in listed.splitlines())
    return sorted(child for child, parent in pairs if parent == number)


def wait_until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@dataclass
class Story:
    """One store's commands: killed, stopped, ended; beside it another store's, undisturbed."""

    disturbed: Path
    undisturbed: Path
    alone: Path  # a copy of the first, as it was when stopped
    killed: tuple[int, str, int]  # number of the killed process, stderr, status
    after_kill: State
    stopped: tuple[str, int]  # stderr, status
    after_stop: State
    said: str  # by the commands of the last start
    results: list[dict]  # of its processes


def state(folder: Path) -> State:
    checkpoints = Checkpoints(folder)
    kept = [run for run in PAGE.plan.todo if checkpoints.path(run).exists()]
    return len(list(Store(folder))), [checkpoints.position(run) for run in kept]


PAGE = study("table4", "smoke", **SCALE)


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    folder = tmp_path_factory.mktemp("team")
    disturbed, undisturbed = folder / "disturbed", folder / "undisturbed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        checkpoints = disturbed / ".checkpoints"

        first = torchrun("-m", "lthpaper", *RUN, "--store", str(disturbed))
        wait_until(lambda: list(checkpoints.glob("*.safetensors")), first)
        victim = children(first.pid)[1]
        os.kill(victim, signal.SIGKILL)
        killed = (victim, first.communicate(timeout=1800)[1], first.returncode)
        after_kill = state(disturbed)

        second = torchrun("-m", "lthpaper", *RUN, "--store", str(disturbed))
        wait_until(lambda: state(disturbed) not in (after_kill, (0, [])), second)
        second.send_signal(signal.SIGTERM)
        stopped = (second.communicate(timeout=1800)[1], second.returncode)
        after_stop = state(disturbed)
        shutil.copytree(disturbed, folder / "alone")

        stores = [str(undisturbed), str(disturbed)]
        (folder / "commands.json").write_text(json.dumps([[*RUN, "--store", store] for store in stores]))
        third = torchrun(str(HERE / "team_trial.py"), str(folder))
        out, err = third.communicate(timeout=1800)
        assert third.returncode == 0, err
    results = [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]
    return Story(
        disturbed, undisturbed, folder / "alone", killed, after_kill, stopped, after_stop, out, results
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with repeatable(torch.device("cpu")):
        yield


# --- what they compute ---


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_compute_what_one_does(story, name):
    (one,) = train([run_of(name)], FEW)
    near = {"rtol": 1e-9, "atol": 1e-11} if RECIPES[name].precision == "fp64" else {"rtol": 0, "atol": 1e-4}
    for of_process in story.results:
        weights, curves = of_process[name]
        assert weights.keys() == one.weights.keys()
        for key, value in one.weights.items():  # statistics and counts of batch-norm too
            torch.testing.assert_close(weights[key], value, **near)
        assert curves["train_loss"] == pytest.approx(one.curves["train_loss"], rel=max(near["rtol"], 1e-5))
        assert curves["test_accuracy"] == one.curves["test_accuracy"]


@pytest.mark.parametrize("name", RECIPES)
def test_all_processes_have_the_same_bits(story, name):
    (weights, curves), (others, their_curves) = (of_process[name] for of_process in story.results)
    assert all(torch.equal(value, others[key]) for key, value in weights.items())
    assert curves == their_curves


def test_a_batch_in_halves_is_torchs_distributed_data_parallel(story):
    # Weights only: for running statistics torch takes process 0's, we take the mean of all.
    for of_process in story.results:
        for key, value in of_process["torch's own"].items():
            torch.testing.assert_close(of_process["even"][key], value, rtol=1e-9, atol=1e-11)


def test_the_processes_share_any_multiple_of_their_number_and_nothing_else():
    recipe = Recipe(batch_size=48)
    check_shares([recipe.with_(micro_batch=m) for m in (3, 6, 12)], 4)
    check_shares([recipe], 1)
    with pytest.raises(InputError, match=r"3 processes .*48 images.*--set micro_batch=16"):
        check_shares([recipe], 3)
    with pytest.raises(InputError, match=r"--set micro_batch=12\b"):
        check_shares([recipe.with_(micro_batch=12), recipe.with_(micro_batch=24)], 4)
    with pytest.raises(InputError, match="the number of processes can be 1, 2, 3, 4, 6, 8, 12"):
        check_shares([recipe], 5)
    both = [recipe, recipe.with_(batch_size=64)]
    with pytest.raises(InputError, match=r"48 and 64 images.*--set micro_batch=4\b"):
        check_shares(both, 4)


# --- who writes and speaks ---


def test_a_team_trains_run_by_run():
    assert Together(None, print, bool).limits(None) == (1, 1)


def test_process_0_alone_writes_the_store(story):
    of_first, of_second = (of_process["written"] for of_process in story.results)
    assert all(len(paths) > 3 for paths in of_first)
    assert of_second == [[], []]
    for run in PAGE.plan.todo:
        assert Store(story.undisturbed).get(run).provenance["processes"] == 2


def test_process_0_alone_speaks(story):
    assert story.said.count("3 runs trained, 3 in the store") == 2
    assert len(story.said.splitlines()) == 2
    for said, why in ((story.killed[1], "was killed, and the others"), (story.stopped[0], "Stopped cleanly")):
        assert said.count(why) == 1
    assert "TeamLost" not in story.killed[1]


def test_other_commands_are_refused_under_torchrun(monkeypatch):
    monkeypatch.setenv(main.TORCHRUN, "1")
    with pytest.raises(InputError, match="start `lthpaper plan` without it"):
        main.app(["plan", "fig1"], standalone_mode=False)


# --- what ends them ---


def test_a_killed_process_ends_the_command_which_says_so(story):
    victim, said, status = story.killed
    assert status != 0
    assert f"lthpaper: Process 1 of 2 (number {victim} " in said
    assert "Every finished result is in the store" in said
    assert "the same command resumes" in said
    assert (0, []) < story.after_kill < (3, [])


def test_sigterm_ends_the_command_cleanly_with_a_checkpoint(story):
    said, status = story.stopped
    assert status != 0
    assert "Stopped cleanly, since SIGTERM asked for it" in said
    assert "torchrun --nproc-per-node 2 -m lthpaper run table4" in said
    assert story.after_kill < story.after_stop < (3, [])


def test_killed_stopped_and_resumed_it_has_the_bits_of_the_undisturbed(story):
    disturbed, undisturbed = Store(story.disturbed), Store(story.undisturbed)
    for run in PAGE.plan.todo:
        one, other = disturbed.get(run), undisturbed.get(run)
        assert one.curves == other.curves
        weights = disturbed.weights(run, None)[0]
        assert all(torch.equal(w, weights[n]) for n, w in undisturbed.weights(run, None)[0].items())
    assert state(story.disturbed) == (3, [])


def test_what_two_processes_began_one_may_end(story):
    execute(PAGE.plan.todo, Store(story.alone), workers=1, quiet=True)
    first = PAGE.plan.todo[0]
    weights = Store(story.alone).weights(first, None)[0]
    for name, weight in Store(story.undisturbed).weights(first, None)[0].items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-3)
