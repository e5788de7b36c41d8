"""What is ended by a time limit or a signal ends cleanly, loses nothing and can go on."""

import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from lthpaper import provenance
from lthpaper.cli import main, options
from lthpaper.errors import InputError, Stopped
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run, to_json
from lthpaper.runs.settings import lt_imp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.sweep import execute as sweep
from lthpaper.sweep import speeds, throughput
from lthpaper.sweep.execute import execute, perform
from lthpaper.sweep.executor import Job
from lthpaper.sweep.plan import plan
from lthpaper.sweep.stopping import STATUS, Stopping, Unfinished, seconds

TASK = Task("mlp", "digits", width=0.25, train_images=60)
SHORT = [lt_imp(pretraining(TASK, Recipe(epochs=2, batch_size=30), seed), 1) for seed in range(3)]
DENSE = pretraining(TASK, Recipe(epochs=2, batch_size=30))
LONG = pretraining(TASK, Recipe(epochs=20000, batch_size=30))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("25m", 1500), ("2h", 7200), ("1h30m", 5400), ("1h1m1s", 3661), ("45", 45), ("0.5m", 30)],
)
def test_a_time_is_hours_minutes_and_seconds(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0", "0m", "-5", "soon", "5d", "1h30", "m", "1e3", "30m1h", "nan", "٣m"]
)
def test_what_is_no_time_is_one_sentence(text):
    with pytest.raises(InputError, match="The time limit is"):
        seconds(text)


# --- within a process ---


def remembered(run: Run, step: float) -> None:
    """Have a speed measured before: so many seconds a step."""
    speed = {"sizes": [2], "step": [step], "image": [0.0], "first": 0.0, "pack": 0.0, "run": 0.0}
    name = provenance.device_name(torch.device("cpu"))
    speeds.write({speeds.entry_key(name, run, 1): speeds.entry(name, 1, run, speed)})


class AfterSteps(Stopping):
    """Time that is over after so many steps, however fast they are; until then twenty seconds are left."""

    left = 20.0

    def __init__(self, time_limit: float):
        super().__init__()
        self.steps = 60

    def __call__(self) -> bool:
        self.steps -= 1
        if self.steps < 0:
            self.why = "the time limit is reached"
        return bool(self.why)


def test_what_fits_is_trained_and_the_rest_goes_on_from_its_checkpoint(store, monkeypatch):
    monkeypatch.setattr(sweep, "Stopping", AfterSteps)
    ticks = itertools.count()  # seconds that pass by packs: what fits does not depend on this machine
    monkeypatch.setattr(sweep, "Throughput", partial(throughput.Throughput, clock=ticks.__next__))
    remembered(LONG, step=0.001)
    words = r"the time limit is reached: {} runs were trained, 1 remain \(19,9\d\d network-epochs\)"
    with pytest.raises(Unfinished, match=words.format(6)):
        execute([LONG, *SHORT], store, workers=1, quiet=True, time_limit=1.0)
    assert not plan(SHORT, store).todo
    before = Checkpoints(store.folder).position(LONG)
    with pytest.raises(Unfinished, match=words.format(0)):
        execute([LONG], store, workers=1, quiet=True, time_limit=1.0)
    assert (0, 0) < before < Checkpoints(store.folder).position(LONG)
    assert LONG not in store


def test_no_time_at_all_begins_nothing(store):
    with pytest.raises(Unfinished, match="0 runs were trained, 6 remain"):
        execute(SHORT, store, workers=1, quiet=True, time_limit=0.0)
    assert not list(store.folder.glob("*"))


def test_a_job_counts_its_own_seconds_whatever_the_clock_of_its_machine_says(store, monkeypatch):
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3600)  # runs ahead
    job = Job((to_json(DENSE),), ((),), str(store.folder), None, None, "cpu", left=600.0)
    with pytest.raises(Stopped):
        perform(replace(job, left=0.0))
    assert DENSE not in store
    perform(job)
    assert DENSE in store


def test_a_signal_is_heard_only_meanwhile_and_a_second_interrupt_is_one():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    stopping = Stopping()
    with stopping.signals():
        assert not stopping()
        signal.raise_signal(signal.SIGUSR1)
        assert stopping()
        assert stopping.why == "SIGUSR1 asked for it"
        signal.raise_signal(signal.SIGTERM)  # as a batch system sends it later
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]


# --- the command ---

HANGS = 1800  # seconds after which a process hangs and is not merely slow, on however busy a machine

TINY = ["epochs=20000", "insufficient_epochs=20000", "rounds=1", "learning_rates=0.1", "train_images=60"]
WORDS = ["run", "fig1", *(word for pair in [*TINY, "seeds=2", "network=mlp"] for word in ("--set", pair))]
WORDS += ["--store", "kept", "--device", "cpu", "--quiet"]


def started(folder: Path, *more: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(main.__file__).parents[2]), "LTHPAPER_DEBUG": ""}
    environment["LTHPAPER_CHECKPOINT_SECONDS"] = "0.1"
    words = [sys.executable, "-m", "lthpaper", *WORDS, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True, **pipes)


def ended(process: subprocess.Popen) -> str:
    """What the command said when it ended cleanly."""
    _, err = process.communicate(timeout=HANGS)
    assert process.returncode == STATUS, err
    assert "Traceback" not in err
    return err


def test_a_signal_ends_the_command_with_checkpoints_and_says_how_to_go_on(tmp_path):
    process = started(tmp_path, "--workers", "2")
    checkpoints, until = tmp_path / "kept" / ".checkpoints", time.monotonic() + HANGS
    try:
        while len(list(checkpoints.glob("*.safetensors"))) < 4 and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said = ended(process)
    finally:
        process.kill()
    assert "SIGTERM asked for it: 0 runs were trained, 12 remain" in said
    assert said.splitlines()[-1] == "  python -m lthpaper " + shlex.join([*WORDS, "--workers", "2"])
    assert len(list(checkpoints.glob("*"))) == 4
    assert {p.name for p in (tmp_path / "kept").iterdir()} == {".checkpoints", ".logs"}


def test_the_time_limit_of_the_command_counts_from_its_start(monkeypatch):
    monkeypatch.setattr(options, "BEGAN", time.time() - 100)
    assert 0 < options.time_left("200s") <= 100
    assert options.time_left("90s") == 0
    assert options.time_left("") is None
