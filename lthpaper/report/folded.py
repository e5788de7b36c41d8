"""Values that a notebook shows as one line until it is opened: long and seldom read, but kept."""

import html
import json
from typing import Any


class Folded(dict[str, Any]):
    """A dict of JSON values. In a notebook it is one line, and the JSON below it when opened."""

    def __init__(self, values: dict[str, Any], summary: str):
        super().__init__(values)
        self.summary = summary

    def _repr_html_(self) -> str:
        inside = html.escape(json.dumps(self, indent=1, sort_keys=True, default=str))
        return f"<details><summary>{html.escape(self.summary)}</summary><pre>{inside}</pre></details>"
