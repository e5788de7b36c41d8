"""How far an execution is: for a person who watches, or for a log."""

import sys
from collections.abc import Iterable

from tqdm.auto import tqdm

from lthpaper.plan import Plan
from lthpaper.runs import Run, setting


class Bar:
    """One progress bar where a person watches, a line now and then where output goes to a file."""

    def __init__(self, todo: Plan, quiet: bool):
        interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
        self.bar = tqdm(
            total=todo.network_epochs,
            unit=" network-epochs",
            disable=quiet,
            mininterval=0.5 if interactive else 30,
            maxinterval=1 if interactive else 60,
            smoothing=0.05,
            dynamic_ncols=True,
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def training(self, packs: Iterable[tuple[Run, ...]]) -> None:
        """Say what is being trained now."""
        names = [f"{len(p)}× {setting(p[0])} {p[0].task.network} lr {p[0].recipe.lr:g}" for p in packs]
        self.bar.set_postfix_str(" | ".join(names), refresh=False)

    def advance(self, network_epochs: int) -> None:
        """Count epochs done; fewer than none where a pack failed and its epochs are lost."""
        self.bar.update(network_epochs)

    def leave_out(self, network_epochs: int) -> None:
        """What will not be trained after all."""
        self.bar.total -= network_epochs
        self.bar.refresh()
