"""What a ticket costs: parameters, operations and bytes, in each way to store it and as a dense network.

A pruned weight saves nothing by itself: a dense kernel multiplies zeros, a dense file stores them. So every
row says what one form really needs.

    dense network              all weights
    zeros stored               the ticket as PyTorch holds it
    channels removed           without the channels that the mask emptied, if there are any (networks.removal)
    bitmask                    a bit for every prunable weight, and the kept ones
    CSR, 32- or 64-bit         rows by output, compressed; torch.sparse_csr takes 64-bit indices by default
    2:4                        only for a mask of that pattern: half of the weights and two bits for each

Operations of the sparse forms are those with kept weights: what a kernel that skips zeros would do. Whether
there is one, and how fast it is, `measures.speed` says.
"""

from collections.abc import Mapping

import pandas as pd
from torch import Tensor, nn

from lthpaper.errors import InputError
from lthpaper.networks import removal
from lthpaper.networks.flops import products
from lthpaper.store.ticket import Ticket

COLUMNS = ("form", "parameters", "flops", "bytes", "parameters of dense", "flops of dense", "bytes of dense")


def image_shape(ticket: Ticket) -> tuple[int, int, int]:
    """(C, H, W) of one image."""
    shape = ticket.run.task.shape
    return shape["in_channels"], shape["size"], shape["size"]


def cost(ticket: Ticket) -> pd.DataFrame:
    """One row per form (COLUMNS): parameters stored, floating-point operations of a forward pass over one
    image (a multiplication and an addition are two), bytes of parameters and buffers; and each as a share of
    the dense network's."""
    network, mask = ticket.module(pruned=False), ticket.mask
    everything, with_kept = flops(network, image_shape(ticket), mask)
    numbers, pruned = _numbers(network), sum(int((~m).sum()) for m in mask.values())
    rows = [("dense network", numbers, everything, _bytes(network))]
    if mask:
        rows.append(("zeros stored", numbers, everything, _bytes(network)))
        smaller = smaller_network(ticket)
        if smaller is not None:
            rows.append(
                (
                    "channels removed",
                    _numbers(smaller),
                    flops(smaller, image_shape(ticket))[0],
                    _bytes(smaller),
                )
            )
        rest = _bytes(network) - sum(network.get_parameter(n).nbytes for n in mask)
        rows += [
            (form, numbers - pruned, with_kept, rest + stored)
            for form, stored in sparse_bytes(network, mask).items()
        ]
    found = pd.DataFrame(rows, columns=list(COLUMNS[:4]))
    for column in COLUMNS[1:4]:
        found[f"{column} of dense"] = found[column] / found[column].iloc[0]
    return found


def smaller_network(ticket: Ticket) -> nn.Module | None:
    """The ticket without the channels that its mask emptied; None if none can go."""
    try:
        smaller, removed = removal.without_idle_units(ticket.module(pruned=False), image_shape(ticket))
    except InputError:  # its units cannot be followed
        return None
    return smaller if removed else None


def sparse_bytes(network: nn.Module, mask: Mapping[str, Tensor]) -> dict[str, int]:
    """Format -> bytes of the prunable layers in it."""
    found = {"bitmask": 0, "CSR, 32-bit": 0, "CSR, 64-bit": 0}
    for name, kept in mask.items():
        count, each = int(kept.sum()), network.get_parameter(name).element_size()
        found["bitmask"] += -(-kept.numel() // 8) + count * each
        for form, width in (("CSR, 32-bit", 4), ("CSR, 64-bit", 8)):
            found[form] += (len(kept) + 1) * width + count * (width + each)
    if mask and all(is_2_of_4(kept) for kept in mask.values()):
        half = sum(kept.numel() // 2 * network.get_parameter(n).element_size() for n, kept in mask.items())
        found["2:4"] = half + sum(
            kept.numel() // 8 for kept in mask.values()
        )  # two bits for each that is kept
    return found


def is_2_of_4(kept: Tensor) -> bool:
    """Whether at most two of every four neighbours along the inputs are kept, and there are whole fours."""
    if kept.ndim < 2 or kept.shape[1] % 4:
        return False
    return bool((kept.movedim(1, -1).unflatten(-1, (-1, 4)).sum(-1) <= 2).all())


def flops(
    network: nn.Module, shape: tuple[int, ...], mask: Mapping[str, Tensor] | None = None
) -> tuple[int, int]:
    """(operations of a forward pass over one image, those of them with weights that the mask keeps)."""
    found = products(network, shape, mask)
    return sum(p.flops for p in found), round(sum(p.kept for p in found))


def _numbers(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _bytes(network: nn.Module) -> int:
    """Of parameters and buffers as they are."""
    return sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
