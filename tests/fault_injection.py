"""Kills the real command again and again, and looks at what it leaves: `make faults`.

    python tests/fault_injection.py --kills 200 --real 40 --seed 1

Three ways, each with its own counts in the table that is printed:
- processes: `lthpaper run` with two workers as a shell starts it, ended by SIGKILL (all of it, the parent
  alone, one worker), SIGTERM or SIGUSR1 at a random moment;
- forks: the same command with one worker in a fork of this process, which saves the imports, ended by
  SIGKILL at a random moment;
- crash points: `store merge`, `export`, `prune`, `repair`, a result and a checkpoint being written, each
  ended by SIGKILL before every single step it takes on the disk (crash_points.py).

After each: nothing in the store is damaged, and what was whole before is still there, byte for byte. Then the
command goes on; in the end every weight has the bits of a training that nobody disturbed.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lthpaper import data
from lthpaper.cli import main as cli
from lthpaper.provenance import provenance
from lthpaper.store.check import DAMAGED, FOREIGN, GOOD, check_store, names
from lthpaper.store.entry import RUN, SNAPSHOT, file_checksum, read_result
from lthpaper.store.store import Store
from lthpaper.sweep import stopping

# pretraining, IMP, OMP, rewinding and its snapshots, fine-tuning: every kind of run, in a few seconds
WORDS = ["run", "appendix-d", "--scale", "smoke", "--set", "rounds=1", "--set", "learning_rates=0.05,0.1"]
WORDS += ["--set", "network=mlp", "--device", "cpu", "--quiet"]
BRIEF, LONG = [*WORDS, "--set", "epochs=4"], [*WORDS, "--set", "epochs=12"]  # of forks, of processes
OFTEN = "0.02"  # seconds between checkpoints
EXPECTED = {  # statuses: a worker's death is mended or reported; a process that is asked to stop ends cleanly
    "": {0},
    "SIGKILL to all": {-signal.SIGKILL},
    "SIGKILL to the parent": {-signal.SIGKILL},
    "SIGKILL to a worker": {0, 2},
    "SIGTERM": {0, stopping.STATUS},
    "SIGUSR1": {0, stopping.STATUS},
}
WAYS = tuple(how for how in EXPECTED if how)


@dataclass
class Tally:
    """What was done, and what came of it."""

    kills: collections.Counter = field(default_factory=collections.Counter)
    statuses: collections.Counter = field(default_factory=collections.Counter)
    resumed: int = 0  # starts that found checkpoints
    finished: int = 0  # stores that were trained to the end and compared
    weights: int = 0  # files of weights, masks and snapshots that were compared bit for bit
    checks: int = 0  # entries checked after a kill
    losses: list[str] = field(default_factory=list)


# --- what must hold after every kill ---


def contents(folder: Path) -> dict[str, str]:
    """Every file of every entry and its checksum."""
    return {
        f"{name}/{path.name}": file_checksum(path)
        for name in names(folder)
        for path in (folder / name).iterdir()
    }


def look(folder: Path, before: dict[str, str], tally: Tally) -> dict[str, str]:
    """Check a store after a kill; returns what is in it now."""
    for checked in check_store(Store(folder)):
        tally.checks += checked.status == GOOD
        if checked.status in (DAMAGED, FOREIGN):
            tally.losses.append(f"{checked.name}: {checked.what}")
    now = contents(folder)
    tally.losses += [f"{file} is not what it was" for file, sha in before.items() if now.get(file) != sha]
    return now


def results(folder: Path) -> dict[str, tuple]:
    """The parts of each entry that depend on the training alone: curves, checksums of tensors, snapshots."""
    found = {}
    for name in names(folder):
        result = read_result(folder / name)
        tensors = tuple(sorted((n, sha) for n, sha in result["files"].items() if n != RUN))
        snapshots = tuple(sorted(p.name for p in (folder / name).iterdir() if SNAPSHOT.fullmatch(p.name)))
        found[name] = (result["curves"], result["kept"], tensors, snapshots)
    return found


def compare(folder: Path, reference: dict[str, tuple], tally: Tally) -> None:
    """Every bit of a store that was finished after kills, against the undisturbed one."""
    found = results(folder)
    tally.finished += 1
    tally.weights += sum(len(tensors) + len(snapshots) for *_, tensors, snapshots in found.values())
    for name in reference.keys() | found.keys():
        if reference.get(name) != found.get(name):
            tally.losses.append(f"{folder.name}/{name} has other bits than without a kill")


# --- forks: the command without its imports ---


def forked(words: list[str], log: Path) -> int:
    """The pid of a fork that does what the command does with these words."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    with contextlib.suppress(BaseException):
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1), os.dup2(output, 2)
        sys.argv = ["lthpaper", *words]
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
    os._exit(status)


def ended(pid: int) -> int:
    """The status of a fork, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_forks(
    kills: int, folder: Path, chance: random.Random, tally: Tally, reference: dict, seconds: float
):
    """One worker, in a fork; SIGKILL at a random moment."""
    store, before, number = folder / "fork-0", {}, 0
    while tally.kills["fork: SIGKILL"] < kills:
        tally.resumed += any((store / ".checkpoints").glob("*.safetensors"))
        pid = forked([*BRIEF, "--workers", "1", "--store", str(store)], folder / "log")
        time.sleep(chance.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        status = ended(pid)
        print(f"fork: status {status}", file=sys.stderr, flush=True)
        tally.kills["fork: SIGKILL"] += status == -signal.SIGKILL
        if status not in (0, -signal.SIGKILL):
            tally.losses.append(f"status {status}: {(folder / 'log').read_text()[-2000:]}")
            return
        before = look(store, before, tally)
        if status == 0:
            compare(store, reference, tally)
            number, before = number + 1, {}
            store = folder / f"fork-{number}"
    if ended(forked([*BRIEF, "--workers", "1", "--store", str(store)], folder / "log")):
        tally.losses.append(f"it does not go on: {(folder / 'log').read_text()[-2000:]}")
    compare(store, reference, tally)


# --- processes: the command as a shell starts it ---


def below(pid: int) -> list[int]:
    """The processes of a group but its leader, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(group) == pid and state != "Z" and int(stat.parent.name) != pid:
                found.append(int(stat.parent.name))
    return sorted(found)


def workers(pid: int) -> list[int]:
    """The processes of a group that train; not multiprocessing's own."""
    return [p for p in below(pid) if b"resource_tracker" not in Path(f"/proc/{p}/cmdline").read_bytes()]


def strike(process: subprocess.Popen, how: str, chance: random.Random) -> str:
    """End a command in one of WAYS; returns which it was, "" if it had ended by itself."""
    found = workers(process.pid)
    if how == "SIGKILL to a worker" and not found:  # two runs are left, or one: no workers are needed
        how = "SIGKILL to all"
    try:
        match how:
            case "SIGKILL to all":
                os.killpg(process.pid, signal.SIGKILL)
            case "SIGKILL to a worker":
                os.kill(chance.choice(found), signal.SIGKILL)
            case "SIGKILL to the parent":
                process.kill()
            case _:
                process.send_signal(signal.Signals[how])
    except ProcessLookupError:
        return ""
    return how


def at_work(store: Path, since: float) -> bool:
    """Whether anything was written since then: a checkpoint, an entry."""
    written = [*store.glob(".checkpoints/*"), *store.glob("*")]
    with contextlib.suppress(FileNotFoundError):
        return any(path.stat().st_mtime > since for path in written)
    return True


def started(store: Path, log: Path) -> subprocess.Popen:
    """The command with two workers, its own group of processes."""
    words = [sys.executable, "-m", "lthpaper", *LONG, "--workers", "2", "--store", str(store)]
    with open(log, "w") as output:
        return subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)


def disturbed(store: Path, log: Path, how: str, chance: random.Random) -> tuple[str, int, list[int]]:
    """One start: how it was struck ("" if it was not), its status, the processes that it left behind."""
    since, struck = time.time(), ""
    process = started(store, log)
    if how:
        while process.poll() is None and not at_work(store, since):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 3))
        if process.poll() is None:
            struck = strike(process, how, chance)
    status, until = process.wait(1800), time.monotonic() + 600
    while (left := below(process.pid)) and time.monotonic() < until:
        time.sleep(0.02)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return struck, status, left


def kill_processes(kills: int, folder: Path, chance: random.Random, tally: Tally, reference: dict) -> None:
    """Two workers, in processes of their own; all WAYS in turn, once they are at work."""
    store, before, number, log = folder / "real-0", {}, 0, folder / "log"
    while True:
        tally.resumed += any((store / ".checkpoints").glob("*.safetensors"))
        struck = sum(tally.kills[way] for way in WAYS)
        how, status, left = disturbed(store, log, WAYS[struck % len(WAYS)] if struck < kills else "", chance)
        tally.kills.update([how] if how else [])
        tally.statuses[f"{how or 'undisturbed'}: {status}"] += 1
        print(f"{how or 'undisturbed'}: status {status}", file=sys.stderr, flush=True)
        tally.losses += [f"a process outlived {how}" for _ in left]
        if status not in EXPECTED[how] or "Traceback" in log.read_text():
            tally.losses.append(f"{how}: status {status}: {log.read_text()[-2000:]}")
        before = look(store, before, tally)
        if tally.losses:
            return
        if status == 0:
            compare(store, reference, tally)
            if struck >= kills:
                return
            number, before = number + 1, {}
            store = folder / f"real-{number}"


# --- all of it ---


def report(tally: Tally, points: collections.Counter, seconds: float) -> str:
    """The figures of docs/reliability.md."""
    kills = sum(tally.kills.values())
    rows = [
        ("trainings killed at a random moment", kills, ", ".join(f"{n} {k}" for k, n in tally.kills.items())),
        ("starts that went on from checkpoints", tally.resumed, ""),
        ("stores finished after kills, compared with one never disturbed", tally.finished, ""),
        ("files of weights, masks and snapshots compared bit for bit", tally.weights, ""),
        ("entries checked after kills, all sound", tally.checks, ""),
        (
            "kills before each step on the disk",
            sum(points.values()),
            ", ".join(f"{n} {k}" for k, n in points.items()),
        ),
        ("entries lost, damaged or with other bits", len(tally.losses), ""),
    ]
    lines = [
        "| what | how many | of which |",
        "|---|---|---|",
        *(f"| {a} | {b:,} | {c} |" for a, b, c in rows),
    ]
    about = f"{seconds:.0f} s, {os.cpu_count()} cores, torch {torch.__version__}"
    return "\n".join(
        [*lines, about, *(f"statuses: {k}: {n}" for k, n in sorted(tally.statuses.items())), *tally.losses]
    )


def undisturbed(words: list[str], store: Path, tally: Tally) -> tuple[dict[str, tuple], float]:
    """What a training that nobody disturbs leaves, and its seconds."""
    began, log = time.monotonic(), store.with_suffix(".log")
    if status := ended(forked([*words, "--workers", "1", "--store", str(store)], log)):
        raise SystemExit(f"The command itself ended with status {status}: {log.read_text()[-2000:]}")
    seconds = time.monotonic() - began
    look(store, {}, tally)
    return results(store), seconds


def main() -> int:
    """1 if anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="of forks")
    parser.add_argument("--real", type=int, default=40, help="of processes")
    parser.add_argument("--points", type=int, default=0, help="crash points of each operation, 0: every one")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    os.environ |= {"LTHPAPER_CHECKPOINT_SECONDS": OFTEN, "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    data.load("digits"), provenance("cpu")  # once, not in every fork
    began, tally = time.monotonic(), Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # no results/ of a checkout is read
        if chosen.kills:
            reference, seconds = undisturbed(BRIEF, folder / "brief", tally)
            kill_forks(chosen.kills, folder, random.Random(chosen.seed), tally, reference, seconds)
        if chosen.real:
            reference, _ = undisturbed(LONG, folder / "long", tally)
            kill_processes(chosen.real, folder, random.Random(chosen.seed), tally, reference)
        from crash_points import every_point

        points = every_point(folder / "points", chosen.points, tally.losses)
    print(report(tally, points, time.monotonic() - began))
    return int(bool(tally.losses))


if __name__ == "__main__":
    sys.exit(main())
