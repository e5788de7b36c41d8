"""Loss surfaces that a person turns with the mouse or the arrow keys, in a notebook and in the report.

    lth.surface_viewer(study)           # Figures 4 and 5

It is HTML with a canvas and a script of our own (page/surface.js): nothing is loaded, so it works offline.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthpaper.figures import contours

if TYPE_CHECKING:
    from lthpaper.report.sliders import Measured

PAGE = Path(__file__).parent / "page"
SHADES = 48
LOOK = """\
.lth-surfaces figure { margin: 0; } .lth-surfaces figcaption { text-align: center; font-size: 0.85em; }
.lth-surfaces canvas { width: 100%; height: 19em; touch-action: pan-y; cursor: grab; }
.lth-panels { display: grid; gap: 0.5em; }
.lth-panels { grid-template-columns: repeat(auto-fit, minmax(min(22em, 100%), 1fr)); }
"""


class SurfaceViewer:
    """The surfaces of a figure, a seed at a time; all panels turn together.

    scenes: those of figures.contours.scene.
    """

    def __init__(self, scenes: list[dict[str, Any]]):
        self.seeds = [
            [_short(scene) for scene in scenes if scene["about"]["seed"] == seed]
            for seed in sorted({scene["about"]["seed"] for scene in scenes})
        ]

    def __repr__(self) -> str:
        return f"<loss surfaces of {len(self.seeds)} seeds; a notebook shows them>"

    def _repr_html_(self) -> str:
        if not self.seeds:
            return "<p>No loss surface is there yet.</p>"
        view = {"floor": contours.LEVELS[0], "rim": contours.RIM, "seeds": self.seeds}
        text = json.dumps(view | {"colours": contours.shades(SHADES)}, separators=(",", ":"))
        text = text.replace("</", "<\\/")  # the end of a script is where its text says so
        name = f"lth-surfaces-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        script = (PAGE / "surface.js").read_text()
        return f"""<div class="lth-surfaces" id="{name}"><style>{LOOK}</style>
<p>Drag a surface, or turn it with the arrow keys; Home brings it back. Height and shade: training loss (nats,
on a logarithmic scale); what is above {contours.RIM:g} nats is left out. White: the start, brown: the end of
the training. <label>Shown: <select></select></label></p>
<div class="lth-panels"></div>
<script>{script}
lthSurfaces("{name}", {text});</script></div>"""


def surface_viewer(study: "Measured") -> SurfaceViewer:
    """Interactive surfaces of Figure 4 or 5."""
    return SurfaceViewer(contours.scene(study.table))


def _short(scene: dict[str, Any]) -> dict[str, Any]:
    """A scene with as many digits as a screen can show, and without what lies above the rim."""
    rim = contours.RIM
    loss = [[_digits(v) if v is not None and v < rim else None for v in row] for row in scene["loss"]]
    axes = {name: [_digits(v) for v in scene[name]] for name in ("x", "y")}
    path = {name: [_digits(v) for v in values] for name, values in scene["path"].items()}
    return {"about": scene["about"], "loss": loss, "path": path} | axes


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
