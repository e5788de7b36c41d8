"""On a Ray cluster the same runs give the same bits; processes, nodes and drivers may die."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
from ray.cluster_utils import Cluster  # noqa: E402

from lthpaper import locations  # noqa: E402
from lthpaper.errors import InputError, Stopped, require  # noqa: E402
from lthpaper.runs.recipe import Recipe  # noqa: E402
from lthpaper.runs.run import Run, to_json  # noqa: E402
from lthpaper.runs.settings import lt_imp, lt_omp, pretraining, rewound  # noqa: E402
from lthpaper.runs.task import Task  # noqa: E402
from lthpaper.store import transfer  # noqa: E402
from lthpaper.store.checkpoints import Checkpoints  # noqa: E402
from lthpaper.store.entry import Unwritable  # noqa: E402
from lthpaper.store.logs import log_of  # noqa: E402
from lthpaper.store.store import Store  # noqa: E402
from lthpaper.sweep import ray_driver as on_ray  # noqa: E402
from lthpaper.sweep import ray_node  # noqa: E402
from lthpaper.sweep.execute import execute, perform  # noqa: E402
from lthpaper.sweep.executor import GpuLost, Job, WorkerDied  # noqa: E402
from lthpaper.sweep.plan import plan  # noqa: E402
from lthpaper.sweep.ray_address import device_of  # noqa: E402
from lthpaper.sweep.ray_driver import RayWorkers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # Ray's own warnings

TASK = Task("resnet8", "digits", width=0.25, train_images=100)
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=50, milestones=(1,))
DENSE = pretraining(TASK, RECIPE)
GRAPH = [
    rewound(lt_imp(DENSE, 2), DENSE, 1),
    *(lt_omp(pretraining(TASK, RECIPE, seed), 0.5) for seed in (1, 2)),
    pretraining(TASK, RECIPE.with_(lr=1e8), 3),  # diverges, which is a result
]
LONG = pretraining(TASK, RECIPE.with_(epochs=60, milestones=(50,)), 7)  # some seconds


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A cluster on this machine, of one node with two cores; the images of `far_images` are not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTHPAPER_CHECKPOINT_SECONDS", "0.1")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else this machine does is not the test's
        patch.setenv("RAY_agent_register_timeout_ms", "600000")
        patch.setenv("RAY_worker_niceness", "0")  # at Ray's 15 they starve beside other programs
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the bad networks are
        patch.delenv("IMAGES_ARE_HERE", raising=False)
        on_ray.ray()
        patch.setattr(on_ray, "SECONDS_BETWEEN_LOOKS", 0.5)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture(scope="module")
def without_ray(tmp_path_factory) -> Store:
    """The graph, trained in this process."""
    store = Store(tmp_path_factory.mktemp("without") / "store")
    execute([*GRAPH, LONG], store, workers=1, quiet=True)
    return store


@pytest.fixture
def nothing_shared(monkeypatch):
    """No node sees the file by which it would know the driver's folder."""
    monkeypatch.setattr(RayWorkers, "_mark", lambda self, store: "a file that is not there")


def on(store: Store, *runs: Run, **more) -> None:
    execute(runs, store, quiet=True, on="ray", **more)


def bits(store: Store, *runs: Run) -> dict[str, bytes]:
    """Every weight, mask and snapshot of runs and their ancestors."""
    names = {run.name for run in plan(runs, Store("nowhere")).runs}
    files = [path for name in names for path in (store.folder / name).glob("*.safetensors")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


def wait_until(true: Callable[[], object], seconds: float = 1800) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def process_of(task: str) -> list[int]:
    """Processes that do a task of Ray's now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(f"ray::{task}".encode()):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def begun(store: Store, run: Run) -> int:
    """How often a training of the run began."""
    path = log_of(store.folder, run)
    return path.read_text().count("begins in a pack") if path.exists() else 0


def ended(store: Store, run: Run) -> int:
    """How often a training of the run came to its last epoch."""
    last = f" {run.recipe.epochs} of {run.recipe.epochs} epochs"
    return log_of(store.folder, run).read_text().count(last)


def test_the_same_bits_as_without_ray_and_a_run_that_fails_is_reported_with_its_log(
    nodes, store, without_ray
):
    failing = pretraining(Task("bad_networks:failing", "digits"), RECIPE)
    with pytest.raises(InputError, match="LookupError: no such layer"):
        on(store, lt_imp(failing, 1), *GRAPH)
    assert bits(store, *GRAPH) == bits(without_ray, *GRAPH)
    assert math.isnan(store.get(GRAPH[-1]).accuracy)  # and there
    assert lt_imp(failing, 1) not in store
    assert "LookupError: no such layer" in log_of(store.folder, failing).read_text()
    assert not list(store.folder.glob(".shared-*"))


@pytest.mark.usefixtures("nothing_shared")
def test_a_lost_node_and_a_killed_process_lose_nothing_and_results_come_back(nodes, store, without_ray):
    runs = [LONG, *GRAPH]
    more = nodes.add_node(num_cpus=1)
    with RayWorkers("ray") as workers:
        wait_until(lambda: workers.count == 3)
        assert workers.limits(LONG) == (2, 8)
    training = threading.Thread(target=on, args=(store, *runs))
    training.start()
    wait_until(lambda: len(process_of("work")) >= 3)
    nodes.remove_node(more, allow_graceful=False)
    wait_until(lambda: Checkpoints(store.folder).position(LONG) > (0, 0))
    for process in process_of("work"):
        os.kill(process, signal.SIGKILL)
    training.join(1800)
    assert bits(store, *runs) == bits(without_ray, *runs)
    killed = "The process that trained on"
    for run in plan(runs, Store("nowhere")).runs:  # killed after its last epoch, one comes to it again
        assert ended(store, run) == 1 or killed in log_of(store.folder, run).read_text()
    assert begun(store, LONG) > 1
    assert killed in log_of(store.folder, LONG).read_text()
    assert store.get(LONG).provenance["resumed"]
    assert not list(store.folder.glob(".checkpoints/*"))


DRIVER = """
import json, sys
from lthpaper.runs.run import from_json
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute

execute([from_json(json.loads(sys.argv[3]))], Store(sys.argv[2]), quiet=True, on=f"ray:{sys.argv[1]}")
"""


def test_after_a_killed_driver_and_one_that_asked_to_stop_a_third_goes_on(nodes, store, without_ray):
    words = [sys.executable, "-c", DRIVER, nodes.address, str(store.folder), json.dumps(to_json(LONG))]
    driver = subprocess.Popen(words)
    try:
        wait_until(lambda: Checkpoints(store.folder).position(LONG) > (0, 0))
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not process_of("work"))
    before = Checkpoints(store.folder).position(LONG)
    told = []
    with RayWorkers("ray", tell=lambda number, count: told.append(count)) as workers:
        workers.submit(1, Job((to_json(LONG),), ((),), str(store.folder), None, None, "cpu"), perform)
        wait_until(lambda: list(workers.done()) or told)
        workers.stop()
        ((number, error),) = finished(workers)
    assert (number, type(error)) == (1, Stopped)
    assert Checkpoints(store.folder).position(LONG) > before
    assert LONG not in store
    on(store, LONG)
    assert bits(store, LONG) == bits(without_ray, LONG)
    assert ended(store, LONG) == 1
    assert store.get(LONG).provenance["resumed"]


def finished(workers: RayWorkers) -> list[tuple[int, Exception | None]]:
    while True:
        if answers := list(workers.done()):
            return answers


def lose_gpu(job: Job, on_epoch: Callable, stop: Callable[[], bool]) -> None:
    raise GpuLost("an illegal memory access")


def test_an_error_after_which_a_gpu_cannot_be_used_ends_the_process_on_its_node(nodes, store):
    with RayWorkers("ray") as workers:
        workers.submit(1, Job((to_json(DENSE),), ((),), str(store.folder), None, None, "cpu"), lose_gpu)
        ((_, error),) = finished(workers)
    assert isinstance(error, WorkerDied)


def test_a_store_that_cannot_be_written_is_known_as_such_to_the_driver():
    def work(job: Job, on_epoch: Callable, stop: Callable[[], bool]) -> None:
        raise Unwritable("The store is full.")

    watch = SimpleNamespace(stop=lambda: False, on_epoch=None)
    assert isinstance(ray_node._error(None, work, watch), Unwritable)  # which ends the execution


def test_images_that_no_node_has_cost_the_runs_on_them_and_no_others(nodes, store, monkeypatch):
    monkeypatch.setenv("IMAGES_ARE_HERE", "1")  # to the driver; the nodes were started without
    task = Task("resnet8", "far_images:images", width=0.25)
    lost = [pretraining(task, RECIPE.with_(epochs=epochs)) for epochs in (8, 9)]  # of two packs, both first
    with pytest.raises(InputError, match=r"No node .* far_images:images on cpu.*They lie.*LTHPAPER_DATA"):
        on(store, *lost, DENSE)
    assert DENSE in store
    assert not any(run in store for run in lost)


def test_a_node_looks_for_custom_images_where_the_check_was_told_to(nodes, store, tmp_path, monkeypatch):
    name = "far_images:in_folder"
    (tmp_path / "digits").touch()
    monkeypatch.setattr(locations, "CUSTOM_DATA", {})
    locations.look_for_custom_data(name, tmp_path)  # as `check` does
    theirs = pretraining(Task("resnet8", name, width=0.25), RECIPE)
    on(store, theirs, data_root=tmp_path)
    assert theirs in store


def test_a_node_reads_its_own_images_where_the_commands_folder_has_none_or_another_copy(
    tmp_path, monkeypatch
):
    def load(name: str, root: str | None, *division: int) -> SimpleNamespace:
        require(root != str(tmp_path / "empty"), "It has no images.")
        return SimpleNamespace(fingerprint="ours" if root is None else "theirs")

    monkeypatch.setattr(ray_node.data, "load", load)
    job = Job((to_json(DENSE),), ((),), str(tmp_path), None, None, "cpu", fingerprint="ours")
    for name in ("empty", "theirs"):
        (tmp_path / name).mkdir()
        assert ray_node._images_root(replace(job, data_root=str(tmp_path / name)), TASK) is None
    unfit, _ = ray_node.work(
        1, replace(job, fingerprint="others"), perform, {}, "", None, ray_node.about_here()
    )
    assert unfit.what == "digits"
    assert "another copy (fingerprint ours; the driver's has others)" in unfit.why


def test_a_node_without_the_stores_folder_asks_for_the_files(tmp_path):
    job = Job((to_json(DENSE),), ((),), str(tmp_path / "not there"), None, None, "cpu")
    unfit, _ = ray_node.work(1, job, perform, None, "a marker", None, ray_node.about_here())
    assert unfit.what == ray_node.FOLDER


def test_what_no_node_can_measure_or_train_is_an_error_of_its_run(nodes, store, monkeypatch):
    monkeypatch.setattr(on_ray, "SECONDS_TO_JOIN", 0.0)
    job = Job((to_json(DENSE),), ((),), str(store.folder), None, None, "cuda")
    with RayWorkers("ray", "cuda") as workers:  # nodes have no GPUs here
        assert workers.limits(DENSE) == (1, 1)
        workers.submit(1, job, perform)
        workers.submit(2, job, perform)
        answers = list(workers.done())
    assert [number for number, _ in answers] == [1, 2]
    assert all(isinstance(e, InputError) and "No node of the cluster" in str(e) for _, e in answers)


@pytest.mark.parametrize("text", ["dask", "ray:", "raytoo", "ray-auto:1"])
def test_a_cluster_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="does not name a cluster; write ray"):
        RayWorkers(text)


def test_a_cluster_that_does_not_answer_is_said_at_once(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InputError, match=r"no Ray cluster at 'localhost:9' .*`ray start --head`"):
        RayWorkers("ray:localhost:9").__enter__()


def test_a_cluster_without_gpus_trains_on_its_cores(nodes):
    assert device_of("ray", "auto") == "cpu"
    assert device_of("ray", "cuda") == "cuda"


def test_without_ray_the_extra_is_named(monkeypatch, store):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install -e '\.\[cluster\]'"):
        on(store, DENSE)


def test_what_comes_from_another_machine_is_checked(store, without_ray):
    parcel = transfer.results([DENSE], without_ray.folder)
    strange = (
        "../outside",
        f"{DENSE.name}/../../outside",
        f"{LONG.name}/run.json",
        "x/run.json",
        "/outside",
    )
    transfer.take_in(parcel | dict.fromkeys(strange, b"{}"), store, [DENSE])
    assert bits(store, DENSE) == bits(without_ray, DENSE)
    there = {path.name for path in store.folder.parent.rglob("*")}
    assert there == {"store", DENSE.name, ".logs", log_of(store.folder, DENSE).name} | {
        name.partition("/")[2] for name in parcel if name.startswith(DENSE.name)
    }
    weights = f"{DENSE.name}/weights.safetensors"
    changed = parcel | {weights: parcel[weights][:-1] + b"x"}
    with pytest.raises(InputError, match="is refused"):
        transfer.take_in(changed, Store(store.folder / "other"), [DENSE])


def test_the_recipe_for_a_cloud_is_one_that_ray_reads():
    jsonschema = pytest.importorskip("jsonschema")  # Ray's own requirement
    recipe = Path(__file__).parents[2] / "docs" / "cluster" / "aws.yaml"
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(yaml.safe_load(recipe.read_text()), json.loads(schema.read_text()))


@pytest.mark.parametrize("script", ["one-node.sbatch", "ray.sbatch"])
def test_the_scripts_for_slurm_are_shell(script):
    path = Path(__file__).parents[2] / "docs" / "cluster" / script
    subprocess.run(["bash", "-n", str(path)], check=True)
