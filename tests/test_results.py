"""Published results: compact tables that say what the store said, merge without loss, and are never trusted
where they are not what was written."""

import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lthpaper import locations
from lthpaper.cli import main as cli
from lthpaper.data import load
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.report.results_export import export
from lthpaper.runs.masks import kept
from lthpaper.runs.run import ancestors
from lthpaper.runs.scales import SCALES, scale
from lthpaper.runs.settings import lt_omp
from lthpaper.store import parquet, published
from lthpaper.store.entry import MASK, WEIGHTS, Damaged, NewerFormat, checksum
from lthpaper.store.merge import bring
from lthpaper.store.published import MANIFEST, RUNS
from lthpaper.store.results_check import faults
from lthpaper.store.results_files import to_row
from lthpaper.store.store import Store
from lthpaper.store.table import layers
from lthpaper.studies import train
from lthpaper.sweep.execute import execute
from lthpaper.sweep.plan import plan

TINY = scale("smoke", train_images=60, grid=(0.05,), epochs=3, learning_rates=(0.05,), rounds=(1, 2))
NAMES = ["fig1", "fig4", "fig6"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with the runs of a preliminary figure, contours and overlaps at a tiny scale."""
    store = Store(tmp_path_factory.mktemp("trained"))
    runs = [trial.run for name in NAMES for trial in FIGURES[name].trials(TINY)]
    keep = {**FIGURES["fig4"].keep(TINY), **FIGURES["fig6"].keep(TINY)}
    keep |= {run: keep[run] | epochs for run, epochs in FIGURES["fig4"].keep(TINY).items()}
    execute(runs, store, workers=1, keep=keep, quiet=True, curve_points=1)
    return store


@pytest.fixture(scope="module")
def results(trained, tmp_path_factory):
    """The folder that it is published in."""
    out = tmp_path_factory.mktemp("project") / "results"
    export(NAMES, TINY, trained, out)
    return out


@pytest.fixture
def layer(results, tmp_path):
    """A store of nothing over a copy of the published results."""
    return Store(tmp_path / "store", shutil.copytree(results, tmp_path / "results"))


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def runs_of(names=NAMES):
    return list(ancestors([trial.run for name in names for trial in FIGURES[name].trials(TINY)]))


# --- what is read is what was trained ---


def test_a_published_result_says_what_the_stores_own_said(trained, layer):
    for run in runs_of():
        own, other = trained.get(run), layer.get(run)
        assert run in layer
        for name in ("kept", "sparsity", "fingerprint", "files", "layers", "provenance", "accuracy"):
            assert getattr(own, name) == getattr(other, name), name
        assert list(own.curves) == list(other.curves)
        assert np.array_equal(own.curves["test_accuracy"], other.curves["test_accuracy"], equal_nan=True)
        for name, curve in own.curves.items():
            np.testing.assert_allclose(curve, other.curves[name], rtol=1e-7)
    assert np.isnan(layer.get(runs_of()[0]).curves["test_accuracy"]).any()  # epochs without a test


def test_a_run_that_diverged_at_once_has_its_curves_all_the_same(trained, layer):
    import pyarrow as pa

    run, nowhere = runs_of()[0], [math.nan] * 3
    curves = {"train_loss": nowhere, "test_loss": nowhere, "test_accuracy": nowhere}
    row = to_row(replace(trained.get(run), curves=curves), {})
    signed(layer.published / "smoke", RUNS, parquet.content_of(pa.Table.from_pylist([row], published.SCHEMA)))
    assert list(layer.get(run).curves) == list(curves)
    assert all(np.isnan(curve).all() and len(curve) == 3 for curve in layer.get(run).curves.values())


def test_the_layers_counts_are_those_of_the_masks(trained, layer):
    masked = [run for run in runs_of() if run.mask is not None]
    assert masked
    for run in masked:
        mask = trained.weights(run)[1]
        assert layer.layers(run) == {name: int(m.sum()) for name, m in mask.items()}
        assert sum(layer.layers(run).values()) == kept(mask) == layer.get(run).kept


def test_layer_counts_of_an_earlier_version_come_from_the_mask(trained, tmp_path):
    run = next(run for run in runs_of() if run.mask is not None)
    copied = Store(shutil.copytree(trained.folder, tmp_path / "old"))
    path = copied.path(run) / "result.json"
    result = json.loads(path.read_text())
    del result["layers"], result["checksum"]
    path.write_text(
        json.dumps(result | {"checksum": parquet.checksum(json.dumps(result, sort_keys=True).encode())})
    )
    assert copied.get(run).layers == {}
    assert copied.layers(run) == trained.get(run).layers != {}


def test_every_published_run_comes_back_with_its_ancestors(layer):
    found = {result.run: result for result in layer}
    assert set(found) == set(runs_of())
    assert all(set(ancestors([run])) <= set(found) for run in found)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_drawn_from_published_results_is_the_one_drawn_from_weights(trained, layer, name):
    spec = FIGURES[name]
    ours = spec.measure(spec.trials(TINY), trained, TINY, None)
    theirs = spec.measure(spec.trials(TINY), layer, TINY, None)
    assert list(ours) == list(theirs)
    single = ("train_loss", "test_loss", "loss_left", "loss_falling")  # in single precision
    losses = [c for c in single if c in ours]
    assert ours.drop(columns=losses).equals(theirs.drop(columns=losses))
    np.testing.assert_allclose(ours[losses].to_numpy(float), theirs[losses].to_numpy(float), rtol=1e-6)
    assert spec.lacking(TINY, layer) == {}
    plt.close(spec.plot(theirs, TINY))
    assert not list(layer.folder.glob("*"))  # nothing was worked out again


def test_nothing_published_is_trained_again_and_a_childs_ancestors_are(layer):
    runs = [trial.run for name in NAMES for trial in FIGURES[name].trials(TINY)]
    keep = {run: epochs for name in NAMES for run, epochs in FIGURES[name].lacking(TINY, layer).items()}
    assert plan(runs, layer, keep).todo == ()
    dense = runs[0]
    child = lt_omp(dense, 0.3)
    assert plan([child], layer).todo == (dense, child)
    assert not layer.has_weights(dense)
    with pytest.raises(KeyError, match="without its weights"):
        layer.weights(dense)
    execute([child], layer, workers=1, quiet=True)
    assert layer.has_weights(dense)
    assert layer.get(dense).folder == layer.path(dense)  # the store's own comes first


def test_weights_that_were_not_published_can_be_had_and_layers_need_none(trained, layer):
    dense = runs_of()[0]
    masked = next(run for run in runs_of() if run.mask is not None)
    for run in (dense, masked):
        assert layers(run, layer).equals(layers(run, trained))
    train(dense, layer, workers=1, quiet=True)
    assert not layer.has_weights(dense)
    train(dense, layer, workers=1, quiet=True, weights=True)
    assert layer.weights(dense)[1] is None


def test_published_entries_come_before_published_tables(trained, layer):
    run = runs_of()[0]
    list(bring(trained.folder, Store(layer.published), only=run.name))
    assert layer.has_weights(run)
    assert layer.get(run).curves == trained.get(run).curves  # in double precision
    assert len(list(layer)) == len(runs_of())


# --- export ---


def test_equal_stores_give_equal_bytes(trained, results, tmp_path):
    export(NAMES, TINY, trained, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(results)
    done = export(NAMES, TINY, trained, tmp_path / "again")
    assert done.new == 0
    assert contents(tmp_path / "again") == contents(results)


def test_results_exported_in_parts_are_those_exported_at_once(trained, results, tmp_path):
    for name in reversed(NAMES):
        done = export([name], TINY, trained, tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(results)
    assert done.runs == len(runs_of())


def test_an_export_of_some_seeds_adds_and_drops_nothing(trained, tmp_path):
    more = TINY.with_(seeds=2)
    done = export(["fig1"], more, trained, tmp_path / "out")
    assert done.lacking == done.runs == done.new
    some = Store(tmp_path / "some")
    execute([trial.run for trial in FIGURES["fig1"].trials(more) if trial.run.seed == 1], some, quiet=True)
    done = export(["fig1"], more, some, tmp_path / "out")
    assert (done.runs, done.lacking) == (2 * done.new, 0)
    layer = Store(tmp_path / "nothing", tmp_path / "out")
    table = FIGURES["fig1"].measure(FIGURES["fig1"].trials(more), layer, more, None)
    assert table.groupby("seed")["accuracy"].count().nunique() == 1
    assert table["accuracy"].notna().all()


def test_a_result_whose_ancestors_are_nowhere_is_left_out_and_named(trained, tmp_path):
    copied = Store(shutil.copytree(trained.folder, tmp_path / "copy"))
    trials = FIGURES["fig1"].trials(TINY)
    chosen = next(t.run for t in trials if t.setting == "LT-IMP" and t.run.mask.after.mask is not None)
    shutil.rmtree(copied.path(chosen.mask.after))
    done = export(["fig1"], TINY, copied, tmp_path / "out")
    assert chosen in done.left_out
    assert chosen not in Store(tmp_path / "nothing", tmp_path / "out")


def test_other_bits_of_a_published_run_are_refused_and_nothing_is_written(trained, results, tmp_path):
    out = shutil.copytree(results, tmp_path / "results")
    run, before = runs_of()[0], contents(out)

    shutil.copytree(trained.folder, tmp_path / "other")
    path = tmp_path / "other" / run.name
    weights = bytearray((path / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (path / WEIGHTS).write_bytes(weights)
    result = json.loads((path / "result.json").read_text())
    del result["checksum"]
    result["files"][WEIGHTS] = parquet.checksum(bytes(weights))
    text = json.dumps(result, sort_keys=True).encode()
    (path / "result.json").write_text(json.dumps(result | {"checksum": parquet.checksum(text)}))
    with pytest.raises(InputError, match=f"1 of .* other weights than this store has: {run.name}"):
        export(NAMES, TINY, Store(tmp_path / "other"), out)
    assert contents(out) == before


# --- files that have changed ---


@pytest.mark.parametrize("name", [RUNS, "overlap.parquet", "surface.parquet"])
@pytest.mark.parametrize("damage", ["flipped", "shorter", "gone", "a folder", "a link"])
def test_a_damaged_file_is_one_sentence(layer, tmp_path, name, damage):
    path = layer.published / "smoke" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "shorter":
        path.write_bytes(content[:-1])
    elif damage == "a folder":
        path.mkdir()
    elif damage == "a link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    spec = FIGURES[{"overlap.parquet": "fig6"}.get(name, "fig4")]
    with pytest.raises(Damaged, match=f"{name} .* cannot be trusted"):
        spec.measure(spec.trials(TINY), layer, TINY, None)


def test_results_of_another_copy_of_the_data_are_refused_and_nothing_is_written(trained, tmp_path):
    run, out = runs_of(["fig1"])[0], tmp_path / "results"
    path = Path(shutil.copytree(trained.folder, tmp_path / "other")) / run.name
    result = json.loads((path / "result.json").read_text()) | {"fingerprint": "0" * 16}
    result["checksum"] = checksum(result)
    (path / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"several copies of digits \(0{16}, "):
        export(["fig1"], TINY, Store(tmp_path / "other"), out)
    assert not out.exists()


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{", '{"format": 1}', '{"files": {}}', '{"files": {"runs.parquet": 3}}'),
        '{"files": {"runs.parquet": {"sha256": ""}}}',
        f'{{"files": {{"../x.parquet": {{"sha256": "{"0" * 64}"}}}}}}',
    ],
)
def test_a_manifest_that_is_none_is_one_sentence(layer, content):
    (layer.published / "smoke" / MANIFEST).write_text(content)
    with pytest.raises(Damaged, match="cannot be trusted"):
        layer.get(runs_of()[0])


def test_a_manifest_of_a_newer_version_is_said(layer):
    (layer.published / "smoke" / MANIFEST).write_text('{"format": 99}')
    with pytest.raises(NewerFormat, match="newer lthpaper") as found:
        _ = runs_of()[0] in layer
    assert found.value.how == "was written by a newer lthpaper (another format)"


def signed(folder, name, content):
    """A stranger's file, with the checksum that it has."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": parquet.checksum(content), "bytes": len(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@settings(max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("name", [RUNS, "overlap.parquet"])
def test_a_file_with_any_byte_changed_is_refused_before_it_is_parsed(results, tmp_path_factory, name, data):
    folder = shutil.copytree(results, tmp_path_factory.mktemp("changed") / "results")
    whole = (folder / "smoke" / name).read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    assume(bytes(content) != whole)
    (folder / "smoke" / name).write_bytes(bytes(content))
    scale = published.of(folder).scales["smoke"]
    with pytest.raises(Damaged, match="checksum"):
        _ = scale.table if name == RUNS else scale.keys("overlap")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "resnet8"}, "holds names that no run can have"),
        ({"name": "../../resnet8-digits-0123456789abcdef"}, "holds names that no run can have"),
        ({"tested": [99]}, "do not fit"),
        ({"tested": []}, "do not fit"),
        ({"train_loss": [1.0]}, "do not fit"),
        ({"epochs": -1}, "do not fit"),
        ({"kept": None}, "lacks values"),
        ({"provenance": "["}, "provenance"),
        ({"provenance": "3"}, "provenance"),
    ],
)
def test_rows_that_no_export_writes_are_refused(layer, changes, said):
    import pyarrow as pa

    folder = layer.published / "smoke"
    rows = published.Scale(folder).table.to_pylist()
    run = next(run for run in runs_of() if run.name == rows[0]["name"])
    rows[0] |= changes
    signed(folder, RUNS, parquet.content_of(pa.Table.from_pylist(rows, schema=published.SCHEMA)))
    with pytest.raises(Damaged, match=said):
        layer.get(run)


def test_sizes_are_looked_at_before_memory_is_asked_for(layer, monkeypatch):
    for limit, value in (("LARGEST_READ", 1000), ("MOST_VALUES", 10), ("MOST_ROWS", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(parquet, limit, value)
            with pytest.raises(Damaged, match="too large"):
                published.Scale(layer.published / "smoke").get(runs_of()[0])


def test_old_and_new_layers_live_beside_each_other(layer):
    (layer.published / "README.md").write_text("what this is")
    (layer.published / "Not A Scale").mkdir()
    (layer.published / "Not A Scale" / MANIFEST).write_text("{")
    assert runs_of()[0] in layer
    assert load("digits", train_images=60).fingerprint == layer.get(runs_of()[0]).fingerprint
    assert MASK not in layer.get(runs_of()[0]).files


# --- lists and checks ---


def lthpaper(monkeypatch, *words):
    """The command's exit status."""
    monkeypatch.setattr(sys, "argv", ["lthpaper", *map(str, words)])
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_what_was_exported_is_without_fault(layer):
    assert list(faults(published.Scale(layer.published / "smoke"))) == []


def change(column, value, of=lambda run: True):
    """Published rows with one value changed, in the first row of such a run, and signed again."""

    def changed(folder):
        import pyarrow as pa

        rows = published.Scale(folder).table.to_pylist()
        chosen = {run.name: run for run in runs_of()}
        row = next(row for row in rows if of(chosen[row["name"]]))
        row[column] = value(row[column]) if callable(value) else value
        signed(folder, RUNS, parquet.content_of(pa.Table.from_pylist(rows, schema=published.SCHEMA)))

    return changed


def masked(run):
    return run.mask is not None


def count_more(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"runs": 1000}))


def lose_runs(folder):
    table = published.Scale(folder).table
    signed(folder, RUNS, parquet.content_of(table.slice(0, 3)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change("description", lambda text: text.replace('"lr":0.', '"lr":1.')), "gives"),
        (change("description", "{}"), "gives"),
        (change("description", "{"), "holds no description"),
        (change("name", lambda name: f"resnet20-{name}"), "is named resnet20"),
        (change("test_accuracy", lambda values: [*values[:-1], 101.0]), "not a percentage"),
        (change("train_loss", lambda values: [*values[:-1], -1.0]), "a loss that is negative or infinite"),
        (
            change("tested", lambda at: list(range(len(at))), lambda run: run.cost == 3),
            "after its last epoch",
        ),
        (change("seconds", -1.0), "seconds"),
        (change("weights", "abc"), "lacks the checksum"),
        (change("mask", "0" * 64, lambda run: not masked(run)), "none where|where its description has none"),
        (change("kept", 5, masked), "keeps 5 of"),
        (change("layers", lambda pairs: pairs[1:], masked), "do not add up"),
        (change("fingerprint", "another"), "different copies of digits"),
        (count_more, "says 1000 runs"),
        (lose_runs, "ancestors of .* are missing|that are not published"),
        (lambda folder: (folder / "more.parquet").write_text(""), "does not list it"),
        (lambda folder: (folder / "overlap.parquet").write_text(""), "cannot be trusted"),
    ],
)
def test_a_row_that_its_run_cannot_have_is_a_fault(layer, damage, said):
    folder = layer.published / "smoke"
    damage(folder)
    found = list(faults(published.Scale(folder)))
    assert any(re.search(said, fault) for fault in found), found


def test_the_commands_list_export_and_verify(trained, layer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    assert lthpaper(monkeypatch, "results", "list") == 0
    out = capsys.readouterr().out
    assert f"smoke: {len(runs_of())} runs, " in out
    assert "CC BY 4.0" in out
    assert lthpaper(monkeypatch, "results", "verify") == 0
    assert "all good" in capsys.readouterr().out
    (tmp_path / "results" / "smoke" / RUNS).write_bytes(b"")
    assert lthpaper(monkeypatch, "results", "verify") == 1
    assert "cannot be trusted" in capsys.readouterr().out
    assert lthpaper(monkeypatch, "results", "list") == 2
    for words in (
        ("verify", "--scale", "laptop"),
        ("audit", "--scale", "laptop"),
        ("audit", "--scale", ""),
        ("list", "--results", tmp_path / "nowhere"),
        ("export", "--scale", "nothing"),
        ("export", "fig7"),
        ("export", "fig1", "--store", tmp_path / "nowhere"),
    ):
        assert lthpaper(monkeypatch, "results", *words) == 2
        assert capsys.readouterr().err.startswith("lthpaper: ")
    installed = tmp_path / "site-packages" / "results"
    monkeypatch.setattr(locations, "shipped", lambda name: installed.parent / name)
    installed.parent.mkdir()
    (tmp_path / "results").rename(installed)  # as a wheel has them, seen from any folder
    assert lthpaper(monkeypatch, "results", "verify") == 1
    shutil.rmtree(installed)
    words = ("fig1", "--scale", "smoke", "--store", trained.folder)
    assert lthpaper(monkeypatch, "results", "export", *words) == 2  # of another recipe than the smoke scale's
    assert "has no finished run of these figures" in capsys.readouterr().err
    monkeypatch.setitem(SCALES, "smoke", TINY)
    assert lthpaper(monkeypatch, "results", "export", *words) == 0
    count = len(runs_of(["fig1"]))
    assert f"{count} runs ({count} new)" in capsys.readouterr().out
    assert (
        lthpaper(monkeypatch, "results", "export", *words, "--set", "seeds=2") == 0
    )  # one is not trained yet
    assert "`lthpaper run fig1 --scale smoke --set seeds=2` trains them" in capsys.readouterr().out
    assert lthpaper(monkeypatch, "results", "verify") == 0
