"""Results for an experiment tracker: curves per run, and verdicts with their differences and confidences.

A tracker is a module with `init(project=, name=, group=, config=)`, `log(metrics, step=)` and `finish()`:
trackio (local unless told otherwise) and wandb have them; TensorBoard's event files are written through the
same three. Nothing is ever read back.
"""

import importlib
import math
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from lthpaper.errors import InputError, require
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import setting
from lthpaper.store.store import Result
from lthpaper.training.result import curves_of
from lthpaper.verdicts.tickets import Verdict

TRACKERS = ("trackio", "wandb", "tensorboard")


class TensorBoard:
    """Event files below a folder, one folder per run."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.writer: Any = None  # a SummaryWriter from init to finish

    def init(self, project: str, name: str, group: str, config: dict[str, Any]) -> None:
        """Begin a run's file; its configuration is a text in it."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder / project / name))
        lines = "\n".join(f"- {key}: {value}" for key, value in config.items())
        self.writer.add_text("config", f"{group}\n\n{lines}")

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        """One point of each curve."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Close the file."""
        self.writer.close()


def tracker(name: str, folder: str | Path = "runs/tensorboard") -> ModuleType | TensorBoard:
    """A tracker by name. folder: of TensorBoard's files. Raises InputError if there is none, or none here."""
    require(name in TRACKERS, f"--to is {name!r}; there are {', '.join(TRACKERS)}.")
    try:
        found = importlib.import_module("torch.utils.tensorboard" if name == "tensorboard" else name)
    except ImportError as error:
        raise InputError(f"{name} is not installed ({error}): pip install {name}.") from error
    return TensorBoard(folder) if name == "tensorboard" else found


def send(results: Iterable[Result], verdicts: Iterable[Verdict], to: Any, project: str) -> tuple[int, int]:
    """Send runs with their curves, and verdicts. Returns how many of each were sent."""
    runs = judged = 0
    for result in results:
        to.init(project=project, name=result.run.name, group=setting(result.run), config=config(result))
        for step, metrics in points(result):
            to.log(metrics, step=step)
        to.finish()
        runs += 1
    for verdict in verdicts:
        name = (
            f"verdict {verdict.network} {verdict.data} s={verdict.sparsity:.3f} {verdict.pruning or 'both'}"
        )
        about = {"sentence": verdict.sentence, "kind": verdict.kind, "kind_ours": verdict.kind_ours}
        about |= {f"condition_{c.number}{c.mark}": c.sentence for c in verdict.judged}
        to.init(project=project, name=name, group="verdicts", config=about)
        to.log(_evidence(verdict), step=0)
        to.finish()
        judged += 1
    return runs, judged


def config(result: Result) -> dict[str, Any]:
    """What a tracker shows and filters runs by."""
    run, recipe = result.run, result.run.recipe
    fields = {name: getattr(recipe, name) for name in Recipe.__dataclass_fields__}
    about: dict[str, Any] = {"setting": setting(run), "network": run.task.network, "data": run.task.data}
    about |= {"width": run.task.width, "train_images": run.task.train_images, "seed": run.seed}
    if run.task.validation_images:
        about["validation_images"] = run.task.validation_images
    about |= {"sparsity": result.sparsity, "digest": run.digest, "accuracy": _number(result.accuracy)}
    plain = (int, float, str, bool)
    return about | {name: v if isinstance(v, plain) else str(v) for name, v in fields.items()}


def points(result: Result) -> Iterable[tuple[int, dict[str, float]]]:
    """(epochs done, metrics) of the curves; what was not tested after an epoch has no point there."""
    first = result.run.first_epoch
    for i in range(len(result.curves["train_loss"])):
        values = {name: result.curves[name][i] for name in curves_of(result.run)}
        found = {name: value for name, value in values.items() if math.isfinite(value)}
        if found:
            yield first + i + 1, found


def _evidence(verdict: Verdict) -> dict[str, float]:
    values = {f"difference_{c.number}{c.mark}": c.difference for c in verdict.judged}
    values |= {f"confidence_{c.number}{c.mark}": c.confidence for c in verdict.judged}
    return {
        name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
