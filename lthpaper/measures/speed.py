"""The measured speed of a ticket: forward passes on this processor, in each form that has a kernel.

The forms are timed in turn, round after round, so that other work on the machine slows all of them alike. A
ratio is the median over rounds of a form's time over the dense network's in the same round, with its
quartiles. Not every form has a kernel: `unmeasured` says which have none here.
"""

import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lthpaper.errors import require_whole
from lthpaper.measures.cost import image_shape, is_2_of_4, smaller_network
from lthpaper.provenance import device_name
from lthpaper.store.ticket import Ticket

WARM_UP = 3  # passes that are not counted
COLUMNS = ("form", "milliseconds", "of dense", "low", "high", "n", "images", "threads", "machine")


class CsrLinear(nn.Module):
    """A linear layer whose weight is a torch.sparse_csr tensor. x: (B, in) -> (B, out)."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            self.weight = layer.weight.detach().to_sparse_csr()
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        out = (self.weight @ x.T).T
        return out if self.bias is None else out + self.bias


def forms(ticket: Ticket) -> dict[str, nn.Module]:
    """The networks that can be timed, by the names of `measures.cost`. In "CSR" only the prunable linear
    layers are sparse."""
    found = {"dense network": _dense(ticket)}
    if ticket.mask:
        found["zeros stored"] = ticket.module(pruned=False)
        sparse = _with_csr(ticket.module(pruned=False), ticket.mask)
        smaller = smaller_network(ticket)
        found |= {"CSR, 64-bit": sparse} if sparse is not None else {}
        found |= {"channels removed": smaller} if smaller is not None else {}
    return found


def speeds(
    ticket: Ticket, images: int = 128, repeats: int = 20, clock: Callable[[], float] = time.perf_counter
) -> pd.DataFrame:
    """One row per form (COLUMNS): median milliseconds of a forward pass over `images` images, its ratio to
    the dense network's with quartiles, n: rounds. On the CPU, with as many threads as torch has here."""
    require_whole("images", images, 1)
    require_whole("repeats", repeats, 1)
    x = torch.rand(images, *image_shape(ticket), generator=torch.Generator().manual_seed(0))
    networks = {name: network.eval() for name, network in forms(ticket).items()}
    taken = {name: np.zeros(repeats) for name in networks}
    with torch.inference_mode():
        for network in networks.values():
            for _ in range(WARM_UP):
                network(x)
        for i in range(repeats):
            for name, network in networks.items():
                began = clock()
                network(x)
                taken[name][i] = clock() - began
    about = {
        "n": repeats,
        "images": images,
        "threads": torch.get_num_threads(),
        "machine": device_name("cpu"),
    }
    rows = []
    for name, seconds in taken.items():
        low, middle, high = np.quantile(seconds / taken["dense network"], [0.25, 0.5, 0.75])
        row = {"form": name, "milliseconds": 1000 * float(np.median(seconds)), "of dense": middle}
        rows.append(row | {"low": low, "high": high} | about)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def unmeasured(ticket: Ticket) -> list[str]:
    """A sentence for each form that saves work on paper and has no kernel here."""
    network, said = ticket.module(pruned=False), []
    kinds = [type(network.get_submodule(name.rpartition(".")[0])) for name in ticket.mask]
    if any(issubclass(kind, nn.Conv1d | nn.Conv2d | nn.Conv3d) for kind in kinds):
        said.append(
            "torch has no kernel for convolutions with scattered zeros, so they cost what dense ones cost."
        )
    if ticket.mask and "CSR, 64-bit" not in forms(ticket):
        said.append("CSR is not timed: no prunable layer is linear.")
    if ticket.mask and "channels removed" not in forms(ticket):
        said.append(
            "No channel can be removed: the mask leaves weights in each, or those that it empties still pass "
            "on a constant."
        )
    if ticket.mask and all(is_2_of_4(kept) for kept in ticket.mask.values()):
        said.append(
            "2:4 is not timed: it takes an NVIDIA GPU of compute capability 8.0 or more, and half precision."
        )
    return said


def _dense(ticket: Ticket) -> nn.Module:
    """The network without a mask. Which weights it has does not matter to its speed, but zeros might."""
    network = ticket.module(pruned=False)
    generator = torch.Generator().manual_seed(0)
    for name in ticket.mask:
        weight = network.get_parameter(name)
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return network


def _with_csr(network: nn.Module, mask: Mapping[str, Tensor]) -> nn.Module | None:
    """The network with its prunable linear layers in CSR; None if it has none."""
    found = False
    for name in mask:
        owner = name.rpartition(".")[0]
        layer = network.get_submodule(owner)
        if type(layer) is nn.Linear:
            outer, _, own = owner.rpartition(".")
            setattr(network.get_submodule(outer), own, CsrLinear(layer))
            found = True
    return network if found else None
