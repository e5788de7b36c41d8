"""Damage, kills and a disk that refuses: what was whole stays whole, and nothing damaged is read as a result.

`make faults` and `make fuzz` do more of the same; docs/reliability.md has their counts.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from crash_points import DENSE, SUB, checkpoint, filled, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_loop import bits
from test_merge_and_prune import lthpaper, rewrite

from lthpaper.errors import InputError
from lthpaper.store import checkpoints, entry
from lthpaper.store.check import DAMAGED, FOREIGN, check_store
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.entry import RESULT, RUN, Unwritable
from lthpaper.store.merge import bring, leave_out
from lthpaper.store.prune import repair
from lthpaper.store.store import Store

LONG = "LTHPAPER_FUZZ_EXAMPLES" in os.environ  # make fuzz
EXAMPLES = int(os.environ.get("LTHPAPER_FUZZ_EXAMPLES") or 40)

pytestmark = pytest.mark.usefixtures("in_a_folder_of_the_test")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_damaged_names_the_store_that_is_to_be_repaired(tmp_path, monkeypatch):
    path = tmp_path / "käse store" / DENSE.name / RESULT
    said = f"`lthpaper store repair --store '{tmp_path / 'käse store'}'`"
    assert said in str(entry.damaged(path, "is missing"))
    assert said in str(entry.damaged(path.parent, "is missing"))
    monkeypatch.setenv("LTHPAPER_STORE", "käse store")
    assert "`lthpaper store repair`" in str(entry.damaged(path, "is missing"))


def laid_out(files: dict[str, bytes], folder: Path) -> Store:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return Store(folder)


def everything(store: Store) -> dict[str, object]:
    """All that can be read of a store, as values that can be compared."""
    read: dict[str, object] = {}
    for run in (DENSE, SUB):
        result = store.get(run)
        read[run.name] = (result.run, result.curves, result.kept, result.sparsity, result.fingerprint)
        for epoch in (None, 0, 1):
            weights, mask = store.weights(run, epoch)
            read[f"{run.name} {epoch}"] = bits(weights | (mask or {}))
    kept = Checkpoints(store.folder).load(DENSE, "abc")
    read["checkpoint"] = kept and bits(kept.weights)
    return read


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """The files of a small store: two entries with snapshots, and a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        filled(Path(folder) / "store")
        files = contents(Path(folder) / "store")
    assert len(files) == 5 + 6 + 1  # one of the two entries has a mask, both have two snapshots
    return files


# --- damage ---


def truncated(content: bytes, chance) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 8, 100))):
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def overwritten(content: bytes, chance) -> bytes:
    at, length = chance.randrange(len(content)), chance.randrange(1, 5000)  # a lost sector reads as zeros
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def lengthened(content: bytes, chance) -> bytes:
    return content + chance.choice((b"\0", b" ", b"\n", b"}", content))


def emptied(content: bytes, chance) -> bytes:
    return b""


def replaced(content: bytes, chance) -> bytes:
    return chance.choice((b"{}", b"[]", b"null", b"\x80\x04.", b"version https://git-lfs", bytes(100)))


def of_another_version(content: bytes, chance) -> bytes:
    for number in (b'"format": 1', b'\\"format\\": 1'):
        content = content.replace(number, number[:-1] + chance.choice((b"0", b"2", b'"2"', b"9e99", b"-1")))
    return content


DAMAGES = (truncated, flipped, overwritten, lengthened, emptied, replaced, of_another_version)


@settings(max_examples=2 * EXAMPLES, derandomize=not LONG)
@given(st.integers(0, 10**6), st.sampled_from(DAMAGES), st.randoms(use_true_random=False))
def test_damage_anywhere_is_named_set_aside_and_computed_again_and_never_read(whole, which, damage, chance):
    name = sorted(whole)[which % len(whole)]
    files = whole | {name: damage(whole[name], chance)}
    with tempfile.TemporaryDirectory() as folder:
        store, sound = laid_out(files, Path(folder) / "store"), laid_out(whole, Path(folder) / "sound")
        found = [c for c in check_store(store) if c.status in (DAMAGED, FOREIGN)]
        if not found:  # blanks of a JSON file, say: what is read is what was written
            assert everything(store) == everything(sound)
            return
        assert all(name.startswith(str(c.paths[0].relative_to(store.folder))) for c in found)
        epoch, step = Checkpoints(store.folder).position(DENSE)  # of what it says of itself, unread
        assert 0 <= epoch <= DENSE.recipe.epochs
        assert isinstance(step, int)
        if name.startswith(checkpoints.FOLDER):
            assert everything(store)["checkpoint"] is None
        else:
            with pytest.raises(InputError, match="cannot be trusted"):
                everything(store)
            assert sorted(contents(store.folder).values()) == sorted(
                files.values()
            )  # reading deletes nothing
            repair(store, foreign=True)
        assert sorted(contents(store.folder).values()) == sorted(files.values())
        assert not [c for c in check_store(store) if c.status in (DAMAGED, FOREIGN)]
        for run in (DENSE, SUB):
            store.put(trained(run, (0, 1)), "abc", {"device": "a processor"})
        Checkpoints(store.folder).save(DENSE, checkpoint(1), "abc")
        assert everything(store) == everything(sound)


@pytest.mark.parametrize("version", [entry.FORMAT + 1, 10**30])
def test_a_future_version_is_said_to_be_one_and_left_alone_unless_asked(
    tmp_path, monkeypatch, capsys, version
):
    store = filled(tmp_path / "store")
    rewrite(store.path(SUB), format=version)
    before = contents(store.folder)
    assert lthpaper(monkeypatch, "store", "verify", "--store", "store") == 1
    assert "newer lthpaper" in capsys.readouterr().out
    assert lthpaper(monkeypatch, "store", "repair", "--store", "store") == 0
    assert contents(store.folder) == before
    assert lthpaper(monkeypatch, "store", "repair", "--foreign", "--store", "store") == 0
    assert SUB not in store
    assert sorted(contents(store.folder).values()) == sorted(before.values())


def test_checkpoints_are_checked_and_those_of_finished_runs_can_be_pruned(tmp_path, monkeypatch, capsys):
    store = filled(tmp_path / "store")
    under_way = DENSE.with_(seed=5)
    Checkpoints(store.folder).save(under_way, checkpoint(1), "abc")
    damaged = Checkpoints(store.folder).path(DENSE.with_(seed=6))
    damaged.write_bytes(b"half")
    part = Checkpoints(store.folder).folder / f"{SUB.name}.1.part"
    part.write_text("")
    os.utime(part, (0, 0))
    assert lthpaper(monkeypatch, "store", "verify", "--store", "store") == 1
    said = capsys.readouterr().out
    for words in ("of a run under way", "of a run that is here", "damaged", "left by a killed process"):
        assert words in said
    assert lthpaper(monkeypatch, "store", "repair", "--store", "store") == 0
    assert [p.read_bytes() for p in (store.folder / "damaged").rglob("*.safetensors")] == [b"half"]
    before = contents(store.folder)
    assert lthpaper(monkeypatch, "store", "prune", "--checkpoints", "--drafts", "--store", "store") == 0
    assert contents(store.folder) == before
    assert (
        lthpaper(monkeypatch, "store", "prune", "--checkpoints", "--drafts", "--store", "store", "--yes") == 0
    )
    left = [p.name for p in Checkpoints(store.folder).folder.iterdir()]
    assert left == [Checkpoints(store.folder).path(under_way).name]


# --- a disk that refuses ---


@pytest.mark.parametrize("most", [0, 1, 100, 1000, 3000, 6000, 10_000])
def test_files_that_cannot_grow_end_in_one_sentence_and_leave_the_store_as_it_was(tmp_path, most):
    store, target = filled(tmp_path / "store"), Store(tmp_path / "target")
    before = contents(store.folder)
    new = DENSE.with_(seed=7)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (
        lambda: store.put(trained(new, (0, 1)), "abc", {}),
        lambda: list(bring(store.folder, target)),
        lambda: Checkpoints(store.folder).save(DENSE, checkpoint(2), "abc"),
        lambda: Checkpoints(store.folder).save(new, checkpoint(2), "abc"),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))  # as a full disk: each write beyond fails
        try:
            with pytest.raises(Unwritable, match="free some space"):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert contents(store.folder) == before
        assert not target.folder.exists() or list(target.folder.iterdir()) == []


def test_a_mark_that_cannot_be_written_leaves_the_old_one(tmp_path):
    store = filled(tmp_path / "store")
    before = contents(store.folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            leave_out(store.path(SUB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(store.folder) == before


READ_ONLY = """
import os, sys
sys.path[:0] = {path!r}
from crash_points import SUB, checkpoint, trained
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.locks import Locks
from lthpaper.store.store import Store
from lthpaper.store.entry import Unwritable
from lthpaper.store.prune import removals, remove, repair
store, result, kept = Store({store!r}), trained(SUB.with_(seed=7)), checkpoint(1)
if os.geteuid() == 0:
    list(store)  # imports all that is needed, while it can be read
    os.seteuid(65534)  # permissions do not bind root
for number, write in enumerate((
    lambda: store.put(result, "abc", {{}}),
    lambda: Checkpoints(store.folder).save(SUB, kept, "abc"),
    lambda: Locks(store.folder).take(SUB),
    lambda: remove(store, removals(store, weights=True)),
    lambda: remove(store, removals(store, snapshots=True)),
)):
    try:
        write()
    except Unwritable as error:
        assert "make the folder writable" in str(error), error
    else:
        sys.exit(f"{{number}} was written")
assert [result.run for result in store]  # and it is still read
"""


def test_a_read_only_store_is_read_and_every_write_to_it_is_one_sentence():
    # not below tmp_path, which only its owner may enter
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        before = contents(filled(folder).folder)
        for path in (Path(name), *Path(name).rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        script = READ_ONLY.format(path=[str(Path(__file__).parents[1]), *sys.path], store=str(folder))
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        for path in (Path(name), *(p for p in Path(name).rglob("*") if p.is_dir())):
            path.chmod(0o755)
        assert done.returncode == 0, done.stderr[-2000:]
        assert contents(folder) == before


# --- kills ---


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_killed_at_random_moments_and_before_steps_on_the_disk_nothing_is_lost():
    tool = Path(__file__).parents[1] / "fault_injection.py"
    words = [sys.executable, str(tool), "--kills", "3", "--real", "0", "--points", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "| entries lost, damaged or with other bits | 0 |" in done.stdout


def test_the_tool_would_see_a_loss(tmp_path):
    import fault_injection

    store, tally = filled(tmp_path / "store"), fault_injection.Tally()
    before = fault_injection.look(store.folder, {}, tally)
    reference = fault_injection.results(store.folder)
    fault_injection.compare(store.folder, reference, tally)
    assert tally.losses == []
    weights = store.path(SUB) / entry.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    fault_injection.look(store.folder, before, tally)
    assert len(tally.losses) == 2  # it is damaged, and not what it was
    whole = trained(SUB, (0, 1))
    moved = {n: t + 1 if t.is_floating_point() else t for n, t in whole.weights.items()}
    repair(store)
    store.put(replace(whole, weights=moved), "abc", {})
    fault_injection.compare(store.folder, reference, tally)
    assert "other bits" in tally.losses[-1]


def test_descriptions_are_the_only_json_in_an_entry(whole):
    assert {Path(name).name for name in whole if not name.endswith(".safetensors")} == {RESULT, RUN}
    assert all(json.loads(content) for name, content in whole.items() if name.endswith(".json"))
