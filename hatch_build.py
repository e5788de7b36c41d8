"""What a wheel carries beside the package: notebooks and published results, in `lthpaper/shipped/`."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = ("notebooks", "results")


class Shipped(BuildHookInterface):
    """Adds the folders that are there; an editable install reads them where they lie."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; version: "standard" or "editable"."""
        if version == "editable":
            return
        for name in CARRIED:
            folder = Path(self.root) / name
            if folder.is_dir() and any(folder.rglob("*")):
                build_data["force_include"][str(folder)] = f"lthpaper/shipped/{name}"
