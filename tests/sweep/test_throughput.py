"""How long a pack will take, as far as it is known on the machine that asks."""

import pytest
import torch

from lthpaper.provenance import device_name
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.sweep import speeds
from lthpaper.sweep.throughput import Throughput

CPU = torch.device("cpu")
RUN = pretraining(Task("mlp", "digits", train_images=60), Recipe(epochs=4, batch_size=30, milestones=()))


@pytest.fixture(autouse=True)
def measured_here(tmp_path, monkeypatch):
    """Half a second a step, two steps an epoch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    speed = {"sizes": [1], "step": [0.5], "image": [0.0], "first": 0.0, "pack": 0.0, "run": 0.0}
    name = device_name("cpu")
    speeds.write({speeds.entry_key(name, RUN, 1): speeds.entry(name, 1, RUN, speed)})


def test_what_this_machine_remembers_says_nothing_of_a_cluster():
    assert Throughput(CPU, 1).seconds([RUN], 10) == pytest.approx(10.0)
    assert Throughput(CPU, 1, here=False).seconds([RUN], 10) is None


def test_of_a_gpu_that_is_elsewhere_nothing_is_known():
    assert Throughput(torch.device("cuda"), 1).seconds([RUN], 10) is None
    assert Throughput(torch.device("cuda"), 1, here=False).seconds([RUN], 10) is None


def test_what_was_seen_counts_wherever_it_was_trained():
    times = iter([100.0, 130.0, 200.0, 210.0])
    seen = Throughput(torch.device("cuda"), 1, here=False, clock=lambda: next(times))
    seen.begin(1, [RUN], 10)
    seen.end(1, None)
    assert seen.seconds([RUN], 20) == pytest.approx(60.0)
    seen.begin(2, [RUN], 10)
    seen.end(2, RuntimeError("failed"))
    assert seen.seconds([RUN], 20) == pytest.approx(60.0)
