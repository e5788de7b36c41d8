"""Encoded images (PNG, JPEG) to one uint8 array.

One thread: at 32 to 64 pixels the work is Python's, not the decoder's, and threads were measured to gain
nothing.
"""

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lthpaper.errors import InputError

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg")
_MODES = {1: "L", 3: "RGB"}


def _pixels(name: str, encoded: bytes, size: int, channels: int) -> np.ndarray:
    """(size, size, channels) uint8; grey images become RGB and colour ones grey where asked."""
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.size == (size, size) and image.mode[0] not in "IF":  # 16 and 32 bits: nothing to round to
            if image.mode != _MODES[channels]:
                image = image.convert(_MODES[channels])
            return np.frombuffer(image.tobytes(), np.uint8).reshape(size, size, channels)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "cannot identify" in reason:
            reason = "not a PNG or JPEG image" if encoded else "the file is empty"
        raise InputError(f"The image {name} is damaged ({reason}); replace it.") from error
    raise InputError(
        f"The image {name} is {image.size[0]}×{image.size[1]}, mode {image.mode}; "
        f"expected {size}×{size} with 8 bits a channel."
    )


def decode(files: Iterable[tuple[str, bytes]], count: int, size: int, channels: int) -> Tensor:
    """files: `count` pairs of name and encoded image -> (count, size, size, channels) uint8.

    Raises InputError naming the image that is damaged or of another size.
    """
    out = np.empty((count, size, size, channels), np.uint8)
    for i, (name, encoded) in enumerate(files):
        out[i] = _pixels(name, encoded, size, channels)
    return torch.from_numpy(out)
