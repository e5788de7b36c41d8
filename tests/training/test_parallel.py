"""Networks on parallel CUDA streams, as far as no device is needed: a stand-in for torch's streams notes what
waits for what. What only a device can show is in test_cuda.py."""

from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from plain_loop import few_digits

from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.training import stacking
from lthpaper.training.forms import Form, forward_of
from lthpaper.training.pack import Pack
from lthpaper.training.stacking import InParallel, Separately
from lthpaper.training.start import start

CPU = torch.device("cpu")
TASK = Task("resnet8", "digits")
DATA = few_digits(train=50, test=20)


def a_step(main: int, *sides: int) -> list[str]:
    """What streams do in a step of a network on each side."""
    return [
        *(f"{side} waits for {main}" for side in sides),
        *(f"{side} computes" for side in sides),
        *(f"{main} waits for {side}" for side in sides),
    ]


@pytest.fixture
def noted(monkeypatch):
    """What streams did, in order. Stream 0 is the one at the beginning; torch.cuda makes the others."""
    notes, numbers = [], count()

    class Stream:
        def __init__(self, device):
            self.number = next(numbers)

        def wait_stream(self, other):
            notes.append(f"{self.number} waits for {other.number}")

    current = [Stream(CPU)]

    @contextmanager
    def entered(stream):
        current.append(stream)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[-1])
    stacking._streams.cache_clear()
    yield SimpleNamespace(notes=notes, computes=lambda: notes.append(f"{current[-1].number} computes"))
    stacking._streams.cache_clear()


def packs(*forms: Form) -> list[Pack]:
    recipe = Recipe(epochs=2, batch_size=25, milestones=())
    runs = [pretraining(TASK, recipe.with_(lr=lr), seed) for seed, lr in enumerate((0.1, 0.02, 0.05))]
    return [Pack(runs, [start(run, None) for run in runs], DATA, CPU, form) for form in forms]


def watched(pack: Pack, computes) -> Pack:
    program = pack.forward.program
    pack.forward.program = lambda *args: (computes(), program(*args))[1]
    return pack


def test_each_network_has_a_stream_that_waits_before_and_is_waited_for_after(noted):
    pack = watched(packs(Form(stacked=False, parallel=True))[0], noted.computes)
    pack.train_step(*next(pack.feed.batches(0, 0)))
    assert noted.notes == a_step(0, 1, 2, 3)
    noted.notes.clear()
    pack.evaluate()
    assert noted.notes == a_step(0, 1, 2, 3)


def test_a_pack_of_more_networks_than_streams_shares_them_and_makes_no_more(noted, monkeypatch):
    monkeypatch.setattr(stacking, "STREAMS", 2)
    pack = watched(packs(Form(stacked=False, parallel=True))[0], noted.computes)
    for _ in range(2):
        noted.notes.clear()
        pack.train_step(*next(pack.feed.batches(0, 0)))
        assert noted.notes == [
            *("1 waits for 0", "2 waits for 0"),
            *("1 computes", "2 computes", "1 computes"),
            *("0 waits for 1", "0 waits for 2"),
        ]


def test_a_recording_forks_and_joins_every_stream_as_its_warm_up_did(noted, monkeypatch):
    @contextmanager
    def recording(graph, pool, stream):
        noted.notes.append("begin")
        with torch.cuda.stream(stream):
            yield
        noted.notes.append("end")

    graph = SimpleNamespace(pool=lambda: None, replay=lambda: noted.notes.append("replay"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    form = Form(stacked=False, parallel=True, graphed=True)
    pack = watched(packs(form)[0], noted.computes)
    pack.train_step(*next(pack.feed.batches(0, 0)))
    step = a_step(1, 2, 3, 4)  # 1: the recording's own stream
    assert noted.notes == ["1 waits for 0", *step * 3, "0 waits for 1", "begin", *step, "end", "replay"]


def test_parallel_streams_train_to_the_bits_of_one_by_one(noted):
    one_by_one, parallel = packs(Form(stacked=False), Form(stacked=False, parallel=True))
    for _ in range(2):
        assert torch.equal(one_by_one.train_epoch(), parallel.train_epoch())
    assert torch.equal(one_by_one.flat, parallel.flat)
    assert all(torch.equal(*both) for both in zip(one_by_one.evaluate(), parallel.evaluate(), strict=True))
    assert noted.notes


def test_the_form_says_that_streams_are_parallel():
    form = Form(stacked=False, graphed=True, parallel=True)
    assert str(form) == "on parallel streams, plain, graphed"
    assert isinstance(forward_of(TASK, form)[0], InParallel)
    assert type(forward_of(TASK, Form(stacked=False))[0]) is Separately
