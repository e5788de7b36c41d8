"""What an answer rests on: a condition of §2.2, a part of a claim and an observation of Table 3 share it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

YES, NO, UNDECIDED, NOT_RUN = "yes", "no", "undecided", "not run"
LEVEL = 0.95  # confidence that an answer by the seeds needs


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """How far the seeds support an answer that the means over seeds give.

    confidence: that the answer is right, in [0, 1]; None without a spread over seeds. low, high: bounds on
    what was measured, each at the level asked. open: (setting, learning rate) of missing runs that could
    overturn the answer, and of cells of which some seeds diverged and the others would.
    """

    confidence: float | None = None
    low: float | None = None
    high: float | None = None
    open: tuple[tuple[str, float], ...] = ()

    def supports(self, level: float) -> bool:
        """Whether it is right with confidence `level`, and nothing that is missing could overturn it."""
        return self.confidence is not None and self.confidence >= level and not self.open


def always_signed(points: float, digits: int = 2) -> str:
    """A difference in points with its sign, and a minus that is one."""
    return f"{points:+.{digits}f}".replace("-", "−")


def signed(points: float, digits: int = 2) -> str:
    """With its sign, and a minus that is one; zero has none."""
    text = f"{points:+.{digits}f}"
    if float(text) == 0:
        return text[1:] if points else "0"
    return text.replace("-", "−")


def as_chance(p: float, digits: int = 3) -> str:
    """A confidence or a probability. What rounds to 1 or 0 is not certain: "> 0.999", "< 0.001"."""
    least = 10.0**-digits
    rounded = round(p, digits)
    if rounded >= 1:
        return f"> {1 - least:.{digits}f}"
    return f"{rounded:.{digits}f}" if rounded > 0 else f"< {least:.{digits}f}"


def span(numbers: Iterable[int]) -> str:
    """The smallest and the largest: "8 to 10", or "10" where all are."""
    found = sorted(map(int, numbers))
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]} to {found[-1]}"


def least(confidences: Sequence[float | None]) -> float | None:
    """The smallest confidence, which a conjunction has; None if one of them is not known."""
    known = [confidence for confidence in confidences if confidence is not None]
    return min(known) if len(known) == len(confidences) else None
