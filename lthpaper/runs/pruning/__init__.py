"""Pruning rules as values: how a mask comes from trained runs. A new rule is one new file here.

A rule is a frozen dataclass whose field `after` is the run it prunes; it is registered under the name
that its description carries, and has

    prune(weights, mask) -> mask     from `after`'s final weights and `after`'s own mask
    sparsity -> float                s as the rule states it, before rounding to whole weights
    label -> str                     how settings are named after it: LT-<label>, RR-<label>
"""

from lthpaper.registry import Registry

RULES: Registry[type] = Registry("pruning rule", "lthpaper.runs.pruning")
register = RULES.register
