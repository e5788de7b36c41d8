"""Encoded images (PNG, JPEG) to pixels; what cannot be used is named.

What an image holds decides, not what its file is called: ImageNet has a PNG and a few CMYK pictures among
its `.JPEG` files. Grey, palette, CMYK (inverted, as Adobe writes it) and transparent images become RGB as
Pillow converts them, transparency is left out. A rotation noted in EXIF is not applied: torchvision's
ImageFolder does not, and published accuracies are without it.
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
MOST_PIXELS = 89_478_485  # a quarter GB of RGB, where Pillow begins to warn
_MODES = {1: "L", 3: "RGB"}


def _opened(name: str, encoded: bytes) -> Image.Image:
    """An image of which only the header is read. Raises what Pillow raises, and InputError."""
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise InputError(
            f"The image {name} is {width}×{height}; at most {MOST_PIXELS:,} pixels are decoded: replace it."
        )
    return image


def _damaged(name: str, encoded: bytes, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "cannot identify" in reason:
        reason = "not a PNG or JPEG image" if encoded else "the file is empty"
    return InputError(f"The image {name} is damaged ({reason}); replace it.")


# whatever Pillow meets in a file: its plugins raise all of these on damaged ones
_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, MemoryError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def pixels(name: str, encoded: bytes, size: int, channels: int) -> np.ndarray:
    """(size, size, channels) uint8; grey images become RGB and colour ones grey where asked.

    Raises InputError if the image is damaged or of another size.
    """
    try:
        image = _opened(name, encoded)
        if image.size == (size, size) and image.mode[0] not in "IF":  # 16 and 32 bits: nothing to round to
            return np.frombuffer(_converted(image, channels).tobytes(), np.uint8).reshape(
                size, size, channels
            )
    except InputError:
        raise
    except _ERRORS as error:
        raise _damaged(name, encoded, error) from error
    raise InputError(
        f"The image {name} is {image.size[0]}×{image.size[1]}, mode {image.mode}; "
        f"expected {size}×{size} with 8 bits a channel."
    )


def photograph(name: str, encoded: bytes, resize: int, channels: int = 3) -> Image.Image:
    """A decoded image of any size, RGB, or grey for one channel.

    resize: what the shorter side will be resized to; the result must be of a reasonable size too.
    Raises InputError if the image is damaged, too large, or of 16 or 32 bits a channel.
    """
    try:
        image = _opened(name, encoded)
        short, long = sorted(image.size)
        if long * resize * resize > MOST_PIXELS * short:
            raise InputError(
                f"The image {name} is {image.size[0]}×{image.size[1]}: too narrow to be resized; replace it."
            )
        if image.mode[0] in "IF":
            raise InputError(f"The image {name} has mode {image.mode}; expected 8 bits a channel.")
        image.load()
        return _converted(image, channels)
    except InputError:
        raise
    except _ERRORS as error:
        raise _damaged(name, encoded, error) from error


def _converted(image: Image.Image, channels: int) -> Image.Image:
    if image.mode == _MODES[channels]:
        return image
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert(_MODES[channels])


def decode(files: Iterable[tuple[str, bytes]], count: int, size: int, channels: int) -> Tensor:
    """files: `count` pairs of name and encoded image -> (count, size, size, channels) uint8.

    One thread: at 32 to 64 pixels the work is Python's, not the decoder's, and threads were measured to
    gain nothing. Raises InputError naming the image that is damaged or of another size.
    """
    out = np.empty((count, size, size, channels), np.uint8)
    for i, (name, encoded) in enumerate(files):
        out[i] = pixels(name, encoded, size, channels)
    return torch.from_numpy(out)
