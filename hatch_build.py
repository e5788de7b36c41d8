"""What a wheel carries beside the package: notebooks and published results, in `lthpaper/shipped/`."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = ("notebooks/*.ipynb", "results/*.md", "results/**/*.json", "results/**/*.parquet")


class Shipped(BuildHookInterface):
    """Adds these files, and no other that lies beside them; an editable install reads them where they lie."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; version: "standard" or "editable"."""
        if version == "editable":
            return
        root = Path(self.root)
        for path in sorted(path for pattern in CARRIED for path in root.glob(pattern)):
            there = path.relative_to(root).as_posix()
            build_data["force_include"][str(path)] = f"lthpaper/shipped/{there}"
