"""Images that lie on some machines only."""

import os
from pathlib import Path

from lthpaper import data
from lthpaper.data import Images
from lthpaper.errors import require


def images() -> Images:
    """The digits, where IMAGES_ARE_HERE is set."""
    require("IMAGES_ARE_HERE" in os.environ, "They lie on another machine.")
    return data.load("digits").images


def in_folder(root: Path) -> Images:
    """The digits, where the data folder has a file of that name."""
    require((root / "digits").is_file(), f"They are not in {root}.")
    return data.load("digits").images
