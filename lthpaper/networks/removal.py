"""Remove the channels that a mask empties: a smaller network with the same function.

A unit may go where nobody reads it, or where all that make it are zero and what is left of it, through
batch-norm and activation, is zero too. A channel without weights whose batch-norm has a positive bias is not
silent: it passes on a constant, and near the edge of a padded image not even that, so it stays.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lthpaper.errors import InputError
from lthpaper.networks import tensors, units
from lthpaper.networks.units import Group

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
READERS = (*CONVOLUTIONS, nn.Linear)


def without_idle_units(network: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """A copy without the units that do nothing, and how many these were. shape: of one image, (C, H, W).

    Taking a unit out may make others idle; this ends when none is. At least one unit of each group stays.
    Raises InputError for a network whose units cannot be followed.
    """
    smaller, removed = copy.deepcopy(network).eval(), 0
    while True:
        groups = units.of(smaller, shape)
        idle = [
            _unweighted(smaller, group, reads=True) | silent
            for group, silent in zip(groups, _silent(smaller, groups, shape), strict=True)
        ]
        for gone in idle:
            gone[0] &= not bool(gone.all())
        count = sum(int(gone.sum()) for gone in idle)
        if not count:
            return smaller, removed
        smaller, removed = taken_out(smaller, groups, idle), removed + count


def taken_out(network: nn.Module, groups: Sequence[Group], gone: Sequence[Tensor]) -> nn.Module:
    """A copy without these units. gone: bool, one tensor per group."""
    orders = [(~unit).nonzero().squeeze(1) for unit in gone]
    smaller = copy.deepcopy(network)
    changed = {at.name for group in groups for at in group.axes}
    for name, tensor in units.taken(tensors(smaller), groups, orders).items():
        if name in changed:
            owner, _, own = name.rpartition(".")
            module = smaller.get_submodule(owner)
            setattr(module, own, nn.Parameter(tensor) if own in module._parameters else tensor)
    for module in smaller.modules():
        _count_anew(module)
    return smaller


def _count_anew(module: nn.Module) -> None:
    """Make a layer's own numbers those of its weights."""
    if isinstance(module, CONVOLUTIONS):
        if module.groups > 1:  # depthwise
            module.groups = module.weight.shape[0] * module.groups // module.out_channels
        module.out_channels, module.in_channels = len(module.weight), module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
        module.num_features = len(module.running_mean)


def _unweighted(network: nn.Module, group: Group, reads: bool) -> Tensor:
    """Units whose weights are zero in every layer that reads them, or else in every layer that makes them;
    (size,) bool."""
    found, parameters = torch.ones(group.size, dtype=torch.bool), dict(network.named_parameters())
    for at in group.axes:
        weight = parameters.get(at.name)
        if weight is not None and weight.ndim > 1 and at.reads == reads:
            found &= ~weight.detach().cpu().movedim(at.axis, 0).reshape(group.size, -1).any(1)
    return found


@torch.no_grad()
def _silent(network: nn.Module, groups: Sequence[Group], shape: tuple[int, ...]) -> list[Tensor]:
    """Units that nothing makes and that arrive as zero wherever they are read; one (size,) bool a group.

    What nothing makes does not depend on the images, so one look at what arrives is enough.
    """
    like = next(network.parameters())
    images = torch.rand(2, *shape, dtype=like.dtype, generator=torch.Generator().manual_seed(0))
    arriving: dict[str, list[Tensor]] = {}  # module -> for each of its calls, which inputs are zero, (C,)

    def see(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].movedim(1, 0).flatten(1)  # (C, images and pixels)
            arriving.setdefault(name, []).append(~x.any(1).cpu())

        return hook

    hooks = [
        m.register_forward_pre_hook(see(n)) for n, m in network.named_modules() if isinstance(m, READERS)
    ]
    try:
        network(images.to(like.device))
    except Exception as error:
        raise InputError(f"The network without its idle channels cannot run ({error}).") from error
    finally:
        for handle in hooks:
            handle.remove()
    found = []
    for group in groups:
        quiet = _unweighted(network, group, reads=False)
        for at in group.axes:
            if at.reads:
                never = [torch.zeros(group.size * at.block, dtype=torch.bool)]
                for zero in arriving.get(at.name.rpartition(".")[0], never):
                    quiet &= zero.view(group.size, -1).all(1)
        found.append(quiet)
    return found
