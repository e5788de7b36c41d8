"""SIGKILL before every single step that an operation takes on the disk, one fork a step.

CPython says by its audit hooks when a file is about to be opened for writing, renamed, removed, made. A fork
counts these and kills itself before the n-th; n rises until the operation gets through. So every order in
which the disk can be left by a process that dies is met, not only those that chance finds. What a library
writes in between (safetensors' file grows in Rust) is met by killing at random moments.
"""

import collections
import contextlib
import dataclasses
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Task
from lthpaper.runs.settings import lt_omp, pretraining
from lthpaper.store import prune
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.entry import MASK, RESULT, WEIGHTS, file_checksum, read_result
from lthpaper.store.store import Store
from lthpaper.training.loop import Trained
from lthpaper.training.start import Checkpoint, initial_weights

DENSE = pretraining(Task("mlp", "digits", width=0.25), Recipe(epochs=2, milestones=(1,)), 0)
SUB = lt_omp(DENSE, 0.6)
STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
Operation = Iterator[Callable[[], object] | str]  # first what to do, then what is wrong after it was killed
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def killed_before(step: int, do: Callable[[], None]) -> bool:
    """Do it in a fork that is killed before its n-th step; False if it took fewer and got through."""
    pid = os.fork()
    if not pid:
        left, status = [step], 1

        def count(event: str, arguments: tuple) -> None:
            if event in STEPS or (event == "open" and (arguments[2] or 0) & CHANGES):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            sys.addaudithook(count)
            do()
            status = 0
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the operation itself failed with status {status}")
    return status != 0


def trained(run, snapshots: tuple[int, ...] = ()) -> Trained:
    """What a training would leave, with weights that no training was needed for."""
    weights = {n: w + 0.01 * (run is SUB) for n, w in initial_weights(DENSE).items()}
    mask = {n: weights[n] > 0 for n in run.task.prunable_weights} if run is SUB else None
    curves = {name: [2.0, 1.0] for name in ("train_loss", "test_loss", "test_accuracy")}
    return Trained(run, weights, mask, curves, dict.fromkeys(snapshots, weights), 1.0, 1, "")


def checkpoint(epoch: int) -> Checkpoint:
    """One of a run under way."""
    weights = {n: w + epoch for n, w in initial_weights(DENSE).items()}
    curves = {name: [1.0] * epoch for name in ("train_loss", "test_loss", "test_accuracy")}
    parts = {"weights": weights, "velocity": {n: w / 2 for n, w in weights.items()}, "snapshots": {}}
    place = {"epoch": epoch, "step": 0, "loss": 0.0, "curves": curves}
    about = {"start": "", "seconds": 1.0, "devices": ("cpu",)}
    known = {f.name for f in dataclasses.fields(Checkpoint)}
    return Checkpoint(**{name: value for name, value in (parts | place | about).items() if name in known})


def files(folder: Path) -> dict[str, str]:
    """Path in the store -> checksum, drafts left out."""
    return {
        str(path.relative_to(folder)): file_checksum(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not str(path.relative_to(folder)).startswith(".draft")
    }


def filled(folder: Path) -> Store:
    """A store of two runs with snapshots, and a checkpoint of one that is done."""
    store = Store(folder)
    for run in (DENSE, SUB):
        store.put(trained(run, (0, 1)), "abc", {"device": "a processor"})
    Checkpoints(folder).save(DENSE, checkpoint(1), "abc")
    return store


# --- the operations, each with what must hold whenever it is killed ---


def merging(here: Path) -> Operation:
    """`store merge` into an empty store: entries whole or absent, the source untouched."""
    other, target = filled(here / "other"), Store(here / "store")
    source = {f: sha for f, sha in files(other.folder).items() if not f.startswith(".")}
    yield lambda: list(prune.bring(other.folder, target))
    found = files(target.folder) if target.folder.exists() else {}
    if not found.items() <= source.items() or any(
        not {f for f in source if f.startswith(name)} <= found.keys() for name in prune.names(target.folder)
    ):
        yield "half an entry came in"
    list(prune.bring(other.folder, target))
    if files(target.folder) != source:
        yield "it does not go on"


def exporting(here: Path) -> Operation:
    """`store export --no-weights`."""
    own, target = filled(here / "store"), Store(here / "export")
    before = files(own.folder)
    yield lambda: list(prune.bring(own.folder, target, weights=False))
    if files(own.folder) != before:
        yield "the store was changed"
    list(prune.bring(own.folder, target, weights=False))
    if {c.status for c in prune.check_store(target)} - {prune.LEAN, prune.DRAFT}:
        yield "it does not go on"
    if any(read_result(target.folder / name)["left_out"] == [] for name in prune.names(target.folder)):
        yield "what was left out is not said"


def completing(here: Path) -> Operation:
    """`store merge` of weights and snapshots into entries that lack them."""
    other, target = filled(here / "other"), Store(here / "store")
    list(prune.bring(other.folder, target, weights=False))
    yield lambda: list(prune.bring(other.folder, target))
    list(prune.bring(other.folder, target))
    for name in prune.names(target.folder):
        ours, theirs = (
            {f.name: file_checksum(f) for f in (s.folder / name).iterdir()} for s in (target, other)
        )
        if {f: sha for f, sha in ours.items() if f != RESULT} != {
            f: sha for f, sha in theirs.items() if f != RESULT
        }:
            yield "it does not go on"


def pruning(here: Path) -> Operation:
    """`store prune --weights --checkpoints --yes`: results stay readable throughout."""
    store = filled(here / "store")
    results = {r.run: (r.curves, r.kept) for r in store}
    chosen = {"weights": True, "checkpoints": True, "orphans": True}
    yield lambda: prune.remove(store, prune.removals(store, **chosen))
    if {r.run: (r.curves, r.kept) for r in store} != results:
        yield "a result was lost"
    prune.remove(store, prune.removals(store, **chosen))
    if any(f.endswith((WEIGHTS, MASK, ".part")) or "/." in f for f in files(store.folder)):
        yield "it does not go on"


def deleting(here: Path) -> Operation:
    """`store prune --entries --only … --yes`: whole or gone, the other entry as it was."""
    store = filled(here / "store")
    before = files(store.folder)
    yield lambda: prune.remove(store, prune.removals(store, SUB.name, entries=True))
    left = files(store.folder)
    if left not in (before, {f: sha for f, sha in before.items() if not f.startswith(SUB.name)}):
        yield "half an entry was deleted"


def repairing(here: Path) -> Operation:
    """`store repair`: every byte is still somewhere."""
    store = filled(here / "store")
    (store.path(SUB) / RESULT).write_text("{")
    next(store.path(DENSE).glob("epoch-0001-*")).write_text("")
    before = sorted(files(store.folder).values())
    yield lambda: prune.repair(store)
    if sorted(files(store.folder).values()) != before:
        yield "a file was lost"
    prune.repair(store)
    if sorted(files(store.folder).values()) != before or prune.DAMAGED in {
        c.status for c in prune.check_store(store)
    }:
        yield "it does not go on"


def putting(here: Path) -> Operation:
    """A result being written: whole or absent."""
    store = Store(here / "store")
    store.put(trained(DENSE), "abc", {})
    before = files(store.folder)
    yield lambda: store.put(trained(SUB, (0, 1)), "abc", {})
    if not before.items() <= files(store.folder).items():
        yield "another entry was changed"
    store.put(trained(SUB, (0, 1)), "abc", {})
    if (SUB not in store) or store.snapshots(SUB) != {0, 1}:
        yield "it does not go on"


def checkpointing(here: Path) -> Operation:
    """A checkpoint being replaced: the old or the new."""
    Checkpoints(here / "store").save(SUB, checkpoint(1), "abc")
    yield lambda: Checkpoints(here / "store").save(SUB, checkpoint(2), "abc")
    found = Checkpoints(here / "store").load(SUB, "abc")
    if found is None or found.epoch not in (1, 2):
        yield "the checkpoint was lost"


OPERATIONS = {
    "merge": merging,
    "export": exporting,
    "merge of weights": completing,
    "prune of weights": pruning,
    "prune of entries": deleting,
    "repair": repairing,
    "put": putting,
    "checkpoint": checkpointing,
}
SOUND = {prune.GOOD, prune.LEAN, prune.DRAFT, prune.ORPHAN}
SOUND |= {prune.CHECKPOINT, prune.DONE}


def every_point(folder: Path, most: int, losses: list[str]) -> collections.Counter:
    """Kill every operation before each of its steps (most of them, if not 0); returns how many kills each."""
    kills: collections.Counter = collections.Counter()
    for name, operation in OPERATIONS.items():
        step, killed = 0, True
        while killed and not (most and kills[name] >= most):
            step += 1
            here = folder / f"{name}-{step}"
            sound = SOUND | ({prune.DAMAGED} if operation is repairing else set())
            faults = operation(here)
            killed = killed_before(step, next(faults))
            for place in filter(Path.is_dir, here.iterdir()):
                seen = [c for c in prune.check_store(Store(place)) if c.status not in sound]
                losses += [f"{name}, killed before step {step}: {c.name} {c.what}" for c in seen]
            losses += [f"{name}, killed before step {step}: {fault}" for fault in faults]
            kills[name] += killed
            shutil.rmtree(here)
    return kills
