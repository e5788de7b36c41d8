"""The bench compares like with like, and its table is complete. What it measures is not tested here."""

import dataclasses
import json
import math
import os
import signal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import benchmarks
from benchmarks import COLUMNS, Effort, peers, phases, report, run_bench, write
from benchmarks.contender import ENGINE, FLOOR, PACK, Contender, Running
from benchmarks.floor import Products
from benchmarks.ordinary import OnDevice, Ordinary, PilImages, train
from benchmarks.sizes import SIZES, precisions
from lthpaper.data import DataSet
from lthpaper.data.augment import crop_flip, padded
from lthpaper.data.noise import random_data
from lthpaper.errors import InputError
from lthpaper.runs.run import Fresh, Run
from lthpaper.sweep import flops
from lthpaper.training.forms import Form
from lthpaper.training.pack import Pack
from lthpaper.training.start import start

CPU = torch.device("cpu")
DIGITS = SIZES["digits"]


def runs(count: int) -> list[Run]:
    recipe = DIGITS.recipe("fp64")
    return [Run(DIGITS.task, recipe, Fresh(i), seed=i) for i in range(count)]


def test_the_contenders_train_the_same_thing_in_float64():
    data = random_data(DIGITS.card, 100, DIGITS.test)
    packed = Pack(runs(2), [start(run, None) for run in runs(2)], data, CPU)
    alone = [OnDevice(run, data, CPU, torch.float64) for run in runs(2)]
    for _ in range(3):
        expected = torch.stack([one.train_epoch() for one in alone])
        assert torch.allclose(packed.train_epoch(), expected, rtol=1e-10, atol=0)
    for i, one in enumerate(alone):
        for name, weight in one.network.named_parameters():
            assert torch.allclose(packed.weights(i)[name], weight, rtol=0, atol=1e-10)


def test_a_bench_that_is_interrupted_ends_its_processes_without_a_word(capfd):
    contender = Contender(PACK, DIGITS, "cpu", 1)

    def interrupted() -> None:
        with Running(contender) as running:
            for process in running.processes:
                os.kill(process.pid, signal.SIGINT)  # Ctrl-C reaches every process, while it imports
            running.wait_ready()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capfd.readouterr().err == ""


def test_the_ordinary_loop_without_augmentation_sees_the_same_images():
    data = random_data(DIGITS.card, 50, DIGITS.test)  # one batch: the order inside it does not matter
    still = dataclasses.replace(data, card=dataclasses.replace(data.card, pad=0))
    (run,) = runs(1)
    assert float(Ordinary(run, still, CPU, workers=0).train_epoch()) == pytest.approx(
        float(OnDevice(run, still, CPU).train_epoch()), rel=1e-6
    )


@pytest.mark.parametrize("name", SIZES)
def test_the_ordinary_images_are_crops_and_flips_of_the_padded_ones(name):
    size = SIZES[name]
    data, card = random_data(size.card, 3, size.test), size.card
    read = PilImages(data.images.train, data.images.train_labels, card)
    offsets = torch.cartesian_prod(*[torch.arange(2 * card.pad + 1)] * 2)
    every = torch.cat([offsets, offsets])[None]
    flip = (torch.arange(every.shape[1]) >= len(offsets))[None] & card.flip
    mean, std = (torch.tensor(v)[:, None, None] for v in (card.mean, card.std))
    for i in range(3):
        pixels, label = read[i]
        index = torch.full((1, every.shape[1]), i)
        allowed = crop_flip(padded(data.images.train, card.pad), index, every, flip, card.size)[0]
        seen = ((pixels * std + mean) * 255).round().to(torch.uint8)
        assert (allowed == seen).flatten(1).all(1).any()
        assert label == data.images.train_labels[i]


def test_losses_are_means_over_images_also_with_a_smaller_last_batch():
    (run,) = runs(1)
    data = random_data(DIGITS.card, 60, DIGITS.test)  # batches of 50 and 10
    one = OnDevice(run, data, CPU, torch.float64)
    losses = []
    for images, labels in OnDevice(run, data, CPU, torch.float64)._batches():
        losses.append((train(one.network, one.optimizer, [(images, labels)]), len(labels)))
    whole = OnDevice(run, data, CPU, torch.float64).train_epoch()
    assert float(whole) == pytest.approx(sum(float(loss) * n for loss, n in losses) / 60, rel=1e-12)


def test_the_floor_counts_the_operations_of_resnet20():
    operations, activations = flops.per_image(SIZES["cifar"].task)
    first_layer = 32 * 32 * 16 * 3 * 9
    products = operations / 2 + first_layer
    assert products / 3 == pytest.approx(40.8e6, rel=0.002)
    assert operations == pytest.approx(0.244e9, rel=0.002)
    assert activations == 200_704


def test_the_floors_products_are_the_operations_of_an_epoch():
    for name in ("digits", "cifar"):
        size = SIZES[name]
        products = Products(size, 100, "fp32", CPU)
        n = len(products.a)
        with FlopCounterMode(display=False) as counted:
            products.train_epoch()
        done = counted.get_total_flops()
        assert done == pytest.approx(
            100 * flops.per_image(size.task)[0], abs=n * n
        )  # half a row of 2n² at most


def test_the_floor_takes_turns_with_the_engine_and_is_its_own_fastest_round(monkeypatch):
    groups = []

    def rounds(group, count, seconds):
        groups.append([c.kind for c in group])
        rates = {c: [3.0, 9.0, 5.0] for c in group}
        return rates, dict.fromkeys(group, 1.0), {}

    monkeypatch.setattr(benchmarks, "_rounds", rounds)
    rows = list(benchmarks._compare(DIGITS, "cpu", Effort(3, 3, 0.0, 50, (), (), ("fp32", "bf16"), (1,))))
    assert groups[0].count(ENGINE) == groups[0].count(FLOOR) == 2
    floors = {row["precision"]: row["images_per_s"] for row in rows if row["contender"] == "floor"}
    assert floors == {"fp32": pytest.approx(9.0), "bf16": pytest.approx(9.0)}
    assert {row["images_per_s"] for row in rows if row["contender"] == "engine"} == {5.0}


@pytest.mark.parametrize(("capability", "timed"), [("AVX2", ["fp32"]), ("AVX512", ["fp32", "bf16"])])
def test_bfloat16_is_timed_where_the_processor_computes_in_it(monkeypatch, capability, timed):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert list(precisions("cpu")) == timed
    assert list(precisions("cuda")) == ["fp32", "bf16"]


@pytest.mark.parametrize("pack", [1, 2, 4, 8, 16, 64])
@pytest.mark.parametrize("name", SIZES)
def test_a_timed_epoch_is_whole_batches(name, pack):
    contender = Contender(PACK, SIZES[name], "cpu", pack)
    assert contender.images % contender.size.batch == 0
    assert contender.size.batch <= contender.images <= contender.size.images


def test_on_a_gpu_the_loop_has_the_loaders_it_waits_for_and_an_epoch_is_many_steps(monkeypatch):
    seen = []
    monkeypatch.setattr(benchmarks, "worker_count", lambda device: 16)
    monkeypatch.setattr(benchmarks, "_tried", lambda *about: [])
    monkeypatch.setattr(benchmarks.around, "rows", lambda *about: [])
    monkeypatch.setattr(benchmarks, "_compare", lambda size, *about: seen.append((size, *about)) or [])
    run_bench(("digits", "cifar"), "cuda", quick=True)
    assert [effort.workers for *_, effort in seen] == [(0, 2, 8)] * 2
    assert [Contender(ENGINE, size, "cuda", 128).images for size, *_ in seen] == [300, 5120]


@pytest.fixture(scope="module")
def measured():
    smallest = Effort(1, 1, 0.0, 50, (2,), (Form(),), ("fp32",), growth=(1,), workers=(0,))
    return run_bench(("digits",), effort=smallest)


def test_every_way_to_train_has_its_row(measured):
    assert list(measured.columns) == COLUMNS
    found = list(zip(measured.contender, measured.precision.fillna(""), strict=True))
    assert found[:5] == [
        ("ordinary loop, 0 workers", "fp32"),
        ("data on the device", "fp32"),
        ("engine", "fp32"),
        ("pack", "fp32"),
        ("engine, evaluation", "fp32"),
    ]
    around = ["imports done", "digits loaded", "first step done"]
    assert [name for name, _ in found if name.startswith("from command to ")] == [
        f"from command to {what}" for what in around
    ]
    assert ("floor", "fp32") in found
    assert ("loading digits", "") in found
    assert ("sweep of 1 run, 2 epochs each", "") in found


def test_ratios_are_to_the_ordinary_loop_and_speeds_are_consistent(measured):
    trained = measured[measured.ratio.notna()]
    assert len(trained) == 4
    assert trained.ratio.iloc[0] == 1
    assert (trained.ratio > 0).all()
    assert (trained.memory_mb > 0).all()
    assert (trained.spread_low <= trained.images_per_s).all()
    assert (trained.images_per_s <= trained.spread_high).all()
    assert trained.network_epochs_per_hour.to_numpy() == pytest.approx(
        trained.images_per_s.to_numpy() * 3600 / 300
    )


def test_what_surrounds_training_is_in_seconds_one_after_the_other(measured):
    seconds = measured[measured.contender.str.startswith("from command to ")].seconds.tolist()
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_the_report_has_a_line_for_every_row_and_the_files_say_where_it_was_measured(measured, tmp_path):
    text = report(measured)
    assert "nan" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    headers = 2 * text.count("### ")
    assert len(lines) == len(measured) + headers
    path = write(measured, tmp_path)
    assert path.read_text().endswith(text)
    document = json.loads((tmp_path / "bench.json").read_text())
    assert len(document["rows"]) == len(measured)
    assert document["provenance"]["versions"]["torch"] == torch.__version__
    assert not any(isinstance(v, float) and math.isnan(v) for row in document["rows"] for v in row.values())


def test_an_unknown_size_is_refused_before_anything_starts():
    with pytest.raises(InputError, match="digits, cifar"):
        run_bench(("digits", "imagenet"))


def test_random_images_have_the_shape_of_the_data_set():
    for size in SIZES.values():
        data: DataSet = random_data(size.card, 10, size.test)
        side = (size.card.size, size.card.size, size.card.channels)
        assert data.images.train.shape == (10, *side)
        assert data.images.test.shape == (size.test, *side)


def test_peers_train_the_same_networks():
    for name, (make, _) in peers.contenders("digits").items():
        assert peers.difference("digits", make, 1 if name == peers.MODULE else 2, CPU) < 1e-10


@pytest.mark.skipif("LTHPAPER_OPEN_LTH" not in os.environ, reason="needs a checkout of open_lth")
def test_open_lth_trains_the_same_network():
    make, count = peers.contenders("digits", os.environ["LTHPAPER_OPEN_LTH"])[peers.OPEN_LTH]
    assert peers.difference("digits", make, count, CPU) < 1e-10


def test_a_checkout_that_is_none_is_refused(tmp_path):
    make, _ = peers.contenders("digits", tmp_path)[peers.OPEN_LTH]
    with pytest.raises(InputError, match="There is no checkout of open_lth in"):
        make(runs(1), random_data(DIGITS.card, 50, 1), CPU)


# --- where the time of a figure goes ---


def test_phases_are_counted_in_the_processes_that_a_command_starts(tmp_path):
    assert phases.run(["list", "data"], tmp_path) == 0
    found = phases.table(tmp_path)
    assert found.loc["imports", "command"] > 0
    assert found["sum"].sum() == pytest.approx(found["command"].sum())
