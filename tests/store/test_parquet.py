"""Tables that the disk does not give now: that is said, and nothing is computed again, moved or lost."""

import pandas as pd
import pyarrow as pa
import pytest
from test_merge_and_prune import lthpaper, put, unreadable
from test_store import DENSE, everything_in

from lthpaper.errors import InputError
from lthpaper.store import hub, parquet, published, results_files
from lthpaper.store.entry import Damaged, Unreadable
from lthpaper.store.measurements import measured
from lthpaper.store.merge import bring
from lthpaper.store.published import MANIFEST, RUNS
from lthpaper.store.results_check import faults
from lthpaper.store.store import Store

NOW = r"cannot be read now \(Stale .*file handle\)\. It may be whole: run the same command again"
KEY = "a" * 16

pytestmark = pytest.mark.usefixtures("in_a_folder_of_the_test")


def publish(store: Store, folder) -> None:
    """What the store has of one run, as an export writes it."""
    rows = {DENSE.name: results_files.to_row(store.get(DENSE), {})}
    files = results_files.files_of(rows, {}, {})
    manifest = results_files.manifest_of("smoke", rows, files, (), DENSE.cost, 0)
    results_files.write(folder / "smoke", files, manifest)


def test_a_table_that_cannot_be_read_now_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    content = parquet.content_of(pa.table({"x": [1.0]}))
    parquet.write(path, content)
    for what in ("lstat", "read_bytes"):
        with monkeypatch.context() as patch:
            unreadable(patch, path, only=(what,))
            with pytest.raises(Unreadable, match=NOW) as said:
                parquet.read(path, parquet.checksum(content))
            assert said.value.path == path
            assert "move" not in str(said.value)
            assert "git" not in str(said.value)
    assert parquet.read(path, parquet.checksum(content)).num_rows == 1
    path.unlink()
    with pytest.raises(Damaged, match=r"is missing, and cannot be trusted\. Bring it back") as said:
        parquet.read(path, parquet.checksum(content))
    assert type(said.value) is Damaged


@pytest.mark.parametrize("file", [MANIFEST, RUNS])
def test_published_results_that_cannot_be_read_now_are_one_sentence_and_stay(
    store, tmp_path, monkeypatch, capsys, file
):
    put(store, DENSE)
    publish(store, tmp_path / "results")
    assert list(faults(published.Scale(tmp_path / "results" / "smoke"))) == []
    path = tmp_path / "results" / "smoke" / file
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        unreadable(patch, path)
        (fault,) = faults(published.Scale(path.parent))
        assert "may be whole" in fault
        with pytest.raises(Unreadable, match=NOW):
            published.of(tmp_path / "results")
        for command in ("list", "verify"):
            assert lthpaper(monkeypatch, "results", command) == 2
            assert "may be whole" in capsys.readouterr().err
        assert lthpaper(monkeypatch, "results", "export", "fig1", "--scale", "smoke", "--store", "store") == 2
        assert capsys.readouterr().err.startswith(f"lthpaper: {path} cannot be read now")  # no store entry
    assert path.read_bytes() == before


def test_results_that_cannot_be_read_now_are_not_put_on_a_hub(store, tmp_path, monkeypatch):
    put(store, DENSE)
    publish(store, tmp_path)
    with monkeypatch.context() as patch:
        unreadable(patch, tmp_path / "smoke" / RUNS)
        with pytest.raises(InputError, match=r"cannot be read now .*: nothing was downloaded or uploaded"):
            hub.verified(tmp_path)


def test_a_measurement_that_cannot_be_read_now_is_not_computed_again(store, monkeypatch):
    put(store, DENSE)
    table = pd.DataFrame({"x": [1.0]})
    store.keep_measurement(DENSE, "surface", KEY, table)
    (path,) = store.folder.glob("measurements/surface/*")
    before = everything_in(store)
    with monkeypatch.context() as patch:
        unreadable(patch, path)
        with pytest.raises(Unreadable, match=NOW):
            measured(store, DENSE, "surface", KEY, lambda: pytest.fail("it was computed again"))
    assert everything_in(store) == before
    assert store.measurement(DENSE, "surface", KEY).equals(table)


def test_a_measurement_that_cannot_be_read_now_is_refused_by_a_merge_and_the_others_come(
    store, other, monkeypatch, capsys
):
    put(other, DENSE)
    for key in (KEY, "b" * 16):
        other.keep_measurement(DENSE, "surface", key, pd.DataFrame({"x": [1.0]}))
    path, _ = sorted(other.folder.glob("measurements/surface/*"))
    with monkeypatch.context() as patch:
        unreadable(patch, path)
        assert lthpaper(monkeypatch, "store", "merge", "other", "--store", "store") == 1
    assert "cannot be read now" in capsys.readouterr().out
    assert [one.outcome for one in bring(other.folder, store)] == ["there"]
    assert len(list(store.folder.glob("measurements/surface/*"))) == 2
