"""What a report holds: one section per notebook, the runs behind it, the scoreboard, the provenance."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from lthpaper import locations
from lthpaper.figures import FIGURES
from lthpaper.provenance import git_revision, versions
from lthpaper.report import behind, one_page
from lthpaper.report.front import front
from lthpaper.report.notebooks import Outcome
from lthpaper.runs.run import Run
from lthpaper.runs.scales import Scale
from lthpaper.runs.scales import scale as scale_named
from lthpaper.store.store import Store
from lthpaper.store.table import table


def report(
    outcomes: Sequence[Outcome],
    scale: str,
    fields: Mapping[str, Any],
    folder: Path,
    store: Store,
    data_root: str | Path | None = None,
) -> str:
    """The page as HTML. outcomes: of the notebooks, in the order of the page. fields: of the scale, where
    they were changed. folder: where the notebooks published their figures."""
    chosen = scale_named(scale, **fields)
    sections, runs = [], dict[Run, None]()
    for outcome in outcomes:
        trials = FIGURES[outcome.name].trials(chosen) if outcome.name in FIGURES else []
        runs |= dict.fromkeys(trial.run for trial in trials)
        results = table(trials, store) if trials else None
        error = f"{outcome.error} ({outcome.cell})" if outcome.cell else outcome.error
        sections.append(one_page.section(outcome.name, outcome.executed, folder, results, error))
    behind_them = behind.runs(runs, store)
    first = front(
        chosen,
        store,
        data_root or None,
        shown=[(section.name, section.short) for section in sections],
        there=len(behind_them["runs"]),
        asked=len(runs),
    )
    title = f"Sanity checks for lottery tickets, {scale} scale"
    return one_page.page(title, first, sections, _origin(chosen, store), behind_them)


def _origin(scale: Scale, store: Store) -> dict[str, str]:
    """Versions, revision and places, word by word."""
    found = {"made on": date.today().isoformat(), "revision": git_revision() or "an installed release"}
    found |= {"versions": ", ".join(f"{name} {version}" for name, version in versions().items())}
    published = _place(store.published) if store.published else "none"
    found |= {"store": _place(store.folder), "published results": published}
    scale_said = (f"{name} {_said(value)}" for name, value in vars(scale).items() if value not in ("", ()))
    return found | {"scale": "; ".join(scale_said)}


def _place(folder: Path) -> str:
    """A folder from the project's own, or its name alone: a colleague has no use for the way to it."""
    home, folder = locations.home().resolve(), folder.resolve()
    return str(folder.relative_to(home)) if folder.is_relative_to(home) else folder.name


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
