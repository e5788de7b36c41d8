"""What a network's forward pass does, read from the pass itself: how many residual connections (§3.2)."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lthpaper.errors import InputError, require

aten = torch.ops.aten
WEIGHTED = {aten.convolution, aten.linear, aten.addmm, aten.mm, aten.bmm, aten.baddbmm}
ADDITIONS = {aten.add, aten.add_}


def residual_connections(network: nn.Module, shape: tuple[int, ...]) -> int:
    """How many additions join two paths from the input of which one skips a layer with weights.

    shape: of one image, (C, H, W). An addition counts if both sides depend on the input and one has
    passed fewer convolutions or linear layers than the other: a shortcut counts, with a projection or
    without one; the sum of two equally deep branches does not, nor does a concatenation.

    Counted is what a copy of the network does with one blank image, so its forward may branch and loop
    as it likes (torch.fx could not follow it). Raises InputError if that pass fails.
    """
    try:
        # A frozen network in evaluation mode may take fused kernels, which hide their additions.
        network = copy.deepcopy(network).eval().requires_grad_()
        like = next(network.parameters(), torch.zeros(()))
        image = torch.zeros(1, *shape, dtype=like.dtype, device=like.device)
        with torch.enable_grad(), _Depths(image) as seen:
            output = network(image)
    except Exception as error:  # whatever a network's own code raises
        raise InputError(
            f"The network's residual connections cannot be counted: its forward pass over one image of "
            f"shape {tuple(shape)} fails ({error}). Give the shape (channels, height, width) of its images."
        ) from error
    require(
        isinstance(output, Tensor) and seen.depth(output) is not None,
        "The network's residual connections cannot be counted: its forward pass must return one tensor "
        f"that depends on the image, not {type(output).__name__}.",
    )
    return seen.residual


class _Depths(TorchDispatchMode):
    """Follows every operation: the most layers with weights between the image and each tensor.

    Kept by storage, so that views and operations in place share what they should.
    """

    def __init__(self, image: Tensor):
        super().__init__()
        self.residual = 0
        self._depths: dict[int, int] = {}
        self._alive: list[Tensor] = []  # a freed storage's identity would be given out again
        self._record(image, 0)

    def depth(self, tensor: Tensor) -> int | None:
        """None for a tensor that does not depend on the image."""
        return self._depths.get(tensor.untyped_storage()._cdata)

    def _record(self, tensor: Tensor, depth: int) -> None:
        self._depths[tensor.untyped_storage()._cdata] = depth
        self._alive.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        depths = [depth for depth in map(self.depth, tensors) if depth is not None]
        if depths:
            operation = func.overloadpacket
            self.residual += operation in ADDITIONS and len(depths) == 2 and depths[0] != depths[1]
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._record(leaf, max(depths) + (operation in WEIGHTED))
        return result
