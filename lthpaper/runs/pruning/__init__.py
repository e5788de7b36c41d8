"""Pruning rules as values: how a mask comes from trained runs. A new rule is one new file here.

A rule is a frozen dataclass whose field `after` is the run it prunes; it is registered under the name
that its description carries, and has

    prune(weights, mask) -> mask     from `after`'s final weights and `after`'s own mask
    sparsity -> float                s as the rule states it, before rounding to whole weights
    label -> str                     how settings are named after it: LT-<label>, RR-<label>

Not every mask comes from a trained run. A rule may have `at` instead, an init whose weights it prunes (θ0,
or θt of a run), or neither, if it reads no weights. A field whose type is written "Rule" or "Init" holds
another rule or an init; a rule that passes on what another one reads has a property `source`.

A rule that looks at more than weights has, in the place of `prune`,

    prune_seeing(weights, mask, seen) -> mask     seen: pruning.seen.Seen, the network and training images

`runs.rules` makes LT under any rule, for a check of it; a rule outside the package is held by pruning.own.
"""

from typing import Any

from lthpaper.errors import require
from lthpaper.registry import Registry

RULES: Registry[type] = Registry("pruning rule", "lthpaper.runs.pruning", "package.module:Class")
register = RULES.register

Rule = Any  # an instance of one of RULES


def source(rule: Rule) -> Any:
    """What a rule reads weights from: the Run `after`, the init `at`, or None."""
    for field in ("after", "at", "source"):
        if getattr(rule, field, None) is not None:
            return getattr(rule, field)
    return None


def pruned(rule: Rule, weights: Any, mask: Any, seen: Any) -> Any:
    """The mask that a rule makes. seen: what it may look at beside the weights (pruning.seen.Seen)."""
    if hasattr(rule, "prune_seeing"):
        return rule.prune_seeing(weights, mask, seen)
    return rule.prune(weights, mask)


def check_rule(what: str, value: object) -> None:
    """Raises InputError if a field does not hold a pruning rule."""
    require(
        any(type(value) is kind for kind in RULES.values()),
        f"{what} is {str(value)[:80]!r}; it must be a pruning rule: {', '.join(sorted(RULES))}.",
    )
