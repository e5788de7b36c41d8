"""Results by digest: one folder per run, with description and checksums, whole or absent. No pickle is read.

<store>/<network>-<data>-<digest>/
    run.json              the run and its ancestors (runs.run.to_json)
    result.json           curves, provenance, checksums of the files above and below
    weights.safetensors   θT: parameters and buffers
    mask.safetensors      the mask, eight weights a byte
    epoch-0004-<checksum>.safetensors  weights after 4 epochs, where they were asked for

Snapshots may be added later and by several processes at once, so each has its checksum in its name, and no
file is written twice.

measurements/ beside the entries holds what figures computed from weights (measurements.py).

weights.safetensors and mask.safetensors may be left out of an entry (`lthpaper store export`, `prune`):
result.json then names them in "left_out" and still lists their checksums, so only the same weights can be
added again.
"""

import math
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthpaper import locations
from lthpaper.errors import InputError, require
from lthpaper.runs.masks import Mask, Packed, unpacked
from lthpaper.runs.run import Run, ancestors, from_json, runs_in, to_json
from lthpaper.store.entry import (
    ENTRY,
    MASK,
    RESULT,
    RUN,
    WEIGHTS,
    NewerFormat,
    damaged,
    file_checksum,
    is_there,
    lacking,
    left_out,
    load_mask,
    load_weights,
    mask_checksum,
    read_json,
    read_result,
    same_bits,
    save_mask,
    save_tensors,
    snapshot_files,
    sync,
    sync_names,
    verified,
    write_json,
    write_result,
    writing,
)
from lthpaper.training.result import Trained, Weights

if TYPE_CHECKING:
    import pandas as pd

    from lthpaper.store.published import Published


PUBLISHED = "published"  # in the provenance of a result: where its mask is from, unless it was made here


@dataclass(frozen=True)
class Result:
    """What the store knows of a run without opening its weights. Accuracies in percent."""

    run: Run
    curves: dict[str, list[float]]  # per epoch, those of `curves_of`; NaN: not tested
    kept: int  # prunable weights left by the mask
    sparsity: float  # s as it came out, after rounding to whole weights
    fingerprint: str  # of the data set's content
    seconds: float  # of training, this run's share of its pack
    provenance: dict[str, Any]
    folder: Path
    files: dict[str, str] = field(default_factory=dict)  # checksums of weights and mask, there or left out
    layers: dict[str, int] = field(default_factory=dict)  # weights left by the mask in each; {}: unknown

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last epoch; NaN if the run diverged."""
        return self.curves["test_accuracy"][-1]

    @property
    def best_accuracy(self) -> float:
        """Accuracy of the epoch best on the test images: recorded, never used (that would be peeking)."""
        return max((a for a in self.curves["test_accuracy"] if not math.isnan(a)), default=math.nan)


class Store:
    """Results in a folder; several processes may use it at once.

    published: a read-only folder for runs that the store itself lacks: entries like the store's own, then
    tables of results without weights (published.py). A run is read from one of these, never from parts of
    two, since two trainings may differ in their bits. masks: published results of which only the masks are
    used, whatever else is trained here.
    """

    def __init__(
        self, folder: str | Path, published: str | Path | None = None, masks: "Published | None" = None
    ):
        self.folder = Path(folder)
        self.published = None if published is None else Path(published)
        self.masks = masks
        for place in filter(None, (self.folder, self.published)):
            require(
                place.is_dir() or not place.exists(),
                f"The store {place} is a file; it must be a folder, which may not exist yet.",
            )

    def path(self, run: Run) -> Path:
        """The run's folder in the store itself, whether it exists or not."""
        return self.folder / run.name

    def entry(self, run: Run) -> Path:
        """The folder that a run is read from: the store's own, else the published one. Raises Unreadable if
        that cannot be said now."""
        own = self.path(run)
        if self.published is None or is_there(own):
            return own
        published = self.published / run.name
        return published if is_there(published) else own

    @cached_property
    def tables(self) -> "Published":
        """The published tables, read once. Raises Damaged if they are not what was written."""
        from lthpaper.store import published  # imports pyarrow

        return published.of(self.published)

    def __contains__(self, run: Run) -> bool:
        """Raises InputError if the run's folder is there without its result (a copy that was cut off), or
        that cannot be said now."""
        folder = self.entry(run)
        if not is_there(folder):  # first, since an entry may appear, whole, between the two checks
            return self.published is not None and run.digest in self.tables
        if not is_there(folder / RESULT):
            raise damaged(folder, f"has no {RESULT}")
        return True

    def snapshots(self, run: Run) -> set[int]:
        """Epochs whose weights are kept, besides θT."""
        return set(snapshot_files(self.entry(run)))

    def has_weights(self, run: Run) -> bool:
        """Whether the run is there with θT and its mask. Raises InputError if its entry is damaged."""
        if run not in self:
            return False
        folder = self.entry(run)
        return is_there(folder) and not left_out(folder, read_result(folder))

    def holds(self, run: Run, epochs: Iterable[int] = ()) -> bool:
        """Whether the run is there, with its weights after these epochs (the last: θT and the mask)."""
        epochs = set(epochs)
        if not epochs:
            return run in self
        return self.has_weights(run) and epochs - {run.recipe.epochs} <= self.snapshots(run)

    def put(self, trained: Trained, fingerprint: str, provenance: dict[str, Any]) -> Result:
        """Keep a result. It is written to a draft and renamed, so it is whole or absent.

        A run that is there already gains the snapshots and weights that it lacked; its other files stay.
        If the two trainings differ in their bits, one of them is set aside (`complete`). Raises Unwritable
        if the folder cannot be written.
        """
        final = self.path(trained.run)
        with self.draft(trained.run.name) as draft:
            self._write(draft, trained, fingerprint, provenance)
            sync(draft)
            try:
                draft.rename(final)
            except OSError:
                if trained.run not in Store(self.folder):
                    raise
                self.complete(final, draft)
            sync_names(self.folder)
        return self.get(trained.run)

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """A folder to write in, beside the entries; removed afterwards unless it was renamed."""
        draft = self.folder / f".draft-{name}-{uuid.uuid4().hex[:8]}"
        try:
            with writing(self.folder):
                draft.mkdir(parents=True)
                yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def complete(self, final: Path, draft: Path) -> None:
        """Give an entry what it lacks, from a second training of its run in a folder of `draft`.

        Two trainings that differ in their bits, as on two devices, are never mixed. The first stays, unless
        it lacks what the second was run for, which it could never gain. The other one is set aside.
        """
        ours, theirs = read_result(final), read_result(draft)
        files = lacking(final, ours, draft, theirs)
        if same_bits(final, ours, draft, theirs):
            for name in files:
                (draft / name).replace(final / name)
            sync_names(final)
        elif files:
            self.set_aside(final, "replaced")
            try:
                draft.rename(final)
            except OSError:
                if not final.is_dir():
                    raise
                self.complete(final, draft)  # another process has put its own there meanwhile
        else:
            self.set_aside(draft, "replaced")

    def set_aside(self, path: Path, where: str) -> Path:
        """Move an entry, or a file of one, to the folder `where` of the store; nothing is deleted."""
        entry = path if path.parent == self.folder else path.parent
        kept = self.folder / where / f"{entry.name.lstrip('.')}-{uuid.uuid4().hex[:8]}"
        kept.parent.mkdir(exist_ok=True)
        if path != entry:
            kept.mkdir()
            kept = kept / path.name
        return path.rename(kept)

    def _write(self, draft: Path, trained: Trained, fingerprint: str, provenance: dict[str, Any]) -> None:
        save_tensors(trained.weights, draft / WEIGHTS)
        for epoch, weights in trained.snapshots.items():
            path = draft / "snapshot"
            save_tensors(weights, path)
            path.rename(draft / f"epoch-{epoch:04d}-{file_checksum(path)[:16]}.safetensors")
        total = sum(trained.run.task.prunable_weights.values())
        kept, layers = total, {}
        if trained.mask is not None:
            layers = {name: int(m.sum()) for name, m in trained.mask.items()}
            kept = sum(layers.values())
            save_mask(trained.mask, draft / MASK)
        write_json(draft / RUN, to_json(trained.run))
        result = {
            "curves": {name: [_json_float(v) for v in curve] for name, curve in trained.curves.items()},
            "kept": kept,
            "sparsity": 1 - kept / total,
            "layers": layers,
            "fingerprint": fingerprint,
            "seconds": trained.seconds / trained.pack,
            "provenance": {
                **provenance,
                "pack": trained.pack,
                "not_stacked": trained.not_stacked,
                "form": trained.form,
                "images": trained.images,
                "resumed": list(trained.resumed),
            },
        }
        write_result(draft, result)

    def get(self, run: Run) -> Result:
        """Raises KeyError if the run is not there, InputError if its entry is damaged."""
        if run not in self:
            raise KeyError(run)
        folder = self.entry(run)
        if not is_there(folder):
            return self.tables.get(run)
        return self._read(folder, run)

    def _read(self, folder: Path, run: Run | None = None) -> Result:
        result = read_result(folder)
        described = read_json(verified(folder / RUN, result["files"]))
        if described.get("digest") != folder.name[-16:]:
            raise damaged(folder, f"holds the run {str(described.get('digest'))[:40]!r}")
        try:
            run = run or from_json(described)
        except (InputError, RecursionError) as error:
            how = f"describes what this version of lthpaper does not know ({str(error)[:200]})"
            raise damaged(folder, how, NewerFormat) from error
        curves = {k: [math.nan if v is None else v for v in c] for k, c in result["curves"].items()}
        fields = {name: result[name] for name in ("kept", "sparsity", "fingerprint", "seconds", "provenance")}
        files = {name: result["files"][name] for name in (WEIGHTS, MASK) if name in result["files"]}
        return Result(run, curves, **fields, folder=folder, files=files, layers=result.get("layers", {}))

    def layers(self, run: Run) -> dict[str, int]:
        """Weights that a run's mask leaves in each layer; {} without a mask, or if they are unknown.

        Results of earlier versions lack them; they are then counted in the mask.
        """
        counted = self.get(run).layers
        return counted or {name: int(m.sum()) for name, m in (self.mask(run) or {}).items()}

    def measurement(self, run: Run, name: str, key: str) -> "pd.DataFrame | None":
        """A measurement of a run, from the store or the published results; None if neither has it
        (measurements.py). Raises Unreadable if the disk does not give it now."""
        from lthpaper.store import measurements  # imports pyarrow

        for place in (self.folder, self.published):
            if place is not None and (found := measurements.kept(place, run.digest, name, key)) is not None:
                return found
        return None if self.published is None else self.tables.measurement(run.digest, name, key)

    def keep_measurement(self, run: Run, name: str, key: str, table: "pd.DataFrame") -> "pd.DataFrame":
        """Keep a measurement of a run and return it as it will be read. Raises Unwritable."""
        from lthpaper.store import measurements

        return measurements.keep(self.folder, run.digest, name, key, table)

    def weights(self, run: Run, epoch: int | None = None) -> tuple[Weights, Mask | None]:
        """θT (or the snapshot after an epoch) and the mask, checksums verified.

        Raises KeyError if they are not there or were left out, InputError if they are damaged.
        """
        if run not in self:
            raise KeyError(f"{run} is not in {self.folder}")
        folder = self.entry(run)
        if not is_there(folder):
            raise KeyError(
                f"{run} is published without its weights: lth.train(run, store, weights=True) trains it again"
            )
        result = read_result(folder)
        files = result["files"]
        if gone := left_out(folder, result):
            raise KeyError(
                f"{' and '.join(gone)} of {run} were left out of {folder}: merge a store that has them, or "
                "train the run again with lth.train(run, store, weights=True)"
            )
        mask = load_mask(folder, files) if MASK in files else None
        if epoch is None or epoch == run.recipe.epochs:
            return load_weights(verified(folder / WEIGHTS, files)), mask
        kept = sorted(folder.glob(f"epoch-{epoch:04d}-*.safetensors"))
        if not kept:
            raise KeyError(f"{run} has no weights after epoch {epoch}")
        return load_weights(verified(kept[0], files)), mask

    def mask(self, run: Run) -> Mask | None:
        """The mask of a run that is there: its entry's, else the published one, if it has the same checksum.

        None if the run is dense or not there, or if neither has its mask. Raises InputError if it is damaged.
        """
        if run not in self or MASK not in (result := self.get(run)).files:
            return None
        folder = self.entry(run)
        if is_there(folder) and MASK not in left_out(folder, read_result(folder)):
            return load_mask(folder, result.files)
        found = None if self.published is None else self.tables.mask(run)
        if found is None or mask_checksum(found) != result.files[MASK]:
            return None
        return unpacked(found)

    def published_mask(self, run: Run) -> Packed | None:
        """The published mask that a run can start with, so that no ancestor's weights are needed.

        None if there is none, if the store has the weights that the mask is made from, if one of these runs
        was trained here with other bits than the published ones, or if the run's start, too, is another
        run's: that and the mask must come from one training.
        """
        sources = run.mask_sources
        if not sources or any(runs_in(run.init)) or (self.published is None and self.masks is None):
            return None
        if all(self.holds(source, epochs) for source, epochs in sources.items()):
            return None
        tables = self.tables if self.masks is None else self.masks
        found = tables.mask(run)
        if found is not None and self.masks is None:
            for before in (run for run in ancestors(sources) if is_there(self.entry(run))):
                if before.digest not in tables or self.get(before).files != tables.get(before).files:
                    return None
        return found

    def __iter__(self) -> Iterator[Result]:
        """Every result, by name. Raises InputError at a damaged one."""
        places = [place for place in (self.published, self.folder) if place is not None]
        found = {p.parent.name: p.parent for place in places for p in place.glob(f"*/{RESULT}")}
        found = {name: folder for name, folder in found.items() if ENTRY.fullmatch(name)}  # no drafts
        listed = {} if self.published is None else self.tables.runs
        for name in sorted({*found, *listed}):
            yield self._read(found[name]) if name in found else self.tables.get(listed[name])

    def table(self) -> "pd.DataFrame":
        """One row per run (listing.COLUMNS): setting, learning rate, sparsity, seed, accuracy, …"""
        from lthpaper.store import listing  # it is built on this module

        return listing.table(self)


def open_store(folder: Store | str | Path | None = None) -> Store:
    """The store in a folder (None: the project's), with the published results, if any, as a layer below. A
    Store is returned as it is."""
    if isinstance(folder, Store):
        return folder
    return Store(locations.store_folder(folder), locations.published_folder())


def _json_float(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
