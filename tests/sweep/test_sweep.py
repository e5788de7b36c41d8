"""Execution gives the same bits however it is spread; a failure costs what depends on it and no more."""

import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain_loop import bits
from torch import nn

from lthpaper import networks
from lthpaper.errors import InputError
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import lt_imp, lt_omp, pretraining, random_reinit, rewound, small_dense
from lthpaper.runs.task import Task
from lthpaper.store.entry import RESULT, WEIGHTS, Unwritable
from lthpaper.store.store import Store
from lthpaper.sweep import execute as sweep
from lthpaper.sweep.execute import execute
from lthpaper.sweep.executor import GpuLost, WorkFailed
from lthpaper.sweep.plan import plan
from lthpaper.sweep.progress import Bar
from lthpaper.sweep.stopping import Stopping

TASK = Task("resnet8", "digits", width=0.125, train_images=60)
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=30, milestones=(1,))
DENSE = pretraining(TASK, RECIPE)
GRAPH = [
    *(random_reinit(lt_imp(pretraining(TASK, RECIPE.with_(lr=lr)), k)) for lr in (0.05, 0.1) for k in (1, 2)),
    lt_imp(DENSE, 3),
    lt_omp(DENSE, 0.9),
    small_dense(lt_omp(DENSE, 0.5)),
    rewound(lt_imp(DENSE, 2), DENSE, 1),
]


def raising(num_classes: int = 10) -> nn.Module:
    """A network that knows its shape and cannot be built for training."""
    if torch.get_default_device().type != "meta":
        raise LookupError("a network that cannot be built")
    return networks.build("resnet8", num_classes, 0.125, 1)


def deadly(num_classes: int = 10) -> nn.Module:
    """A network whose first training kills its process, as the system does where memory is short."""
    if (
        os.environ.get("LTHPAPER_TEST_PROCESS") != str(os.getpid())
        and torch.get_default_device().type != "meta"
    ):
        with suppress(FileNotFoundError):
            Path(os.environ["LTHPAPER_TEST_DEADLY"]).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return networks.build("resnet8", num_classes, 0.125, 1)


def failing_dense() -> Run:
    return pretraining(Task(f"{__name__}:raising", "digits", train_images=60), RECIPE)


def contents(store: Store) -> dict[str, tuple]:
    """All that is a result: curves, weights and masks by their bits, which snapshots there are."""
    found = {}
    for result in store:
        weights, mask = store.weights(result.run)
        tensors = weights | {f"mask of {n}": m for n, m in (mask or {}).items()}
        found[result.run.name] = (repr(result.curves), bits(tensors), store.snapshots(result.run))
    return found


class Counted(Bar):
    """A bar that can be looked at after its end."""

    def __init__(self, *args):
        super().__init__(*args)
        type(self).last = self


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("one") / "store")
    execute(GRAPH, store, workers=1, quiet=True)
    return store


def test_every_run_and_ancestor_is_in_the_store_after(in_one_process):
    todo = plan(GRAPH, Store(in_one_process.folder / "empty"))
    assert {result.run for result in in_one_process} == set(todo.runs)
    assert in_one_process.snapshots(DENSE) == {1}
    assert plan(GRAPH, in_one_process).todo == ()


def test_two_workers_give_the_same_bits_as_one_process_whatever_fails_and_dies_beside_them(
    in_one_process, store, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sweep, "Bar", Counted)
    token = tmp_path / "not yet"
    token.touch()
    monkeypatch.setenv("LTHPAPER_TEST_DEADLY", str(token))
    monkeypatch.setenv("LTHPAPER_TEST_PROCESS", str(os.getpid()))  # which stays alive
    deadly_once = pretraining(Task(f"{__name__}:deadly", "digits", train_images=60), RECIPE)
    with pytest.raises(InputError, match="LookupError: a network that cannot be built"):
        execute([lt_imp(failing_dense(), 2), deadly_once, *GRAPH], store, workers=2)
    assert not token.exists()
    found = contents(store)
    assert found.pop(deadly_once.name)
    assert found == contents(in_one_process)
    wishes = [*GRAPH, deadly_once]
    assert (
        Counted.last.network_epochs
        == Counted.last.total
        == plan(wishes, Store(tmp_path / "none")).network_epochs
    )


def test_the_order_of_the_wishes_changes_nothing(in_one_process, store):
    execute([GRAPH[4]], store, workers=1, quiet=True)
    execute(GRAPH[::-1], store, workers=1, quiet=True)
    assert contents(store) == contents(in_one_process)


def test_a_second_execution_does_nothing(in_one_process):
    before = {p: p.stat().st_mtime_ns for p in in_one_process.folder.rglob("*")}
    assert execute(GRAPH, in_one_process, workers=2, quiet=True).todo == ()
    assert {p: p.stat().st_mtime_ns for p in in_one_process.folder.rglob("*")} == before


def count_trainings(monkeypatch) -> list[Run]:
    trained = []
    real = sweep.train

    def counting(runs, *rest, **named):
        trained.extend(runs)
        return real(runs, *rest, **named)

    monkeypatch.setattr(sweep, "train", counting)
    return trained


def test_what_the_store_has_is_never_trained_again(store, monkeypatch):
    execute([lt_imp(DENSE, 1)], store, workers=1, quiet=True)
    trained = count_trainings(monkeypatch)
    execute([lt_imp(DENSE, 2), DENSE], store, workers=1, quiet=True)
    assert trained == [lt_imp(DENSE, 2)]


def test_what_another_process_stored_meanwhile_is_not_trained_again(store, monkeypatch):
    late = plan([DENSE, DENSE.with_(seed=1)], store)
    execute([DENSE], store, workers=1, quiet=True)
    trained = count_trainings(monkeypatch)
    with Bar(late, quiet=True) as bar:
        sweep._Execution(late, store, None, "cpu", 1, bar, Stopping()).finish()
    assert trained == [DENSE.with_(seed=1)]


def test_every_run_is_trained_exactly_once(store, monkeypatch):
    trained = count_trainings(monkeypatch)
    made = execute(GRAPH, store, workers=1, quiet=True)
    assert len(trained) == len(set(trained))
    assert set(trained) == set(made.todo)


# --- failures ---


def test_a_failing_run_stops_only_what_depends_on_it_and_is_raised_at_the_end(store):
    bad = failing_dense()
    good = [lt_imp(DENSE, 1), lt_omp(DENSE, 0.5)]
    with pytest.raises(InputError, match="LookupError: a network that cannot be built"):
        execute([lt_imp(bad, 2), *good], store, workers=1, quiet=True)
    assert {result.run for result in store} == {DENSE, *good}


def test_a_pack_mate_of_a_failing_run_is_trained(store):
    parents = [DENSE, DENSE.with_(seed=1)]
    execute(parents, store, workers=1, quiet=True)
    (store.path(parents[0]) / WEIGHTS).write_bytes(b"damaged")
    children = [lt_omp(parent, 0.5) for parent in parents]
    with pytest.raises(InputError, match=f"{parents[0].name}/{WEIGHTS}"):
        execute([*children, lt_imp(parents[0], 3)], store, workers=1, quiet=True)
    assert children[1] in store
    assert children[0] not in store
    assert lt_imp(parents[0], 2) not in store


def test_a_result_that_cannot_be_read_is_named_also_where_nothing_is_left_to_train(store):
    execute([DENSE], store, workers=1, quiet=True)
    (store.path(DENSE) / RESULT).write_text("{")
    with pytest.raises(InputError, match=DENSE.name):
        execute([DENSE], store, workers=1, quiet=True)


def test_a_store_that_cannot_be_written_ends_everything_at_once(store, monkeypatch):
    def put(*args):
        raise Unwritable("The store is full.")

    monkeypatch.setattr(Store, "put", put)
    trained = count_trainings(monkeypatch)
    with pytest.raises(Unwritable):
        execute([lt_imp(DENSE.with_(seed=seed), 1) for seed in range(3)], store, workers=1, quiet=True)
    assert len(trained) == len(set(trained)) == 3


# --- progress ---


def test_the_bar_reaches_its_total(store, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "Bar", Counted)
    made = execute([lt_imp(DENSE, 1), DENSE.with_(seed=3)], store, workers=1)
    assert Counted.last.network_epochs == Counted.last.total == made.network_epochs == 6
    assert "network-epochs" in capsys.readouterr().err


def test_the_bar_reaches_its_total_where_some_runs_fail(store, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "Bar", Counted)
    with pytest.raises(InputError):
        execute([lt_imp(failing_dense(), 2), DENSE], store, workers=1)
    assert Counted.last.network_epochs == Counted.last.total == 2


@pytest.mark.parametrize("workers", [0, -3])
def test_a_number_of_workers_below_one_is_refused_before_anything_starts(store, workers):
    with pytest.raises(InputError, match="number of workers"):
        execute([DENSE], store, workers=workers)
    assert not store.folder.exists()


def test_a_missing_data_set_is_said_before_anything_starts(store, tmp_path):
    run = pretraining(Task("resnet20", "cifar10"), RECIPE)
    with pytest.raises(InputError):
        execute([run, DENSE], store, data_root=tmp_path / "no data", workers=1, quiet=True)
    assert not store.folder.exists()


def test_results_on_another_copy_of_the_data_are_not_built_upon(store, monkeypatch):
    execute([DENSE], store, workers=1, quiet=True)
    load = sweep.data.load
    monkeypatch.setattr(sweep.data, "load", lambda *args: replace(load(*args), fingerprint="another copy"))
    with pytest.raises(InputError, match="another copy of digits"):
        execute([lt_omp(DENSE, 0.9)], store, workers=1, quiet=True)
    assert lt_omp(DENSE, 0.9) not in store


def test_a_process_that_reads_another_copy_of_the_data_trains_nothing(store, monkeypatch):
    load, perform = sweep.data.load, sweep.perform

    def elsewhere(*args):
        monkeypatch.setattr(
            sweep.data, "load", lambda *args: replace(load(*args), fingerprint="another copy")
        )
        perform(*args)

    monkeypatch.setattr(sweep, "perform", elsewhere)
    with pytest.raises(InputError, match="another copy than the command's"):
        execute([DENSE], store, workers=1, quiet=True)
    assert DENSE not in store


def test_the_error_of_a_run_that_failed_names_its_log(store, monkeypatch):
    def failing(*args, **named):
        raise LookupError("no such layer")

    monkeypatch.setattr(sweep, "train", failing)
    with pytest.raises(WorkFailed) as raised:
        execute([DENSE], store, workers=1, quiet=True)
    assert "no such layer" in Path(raised.value.log).read_text()


def test_after_an_error_the_gpu_itself_says_whether_it_is_lost(monkeypatch):
    def fail(device: str) -> None:
        with sweep._gpu_watched(device):
            raise RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED")

    def dead(device: str) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    for device, synchronize in (("cuda:1", lambda device: None), ("cpu", dead)):
        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
        with pytest.raises(RuntimeError, match="NOT_SUPPORTED") as said:
            fail(device)
        assert not isinstance(said.value, GpuLost)
    with pytest.raises(GpuLost, match=r"(?s)NOT_SUPPORTED.*run the same command again"):
        fail("cuda:1")
