"""Weight matching (Ainsworth et al. 2023, "Git Re-Basin"): which unit of one network is which of another.

Find one order of the units for each group such that the first network's weights, so permuted, are most like
the second's: Σ ⟨permuted θ, φ⟩ over all parameters, which is least ‖permuted θ − φ‖². Over one group with the
others held fixed that is a linear assignment, solved exactly; over all groups it is hard, and going from
group to group until none improves finds a local optimum.

The first pass goes forward from the image and looks only at weights to units that are placed already. So a
network that is a permuted copy of the other is matched exactly. There is no random choice.
"""

from collections.abc import Mapping, Sequence

import scipy
import torch
from torch import Tensor

from lthpaper.networks.units import Group, taken

Weights = Mapping[str, Tensor]
LEAST = 1e-9  # of the likeness: a smaller rise is rounding


def matched(own: Weights, other: Weights, groups: Sequence[Group]) -> list[Tensor]:
    """Orders for which `units.taken(own, groups, orders)` is most like `other`; int64, one per group.

    own, other: the parameters of two networks of one architecture. A NaN counts as 0.
    """
    own, other = ({n: w.double().nan_to_num() for n, w in weights.items()} for weights in (own, other))
    orders = [torch.arange(group.size) for group in groups]
    for k, group in enumerate(groups):
        later = {at.name for behind in groups[k + 1 :] for at in behind.axes}
        placed = {at.name for at in group.axes} - later
        orders[k] = _assigned(own, other, groups, orders, k, placed)
    reached, improved = likeness(own, other, groups, orders), True
    while improved:
        improved = False
        for k, group in enumerate(groups):
            found = [*orders]
            found[k] = _assigned(own, other, groups, orders, k, {at.name for at in group.axes})
            value = likeness(own, other, groups, found)
            if value > reached + LEAST * abs(reached):
                orders, reached, improved = found, value, True
    return orders


def likeness(own: Weights, other: Weights, groups: Sequence[Group], orders: Sequence[Tensor]) -> float:
    """Σ ⟨permuted θ, φ⟩ over all parameters."""
    permuted = taken(own, groups, orders)
    return sum(float((permuted[name] * other[name]).sum()) for name in own)


def _assigned(
    own: Weights, other: Weights, groups: Sequence[Group], orders: Sequence[Tensor], k: int, names: set[str]
) -> Tensor:
    """The best order of group k by the parameters `names`, all other groups staying as they are."""
    group = groups[k]
    still = [order if i != k else torch.arange(group.size) for i, order in enumerate(orders)]
    gain = torch.zeros(group.size, group.size, dtype=torch.float64)  # of unit j in place i
    for at in group.axes:
        if at.name in own and at.name in names:
            permuted = taken({at.name: own[at.name]}, groups, still)[at.name]
            mine, theirs = (w.movedim(at.axis, 0).reshape(group.size, -1) for w in (permuted, other[at.name]))
            gain += theirs @ mine.T
    return torch.from_numpy(scipy.optimize.linear_sum_assignment(gain.numpy(), maximize=True)[1])
