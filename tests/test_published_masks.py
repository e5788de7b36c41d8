"""Masks are published beside the runs: who goes on from there trains nothing that was trained before."""

import json
import pickle
import shutil
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from lthpaper.errors import InputError
from lthpaper.report.results_export import export
from lthpaper.runs.controls import at_norms_of
from lthpaper.runs.inits.rewind import Rewind
from lthpaper.runs.masks import packed, unpacked
from lthpaper.runs.run import ancestors, to_json
from lthpaper.runs.scales import scale
from lthpaper.runs.settings import lt_imp, lt_omp, pretraining, random_reinit
from lthpaper.runs.topology import Topology
from lthpaper.store import parquet, published, transfer
from lthpaper.store.entry import MASK, RESULT, WEIGHTS, Damaged, checksum, write_json
from lthpaper.store.published import MANIFEST, MASKS
from lthpaper.store.results_check import faults
from lthpaper.store.store import Store
from lthpaper.store.ticket import ticket
from lthpaper.sweep.audit import audit, cost_of, needed
from lthpaper.sweep.execute import execute, perform
from lthpaper.sweep.executor import Job
from lthpaper.sweep.plan import again, plan

TINY = scale(
    "smoke",
    train_images=60,
    grid=(0.05,),
    epochs=2,
    learning_rates=(0.05,),
    rounds=(1, 2, 3),
    experiments=("resnet8/digits",),
)
FIGURES = ("fig1", "fig3")
DENSE = pretraining(TINY.task, TINY.recipe.with_(lr=0.05), 0)
ONE, TWO, THREE = (lt_imp(DENSE, rounds) for rounds in (1, 2, 3))
OMP = lt_omp(DENSE, THREE.mask.sparsity)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with the first two rounds of IMP and LT-OMP; the rest of Figures 1 and 3 is not trained."""
    store = Store(tmp_path_factory.mktemp("trained"))
    execute([TWO, OMP], store, workers=1, quiet=True)
    return store


@pytest.fixture(scope="module")
def results(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("project") / "results"
    export(FIGURES, TINY, trained, out)
    return out


@pytest.fixture
def layer(results, tmp_path):
    return Store(tmp_path / "store", shutil.copytree(results, tmp_path / "results"))


def test_a_control_under_a_published_mask_trains_alone_with_the_same_bits(trained, layer, tmp_path):
    for control in (random_reinit(OMP), at_norms_of(random_reinit(TWO), TWO)):
        todo = plan([control], layer)
        assert todo.todo == (control,)
        assert set(todo.masks) == {control}
        execute([control], layer, workers=1, quiet=True)
        whole = Store(shutil.copytree(trained.folder, tmp_path / control.digest))
        execute([control], whole, workers=1, quiet=True)  # its mask made from its ancestor's weights
        assert layer.get(control).files == whole.get(control).files
    assert DENSE not in Store(layer.folder)


def test_a_published_ticket_is_exported_with_its_start_and_mask_without_trained_weights(
    trained, layer, tmp_path
):
    found, whole = ticket(TWO, layer), ticket(TWO, trained)
    folder = found.save(tmp_path / "ticket")
    assert {path.name for path in folder.glob("*.safetensors")} == {
        "start.safetensors",
        "mask.safetensors",
    }
    for name, expected in (("start", whole.start), ("mask", whole.mask)):
        exported = load_file(folder / f"{name}.safetensors")
        assert exported.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[n]) for n, tensor in exported.items())
    assert "weights.safetensors" not in (folder / "README.md").read_text()
    start = found.module(trained=False, pruned=False)
    assert all(torch.equal(weight, whole.start[n]) for n, weight in start.named_parameters())
    with pytest.raises(InputError, match=r"without its trained weights.*trained=False"):
        found.module()
    with pytest.raises(InputError, match="published without its weights"):
        ticket(DENSE, layer)  # which has no mask to export


def test_who_trains_a_published_run_again_learns_that_other_instructions_may_give_other_bits(
    layer, monkeypatch
):
    todo = plan([TWO], layer, {TWO: frozenset({TWO.recipe.epochs})})
    said = again(todo, layer, "cpu")
    assert said == "1 of these is trained again, for weights that the results lack"
    monkeypatch.setattr("lthpaper.sweep.plan.device_name", lambda device: "another processor")
    theirs = layer.get(TWO).provenance["device"]
    both = f"The published bits are from {theirs}; another processor may give others, and then"
    assert both in again(todo, layer, "cpu")
    assert again(plan([random_reinit(TWO)], layer), layer, "cpu") == ""  # its mask is published


def test_a_node_without_the_folder_gets_the_mask_with_the_job_and_no_entries(layer):
    control = random_reinit(TWO)
    assert transfer.needed([control], layer) == {}
    todo = plan([control], layer)
    job = Job((to_json(control),), ((),), str(layer.folder), None, None, "cpu", masks=(todo.masks[control],))
    perform(pickle.loads(pickle.dumps(job)))
    assert Store(layer.folder).has_weights(control)


def test_iterative_pruning_goes_on_where_the_published_rounds_end(trained, layer, tmp_path):
    assert THREE.digest not in layer.tables
    assert plan([THREE], layer).todo == (THREE,)
    execute([THREE], layer, workers=2, quiet=True)
    whole = Store(shutil.copytree(trained.folder, tmp_path / "whole"))
    execute([THREE], whole, workers=1, quiet=True)
    assert layer.get(THREE).files == whole.get(THREE).files
    export(FIGURES, TINY, layer, layer.published)  # by somebody who has no weights of the rounds before
    after = published.Scale(layer.published / "smoke")
    assert THREE.digest in after
    assert list(faults(after)) == []


def test_the_own_weights_come_before_a_published_mask(layer):
    control = random_reinit(OMP)
    execute([lt_omp(DENSE, 0.3)], layer, workers=1, quiet=True)  # no such mask is published: DENSE is trained
    assert layer.has_weights(DENSE)
    assert plan([control], layer).masks == {}


def test_a_mask_is_made_anew_where_a_run_behind_it_is_trained_again_anyway(layer):
    """What is trained again may have other bits: a mask and what it is compared with are of one training."""
    control, last = random_reinit(OMP), DENSE.recipe.epochs
    for runs, keep in (([control], {DENSE: frozenset({last})}), ([control, lt_omp(DENSE, 0.3)], {})):
        found = plan(runs, layer, keep)
        assert found.todo[:1] == (DENSE,)
        assert found.masks == {}
    third = random_reinit(THREE)
    found = plan([third], layer, {DENSE: frozenset({last})})  # also where it stands far behind the mask
    assert found.masks == {}
    assert set(found.todo) == {DENSE, ONE, TWO, third}


def test_a_run_that_was_trained_here_with_other_bits_makes_the_mask_anew(trained, layer):
    shutil.copytree(trained.path(DENSE), layer.path(DENSE))
    (layer.path(DENSE) / WEIGHTS).unlink()
    result = json.loads((layer.path(DENSE) / "result.json").read_text())
    _rewritten(layer.path(DENSE), result | {"left_out": [WEIGHTS]})
    assert OMP.mask_sources == {DENSE: {DENSE.recipe.epochs}}
    assert plan([random_reinit(OMP)], layer).todo == (
        random_reinit(OMP),
    )  # these bits are the published ones
    other = result["files"] | {WEIGHTS: "0" * 64}
    _rewritten(layer.path(DENSE), result | {"left_out": [WEIGHTS], "files": other})
    assert plan([random_reinit(OMP)], layer).todo == (DENSE, random_reinit(OMP))


def test_weights_and_mask_of_one_start_come_from_one_training(layer):
    rewound = replace(OMP, init=Rewind(DENSE, 1))
    assert layer.published_mask(OMP) is not None
    assert layer.published_mask(rewound) is None
    assert plan([rewound], layer).todo == (DENSE, rewound)


def test_of_two_scales_the_one_whose_runs_are_read_gives_the_mask(layer, tmp_path):
    shutil.copytree(layer.published / "smoke", layer.published / "before")
    expected = Store(tmp_path / "none", layer.published).published_mask(TWO)
    (layer.published / "before" / MASKS).write_bytes(b"")  # of a scale that is not asked
    one = published.Scale(layer.published / "smoke")
    assert [a.equal for a in audit(one, [TWO], workers=1, quiet=True, masks=True).audited] == [True]
    with pytest.raises(Damaged):
        Store(tmp_path / "none", layer.published).published_mask(TWO)  # runs are read from "before", too
    assert expected is not None


def test_a_run_whose_mask_changes_has_its_ticket_and_publishes_no_mask(layer, tmp_path):
    grown = replace(random_reinit(OMP), topology=Topology("set", every=1))
    execute([grown], layer, workers=1, quiet=True)
    assert layer.get(grown).provenance["mask"] == "published"
    first = unpacked(layer.tables.mask(OMP))
    theta0 = ticket(grown, layer).start
    assert all(not theta0[name][~kept].any() for name, kept in first.items())
    assert any(not kept.equal(layer.weights(grown)[1][name]) for name, kept in first.items())


def test_the_mask_of_a_run_is_its_entrys_or_the_published_one_of_the_same_training(trained, layer):
    for run in (ONE, TWO, OMP):
        ours, theirs = layer.mask(run), trained.weights(run)[1]
        assert not layer.has_weights(run)
        assert ours.keys() == theirs.keys()
        assert all(ours[name].equal(m) for name, m in theirs.items())
    assert layer.mask(DENSE) is layer.mask(THREE) is None  # dense; not trained
    shutil.copytree(trained.path(OMP), layer.path(OMP))
    for name in (WEIGHTS, MASK):
        (layer.path(OMP) / name).unlink()
    with pytest.raises(Damaged, match="is missing"):
        layer.mask(OMP)
    result = json.loads((layer.path(OMP) / RESULT).read_text()) | {"left_out": [WEIGHTS, MASK]}
    _rewritten(layer.path(OMP), result)
    assert layer.mask(OMP) is not None
    _rewritten(layer.path(OMP), result | {"files": result["files"] | {MASK: "0" * 64}})
    assert layer.mask(OMP) is None  # of another training than the published one


def test_a_mask_that_changed_in_training_is_never_the_published_first_one(layer):
    grown = replace(random_reinit(OMP), topology=Topology("set", every=1))
    execute([grown], layer, workers=1, quiet=True)
    last, first = layer.mask(grown), unpacked(layer.tables.mask(OMP))
    assert any(not last[name].equal(m) for name, m in first.items())


def test_masks_are_exact_and_are_those_of_the_entries(trained, layer):
    for run in (ONE, TWO, OMP):
        mask = trained.weights(run)[1]
        found = layer.tables.mask(run)
        assert found == packed(mask)
        again = unpacked(found)
        assert all(again[name].equal(mask[name]) for name in mask)
    table = pd.read_parquet(layer.published / "smoke" / MASKS)
    runs = [r for r in ancestors([THREE, OMP]) if r.mask is not None]
    assert {published.mask_key(run) for run in runs} <= set(table["key"])
    assert list(faults(published.Scale(layer.published / "smoke"))) == []


def test_an_audit_by_masks_trains_each_run_by_itself(layer):
    one = published.Scale(layer.published / "smoke")
    assert (cost_of(TWO), cost_of(TWO, one)) == (3 * TWO.cost, TWO.cost)
    assert needed([TWO, DENSE], one) == (DENSE, TWO)
    report = audit(one, [TWO, DENSE], workers=1, quiet=True, masks=True)
    assert report.also == ()
    assert [a.equal for a in report.audited] == [True, True]


def test_a_run_under_another_mask_than_the_published_one_is_not_published(trained, layer):
    _with_a_bit_turned(layer, TWO)
    one = published.Scale(layer.published / "smoke")
    assert any("another mask" in fault and TWO.name in fault for fault in faults(one))
    shutil.rmtree(layer.published / "smoke")
    for run in (DENSE, ONE):
        shutil.copytree(trained.path(run), layer.path(run))
    export(FIGURES, TINY, Store(layer.folder), layer.published)
    _with_a_bit_turned(layer, TWO)  # made ahead, from the round before
    with pytest.raises(InputError, match=f"under another mask than others .*{TWO.name} "):
        export(FIGURES, TINY, trained, layer.published)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(bits=[b[:-1] for b in t["bits"]]), "is none"),
        (lambda t: t.assign(shape=[[-1, -8 * len(b)] for b in t["bits"]]), "is none"),
        (lambda t: pd.concat([t, t]), "is none"),
        (lambda t: t.rename(columns={"bits": "bit"}), "other columns"),
        (lambda t: t[t["layer"] != t["layer"].iloc[0]], "does not fit"),
        (lambda t: t.assign(shape=[s[::-1] for s in t["shape"]]), "does not fit"),
        (lambda t: t.assign(bits=[bytes(len(b)) for b in t["bits"]]), "does not fit"),  # keeps nothing
        (lambda t: pd.concat([t] * (10**5 // len(t) + 1)), "100,000 is the most"),
    ],
)
def test_masks_that_are_none_are_one_sentence(layer, change, said):
    _written(layer, change(pd.read_parquet(layer.published / "smoke" / MASKS)))
    with pytest.raises(Damaged, match=said):
        layer.published_mask(TWO)


def _with_a_bit_turned(layer, run):
    table, key = pd.read_parquet(layer.published / "smoke" / MASKS), published.mask_key(run)
    row = table.index[table["key"] == key][0]
    bits = bytearray(table.at[row, "bits"])
    bits[0] ^= 128
    table.at[row, "bits"] = bytes(bits)
    _written(layer, table)


def _written(layer, table):
    """Masks as somebody would who writes the manifest to match."""
    folder = layer.published / "smoke"
    schema = published.MASK_SCHEMA if "bits" in table else None
    content = parquet.content_of(pa.Table.from_pandas(table, schema=schema, preserve_index=False))
    parquet.write(folder / MASKS, content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][MASKS] = {"sha256": parquet.checksum(content), "bytes": len(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _rewritten(folder, result):
    result = {name: value for name, value in result.items() if name != "checksum"}
    write_json(folder / RESULT, result | {"checksum": checksum(result)})
