"""Dynamic sparse training in a pack: which weights go and which grow, with every layer's count kept."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lthpaper.data.augment import derived_seed
from lthpaper.runs.masks import Mask
from lthpaper.runs.run import Run
from lthpaper.runs.topology import Topology
from lthpaper.training.optimizers import Optimizer


class Growth:
    """The changing masks of a pack's runs. masks: those that they begin with, of which the counts stay."""

    def __init__(self, topology: Topology, runs: Sequence[Run], masks: Sequence[Mask]):
        self.topology, self.runs = topology, list(runs)
        self.begun = list(masks)
        self.counts = [{name: int(m.sum()) for name, m in mask.items()} for mask in masks]

    def mask(self, optimizer: Optimizer, i: int) -> Mask:
        """Run i's mask as it is now, on the CPU."""
        pruned = optimizer.layout.views(optimizer.pruned)
        # of a weight that the network has frozen the mask stays
        return {n: ~pruned[n][i].cpu() if n in pruned else m for n, m in self.begun[i].items()}

    @torch.no_grad()
    def change(self, optimizer: Optimizer, share: float, number: int) -> None:
        """Change every run's mask, by its weights and its seed or its gradient, at pruned weights too.

        number: how many steps are done. A grown weight begins at zero and without moments; one that is
        dropped and grown again at once goes on as it was, as in the authors' code.
        """
        views = optimizer.layout.views
        weights, gradients, pruned = views(optimizer.flat), views(optimizer.gradient), views(optimizer.pruned)
        for i, (run, counts) in enumerate(zip(self.runs, self.counts, strict=True)):
            for name, count in counts.items():
                if name not in pruned:
                    continue
                own, kept = weights[name][i], ~pruned[name][i]
                by_gradient = self.topology.rule == "rigl"
                wish = gradients[name][i].abs() if by_gradient else _chance(run.seed, name, number, own)
                pruned[name][i] = ~changed(own, kept, math.floor(share * count), wish)
        for vector in (optimizer.flat, optimizer.velocity, optimizer.square):
            if vector is not None:
                vector.masked_fill_(optimizer.pruned, 0)


def changed(weights: Tensor, kept: Tensor, count: int, wish: Tensor) -> Tensor:
    """A layer's mask after dropping the `count` smallest |weights| that it keeps, and growing the `count`
    others with the largest wish.

    The others are all that are then not kept, those just dropped among them. Of equal ones the first is
    taken, and NaN is as large as can be, so that the count is exact even of a run that has diverged.
    """
    sizes = _ranked(weights.abs()).where(kept, math.inf).flatten()
    now = kept.flatten().clone()
    now[sizes.argsort(stable=True)[:count]] = False
    wishes = _ranked(wish).flatten().where(~now, -1)
    now[wishes.argsort(descending=True, stable=True)[:count]] = True
    return now.view_as(kept)


def _ranked(values: Tensor) -> Tensor:
    most = torch.finfo(values.dtype).max
    return values.nan_to_num(nan=most, posinf=most)


def _chance(seed: int, name: str, number: int, like: Tensor) -> Tensor:
    """SET's wishes, in [0, 1): another draw for every layer and step."""
    generator = torch.Generator().manual_seed(derived_seed("grow", seed, name, number))
    return torch.rand(like.shape, generator=generator, dtype=torch.float64).to(like.device)
