"""Training steps of peers beside ours: the same networks, masks, images and device, in one process and run.

    python -m benchmarks.peers                        # torch.func's ensembling, as torch's tutorial has it
    python -m benchmarks.peers --open-lth FOLDER      # and open_lth's own training loop, from a checkout

Every contender first trains an epoch in float64; the largest difference of a weight from ours is part of the
table. Then they take turns in float32, an epoch each, round after round, with one thread; the clock is
processor time on a CPU, so that other programs count little. A ratio compares epochs of the same round.
Nothing is fetched. Surfaces beside loss-landscapes': `benchmarks.surfaces`.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.ordinary import OnDevice
from benchmarks.sizes import SIZES, named
from lthpaper.data import DataSet
from lthpaper.data.noise import random_data
from lthpaper.errors import require
from lthpaper.figures.publish import markdown
from lthpaper.networks import skeleton
from lthpaper.provenance import device_name, versions
from lthpaper.runs.masks import Mask, prunable
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Fresh, Run
from lthpaper.torchvision_compat import torchvision
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.result import Start, Weights
from lthpaper.training.start import initial_weights

DENSITY = 0.5  # of the prunable weights, which every contender keeps
IMAGES = {"digits": 300, "cifar": 128}  # of a timed epoch
PACKS = {"digits": (8, 8), "cifar": (2, 1)}  # networks of torch.func's ensemble; of our pack, as it trains
OURS, ENSEMBLE, OPEN_LTH, MODULE = "lthpaper, pack of", "torch.func, ensemble of", "open_lth", "plain module"
DTYPES = {"fp64": torch.float64, "fp32": torch.float32}


def runs_of(size: str, count: int, precision: str = "fp32") -> list[Run]:
    """Networks that differ in θ0, order and crops."""
    chosen = named(size)
    recipe: Recipe = chosen.recipe(precision)
    return [Run(chosen.task, recipe, Fresh(seed), seed=seed) for seed in range(count)]


def mask_of(run: Run) -> Mask:
    """A random mask of a run's prunable weights."""
    generator = torch.Generator().manual_seed(run.seed)
    weights = initial_weights(run)
    names = prunable(skeleton(**run.task.shape), run.task.prunable)
    return {n: torch.rand(weights[n].shape, generator=generator) < DENSITY for n in names}


class Ours:
    """A pack."""

    def __init__(self, runs: Sequence[Run], data: DataSet, device: torch.device):
        masks = [mask_of(run) for run in runs]
        starts = [Start(_masked(initial_weights(r), m), m) for r, m in zip(runs, masks, strict=True)]
        self.pack = Pack(runs, starts, data, device)

    def train_epoch(self) -> None:
        float(self.pack.train_epoch().sum())  # waits for the device

    def weights(self, i: int) -> Weights:
        return self.pack.weights(i)


class PlainModule:
    """One nn.Module and torch.optim.SGD; its pruned weights are set to zero after every step."""

    def __init__(self, runs: Sequence[Run], data: DataSet, device: torch.device):
        (run,) = runs
        self.one = OnDevice(run, data, device, DTYPES[run.recipe.precision])
        self.masks = {n: m.to(device) for n, m in mask_of(run).items()}
        self._prune()

    def _prune(self) -> None:
        with torch.no_grad():
            for name, weight in self.one.network.named_parameters():
                if name in self.masks:
                    weight.mul_(self.masks[name])

    def train_epoch(self) -> None:
        self.one.network.train()
        for images, labels in self.one._batches():
            self.one.optimizer.zero_grad()
            F.cross_entropy(self.one.network(images), labels).backward()
            self.one.optimizer.step()
            self._prune()
        float(next(self.one.network.parameters()).detach().sum())

    def weights(self, i: int) -> Weights:
        return {n: w.detach().cpu() for n, w in self.one.network.named_parameters()}


class Ensemble:
    """torch's tutorial on model ensembling: stacked states of modules, functional_call under vmap."""

    def __init__(self, runs: Sequence[Run], data: DataSet, device: torch.device):
        dtype = DTYPES[runs[0].recipe.precision]
        self.ones = [OnDevice(run, data, device, dtype) for run in runs]
        self.parameters, self.buffers = stack_module_state([one.network for one in self.ones])
        base = copy.deepcopy(self.ones[0].network).to("meta").train()
        recipe = runs[0].recipe
        self.optimizer = torch.optim.SGD(
            list(self.parameters.values()), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
        )
        masks = [mask_of(run) for run in runs]
        self.masks = {n: torch.stack([m[n] for m in masks]).to(device) for n in masks[0]}
        self._prune()

        def logits(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(base, (dict(parameters), dict(buffers)), (x,))

        self.forward = vmap(logits)

    @torch.no_grad()
    def _prune(self) -> None:
        for name, mask in self.masks.items():
            self.parameters[name].mul_(mask)

    def train_epoch(self) -> None:
        for each in zip(*(one._batches() for one in self.ones), strict=True):
            x, labels = torch.stack([images for images, _ in each]), torch.stack([y for _, y in each])
            out = self.forward(self.parameters, self.buffers, x)  # (K, B, classes)
            losses = F.cross_entropy(out.flatten(0, 1), labels.flatten(), reduction="none")
            self.optimizer.zero_grad()
            losses.view(labels.shape).mean(1).sum().backward()
            self.optimizer.step()
            self._prune()
        float(self.parameters["fc.bias"].detach().sum())

    def weights(self, i: int) -> Weights:
        return {n: w[i].detach().cpu() for n, w in self.parameters.items()}


class OpenLth:
    """open_lth's `training.train.train` on its own ResNet in its PrunedModel, from a checkout."""

    def __init__(self, runs: Sequence[Run], data: DataSet, device: torch.device, checkout: str | Path):
        (run,) = runs
        self.peer = _imported(str(Path(checkout).resolve()), device)
        self.batches = OnDevice(run, data, device, DTYPES[run.recipe.precision])
        channels, recipe = run.task.shape["in_channels"], run.recipe
        name = {"resnet20": "cifar_resnet_20", "resnet8": "cifar_resnet_8_8"}[run.task.network]
        model = self.peer["resnet"].Model.get_model_from_name(name, lambda module: None)
        if channels != 3:  # theirs are for colour images
            model.conv = torch.nn.Conv2d(channels, model.conv.out_channels, 3, padding=1, bias=False)
        model.load_state_dict(initial_weights(run))  # its parameters have our names
        theirs = {n: torch.ones_like(model.state_dict()[n]) for n in model.prunable_layer_names}
        mask = self.peer["mask"].Mask(theirs | {n: m.float() for n, m in mask_of(run).items()})
        self.model = self.peer["pruned"].PrunedModel(model, mask).to(device, self.batches.dtype)
        self.hparams = self.peer["hparams"].TrainingHparams(
            "sgd", recipe.lr, "1ep", momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.iterations_per_epoch = -(-len(self.batches.labels) // recipe.batch_size)

    def shuffle(self, seed: int | None) -> None:
        """Nothing: the batches are the run's."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches._batches()

    def train_epoch(self) -> None:
        with tempfile.TemporaryDirectory() as folder:  # an empty one: no checkpoint to go on from
            self.peer["train"].train(self.hparams, self.model, self, folder)
        float(next(self.model.parameters()).detach().sum())

    def weights(self, i: int) -> Weights:
        self.model._apply_mask()  # they do it before each forward pass
        return {n: w.detach().cpu() for n, w in self.model.model.named_parameters()}


def _imported(checkout: str, device: torch.device) -> dict[str, Any]:
    """The modules of a checkout of open_lth that its training loop needs. Raises InputError without them."""
    found = Path(checkout) / "training" / "train.py"
    require(found.is_file(), f"There is no checkout of open_lth in {checkout}: {found} is missing.")
    torchvision()  # they import it
    vars(np).setdefault("product", np.prod)  # they call what numpy 2 has dropped
    # nor does their class of this name have an order of bases beside today's; it is not used here
    distributed = torch.nn.parallel.DistributedDataParallel
    torch.nn.parallel.DistributedDataParallel = torch.nn.DataParallel
    sys.path.insert(0, checkout)
    try:
        import foundations.hparams
        import models.cifar_resnet
        import platforms.local
        import platforms.platform
        import pruning.mask
        import pruning.pruned_model
        import training.train
    finally:
        sys.path.remove(checkout)
        torch.nn.parallel.DistributedDataParallel = distributed

    class Here(platforms.local.Platform):
        torch_device, is_parallel = device, False

    platforms.platform._PLATFORM = Here()
    return {
        "hparams": foundations.hparams,
        "mask": pruning.mask,
        "pruned": pruning.pruned_model,
        "resnet": models.cifar_resnet,
        "train": training.train,
    }


def _masked(weights: Weights, mask: Mask) -> Weights:
    return {n: w.where(mask[n], 0) if n in mask else w for n, w in weights.items()}


Make = Callable[[Sequence[Run], DataSet, torch.device], Any]


def contenders(size: str, checkout: str | Path = "") -> dict[str, tuple[Make, int]]:
    """Name -> (how it is made, how many networks it trains at once)."""
    ensemble, pack = PACKS[size]
    found: dict[str, tuple[Make, int]] = {MODULE: (PlainModule, 1)}
    if checkout:
        found[OPEN_LTH] = (lambda *about: OpenLth(*about, checkout=checkout), 1)
    return found | {f"{ENSEMBLE} {ensemble}": (Ensemble, ensemble), f"{OURS} {pack}": (Ours, pack)}


def difference(size: str, make: Make, count: int, device: torch.device) -> float:
    """The largest difference of a weight from ours after an epoch in float64."""
    data = random_data(named(size).card, IMAGES[size], 1)
    theirs = make(runs_of(size, count, "fp64"), data, device)
    ours = Ours(runs_of(size, max(count, 2), "fp64"), data, device)
    for one in (theirs, ours):
        one.train_epoch()
    return max(
        float((w - ours.weights(i)[n]).abs().max())
        for i in range(count)
        for n, w in theirs.weights(i).items()
        if w.is_floating_point() and "running" not in n
    )


def bench_peers(
    sizes: Sequence[str] = ("digits", "cifar"),
    checkout: str | Path = "",
    rounds: int = 7,
    device: str = "cpu",
) -> pd.DataFrame:
    """One row per size and contender: network-images a second, the median ratio to the plain module's and its
    range over rounds, and the largest difference of a weight in float64."""
    where, rows = torch.device(device), []
    clock = time.process_time if where.type == "cpu" else time.perf_counter
    with repeatable(where):
        for size in sizes:
            data = random_data(named(size).card, IMAGES[size], 1)
            known = contenders(size, checkout)
            apart = {name: difference(size, *how, where) for name, how in known.items()}
            ready = {name: make(runs_of(size, k), data, where) for name, (make, k) in known.items()}
            speed: dict[str, list[float]] = {name: [] for name in known}
            for turn in range(rounds + 1):
                for name, one in ready.items():
                    began = clock()
                    one.train_epoch()
                    if turn:  # the first epoch also prepares kernels
                        speed[name].append(known[name][1] * IMAGES[size] / (clock() - began))
            for name, found in speed.items():
                ratios = [a / b for a, b in zip(found, speed[MODULE], strict=True)]
                rows.append(
                    {
                        "size": size,
                        "network": SIZES[size].task.network,
                        "contender": name,
                        "images/s": round(statistics.median(found)),
                        "× plain module": round(statistics.median(ratios), 2),
                        "slowest–fastest round": f"{min(ratios):.2f}–{max(ratios):.2f}",
                        "largest difference, fp64": f"{apart[name]:.0e}",
                    }
                )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--open-lth", default="", help="folder of a checkout of open_lth")
    parser.add_argument("--sizes", nargs="+", default=["digits", "cifar"], choices=list(IMAGES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    found = bench_peers(asked.sizes, asked.open_lth, asked.rounds, asked.device)
    print(markdown(found.set_index("size")))
    print(f"{device_name(torch.device(asked.device))}, one thread, {asked.rounds} rounds; {versions()}")
