"""Fold batch-norm into the convolution before it: in evaluation it is a scale and a shift a channel.

γ·(Wx + b − μ)/√(σ² + ε) + β  =  (sW)x + (b − μ)s + β  with  s = γ/√(σ² + ε)

On a loss surface μ, σ, γ and β are θT's everywhere, so s is one constant for all grid points, and
directions fold with it.
"""

import copy

import torch
from torch import Tensor, fx, nn


def fold(network: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """A copy of a network in evaluation with its batch-norms folded, and the factor s of each weight.

    Computed in float64. factors: name of a convolution's weight -> (filters, 1, 1, 1). A batch-norm
    that does not directly follow its own convolution stays; a network that cannot be traced stays whole.
    """
    folded = copy.deepcopy(network).eval()
    try:
        graph = fx.Tracer().trace(folded)
    except Exception:  # whatever a network's own code raises on a symbolic input
        return folded, {}
    modules = dict(folded.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    factors = {}
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        conv, norm = modules[before.target], modules[node.target]
        alone = calls.count(before.target) == calls.count(node.target) == 1
        if (
            alone
            and type(conv) is nn.Conv2d
            and type(norm) is nn.BatchNorm2d
            and norm.running_mean is not None
        ):
            factors[f"{before.target}.weight"] = _fold_pair(conv, norm)
            folded.set_submodule(node.target, nn.Identity())
    return folded, factors


@torch.no_grad()
def _fold_pair(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    mean, var = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    gamma = norm.weight.double() if norm.affine else torch.ones_like(var)
    beta = norm.bias.double() if norm.affine else torch.zeros_like(gamma)
    factor = gamma / torch.sqrt(var + norm.eps)
    bias = 0 if conv.bias is None else conv.bias.double()
    dtype = conv.weight.dtype
    conv.bias = nn.Parameter(((bias - mean) * factor + beta).to(dtype))
    factor = factor[:, None, None, None]
    conv.weight = nn.Parameter((conv.weight.double() * factor).to(dtype))
    return factor
