"""Tickets and tables are exported from the store for other programs."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from plain_loop import few_digits
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune
from typer.testing import CliRunner

from lthpaper import data, networks
from lthpaper.cli.main import app
from lthpaper.errors import InputError
from lthpaper.runs.pruning.snip import Snip
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.settings import lt_imp, lt_omp, pretraining, random_reinit
from lthpaper.runs.task import Task
from lthpaper.store import listing
from lthpaper.store import prune as store_tools
from lthpaper.store import ticket as ticket_export
from lthpaper.store.store import Store
from lthpaper.sweep.execute import execute
from lthpaper.training.loop import train

TASK = Task("resnet8", "digits", train_images=200)
DENSE = pretraining(TASK, Recipe(epochs=3, lr=0.05, batch_size=20, milestones=(2,)))
LT, RR = lt_omp(DENSE, 0.6), random_reinit(lt_omp(DENSE, 0.6))

ELSEWHERE = """
import json, sys
import torch
from pathlib import Path
from safetensors.torch import load_file

sys.path.insert(0, {package!r})
from lthpaper import networks  # for its architecture only
from lthpaper.data import load

folder = Path({folder!r})
about = json.loads((folder / "ticket.json").read_text())
network = networks.build(**about["network"])
network.load_state_dict(load_file(folder / "weights.safetensors"))
for name, mask in load_file(folder / "mask.safetensors").items():
    assert mask.dtype == torch.bool
    assert not network.get_parameter(name)[~mask].any()
mean, std = (torch.tensor(about["images"][name]).view(1, -1, 1, 1) for name in ("mean", "std"))
images = load(about["images"]["data"]).images
x = (images.test.permute(0, 3, 1, 2) / 255 - mean) / std
with torch.no_grad():
    right = network.eval()(x).argmax(1) == images.test_labels
print(100 * right.double().mean().item(), about["test_accuracy"])
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Store:
    """A ticket and its random counterpart, trained."""
    store = Store(tmp_path_factory.mktemp("results") / "store")
    execute([LT, RR, lt_imp(DENSE, 1)], store, workers=1, quiet=True)
    return store


def test_an_exported_ticket_loads_elsewhere_and_is_as_accurate(results, tmp_path):
    folder = ticket_export.ticket(LT, results).save(tmp_path / "out")
    script = ELSEWHERE.format(package=str(Path(networks.__file__).parents[2]), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    here, said = map(float, done.stdout.split())
    assert here == pytest.approx(said, abs=1e-9)
    assert said == results.get(LT).accuracy > 20  # it has learnt something: chance is 10 %


def test_a_ticket_starts_from_theta_0_under_its_mask(results):
    found = ticket_export.ticket(LT, results)
    theta0 = ticket_export.ticket(DENSE, results).start
    for name, weight in found.start.items():
        kept = found.mask.get(name, torch.ones_like(weight, dtype=torch.bool))
        assert torch.equal(weight, theta0[name].where(kept, 0))
    other = ticket_export.ticket(RR, results)
    assert all(torch.equal(other.mask[n], m) for n, m in found.mask.items())
    assert not any(torch.equal(other.start[n], found.start[n]) for n in found.mask)


def test_a_ticket_is_what_the_store_holds_and_nothing_is_made_again(store):
    """SNIP's mask would need the images, OMP's θT of the dense run, which may be gone."""
    dense = pretraining(Task("mlp", "digits"), Recipe(epochs=1, batch_size=20, milestones=()))
    runs = (lt_omp(dense, 0.5), dense.with_(mask=Snip(dense.init, 0.5, images=20)))
    for run in (dense, *runs):
        for done in train([run], few_digits(train=20, test=20), store.weights):
            store.put(done, "", {})
    theta0 = ticket_export.ticket(dense, store).start
    shutil.rmtree(store.path(dense))
    for run in runs:
        found = ticket_export.ticket(run, store)
        assert [int(m.sum()) for m in found.mask.values()] == [15_000]
        for name, weight in found.start.items():
            assert torch.equal(weight, theta0[name].where(found.mask.get(name, torch.tensor(True)), 0))


def accuracy(network, images, labels, mean, std) -> float:
    """Percent of test images that a network gets right. images: (N, H, W, C) uint8."""
    with torch.no_grad():
        found = network(((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)).argmax(1)
    return 100 * float((found == labels).double().mean())


def test_the_module_carries_pytorchs_own_masks_and_its_pruned_weights_stay_zero(results):
    found = ticket_export.ticket(LT, results)
    module, images = found.module(), data.load("digits").images
    assert prune.is_pruned(module)
    plain = found.module(pruned=False)
    assert not prune.is_pruned(plain)
    card = data.card("digits")
    look = (images.test, images.test_labels, torch.tensor(card.mean), torch.tensor(card.std))
    assert accuracy(module, *look) == accuracy(plain, *look)
    assert accuracy(module, *look) == pytest.approx(results.get(LT).accuracy)

    optimizer = torch.optim.SGD(module.train().parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        module(torch.randn(4, 1, 8, 8)).square().sum().backward()
        optimizer.step()
    for name, mask in found.mask.items():
        owner, _, parameter = name.rpartition(".")
        layer = module.get_submodule(owner)
        prune.remove(layer, parameter)
        assert not getattr(layer, parameter)[~mask].any()


class Tied(nn.Module):
    """Two layers that share their weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.last = (
            nn.Linear(i, o) for i, o in ((64, 20), (20, 20), (20, 20), (20, 10))
        )
        self.third.weight = self.second.weight

    def forward(self, x):
        return self.last(self.third(self.second(self.first(x.flatten(1)).relu()).relu()))


def test_a_weight_that_layers_share_stays_pruned_in_all_of_them(store, tmp_path):
    dense = pretraining(Task(networks.local(Tied), "digits"), Recipe(epochs=1, batch_size=20, milestones=()))
    for run in (dense, lt_omp(dense, 0.5)):
        for done in train([run], few_digits(train=20, test=20), store.weights):
            store.put(done, "", {})
    found = ticket_export.ticket(run, store)
    weights = load_file(found.save(tmp_path / "tied") / "weights.safetensors")
    assert Tied().load_state_dict(weights)  # which asks for the shared weight by both of its names
    module = found.module().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.randn(4, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    module(torch.zeros(1, 1, 8, 8))  # a forward pass makes the weights of pruned layers
    (mask,) = found.mask.values()
    for layer in (module.second, module.third):
        assert not layer.weight[~mask].any()


def test_a_dense_network_has_no_mask(results, tmp_path):
    folder = ticket_export.ticket(DENSE, results).save(tmp_path / "dense")
    assert load_file(folder / "mask.safetensors") == {}
    about = json.loads((folder / "ticket.json").read_text())
    assert about["kept"] == about["prunable"]
    assert about["sparsity"] == 0


def test_a_ticket_is_found_by_its_name_or_digest_and_nothing_else(results):
    assert ticket_export.find(results, LT.name) == LT
    assert ticket_export.find(results, LT.digest[:9]) == LT
    with pytest.raises(InputError, match=r"4 runs .* begin with 'resnet8'"):
        ticket_export.find(results, "resnet8")
    for text in ("", "fig1"):
        with pytest.raises(InputError, match="`lthpaper store table` lists them"):
            ticket_export.find(results, text)


def test_a_run_without_weights_or_not_trained_is_told(results, tmp_path):
    copy = Store(shutil.copytree(results.folder, tmp_path / "copy"))
    store_tools.remove(copy, store_tools.removals(copy, weights=True))
    with pytest.raises(InputError, match="The store lacks weights"):
        ticket_export.ticket(LT, copy)
    with pytest.raises(InputError, match="train it first"):
        ticket_export.ticket(lt_imp(DENSE, 7), results)
    with pytest.raises(InputError, match=f"'{LT.name}' is no Run"):
        ticket_export.ticket(LT.name, results)


def test_the_command_writes_a_ticket_and_never_over_another(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["ticket", "export", LT.digest, "--store", str(results.folder)]
    done = CliRunner().invoke(app, [*words, "--to", "mine"])
    assert done.exit_code == 0, done.output
    assert "LT-OMP, sparsity 0.6" in done.output
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert names == {
        "weights.safetensors",
        "start.safetensors",
        "mask.safetensors",
        "ticket.json",
        "README.md",
    }
    modes = {path.stat().st_mode for path in (tmp_path / "mine").iterdir()}
    assert len(modes) == 1  # whoever may read one file may read all
    again = CliRunner().invoke(app, [*words, "--to", "mine"])
    assert isinstance(again.exception, InputError)


def test_the_command_trains_a_run_without_weights_again_on_request(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = Store(shutil.copytree(results.folder, tmp_path / "copy"))
    store_tools.remove(copy, store_tools.removals(copy, weights=True))
    words = ["ticket", "export", LT.digest, "--store", str(copy.folder), "--to", "mine"]
    refused = CliRunner().invoke(app, words)
    assert f"`lthpaper ticket cost {LT.name} --train` does" in str(refused.exception)
    done = CliRunner().invoke(app, [*words, "--train"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "mine" / "weights.safetensors").is_file()
    assert copy.get(LT).files["weights.safetensors"] == results.get(LT).files["weights.safetensors"]


# --- the table ---


def test_the_table_has_a_row_a_run_and_says_what_it_is(results):
    table = results.table()
    assert list(table.columns) == listing.COLUMNS
    assert sorted(table["setting"]) == ["LT-IMP", "LT-OMP", "RR-OMP", "pretraining"]
    row = table.set_index("digest").loc[LT.digest]
    assert (row["lr"], row["seed"], row["draw"], row["epochs"]) == (0.05, 0, 0, 3)
    assert row["sparsity"] == pytest.approx(0.6, abs=1e-3)
    assert row["accuracy"] == results.get(LT).accuracy
    assert math.isnan(row["rewind"])


def test_the_table_of_an_empty_store_is_empty(store):
    assert list(store.table().columns) == listing.COLUMNS
    assert store.table().empty


def test_csv_and_parquet_hold_the_same(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()  # without the published ones
    words = [
        "store",
        "table",
        "--store",
        str(results.folder),
        "--csv",
        "runs.csv",
        "--parquet",
        "a/runs.parquet",
    ]
    assert CliRunner().invoke(app, words).exit_code == 0
    csv, parquet = pd.read_csv("runs.csv"), pd.read_parquet("a/runs.parquet")
    pd.testing.assert_frame_equal(parquet, results.table())
    pd.testing.assert_frame_equal(csv[["accuracy", "lr", "seed"]], parquet[["accuracy", "lr", "seed"]])
    wrong = CliRunner().invoke(app, ["store", "table", "--csv", "runs.txt"])
    assert isinstance(wrong.exception, InputError)
