"""What a plan will take: the scheduler on a clock that counts, with speeds that were measured or assumed."""

import json
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from lthpaper import data, networks
from lthpaper.errors import InputError
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import to_json
from lthpaper.runs.settings import lt_imp, lt_omp, pretraining
from lthpaper.runs.task import Task
from lthpaper.store.store import Store
from lthpaper.sweep import assumed_speeds, flops, measure
from lthpaper.sweep import speeds as cost
from lthpaper.sweep.costs import costs
from lthpaper.sweep.executor import WorkFailed
from lthpaper.sweep.plan import Plan, plan
from lthpaper.sweep.simulate import here, on, parse, simulate, table
from lthpaper.sweep.speeds import Speed, Speeds, speed_key

TASK = Task("resnet8", "digits", width=0.25)
RECIPE = Recipe(epochs=3, batch_size=50, milestones=(1,))
DENSE = pretraining(TASK, RECIPE)
STEPS, TESTS = 6, 1497  # of an epoch of digits


@pytest.fixture(autouse=True)
def _quick(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(measure, "BLOCK", 0.001)
    monkeypatch.setitem(measure.ROUNDS, "cpu", 1)
    monkeypatch.setattr(measure, "MINUTE", math.inf)  # on however busy a machine


def planned(*runs) -> Plan:
    return plan(runs, Store("nowhere"))


def cost_rows(todo: Plan) -> dict[str, str]:
    return costs(todo, "cpu", workers=1)[""].to_dict()


def even(seconds: float, **more) -> Speeds:
    """An epoch of a network takes so many seconds in whatever pack."""
    speed = Speed((1, 8), (seconds / STEPS, 8 * seconds / STEPS), (0.0, 0.0), **more)
    return Speeds("a device", {speed_key(run): speed for run in [DENSE]})


def sources(speeds: Speeds) -> set[str]:
    return {speed.source for speed in speeds.by_shape.values()}


def limits(smallest: int, largest: int):
    return lambda run: (smallest, largest)


# --- the simulation ---


def test_work_is_shared_out_and_a_chain_is_not():
    dense = planned(*(pretraining(TASK, RECIPE, seed) for seed in range(4)))
    spans = [simulate(dense, even(10.0), n, limits(1, 1)).makespan for n in (1, 2, 4, 8)]
    assert spans == pytest.approx([120, 60, 30, 30])
    assert table([simulate(dense, even(10.0), 1, limits(1, 8))])["packs"] == "1, 50% full"
    chain = planned(lt_imp(DENSE, 3))
    for count in (1, 8):
        found = simulate(chain, even(10.0), count, limits(1, 1))
        assert found.makespan == found.critical_path == pytest.approx(120)
        assert found.utilisation == pytest.approx(1 / count)
        assert found.device_hours == pytest.approx(count * 120 / 3600)


def test_the_long_chain_goes_first():
    # a chain of three and three runs that nothing waits for, on two devices: 3 + 3 epochs, not 2 + 3
    chain = [pretraining(TASK, RECIPE, 0), lt_imp(pretraining(TASK, RECIPE, 0), 2)]
    others = [pretraining(TASK, RECIPE, seed) for seed in range(1, 4)]
    found = simulate(planned(*others, *chain), even(10.0), 2, limits(1, 1))
    assert found.makespan == pytest.approx(3 * 30)
    assert found.utilisation == pytest.approx(1)


def test_every_run_is_trained_once_whatever_the_devices():
    todo = planned(*(lt_imp(pretraining(TASK, RECIPE, seed), 4) for seed in range(3)), lt_omp(DENSE, 0.9))
    for count in (1, 2, 5, 64):
        found = simulate(todo, even(1.0), count, limits(1, 8))
        assert found.busy == pytest.approx(todo.network_epochs)
        assert found.critical_path <= found.makespan + 1e-9
        assert found.busy / count <= found.makespan + 1e-9


def test_what_surrounds_the_epochs_is_counted_once_a_process_a_shape_a_pack_a_run():
    todo = planned(*(pretraining(TASK, RECIPE, seed) for seed in range(4)))
    speeds = even(0.0, first=100.0, pack=10.0, run=1.0)
    speeds = Speeds("a device", speeds.by_shape, start=1000.0, loading={"digits": 10_000.0})
    assert simulate(todo, speeds, 1, limits(1, 2)).makespan == pytest.approx(11_100 + 2 * (10 + 2))
    shared = simulate(todo, speeds, 2, limits(1, 2)).makespan
    assert shared == pytest.approx(10_000 + 11_100 + 10 + 2)  # the images are looked at before others start


def test_a_pack_costs_what_lies_between_the_sizes_that_were_measured():
    speed = Speed((2, 4, 8), (0.4, 0.5, 0.8), (0.0, 0.0, 0.0))
    seconds = [speed.epoch(DENSE, k) / STEPS for k in (1, 2, 3, 4, 6, 8, 16)]
    assert seconds == pytest.approx([0.4, 0.4, 0.45, 0.5, 0.65, 0.8, 1.6])
    tested = Speed((1,), (0.0,), (0.01,))
    assert tested.epoch(DENSE, 1) == pytest.approx(0.01 * TESTS)


def test_nothing_to_train_takes_no_time():
    assert here(planned()).makespan == 0.0
    assert [found.makespan for found in on(planned(), "8xh100")] == [0.0]


# --- measured ---


def test_speed_is_measured_once_a_shape_and_remembered(monkeypatch):
    timed, real = [], measure._time_shape
    monkeypatch.setattr(measure, "_time_shape", lambda *a: timed.append(a) or real(*a))
    first = measure.speeds([DENSE], "cpu")
    assert first.of(DENSE).epoch(DENSE, 2) > 0
    assert sources(first) == {"measured"}
    others = [DENSE.with_(seed=3), pretraining(TASK, RECIPE.with_(lr=1.0, epochs=9)), lt_omp(DENSE, 0.5)]
    assert measure.speeds(others, "cpu") == first
    assert len(timed) == 1
    measure.speeds([pretraining(TASK, RECIPE.with_(batch_size=10))], "cpu")
    assert len(timed) == 2


def test_speed_is_the_mean_over_rounds_and_the_first_pack_is_of_the_first_round(monkeypatch):
    monkeypatch.setitem(measure.ROUNDS, "cpu", 3)
    rounds = iter([(1.0, 6.0), (2.0, 0.0), (6.0, 0.0)])  # a step, extra for the first pack

    def timed(*_: object) -> Speed:
        step, first = next(rounds)
        return Speed((2, 8), (step, 4 * step), (0.0, 0.0), first=first)

    monkeypatch.setattr(measure, "_time_shape", timed)
    found = measure.speeds([DENSE], "cpu").of(DENSE)
    assert (found.step, found.first) == ((3.0, 12.0), 6.0)
    assert next(rounds, None) is None


def test_a_network_that_fails_while_it_is_timed_is_a_failed_training(monkeypatch):
    def fails(*_: object) -> Speed:
        raise IndexError("in its forward")

    monkeypatch.setattr(measure, "_time_shape", fails)
    with pytest.raises(WorkFailed, match="IndexError: in its forward"):
        measure.speeds([DENSE], "cpu")


def test_the_sizes_measured_are_those_that_train():
    assert measure.speeds([DENSE], "cpu").of(DENSE).sizes == (2, 4, 8)


def test_the_speed_of_every_recipe_can_be_measured():
    # one epoch, all of it warm-up, then a cosine: the second timed epoch lies beyond its end
    recipe = Recipe(epochs=1, batch_size=20, milestones=(), schedule="cosine", warmup_epochs=1)
    run = pretraining(TASK, recipe)
    assert measure.speeds([run], "cpu").of(run).epoch(run, 2) > 0


def normed(num_classes: int = 10) -> nn.Module:
    first = parametrizations.weight_norm(nn.Linear(64, 32))
    layers = (nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16), nn.Linear(16, num_classes))
    return nn.Sequential(nn.Flatten(), first, *layers)


def reads_as_it_builds(num_classes: int = 10) -> nn.Module:
    assert torch.ones(()).item() == 1
    return normed(num_classes)


class ReadsAsItRuns(nn.Module):
    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.body = normed(num_classes)

    def forward(self, x):
        return self.body(x if x.sum() >= 0 else -x)


@pytest.mark.parametrize("factory", [normed, reads_as_it_builds, ReadsAsItRuns])
def test_the_operations_of_any_network_that_trains_are_counted(factory):
    task = Task(networks.local(factory), "digits")
    first, rest = 64 * 32, 32 * 16 + 16 * 10
    assert flops.per_image(task) == (2 * (2 * first + 3 * rest), 0)


def test_a_network_whose_last_images_are_one_pixel_is_counted():
    assert flops.layers(Task("vgg16", "cifar10-16")) == 14


def test_what_there_is_no_time_to_measure_is_scaled_by_its_operations(monkeypatch):
    monkeypatch.setattr(measure, "MINUTE", 0.0)  # the first shape is always measured: the one with most work
    wide, narrow = pretraining(TASK.with_(width=1.0), RECIPE), pretraining(TASK, RECIPE.with_(batch_size=25))
    found = measure.speeds([narrow, wide], "cpu")
    assert (found.of(wide).source, found.of(narrow).source) == ("measured", "scaled")
    operations = flops.per_image(narrow.task)[0] / flops.per_image(wide.task)[0]
    assert found.of(narrow).step[0] == pytest.approx(found.of(wide).step[0] * operations / 2)


def test_when_the_minute_is_over_one_pack_is_measured_and_what_is_not_is_said(monkeypatch, capsys):
    monkeypatch.setattr(measure, "MINUTE", 0.0)
    wide, narrow = pretraining(TASK.with_(width=1.0), RECIPE), pretraining(TASK, RECIPE.with_(batch_size=25))
    assert cost_rows(planned(narrow, wide))["speeds"] == "measured, scaled"
    assert "1 of 2 kinds of training were measured, the others are scaled" in capsys.readouterr().err
    assert "speeds" not in cost_rows(planned(narrow, wide))  # the second plan has measured the rest
    found = measure.speeds([wide], "cpu").of(wide)
    assert len(found.sizes) == len(found.step) == len(found.image) == 1
    assert found.epoch(wide, 4) == pytest.approx(4 / found.sizes[0] * found.epoch(wide, found.sizes[0]))


@pytest.mark.parametrize(("minute", "sizes"), [(0, 1), (2, 2), (9, 3)])
def test_a_shape_is_measured_no_further_than_the_wall_clock_allows(tmp_path, monkeypatch, minute, sizes):
    """A tick of the clock for each pack that is timed."""
    ticks = []
    monkeypatch.setattr(measure, "MINUTE", minute)
    monkeypatch.setattr(measure, "_time_epoch", lambda *_: ticks.append(1) or (1.0, 1.0))
    job = {"runs": [to_json(DENSE)], "device": "cpu", "folder": str(tmp_path), "data": []}
    measure._measure_here(job | {"number": 0, "is_new": False}, clock=lambda: len(ticks))
    ((speed,),) = json.loads((tmp_path / "0.json").read_text())["speeds"]
    assert len(ticks) == len(speed["sizes"]) == len(speed["step"]) == sizes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        '{"format": 1}',
        '{"format": 2, "speeds": 3}',
        '{"format": 2, "speeds": {"a": 1}}',
    ],
)
def test_a_damaged_cache_of_speeds_is_measured_anew(content):
    file = cost.calibration_file()
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert sources(measure.speeds([DENSE], "cpu")) == {"measured"}
    assert len(json.loads(file.read_text())["speeds"]) == 3  # the shape, a start, a loading


@pytest.mark.parametrize(
    "change",
    [
        {"step": []},
        {"step": [1.0, 2.0, "3"]},
        {"sizes": [0, 4, 8]},
        {"image": [-1.0, 0.0, 0.0]},
        {"operations": 0},
        {"pack": float("nan")},
        {"network": 7},
    ],
)
def test_measurements_that_are_none_are_not_read(change):
    measure.speeds([DENSE], "cpu")
    file = cost.calibration_file()
    document = json.loads(file.read_text())
    for entry in document["speeds"].values():
        entry |= change if "sizes" in entry else {}
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match="holds no measured speeds"):
        cost.given(file)
    file.unlink()
    with pytest.raises(InputError, match="does not exist"):
        cost.given(file)


def test_a_home_that_cannot_be_written_stops_no_plan(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert sources(measure.speeds([DENSE], "cpu")) == {"measured"}


def test_measuring_speed_is_said_once_and_leaves_the_global_generator_alone(capsys):
    before = torch.get_rng_state()
    for _ in range(2):
        measure.speeds([DENSE], "cpu")
    assert capsys.readouterr().err == "lthpaper: Measuring how fast this machine trains, about a minute …\n"
    assert torch.equal(torch.get_rng_state(), before)


def test_speeds_measured_elsewhere_take_the_place_of_assumed_ones(tmp_path):
    measure.speeds([DENSE], "cpu")
    document = json.loads(cost.calibration_file().read_text())
    for entry in document["speeds"].values():
        entry["device"] = "NVIDIA H100 80GB HBM3"
    file = tmp_path / "h100.json"
    file.write_text(json.dumps(document))
    todo = planned(lt_imp(DENSE, 2))
    (found,) = on(todo, "8xh100", file)
    assert found.sources == {"measured"}
    (found,) = on(planned(DENSE, pretraining(TASK.with_(width=0.5), RECIPE)), "8xh100", file)
    assert found.sources == {"measured", "scaled"}
    with pytest.raises(InputError, match="speeds of NVIDIA H100 80GB HBM3, not of a100"):
        on(todo, "8xa100", file)


# --- assumed ---


def test_the_reference_takes_on_an_h100_what_was_estimated():
    device, run = assumed_speeds.DEVICES["h100"], assumed_speeds.REFERENCE
    images = data.card("cifar10").train
    for pessimistic in (False, True):
        speed = assumed_speeds.estimated([run], device, pessimistic).of(run)
        steps = math.ceil(images / 64)
        assert speed.step[0] * steps == pytest.approx(device.alone[pessimistic], rel=0.01)
        packed = speed.step[-1] * steps / speed.sizes[-1]
        assert device.packed[pessimistic] < packed < 1.05 * device.packed[pessimistic]


def test_other_networks_scale_by_what_bounds_them():
    device = assumed_speeds.DEVICES["h100"]
    resnet, vgg = (
        pretraining(Task(n, "cifar10"), Recipe(batch_size=64, precision="bf16"))
        for n in ("resnet20", "vgg16")
    )
    assert assumed_speeds.floor(resnet, device) * 50_000 == pytest.approx(
        0.049, abs=0.001
    )  # 47 ms and 2.3 of weights
    assert assumed_speeds.floor(vgg, device) * 50_000 == pytest.approx(0.19, abs=0.01)  # weights weigh most
    fp32 = pretraining(resnet.task, resnet.recipe.with_(precision="fp32"))
    assert assumed_speeds.floor(fp32, device) * 50_000 == pytest.approx(
        0.182, abs=0.002
    )  # 12.2 TFLOP at 67 a second
    fp64 = pretraining(resnet.task, resnet.recipe.with_(precision="fp64"))
    assert assumed_speeds.floor(fp64, device) > assumed_speeds.floor(fp32, device)


def test_packs_on_an_assumed_device_fit_its_memory():
    device = assumed_speeds.DEVICES["h100"]
    small = pretraining(Task("resnet20", "cifar10"), Recipe(batch_size=64))
    large = pretraining(Task("resnet50-tiny", "tiny-imagenet"), Recipe(batch_size=1024))
    assert assumed_speeds.largest_pack(small, device) == 64
    assert 1 <= assumed_speeds.largest_pack(large, device) < 16


def test_what_is_assumed_is_said_and_is_a_range():
    rows = table(on(planned(lt_imp(DENSE, 2)), "2xh100"), price=2.5)
    assert "NOT MEASURED" in rows["speeds"]
    assert " to " in rows["device-hours"] or rows["device-hours"] == "0.00"
    assert rows["cost"].startswith("$")


@pytest.mark.parametrize(
    ("text", "means"),
    [("8xh100", (8, "h100")), ("h100", (1, "h100")), (" 2 x CPU", (2, "cpu")), ("64×h100", (64, "h100"))],
)
def test_devices_are_a_number_and_a_kind(text, means):
    assert parse(text) == means


@pytest.mark.parametrize("text", ["", "8", "0xh100", "-1xh100", "8x", "1.5xh100", "100000xh100", "8xh100;ls"])
def test_devices_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="does not name devices"):
        parse(text)


def test_devices_of_which_nothing_is_known_are_refused():
    with pytest.raises(InputError, match="The speed of 'a100' is unknown"):
        on(planned(DENSE), "8xa100")


@pytest.mark.parametrize("price", [-1.0, math.inf, math.nan])
def test_a_price_that_is_none_is_refused(price):
    with pytest.raises(InputError, match="price"):
        table(on(planned(DENSE), "h100"), price)
