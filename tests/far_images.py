"""Images that lie on some machines only."""

import os

from lthpaper import data
from lthpaper.data import Images
from lthpaper.errors import require


def images() -> Images:
    """The digits, where IMAGES_ARE_HERE is set."""
    require("IMAGES_ARE_HERE" in os.environ, "They lie on another machine.")
    return data.load("digits").images
