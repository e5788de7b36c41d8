"""Results travel between stores checked and unchanged; nothing is overwritten, lost or believed unchecked."""

import dataclasses
import errno
import json
import os
import resource
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from plain_loop import few_digits
from safetensors.torch import save_file
from test_store import DENSE, SUB, assert_same, emptied, everything_in, flipped, result_of, truncated

from lthpaper.cli import main as cli
from lthpaper.errors import InputError
from lthpaper.runs.digest import digest
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import lt_omp, pretraining, rewound
from lthpaper.runs.task import Task
from lthpaper.store import merge, prune, transfer
from lthpaper.store.check import check_store
from lthpaper.store.checkpoints import Checkpoints
from lthpaper.store.entry import (
    FORMAT,
    MASK,
    RESULT,
    RUN,
    WEIGHTS,
    Unreadable,
    Unwritable,
    checksum,
    file_checksum,
)
from lthpaper.store.locks import Locks
from lthpaper.store.merge import bring
from lthpaper.store.store import Store
from lthpaper.studies import study
from lthpaper.sweep.plan import plan
from lthpaper.training.loop import train
from lthpaper.training.result import CURVES, Checkpoint

pytestmark = pytest.mark.usefixtures("in_a_folder_of_the_test")


def put(store: Store, *runs, **more) -> None:
    for run in runs:
        store.put(result_of(run, **more), "abc", {"device": "a processor"})


def statuses(store: Store) -> dict[str, str]:
    return {checked.name: checked.status for checked in check_store(store)}


def outcomes(*arguments, **options) -> dict[str, str]:
    return {one.name: one.outcome for one in bring(*arguments, **options)}


def lthpaper(monkeypatch, *words: str) -> int:
    """The command's exit status."""
    monkeypatch.setattr(sys, "argv", ["lthpaper", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def rewrite(folder, **changes) -> None:
    """Another result.json with a checksum of its own, as a stranger could make one."""
    result = json.loads((folder / RESULT).read_text()) | changes
    (folder / RESULT).write_text(json.dumps(result | {"checksum": checksum(result)}))


# --- verify ---


def test_sound_entries_are_good_and_those_without_weights_say_so(store, other):
    put(store, DENSE, SUB, snapshots=(1,))
    assert statuses(store) == {DENSE.name: "good", SUB.name: "good"}
    list(bring(store.folder, other, weights=False))
    assert statuses(other) == {DENSE.name: "weights left out", SUB.name: "weights left out"}


@pytest.mark.parametrize("how", [truncated, flipped, emptied])
@pytest.mark.parametrize("file", [RESULT, RUN, WEIGHTS, MASK, "epoch-0001"])
def test_damage_is_found_named_set_aside_and_the_run_planned_anew(store, monkeypatch, capsys, file, how):
    put(store, SUB, DENSE, snapshots=(1,))
    (path,) = store.path(SUB).glob(f"{file}*")
    path.write_bytes(how(path.read_bytes()))
    before = sorted(everything_in(store).values())
    assert lthpaper(monkeypatch, "store", "verify", "--store", str(store.folder)) == 1
    said = capsys.readouterr().out
    assert SUB.name in said
    assert path.name in said
    assert lthpaper(monkeypatch, "store", "repair", "--dry-run", "--store", str(store.folder)) == 0
    assert path.exists()
    assert lthpaper(monkeypatch, "store", "repair", "--store", str(store.folder)) == 0
    assert sorted(everything_in(store).values()) == before  # elsewhere, but all there
    assert lthpaper(monkeypatch, "store", "verify", "--store", str(store.folder)) == 0
    assert plan([SUB], store, {SUB: frozenset({1})}).todo == (SUB,)
    put(store, SUB, snapshots=(1,))
    assert plan([SUB], store, {SUB: frozenset({1})}).todo == ()


@pytest.mark.parametrize("file", [RESULT, RUN, WEIGHTS, MASK])
def test_a_file_that_is_gone_is_damage(store, file):
    put(store, SUB)
    (store.path(SUB) / file).unlink()
    assert statuses(store) == {SUB.name: "damaged"}
    with pytest.raises(InputError):  # and no weights that were left out on purpose
        store.get(SUB) if file == RUN else store.has_weights(SUB)


def test_an_entry_of_a_newer_version_is_foreign_and_stays_unless_asked(store):
    put(store, SUB)
    rewrite(store.path(SUB), format=FORMAT + 1)
    assert statuses(store) == {SUB.name: "foreign"}
    assert prune.repair(store) == []
    ((checked, kept),) = prune.repair(store, foreign=True)
    assert "newer lthpaper" in checked.what
    assert kept.is_dir()
    assert SUB not in store


LOOKS = ("stat", "lstat", "read_bytes")


def unreadable(patch, path: Path, code: int = errno.ESTALE, only: tuple[str, ...] = LOOKS) -> None:
    """Have the disk or the network not give a path, nor what lies in it."""

    def failing(real):
        def look(self: Path, *arguments, **options):
            if path in (self, *self.parents):
                raise OSError(code, os.strerror(code), str(self))
            return real(self, *arguments, **options)

        return look

    for name in only:
        patch.setattr(Path, name, failing(getattr(Path, name)))


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("file", [RESULT, RUN, WEIGHTS, MASK, "epoch-0001", "checkpoint"])
def test_what_cannot_be_read_now_is_no_damage_and_stays(store, other, monkeypatch, capsys, file, code):
    put(store, SUB, snapshots=(1,))
    kept = Checkpoints(store.folder)
    kept.folder.mkdir()
    kept.path(DENSE).write_bytes(b"")
    (path,) = [kept.path(DENSE)] if file == "checkpoint" else store.path(SUB).glob(f"{file}*")
    before = everything_in(store)
    kept.path(DENSE).unlink() if file != "checkpoint" else None
    with monkeypatch.context() as patch:
        unreadable(patch, path, code)
        assert "unreadable" in {checked.status for checked in check_store(store)}
        for status, command in ((1, "verify"), (0, "repair")):
            assert lthpaper(monkeypatch, "store", command, "--store", str(store.folder)) == status
        if file != "checkpoint":
            assert outcomes(store.folder, other) == {SUB.name: "refused"}
    assert "may be whole" in capsys.readouterr().out
    assert not (store.folder / "damaged").exists()
    assert {name: before[name] for name in everything_in(store)} == everything_in(store)


@pytest.mark.parametrize("file", ["", RESULT, WEIGHTS, MASK])
def test_a_reader_says_that_an_entry_cannot_be_read_now(store, other, monkeypatch, file):
    put(store, SUB)
    put(other, SUB)
    path = store.path(SUB) / file
    with monkeypatch.context() as patch:
        unreadable(patch, path)
        assert statuses(store) == {SUB.name: "unreadable"}
        assert outcomes(other.folder, store) == {SUB.name: "refused"}
        with pytest.raises(Unreadable, match=r"cannot be read now \(Stale .*file handle\)\. It may be whole"):
            store.has_weights(SUB)
    assert store.has_weights(SUB)


@pytest.mark.parametrize("layer", ["the store's", "the published"])
@pytest.mark.parametrize("ask", [Store.entry, Store.__contains__, Store.get, Store.weights, Store.mask])
def test_a_folder_that_cannot_be_looked_at_now_is_unreadable_and_not_absent(
    store, other, monkeypatch, ask, layer
):
    """A run that is taken for absent would be trained again."""
    own, published = (store, other) if layer == "the store's" else (other, store)
    put(store, SUB)
    both = Store(own.folder, published.folder)
    unreadable(monkeypatch, store.path(SUB))
    with pytest.raises(Unreadable, match=f"{SUB.name} cannot be read now"):
        ask(both, SUB)


def test_an_entry_that_was_trained_again_while_others_were_checked_stays(store, monkeypatch):
    put(store, DENSE, SUB)
    names = sorted([DENSE, SUB], key=lambda run: run.name)
    for run in names:
        (store.path(run) / RESULT).write_text("{}")
    aside = store.set_aside

    def another(path: Path, where: str) -> Path:  # by a second command
        monkeypatch.undo()
        aside(store.path(names[1]), "damaged")
        put(store, names[1])
        return aside(path, where)

    monkeypatch.setattr(store, "set_aside", another)
    assert [checked.name for checked, _ in prune.repair(store)] == [names[0].name]
    assert names[1] in store


def test_what_a_newer_version_wrote_is_moved_away_by_the_command_that_is_named(store):
    put(store, SUB)
    rewrite(store.path(SUB), format=FORMAT + 1)
    with pytest.raises(InputError, match=r"store repair --store \S+ --foreign`"):
        store.get(SUB)


def test_a_description_that_this_version_cannot_read_is_foreign(store):
    put(store, SUB)
    folder = store.path(SUB)
    document = json.loads((folder / RUN).read_text())
    runs = dict(document["runs"])
    described = runs.pop(SUB.digest) | {"mask": {"kind": "of another version"}}
    named = digest(described)
    (folder / RUN).write_text(json.dumps({"digest": named, "runs": runs | {named: described}}))
    files = json.loads((folder / RESULT).read_text())["files"]
    rewrite(folder, files=files | {RUN: file_checksum(folder / RUN)})
    folder.rename(folder.with_name(f"resnet8-digits-{named}"))
    assert statuses(store) == {f"resnet8-digits-{named}": "foreign"}


def test_a_description_under_anothers_digest_is_damage(store):
    put(store, SUB)
    folder = store.path(SUB)
    document = json.loads((folder / RUN).read_text())
    document["runs"][SUB.digest]["seed"] = 7
    (folder / RUN).write_text(json.dumps(document))
    files = json.loads((folder / RESULT).read_text())["files"]
    rewrite(folder, files=files | {RUN: file_checksum(folder / RUN)})
    ((found),) = check_store(store)
    assert (found.status, "under the name" in found.what) == ("damaged", True)


HOSTILE = [
    {"files": {"../../victim": "0" * 64}},
    {"files": {}},
    {"files": [1]},
    {"curves": {}},
    {"curves": {"test_accuracy": []}},
    {"curves": {"test_accuracy": ["[red]99"]}},
    {"kept": "many"},
    {"left_out": 3},
    {"provenance": None},
]


@pytest.mark.parametrize("changes", HOSTILE, ids=str)
def test_a_strangers_result_of_another_form_is_damage_for_reader_and_merge(store, other, changes):
    put(other, DENSE)
    rewrite(other.path(DENSE), **changes)
    assert statuses(other) == {DENSE.name: "damaged"}
    assert outcomes(other.folder, store) == {DENSE.name: "refused"}
    assert not store.folder.exists() or list(store.folder.iterdir()) == []
    with pytest.raises(InputError):
        other.get(DENSE), other.weights(DENSE)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "NaN", "null", '"', "{}"])
def test_no_json_ends_in_a_traceback(store, text):
    put(store, DENSE)
    (store.path(DENSE) / RESULT).write_text(text)
    assert statuses(store) == {DENSE.name: "damaged"}


def test_weights_that_are_none_are_damage_whatever_their_checksum(store):
    put(store, SUB)
    folder = store.path(SUB)
    (folder / WEIGHTS).write_bytes(b"\x80\x04cos\nsystem\n")
    files = json.loads((folder / RESULT).read_text())["files"]
    rewrite(folder, files=files | {WEIGHTS: file_checksum(folder / WEIGHTS)})
    assert statuses(store) == {SUB.name: "damaged"}
    with pytest.raises(InputError, match="holds no weights"):
        store.weights(SUB)


def test_no_module_is_imported_for_a_name_in_a_strangers_store(store, other, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    put(other, DENSE)
    folder = other.path(DENSE)
    described = json.loads((folder / RUN).read_text())["runs"][DENSE.digest]
    described["task"]["data"] = described["task"]["network"] = "trap:it"
    named = digest(described)
    (folder / RUN).write_text(json.dumps({"digest": named, "runs": {named: described}}))
    files = json.loads((folder / RESULT).read_text())["files"]
    rewrite(folder, files=files | {RUN: file_checksum(folder / RUN)})
    folder.rename(folder.with_name(f"it-it-{named}"))
    assert outcomes(other.folder, store) == {f"it-it-{named}": "added"}


# --- merge ---


def test_merging_brings_in_whole_entries_bit_for_bit_and_twice_is_once(store, other):
    put(other, DENSE, SUB, snapshots=(0, 1))
    put(store, DENSE, snapshots=(0, 1))
    assert outcomes(other.folder, store, dry_run=True) == {DENSE.name: "there", SUB.name: "added"}
    assert SUB not in store
    assert outcomes(other.folder, store) == {DENSE.name: "there", SUB.name: "added"}
    assert everything_in(store) == everything_in(other)
    assert outcomes(other.folder, store) == {DENSE.name: "there", SUB.name: "there"}
    assert everything_in(store) == everything_in(other)


def test_folders_that_are_merged_and_exported_start_where_the_store_does(store, other, tmp_path, monkeypatch):
    put(other, DENSE)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert lthpaper(monkeypatch, "store", "merge", "other", "--store", "store") == 0
    assert lthpaper(monkeypatch, "store", "export", "third", "--store", "store") == 0
    assert DENSE in store
    assert DENSE in Store(tmp_path / "third")
    assert list(Path.cwd().iterdir()) == []


def test_merging_a_folder_without_entries_names_that_folder(store, tmp_path, monkeypatch, capsys):
    (tmp_path / "wrong").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    assert lthpaper(monkeypatch, "store", "merge", "wrong", "--store", "store") == 0
    assert f"{tmp_path / 'wrong'} has no such entries: nothing was copied" in capsys.readouterr().out


def test_measurements_come_along_if_they_are_whole_and_their_run_is_asked_for(store, other):
    put(other, DENSE, SUB)
    table, keys = pd.DataFrame({"x": [1.0, 2.0]}), [c * 16 for c in "ab"]
    for run in (DENSE, SUB):
        for key in keys:
            other.keep_measurement(run, "surface", key, table)
    (path,) = other.folder.glob(f"measurements/surface/{DENSE.digest}-{keys[1]}-*")
    path.write_bytes(b"cut")
    list(bring(other.folder, store, only=DENSE.name, weights=False, dry_run=True))
    assert not store.folder.exists()
    list(bring(other.folder, store, only=DENSE.name, weights=False))
    assert len(list(store.folder.glob("measurements/*/*"))) == 1
    assert store.measurement(DENSE, "surface", keys[0]).equals(table)


def test_snapshots_that_are_missing_here_are_added(store, other):
    put(other, SUB, snapshots=(0, 1))
    put(store, SUB, snapshots=(0,))
    before = everything_in(store)
    assert outcomes(other.folder, store, dry_run=True) == {SUB.name: "completed"}
    assert everything_in(store) == before
    assert outcomes(other.folder, store) == {SUB.name: "completed"}
    assert store.snapshots(SUB) == {0, 1}
    assert {name: everything_in(store)[name] for name in before} == before
    assert_same(store.weights(SUB, 1)[0], other.weights(SUB, 1)[0])


def test_a_conflict_is_shown_with_both_origins_and_nothing_is_overwritten(store, other, monkeypatch, capsys):
    store.put(result_of(SUB, accuracy=71.5), "abc", {"device": "our processor", "revision": "1234"})
    other.put(result_of(SUB, accuracy=70.25), "abc", {"device": "their GPU", "versions": {"torch": "9"}})
    put(other, DENSE)
    before = everything_in(store)
    assert lthpaper(monkeypatch, "store", "merge", str(other.folder), "--store", str(store.folder)) == 1
    said = capsys.readouterr().out
    for word in ("conflict", "71.50 %", "70.25 %", "our processor", "their GPU", "revision 1234", "torch 9"):
        assert word in said
    assert {name: everything_in(store)[name] for name in before} == before
    assert DENSE in store  # what is in no conflict is in


def test_the_same_accuracy_from_other_weights_is_a_conflict_too(store, other):
    put(store, DENSE)
    trained = result_of(DENSE)
    other_bits = {name: w + 1 if w.is_floating_point() else w for name, w in trained.weights.items()}
    other.put(dataclasses.replace(trained, weights=other_bits), "abc", {})
    assert outcomes(other.folder, store) == {DENSE.name: "conflict"}


@pytest.mark.parametrize("file", [RESULT, RUN, WEIGHTS, MASK, "epoch-0001"])
def test_a_damaged_entry_does_not_come_in_and_a_damaged_one_here_is_not_replaced(store, other, file):
    put(other, SUB, DENSE, snapshots=(1,))
    (path,) = other.path(SUB).glob(f"{file}*")
    path.write_bytes(flipped(path.read_bytes()))
    assert outcomes(other.folder, store) == {SUB.name: "refused", DENSE.name: "added"}
    assert SUB not in store
    before = everything_in(other)
    put(store, SUB, snapshots=(1,))
    assert outcomes(store.folder, other)[SUB.name] == "refused"
    assert everything_in(other) == before


def test_a_crash_while_copying_leaves_no_entry(store, other, monkeypatch):
    put(other, SUB)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merge, "sync", crash)
        with pytest.raises(KeyboardInterrupt):
            list(bring(other.folder, store))
    assert list(store.folder.iterdir()) == []
    assert outcomes(other.folder, store) == {SUB.name: "added"}


def test_only_entries_come_from_a_strangers_folder(store, other):
    put(other, DENSE)
    (other.folder / "notes").mkdir()
    (other.folder / "notes" / RESULT).write_text("{}")
    (other.folder / f"..-{DENSE.digest}").mkdir()
    (other.path(DENSE) / "payload.sh").write_text("true")
    (other.path(DENSE) / "epoch-0001-fifo.safetensors").write_text("")
    os.mkfifo(other.path(DENSE) / ("epoch-0001-" + "0" * 16 + ".safetensors"))
    assert outcomes(other.folder, store) == {DENSE.name: "refused"}
    (other.path(DENSE) / ("epoch-0001-" + "0" * 16 + ".safetensors")).unlink()
    assert outcomes(other.folder, store) == {DENSE.name: "added"}
    assert sorted(p.name for p in store.path(DENSE).iterdir()) == [RESULT, RUN, WEIGHTS]


def test_equal_masks_are_equal_files_and_old_ones_that_are_not_are_no_conflict(store, other):
    put(store, SUB)
    put(other, SUB)
    assert everything_in(store)[f"{SUB.name}/{MASK}"] == everything_in(other)[f"{SUB.name}/{MASK}"]
    folder = other.path(SUB)  # as it was written at first: one item of metadata a tensor
    mask, files = other.weights(SUB)[1], json.loads((folder / RESULT).read_text())["files"]
    packed = {name: torch.from_numpy(np.packbits(m.numpy().reshape(-1))) for name, m in mask.items()}
    save_file(packed, folder / MASK, metadata={n: json.dumps(list(m.shape)) for n, m in mask.items()})
    rewrite(folder, files=files | {MASK: file_checksum(folder / MASK)})
    assert_same(other.weights(SUB)[1], mask)
    assert outcomes(other.folder, store) == {SUB.name: "there"}


# --- export, and entries without weights ---


def test_an_export_without_weights_reads_as_the_same_result_and_says_what_is_left_out(store, other):
    put(store, DENSE, SUB, snapshots=(1,))
    assert set(outcomes(store.folder, other, weights=False).values()) == {"added"}
    assert sorted(p.name for p in other.path(SUB).iterdir()) == [RESULT, RUN]
    ours, theirs = store.get(SUB), other.get(SUB)
    assert dataclasses.replace(theirs, folder=ours.folder) == ours
    assert json.loads((other.path(SUB) / RESULT).read_text())["left_out"] == [WEIGHTS, MASK]
    assert (store.has_weights(SUB), other.has_weights(SUB)) == (True, False)
    for epoch in (None, 1):
        with pytest.raises(KeyError, match="left out"):
            other.weights(SUB, epoch)


def test_weights_that_were_left_out_come_back_if_they_are_those_of_the_result(store, other):
    put(store, SUB, snapshots=(1,))
    list(bring(store.folder, other, weights=False))
    assert outcomes(other.folder, store) == {SUB.name: "there"}
    assert outcomes(store.folder, other) == {SUB.name: "completed"}
    assert_same(other.weights(SUB)[0], store.weights(SUB)[0])
    assert_same(other.weights(SUB)[1], store.weights(SUB)[1])
    assert other.snapshots(SUB) == {1}
    assert statuses(other) == {SUB.name: "good"}


def test_training_again_gives_a_result_its_weights_back(store, other):
    put(store, SUB)
    list(bring(store.folder, other, weights=False))
    put(other, SUB, snapshots=(1,))
    assert_same(other.weights(SUB)[0], store.weights(SUB)[0])
    assert other.snapshots(SUB) == {1}
    assert statuses(other) == {SUB.name: "good"}


def test_weights_of_other_bits_come_with_their_own_result_and_the_old_one_is_kept_aside(store, other):
    put(store, SUB)
    list(bring(store.folder, other, weights=False))
    trained = result_of(SUB, accuracy=60.0)
    moved = {n: w + 1 if w.is_floating_point() else w for n, w in trained.weights.items()}
    trained = dataclasses.replace(trained, weights=moved)
    before = everything_in(other)
    assert other.put(trained, "abc", {}).accuracy == 60.0
    assert_same(other.weights(SUB)[0], trained.weights)
    assert set(before.values()) <= set(everything_in(other).values())
    assert [p.name.rpartition("-")[0] for p in (other.folder / "replaced").iterdir()] == [SUB.name]


def test_weights_of_other_bits_come_back_from_another_machine_too(store, other, tmp_path):
    put(store, SUB)
    list(bring(store.folder, other, weights=False))
    trained = result_of(SUB, accuracy=60.0)
    moved = {n: w + 1 if w.is_floating_point() else w for n, w in trained.weights.items()}
    there = Store(tmp_path / "there")
    there.put(dataclasses.replace(trained, weights=moved), "abc", {})
    transfer.take_in(transfer.results([SUB], there.folder), other, [SUB])
    assert_same(other.weights(SUB)[0], moved)
    transfer.take_in(transfer.results([SUB], store.folder), other, [SUB])  # brings nothing that is missing
    assert_same(other.weights(SUB)[0], moved)
    assert all(SUB.name in path.name for path in (other.folder / "replaced").iterdir())
    assert len(list((other.folder / "replaced").iterdir())) == 2
    assert statuses(other) == {SUB.name: "good"}
    assert not list(other.folder.glob(".draft*"))


# --- prune ---


def test_pruning_is_a_dry_run_unless_told_and_results_stay(store, monkeypatch, capsys):
    put(store, DENSE, SUB, snapshots=(0, 1))
    before, results = everything_in(store), list(store)
    words = ("store", "prune", "--store", str(store.folder))
    assert lthpaper(monkeypatch, *words, "--snapshots") == 0
    assert "--yes" in capsys.readouterr().out
    assert everything_in(store) == before
    assert lthpaper(monkeypatch, *words, "--snapshots", "--only", "*" + SUB.digest, "--yes") == 0
    assert (store.snapshots(SUB), store.snapshots(DENSE)) == (set(), {0, 1})
    assert lthpaper(monkeypatch, *words, "--weights", "--yes") == 0
    assert list(store) == results
    assert set(statuses(store).values()) == {"weights left out"}
    assert store.snapshots(DENSE) == set()


def test_a_crash_while_weights_are_pruned_leaves_sound_entries(store, monkeypatch):
    put(store, SUB)
    chosen = prune.removals(store, weights=True)
    monkeypatch.setattr(
        type(chosen[0].path), "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        prune.remove(store, chosen)
    assert statuses(store) == {SUB.name: "good"}
    (store.path(SUB) / WEIGHTS).rename(store.folder / "gone")
    assert statuses(store) == {SUB.name: "weights left out"}


def test_checkpoints_of_runs_that_are_trained_again_are_kept(store):
    """DENSE for its weights, SUB by a process that holds its lock; a third one is done."""
    done = DENSE.with_(seed=9)
    put(store, DENSE, SUB, done)
    prune.remove(store, prune.removals(store, only=DENSE.name, weights=True))
    kept, weights, moments = Checkpoints(store.folder), {"w": torch.zeros(2)}, {"w": torch.zeros(2)}
    curves = {name: [1.0] for name in CURVES}
    for run in (DENSE, SUB, done):
        kept.save(run, Checkpoint(1, 0, 0.0, "start", weights, moments, curves, {}, 0.0, ("cpu",)), "abc")
    with Locks(store.folder) as other_process:
        other_process.take(SUB)
        (removal,) = prune.removals(store, checkpoints=True)
    assert removal.path == kept.path(done)
    assert {r.path for r in prune.removals(store, checkpoints=True)} == {kept.path(done), kept.path(SUB)}


def test_drafts_of_an_hour_and_files_of_no_run_can_be_pruned_and_nothing_else_is(store):
    put(store, DENSE)
    old, young = store.folder / ".draft-old", store.folder / ".draft-young"
    surfaces, foreign = store.folder / "surfaces", store.folder / "my notes"
    for folder in (old, young, surfaces, foreign):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    orphan, kept = surfaces / f"{SUB.digest}-0123.npz", surfaces / f"{DENSE.digest}-0123.npz"
    stray = store.path(DENSE) / "core"
    for file in (orphan, kept, stray):
        file.write_text("")
    chosen = prune.removals(store, drafts=True, orphans=True)
    assert {removal.path for removal in chosen} == {old, orphan, stray}
    before = everything_in(store)
    prune.remove(store, chosen)
    assert set(before) - set(everything_in(store)) == {
        str(p.relative_to(store.folder)) for p in (orphan, stray)
    }
    assert (old.exists(), young.exists(), foreign.exists()) == (False, True, True)


def test_the_surface_of_a_published_run_belongs_to_a_run(store):
    layered = Store(store.folder, Path(__file__).parents[2] / "results")
    published = next(iter(layered.tables.scales["desktop"].rows))
    (store.folder / "surfaces").mkdir(parents=True)
    for of in (published, SUB.digest):
        (store.folder / "surfaces" / f"{of}-0123.npz").write_text("")
    assert statuses(layered) == {f"surfaces/{SUB.digest}-0123.npz": "orphan"}


def test_entries_are_deleted_only_by_name(store, monkeypatch, capsys):
    put(store, DENSE, SUB)
    words = ("store", "prune", "--entries", "--yes", "--store", str(store.folder))
    assert lthpaper(monkeypatch, *words) == 2
    assert "--only" in capsys.readouterr().err
    assert lthpaper(monkeypatch, *words, "--only", SUB.name) == 0
    assert [p.name for p in store.folder.iterdir()] == [DENSE.name]


# --- what the disk refuses ---


@pytest.fixture
def _small_disk():
    """No file may grow beyond 1 kB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_sentence_and_the_store_stays_whole(store, other, request):
    put(store, DENSE)
    put(other, SUB)
    before = everything_in(store)
    request.getfixturevalue("_small_disk")
    with pytest.raises(Unwritable, match="free some space"):
        put(store, SUB)
    with pytest.raises(Unwritable, match="free some space"):
        list(bring(other.folder, store))
    assert everything_in(store) == before
    assert [p.name for p in store.folder.iterdir()] == [DENSE.name]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch, capsys, other):
    put(other, SUB)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match="make the folder writable"):
        put(Store(tmp_path / "file" / "store"), SUB)
    assert lthpaper(monkeypatch, "store", "export", "file/below", "--store", str(other.folder)) == 2
    assert "cannot be written" in capsys.readouterr().err


# --- bad input ---


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "--store", "nowhere"],
        ["repair", "--store", "nowhere"],
        ["merge", "nowhere"],
        ["merge", "file"],
        ["merge", "store", "--store", "store/../store"],
        ["export", "file", "--store", "store"],
        ["export", "store", "--store", "store"],
        ["export", "store/inside", "--store", "store"],
        ["prune", "--store", "store"],
        ["prune", "--snapshots", "--store", "nowhere"],
        ["prune", "--snapshots", "--store", "file"],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_sentence_and_status_2(store, tmp_path, monkeypatch, capsys, words):
    put(store, DENSE)
    (tmp_path / "file").write_text("")
    before = everything_in(store)
    assert lthpaper(monkeypatch, "store", *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("lthpaper: ")
    assert "Traceback" not in said
    assert everything_in(store) == before


# --- the published layer ---


def test_published_results_read_as_if_they_were_in_the_store_and_are_never_written(store, other):
    put(other, DENSE, SUB, snapshots=(1,))
    published, before = Store(store.folder, published=other.folder), everything_in(other)
    assert SUB in published
    assert published.get(SUB) == other.get(SUB)
    assert_same(published.weights(SUB, 1)[0], other.weights(SUB, 1)[0])
    assert published.snapshots(SUB) == {1}
    assert list(published) == list(other)
    more = lt_omp(DENSE, 0.3)
    put(published, more)
    assert [p.name for p in store.folder.iterdir()] == [more.name]
    assert {result.run for result in published} == {DENSE, SUB, more}
    assert everything_in(other) == before


def test_the_stores_own_entry_comes_before_the_published_one(store, other):
    put(other, SUB, accuracy=50.0)
    put(store, SUB, accuracy=71.5)
    layered = Store(store.folder, other.folder)
    assert layered.get(SUB).accuracy == 71.5
    assert [result.accuracy for result in layered] == [71.5]


def test_a_published_layer_that_is_not_there_or_holds_other_things_is_empty(store, tmp_path):
    put(store, DENSE)
    (tmp_path / "elsewhere" / "experiment").mkdir(parents=True)
    (tmp_path / "elsewhere" / "experiment" / RESULT).write_text("someone else's")
    for place in ("nothing", "elsewhere"):
        assert len(list(Store(store.folder, tmp_path / place))) == 1
    with pytest.raises(InputError, match="must be a folder"):
        Store(store.folder, store.path(DENSE) / RESULT)


def test_a_published_run_without_weights_is_trained_only_for_a_descendant_that_needs_them(store, other):
    put(store, DENSE, SUB, snapshots=(1,))
    list(bring(store.folder, other, weights=False))
    mine = Store(store.folder.parent / "mine", other.folder)
    new, late = lt_omp(DENSE, 0.3), rewound(SUB, DENSE, 1)
    assert plan([DENSE, SUB], mine).todo == ()
    assert plan([SUB, new], mine).todo == (DENSE, new)
    assert plan([late], mine).todo == (DENSE, late)
    assert plan([SUB], mine, {SUB: frozenset({SUB.recipe.epochs})}).todo == (DENSE, SUB)
    with_weights = Store(store.folder.parent / "mine", store.folder)
    assert plan([new, late], with_weights).todo == (new, late)


def test_a_run_trained_for_its_weights_gives_its_descendants_a_mask(store, tmp_path):
    dense = pretraining(Task("resnet8", "digits", width=0.25), Recipe(epochs=1, batch_size=20, milestones=()))
    few = few_digits(train=20, test=20)
    (trained,) = train([dense], few)
    Store(tmp_path / "whole").put(trained, "", {})
    list(bring(tmp_path / "whole", Store(tmp_path / "published"), weights=False))
    layered = Store(store.folder, tmp_path / "published")
    for run in plan([lt_omp(dense, 0.5)], layered).todo:
        for result in train([run], few, layered.weights):
            layered.put(result, "", {})
    assert plan([lt_omp(dense, 0.5)], layered).todo == ()
    assert layered.get(dense).accuracy == trained.curves["test_accuracy"][-1]
    assert all(torch.equal(w, trained.weights[n]) for n, w in layered.weights(dense)[0].items())


def test_a_page_reads_results_of_the_project_else_of_the_installed_checkout(store, tmp_path, monkeypatch):
    monkeypatch.setattr("lthpaper.locations.CHECKOUT", tmp_path / "checkout")
    assert study("fig1", "smoke", store="store").store.published is None
    (tmp_path / "checkout" / "results").mkdir(parents=True)
    assert study("fig1", "smoke", store="store").store.published == tmp_path / "checkout" / "results"
    (tmp_path / "results").mkdir()
    assert study("fig1", "smoke", store="store").store.published == tmp_path / "results"


def test_list_runs_shows_the_published_ones(store, monkeypatch, capsys, tmp_path):
    put(Store(tmp_path / "results"), SUB)
    assert lthpaper(monkeypatch, "list", "runs", "--store", str(store.folder)) == 0
    assert SUB.name in capsys.readouterr().out
