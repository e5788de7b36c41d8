"""A mask shuffled within its layers: is a mask more than the share it keeps of each layer?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lthpaper.data.augment import derived_seed
from lthpaper.runs.inits.fresh import check_seed
from lthpaper.runs.masks import Mask
from lthpaper.runs.pruning import check_rule, pruned, register, source

if TYPE_CHECKING:
    from lthpaper.runs.inits import Init
    from lthpaper.runs.pruning import Rule
    from lthpaper.runs.run import Run


@register("shuffled")
@dataclass(frozen=True)
class Shuffled:
    """As many weights of every layer as the mask `of` keeps, at positions drawn at random (Su 2020)."""

    of: "Rule"
    seed: int = 0
    draw: int = 0

    def __post_init__(self):
        check_rule("of", self.of)
        check_seed("seed", self.seed)
        check_seed("draw", self.draw)

    @property
    def source(self) -> "Run | Init | None":
        return source(self.of)

    @property
    def sparsity(self) -> float:
        return self.of.sparsity

    @property
    def label(self) -> str:
        return f"shuffled-{self.of.label}"

    def prune_seeing(self, weights: dict[str, Tensor], mask: Mask, seen: Any = None) -> Mask:
        counts = {name: int(m.sum()) for name, m in pruned(self.of, weights, mask, seen).items()}
        return {
            name: drawn(mask[name].shape, count, derived_seed("shuffled", self.seed, self.draw, name))
            for name, count in counts.items()
        }


def drawn(shape: torch.Size, count: int, seed: int) -> Tensor:
    """A bool tensor with `count` True, every set of that many places equally likely."""
    flat = torch.zeros(shape.numel(), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    flat[torch.randperm(len(flat), generator=generator)[:count]] = True
    return flat.view(shape)
