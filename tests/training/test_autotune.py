"""The choice of a pack's form and size from what was measured; forms compute the same."""

import weakref
from functools import partial

import pytest
import torch
from plain_loop import few_digits

from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.training import autotune
from lthpaper.training import batches as feeds
from lthpaper.training import pack as packs
from lthpaper.training.autotune import LARGEST, Choice, Unequal, choose, measured, pack_limits
from lthpaper.training.batches import ResidentFeed
from lthpaper.training.forms import Form, forward_of, pack_form
from lthpaper.training.pack import Pack
from lthpaper.training.stacking import Separately
from lthpaper.training.start import start

CPU = torch.device("cpu")
STACKED, SEPARATE = Form(True, True, False, True), Form(False, True, False, True)
TASK = Task("resnet8", "digits")


class Device:
    """A device whose packs take a fixed number of bytes each, and gain until `full` networks."""

    def __init__(self, bytes_each: int, full: int, fixed: int = 0, compiles: bool = True):
        self.bytes_each, self.full, self.fixed, self.compiles = bytes_each, full, fixed, compiles
        self.asked: list[tuple[Form, int]] = []

    def __call__(self, form: Form, pack: int) -> tuple[float, int]:
        self.asked.append((form, pack))
        if form.compiled and not self.compiles:
            raise RuntimeError("no compiler")
        each = (100.0 if form.stacked else 120.0) * (1.5 if form.compiled else 1)
        return each * min(pack, self.full), self.fixed + self.bytes_each * pack


def test_packs_double_until_they_gain_nothing_and_the_fastest_form_is_compiled_last():
    device = Device(bytes_each=1, full=8)
    choice = measured(device, [STACKED, SEPARATE], memory=1e9)
    assert choice.form == Form(False, True, True, True)
    assert choice.largest == 8
    assert device.asked[-1] == (choice.form, 8)
    assert {pack for _, pack in device.asked} == {1, 2, 4, 8, 16}
    assert len(choice.tried) == len(device.asked)


@pytest.mark.parametrize("fixed", [0, 500, 4000])
def test_no_pack_is_tried_whose_memory_was_predicted_not_to_suffice(fixed):
    device = Device(bytes_each=100, full=1000, fixed=fixed)
    choice = measured(device, [STACKED], memory=6000)
    assert all(fixed + 100 * pack <= 6000 for _, pack in device.asked)
    # of one pack alone nobody knows what does not grow with it: it may be twice as much
    assert choice.largest == {0: 32, 500: 32, 4000: 1}[fixed]


def test_packs_have_an_end_where_memory_has_none():
    assert measured(Device(1, full=10**6), [STACKED], memory=1e12).largest == LARGEST


def test_a_try_that_fails_leaves_nothing_behind():
    packs = []

    class Held:
        """What a try holds: its pack's memory."""

    def attempt(form: Form, k: int) -> tuple[float, int]:
        assert all(pack() is None for pack in packs)
        held = Held()
        packs.append(weakref.ref(held))
        if form == STACKED and k > 1:
            raise RuntimeError("out of memory")
        return 100.0 * k, 1

    assert measured(attempt, [STACKED, SEPARATE], memory=1e9).largest == LARGEST
    assert len(packs) > 3


def test_a_short_training_is_not_compiled():
    choice = measured(Device(1, full=4), [STACKED], memory=1e9)  # 600 images a second, compiled
    short = pretraining(TASK, Recipe(epochs=10, milestones=()), 0)  # packs of 4 × 10 × 300 images
    assert choice.form.compiled
    assert choice.form_of(short.with_(task=TASK.with_(train_images=250))) == STACKED
    assert choice.form_of(short.with_(recipe=Recipe(epochs=1000))) == choice.form


def test_without_a_compiler_the_form_is_the_best_of_the_rest():
    choice = measured(Device(1, full=4, compiles=False), [STACKED, SEPARATE], memory=1e9)
    assert choice.form == SEPARATE


def test_a_form_that_fails_is_left_out_and_only_if_all_fail_it_is_an_error():
    device = Device(1, full=4)

    def broken(form: Form, pack: int) -> tuple[float, int]:
        if form.stacked:
            raise RuntimeError("unable to find an engine")
        return device(form, pack)

    assert measured(broken, [STACKED, SEPARATE], memory=1e9).form == Form(False, True, True, True)
    with pytest.raises(RuntimeError, match="unable to find"):
        measured(broken, [STACKED], memory=1e9)


def test_a_form_that_computes_something_else_is_left_out_in_every_size():
    device = Device(1, full=8)

    def unequal(form: Form, pack: int) -> tuple[float, int]:
        if not form.stacked and pack == 4:
            raise Unequal("something else")
        return device(form, pack)

    choice = measured(unequal, [STACKED, SEPARATE], memory=1e9)
    assert choice.form.stacked
    assert not any(tried.startswith("one by one") for tried in choice.tried)


def test_what_is_measured_is_one_forward_pass_and_named_so(monkeypatch):
    monkeypatch.setattr(autotune, "_remembered", lambda run, name: run)
    whole, parts = (
        choose(pretraining(TASK, Recipe(batch_size=size, micro_batch=micro)), torch.device("cuda"))
        for size, micro in ((64, 0), (1024, 64))
    )
    assert (parts.recipe.batch_size, parts.recipe.micro_batch) == (64, 0)
    assert parts == whole  # one digest, so one choice is remembered for both


@pytest.fixture
def no_clock(monkeypatch):
    """A try on a CPU: it answers what a GPU would be asked."""
    for asked in ("synchronize", "empty_cache", "reset_peak_memory_stats", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, asked, lambda device=None: 0)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 7)
    monkeypatch.setattr(autotune, "TEST_IMAGES", 5)
    monkeypatch.setattr(autotune, "STEPS", 1)
    yield
    autotune._plainly.cache_clear()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_a_form_that_computes_the_same_is_timed(no_clock, precision):
    run = pretraining(TASK, Recipe(batch_size=10, lr=1e-6, precision=precision), 0)
    for form in (Form(), Form(channels_last=True), Form(stacked=False, channels_last=True)):
        speed, memory = autotune._try(run, form, 2, CPU)
        assert speed > 0
        assert memory == 7


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_network_with_another_gradient_is_noticed(no_clock, precision, monkeypatch):
    def wrong(task: Task, form: Form):
        forward, *rest = forward_of(task, form)

        def other(
            state, x, training, seeds=None
        ):  # the same logits; the last network's gradient is 1.2 times its own
            logits = forward(state, x, training, seeds)
            more = torch.tensor([0.0] * (len(x) - 1) + [0.2])[:, None, None]
            return logits + more * (logits - logits.detach())

        return (other if form.stacked else forward, *rest)

    monkeypatch.setattr(packs, "forward_of", wrong)
    run = pretraining(TASK, Recipe(batch_size=10, lr=1e-6, precision=precision), 0)
    with (
        pytest.warns(UserWarning, match="'stacked, plain', in packs of 3, .* The form is not used"),
        pytest.raises(Unequal),
    ):
        autotune._try(run, Form(), 3, CPU)


def test_on_a_cpu_nothing_is_measured_and_bits_do_not_hang_on_a_clock(monkeypatch):
    monkeypatch.setattr(autotune, "measured", None)  # called, it would fail
    small = pretraining(TASK, Recipe(), 0)
    large = pretraining(Task("resnet20", "cifar10"), Recipe(), 0)
    assert choose(small, CPU) == Choice(Form(channels_last=True), 8, {})
    assert (pack_limits(small, CPU), pack_limits(large, CPU)) == ((2, 8), (1, 1))


@pytest.mark.parametrize("form", [Form(), Form(False), Form(False, True)])
def test_every_form_trains_the_same_in_float64(form):
    data = few_digits(train=70, test=40)
    recipe = Recipe(epochs=2, batch_size=25, milestones=(1,), precision="fp64")
    runs = [pretraining(TASK, recipe.with_(lr=lr), seed) for seed, lr in enumerate((0.1, 0.02, 0.05))]
    starts = [start(run, None) for run in runs]
    usual, other = Pack(runs, starts, data, CPU), Pack(runs, starts, data, CPU, form)
    for _ in range(2):
        torch.testing.assert_close(other.train_epoch(), usual.train_epoch(), rtol=1e-9, atol=0)
    for i in range(3):
        for name, weight in usual.weights(i).items():
            torch.testing.assert_close(other.weights(i)[name], weight, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(other.evaluate()[0], usual.evaluate()[0], rtol=1e-8, atol=0)


def test_a_pack_that_is_not_stacked_says_why():
    forward, network, why = forward_of(TASK, Form(stacked=False))
    assert isinstance(forward, Separately)
    assert network is pack_form(TASK, False)[0].network
    assert why == "one by one is faster on this device"
    assert forward_of(TASK, Form())[2] == ""


def test_torch_compile_takes_a_program_whole():
    program = pack_form(TASK, False)[0]
    data = few_digits(train=40, test=20)
    runs = [pretraining(TASK, Recipe(batch_size=20), seed) for seed in range(2)]
    pack = Pack(runs, [start(run, None) for run in runs], data, CPU, Form())
    x, _ = next(pack.feed.batches(0, 0))
    whole = torch.compile(program, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(whole(pack.state, x, False), program(pack.state, x, False))
    torch.compiler.reset()


def test_torch_compile_takes_the_cutting_of_a_batch_whole(monkeypatch):
    data = few_digits(train=45, test=20)
    runs = [pretraining(TASK, Recipe(batch_size=20), seed) for seed in range(2)]
    plain = ResidentFeed(runs, data, CPU, torch.float32)
    monkeypatch.setattr(feeds, "by_compiler", partial(torch.compile, backend="eager", fullgraph=True))
    compiled = ResidentFeed(runs, data, CPU, torch.float32, compiled=True)
    assert plain.compiled is None
    assert compiled.compiled is not None
    for a, b in zip(compiled.batches(1, 0), plain.batches(1, 0), strict=True):
        assert all(map(torch.equal, a, b))
    torch.compiler.reset()
