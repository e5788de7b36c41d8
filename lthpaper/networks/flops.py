"""Operations of a forward pass, counted as it runs: products of matrices and convolutions, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Product:
    """One product: its floating-point operations, those with weights that a mask keeps, and the numbers that
    a convolution put out (0 of other products)."""

    flops: int
    kept: float
    activations: int


def products(
    network: nn.Module, shape: tuple[int, ...], mask: Mapping[str, Tensor] | None = None
) -> list[Product]:
    """The products of a forward pass over one image of this shape, in evaluation mode, in their order.

    By the formulas of torch.utils.flop_counter (a multiplication and an addition are two). Of an attention
    these are its projections, and the products of queries with keys and of weights with values, which have
    no weights to prune. The network may be a skeleton, without values.
    """
    density = {
        network.get_parameter(name).untyped_storage()._cdata: float(kept.double().mean())
        for name, kept in (mask or {}).items()
    }
    like = next(network.parameters())
    image = torch.zeros(1, *shape, dtype=like.dtype, device=like.device)
    # not in training: batch-norm takes no variance of one image of one pixel
    network = network.eval().requires_grad_()  # else a fused kernel may hide what it does
    # the formulas know no fused attention of the CPU: MATH is the same attention by products of matrices
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _Counter(density) as counter:
        network(image)
    return counter.found


class _Counter(TorchDispatchMode):
    """Notes every product. density: of the weights of pruned layers, by storage."""

    def __init__(self, density: Mapping[int, float]):
        super().__init__()
        self.density = density
        self.found: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            count = formula(*args, **(kwargs or {}), out_val=result)
            tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            density = min((self.density.get(t.untyped_storage()._cdata, 1.0) for t in tensors), default=1.0)
            convolved = "convolution" in str(func.overloadpacket)
            self.found.append(Product(count, count * density, result.numel() if convolved else 0))
        return result
