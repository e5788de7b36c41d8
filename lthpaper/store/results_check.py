"""Check published results: files against the manifest, rows against what their runs allow."""

import math
from collections.abc import Iterator

from lthpaper.errors import InputError
from lthpaper.runs import digest as canonical
from lthpaper.runs.run import Run
from lthpaper.store.entry import MASK, WEIGHTS, Damaged, mask_checksum
from lthpaper.store.published import MANIFEST, MASKS, ROUNDED, RUNS, SHA256, SUFFIX, Scale, mask_key
from lthpaper.store.store import Result
from lthpaper.training.result import curves_of

README = "README.md"


def faults(scale: Scale) -> Iterator[str]:
    """A sentence for each fault in the published results of a scale; nothing if there is none."""
    try:
        yield from _files(scale)
        yield from _descriptions(scale)
        runs = scale.runs
    except InputError as error:
        yield str(error)
        return
    for run in runs.values():
        yield from (f"{run.name} {fault}" for fault in _row(scale, run))
    yield from _masks(scale, runs)
    yield from _together(scale, runs)
    for name in scale.names:
        try:
            strangers = {digest for digest, _ in scale.keys(name)} - set(runs)
        except Damaged as error:
            yield str(error)
            continue
        if strangers:
            some = ", ".join(sorted(strangers)[:3])
            yield f"{name}{SUFFIX} measures {len(strangers)} runs that are not published ({some})"


def _files(scale: Scale) -> Iterator[str]:
    listed = scale.manifest["files"]
    for name in listed:
        scale.read(name)  # raises Damaged
    for path in sorted(scale.folder.iterdir()):
        if path.name not in (*listed, MANIFEST, README):
            yield f"{path.name} is there but {MANIFEST} does not list it"


def _descriptions(scale: Scale) -> Iterator[str]:
    for digest, described in scale.descriptions.items():
        try:
            found = canonical.digest(described)
        except (TypeError, ValueError, RecursionError) as error:
            yield f"the description of {digest} is not one ({error})"
            continue
        if found != digest:
            yield f"the description of {digest} gives {found}"


def _row(scale: Scale, run: Run) -> Iterator[str]:
    try:
        result = scale.get(run)
    except (KeyError, Damaged) as error:
        yield f"cannot be read ({error})"
        return
    row = scale.rows[run.digest]
    if (name := scale.table["name"][row].as_py()) != run.name:
        yield f"is named {name}"
    if ":" in run.task.network or ":" in run.task.data:  # the checks below would import its module
        yield "uses a custom network or data set"
        return
    yield from _curves(result, run)
    yield from _mask(result, run)


def _curves(result: Result, run: Run) -> Iterator[str]:
    """A run that did not diverge was tested after its last epoch, and its losses are non-negative numbers."""
    if set(result.curves) != set(curves_of(run)):
        yield f"has the curves {', '.join(result.curves)}"
        return
    if any(len(curve) != run.cost for curve in result.curves.values()):
        yield f"has curves of {len(result.curves['test_accuracy'])} epochs; it trains for {run.cost}"
    values = {name: [v for v in curve if not math.isnan(v)] for name, curve in result.curves.items()}
    if not all(0 <= v <= 100 for name in values if name.endswith("_accuracy") for v in values[name]):
        yield "has an accuracy that is not a percentage"
    if not all(0 <= v < math.inf for name in ("train_loss", "test_loss") for v in values[name]):
        yield "has a loss that is negative or infinite"
    if math.isnan(result.accuracy) and not math.isnan(result.curves["train_loss"][-1]):
        yield "has no accuracy after its last epoch, though its training loss is a number"
    if not 0 <= result.seconds < math.inf:
        yield f"took {result.seconds} seconds"


def _mask(result: Result, run: Run) -> Iterator[str]:
    """The mask leaves what its rule leaves, in total and by layer."""
    sizes = run.task.prunable_weights
    total = sum(sizes.values())
    if (
        not all(SHA256.fullmatch(checksum) for checksum in result.files.values())
        or WEIGHTS not in result.files
    ):
        yield "lacks the checksum of its weights or of its mask"
    if (MASK in result.files) != (run.mask is not None):
        yield "has a mask where its description has none, or none where it has one"
    if not 0 <= result.kept <= total or result.sparsity != 1 - result.kept / total:
        yield f"keeps {result.kept} of {total} weights and calls that a sparsity of {result.sparsity}"
    expected = run.mask.sparsity if run.mask is not None else 0.0
    if abs(result.sparsity - expected) > ROUNDED / total:
        yield f"has the sparsity {result.sparsity:.4f}; its rule leaves {expected:.4f}"
    if result.layers and (
        set(result.layers) != set(sizes)
        or any(not 0 <= kept <= sizes[name] for name, kept in result.layers.items())
        or sum(result.layers.values()) != result.kept
    ):
        yield "has counts by layer that do not add up"


def _masks(scale: Scale, runs: dict[str, Run]) -> Iterator[str]:
    """Every mask of a published run is the one that the run trained under."""
    try:
        masks = scale.masks
    except Damaged as error:
        yield str(error)
        return
    if scale.manifest.get("masks", 0) != len(masks):
        yield f"{MANIFEST} says {scale.manifest.get('masks')} masks; {MASKS} holds {len(masks)}"
    for run in runs.values():
        if run.mask is None or run.topology is not None or (bits := masks.get(mask_key(run))) is None:
            continue
        if mask_checksum(bits) != scale.get(run).files.get(MASK):
            yield f"{run.name} was trained under another mask than {MASKS} has for it"


def _together(scale: Scale, runs: dict[str, Run]) -> Iterator[str]:
    """The manifest's totals are right, and all results of a data set come from one copy of it."""
    about, table = scale.manifest, scale.table
    counts = {"runs": len(runs), "network_epochs": sum(run.cost for run in runs.values())}
    for what, count in counts.items():
        if about.get(what) != count:
            yield f"{MANIFEST} says {about.get(what)} {what}; {RUNS} holds {count}"
    fingerprints: dict[str, set[str]] = {}
    found = table["fingerprint"].to_pylist()
    for digest, run in runs.items():
        fingerprints.setdefault(run.task.data, set()).add(found[scale.rows[digest]])
    for data, several in fingerprints.items():
        if len(several) > 1:
            yield f"results come from different copies of {data}: {', '.join(sorted(several))}"
    if {name: sorted(of) for name, of in fingerprints.items()} != about.get("data"):
        yield f"{MANIFEST} lists other fingerprints of data sets than {RUNS}"
