"""A ticket as plain PyTorch: weights and masks that load without lthpaper, or the module itself.

found = ticket(run, store)          # θT of the run, its mask, and the θ0 ⊙ m that it started from
module = found.module()             # an nn.Module with torch.nn.utils.prune's masks
found.save("my-ticket")             # weights, start, mask as safetensors; ticket.json; README.md
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import prune

from lthpaper import networks
from lthpaper.data import card
from lthpaper.errors import InputError, require
from lthpaper.runs.masks import Mask, kept, unpacked
from lthpaper.runs.run import Run, ancestors, setting
from lthpaper.store.entry import save_tensors
from lthpaper.store.store import PUBLISHED, Result, Store
from lthpaper.training.result import Weights
from lthpaper.training.start import made_mask, under

WEIGHTS, START, MASK, ABOUT = "weights.safetensors", "start.safetensors", "mask.safetensors", "ticket.json"
README = """\
# {name}

{setting} of {network} on {data}: sparsity {sparsity:.4f}, test accuracy {accuracy:.2f} %.

{trained}- `start.safetensors`: the weights that it was trained from; of LT, θ0 under the mask.
- `mask.safetensors`: a boolean tensor for every prunable weight, True where it is kept.
- `ticket.json`: the network's arguments, the images' mean and deviation, the run and its ancestors.

```python
from safetensors.torch import load_file

network.load_state_dict(load_file("{first}"))  # a network of that architecture
for name, mask in load_file("mask.safetensors").items():
    assert not network.get_parameter(name)[~mask].any()
```
"""
TRAINED = "- `weights.safetensors`: the trained weights θT, a state_dict; pruned weights are zero.\n"


@dataclass(frozen=True)
class Ticket:
    """A trained subnetwork (or a dense network, whose mask is empty).

    weights: θT, parameters and buffers by name; {} for a run that is published with its mask alone. start:
    what it was trained from. mask: True where a weight is kept, by name.
    """

    result: Result
    weights: dict[str, Tensor]
    start: dict[str, Tensor]
    mask: dict[str, Tensor]

    @property
    def run(self) -> Run:
        return self.result.run

    def module(self, trained: bool = True, pruned: bool = True) -> nn.Module:
        """The network in evaluation mode, with θT or (trained=False) with the weights that it started from.

        pruned: with the masks of torch.nn.utils.prune, so that further training keeps them; without, pruned
        weights are ordinary zeros. The network's factory must be importable here. Raises InputError if θT is
        asked for and not here.
        """
        require(
            bool(self.weights) or not trained,
            f"{self.run} is published without its trained weights: lth.train(run, store, weights=True) makes "
            "them. Its start is here: module(trained=False).",
        )
        network = networks.loaded(self.weights if trained else self.start, **self.run.task.shape)
        for name, mask in self.mask.items() if pruned else ():
            weight = network.get_parameter(name)
            for owner in network.modules():  # several, where layers share a weight
                for own in [n for n, p in owner.named_parameters(recurse=False) if p is weight]:
                    prune.custom_from_mask(owner, own, mask)
        return network.eval()

    def _by_every_name(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """With the other names of tensors that layers share, which load_state_dict asks for, too."""
        try:
            network = networks.loaded(tensors, **self.run.task.shape)
        except InputError:  # its factory is not importable here
            return tensors
        return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def about(self) -> dict[str, Any]:
        """What another program needs to build the network, feed it and check it."""
        task, result = self.run.task, self.result
        images, total = card(task.data), sum(task.prunable_weights.values())
        return {
            "run": self.run.name,
            "setting": setting(self.run),
            "network": task.shape,
            "images": {"data": task.data, "mean": images.mean, "std": images.std, "size": images.size},
            "seed": self.run.seed,
            "epochs": self.run.recipe.epochs,
            "lr": self.run.recipe.lr,
            "sparsity": result.sparsity,
            "kept": kept(self.mask) if self.mask else total,
            "prunable": total,
            "test_accuracy": result.accuracy,
            "described": {r.digest: r.description for r in ancestors([self.run])},
        }

    def save(self, folder: str | Path) -> Path:
        """Write the files that README lists; no weights where they are not here. Raises InputError if the
        folder is not empty."""
        folder, about = Path(folder), self.about()
        require(
            not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
            f"{folder} exists already; name a folder that is empty or does not exist yet.",
        )
        folder.mkdir(parents=True, exist_ok=True)
        files = {WEIGHTS: self.weights} if self.weights else {}
        for name, tensors in (files | {START: self.start}).items():
            save_tensors(self._by_every_name(tensors), folder / name)
        save_tensors(self.mask, folder / MASK)
        (folder / ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
        said = {"name": about["run"], "network": self.run.task.network, "data": self.run.task.data}
        said |= {"setting": about["setting"], "sparsity": about["sparsity"]}
        said |= {"accuracy": about["test_accuracy"]}
        said |= {"trained": TRAINED, "first": WEIGHTS} if self.weights else {"trained": "", "first": START}
        (folder / "README.md").write_text(README.format(**said))
        return folder


def ticket(run: Run, store: Store) -> Ticket:
    """A run's ticket; of a run that is published with its mask, without θT. Raises InputError if the store
    lacks the run, its mask, or weights that its start is made of."""
    require(
        isinstance(run, Run), f"{run!r} is no Run; [result.run for result in store] are those of a store."
    )
    require(run in store, f"{run} is not in {store.folder}: train it first.")
    try:
        weights: Weights = {}
        mask = None if store.has_weights(run) else store.mask(run)
        if mask is None:
            weights, mask = store.weights(run)
        # a topology changes the mask in training: the stored one is the last, and the first is made again
        began = under(run, _first_mask(run, store) if run.topology else mask, store.weights)
    except KeyError as error:
        raise InputError(
            f"The store lacks weights that the ticket {run.name} is made of: {error.args[0]}. From a shell, "
            f"`lthpaper ticket cost {run.name} --train` does; or merge a store that has them."
        ) from error
    masks = {name: kept.bool() for name, kept in (mask or {}).items()}
    return Ticket(store.get(run), dict(weights), {n: t.clone() for n, t in began.weights.items()}, masks)


def _first_mask(run: Run, store: Store) -> Mask:
    """The mask that a run's training began with."""
    was_published = store.get(run).provenance.get("mask") == PUBLISHED
    given = store.tables.mask(run) if was_published else None
    return made_mask(run, store.weights) if given is None else unpacked(given)


def find(store: Store, text: str) -> Run:
    """The run whose name or digest begins with a text. Raises InputError unless there is exactly one."""
    runs = [result.run for result in store]
    found = [run for run in runs if run.name.startswith(text) or run.digest.startswith(text)]
    require(
        bool(text and found),
        f"No run in {store.folder} is called {text!r}; `lthpaper store table` lists them.",
    )
    require(
        len(found) == 1,
        f"{len(found)} runs in {store.folder} begin with {text!r}: give more of the name, or of the digest, "
        f"which is {found[0].digest if found else ''} for the first.",
    )
    return found[0]
