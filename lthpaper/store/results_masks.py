"""The masks that an export publishes: those that are published, and those that a store has or can make."""

from collections.abc import Mapping

from lthpaper.runs.masks import Packed, packed
from lthpaper.runs.run import Run
from lthpaper.store import published
from lthpaper.store.store import Result, Store
from lthpaper.training.start import made_mask

MOST_BYTES = 24 * 2**20  # of a scale's masks, eight weights a byte


def masks_of(
    runs: list[Run], results: Mapping[Run, Result], own: Store, there: published.Scale | None
) -> tuple[dict[str, Packed], int]:
    """(key -> mask: what is published, and what the store has or can make; how many there is no room for).

    runs: of the figures, trained or not; results: those that are published with the store's bits. Masks that
    need images as well as weights, and those of runs whose mask changes, are published once their run is;
    those of custom networks never are.
    """
    found = {} if there is None else dict(there.masks)
    room, left_out = MOST_BYTES - sum(map(_size, found.values())), 0
    for run in runs:
        if run.mask is None or not run.mask_sources or ":" in run.task.network:
            continue
        key = published.mask_key(run)
        if key in found:
            continue
        if run in results and run.topology is None and (trained_under := own.mask(run)):
            mask = packed(trained_under)
        elif not hasattr(run.mask, "prune_seeing") and _has_sources(run, own, results):
            mask = packed(made_mask(run, own.weights))
        else:
            continue
        if _size(mask) <= room:
            found[key] = mask
            room -= _size(mask)
        else:
            left_out += 1
    return found, left_out


def _size(mask: Packed) -> int:
    return sum(len(bits) for _, bits in mask.values())


def _has_sources(run: Run, own: Store, results: Mapping[Run, Result]) -> bool:
    """Whether the weights that a run's mask is made from are here, with the published bits."""
    return all(source in results and own.holds(source, epochs) for source, epochs in run.mask_sources.items())
