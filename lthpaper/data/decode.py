"""Decode images (PNG, JPEG) to pixels; an image that cannot be used is named.

The format is read from the content, not from the file's name: ImageNet has a PNG and a few CMYK pictures
among its `.JPEG` files. Grey, palette, CMYK (inverted, as Adobe writes it) and transparent images become RGB
as Pillow converts them, without transparency. A rotation in EXIF is not applied: torchvision's ImageFolder
does not apply it, and published accuracies are without it.
"""

import io
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lthpaper.errors import InputError, first_line

FORMATS = ("PNG", "JPEG")
SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_PIXELS = 89_478_485  # a quarter GB of RGB; Pillow warns above it
_MODES = {1: "L", 3: "RGB"}


def _opened(name: str, encoded: bytes) -> Image.Image:
    """An image whose header alone is read. Raises Pillow's errors, and InputError if it is too large."""
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise InputError(
            f"The image {name} is {width}×{height}; at most {MOST_PIXELS:,} pixels are decoded: replace it."
        )
    return image


def _damaged(name: str, encoded: bytes, error: Exception) -> InputError:
    reason = first_line(error)
    if "cannot identify" in reason:
        reason = "not a PNG or JPEG image" if encoded else "the file is empty"
    return InputError(f"The image {name} is damaged ({reason}); replace it.")


# Pillow's plugins raise all of these on damaged files.
_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, OverflowError, MemoryError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def pixels(name: str, encoded: bytes, size: int, channels: int) -> np.ndarray:
    """Decode to (size, size, channels) uint8; grey images become RGB, and colour ones grey for one channel.

    Raises InputError if the image is damaged or of another size.
    """
    try:
        image = _opened(name, encoded)
        if image.size == (size, size) and image.mode[0] not in "IF":  # these have 16 or 32 bits a channel
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
    """Decode an image of any size to RGB, or to grey for one channel.

    resize: what the shorter side will be resized to; the resized image must not be too large either.
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

    Uses one thread: at 32 to 64 pixels Python takes the time, not the decoder, and threads were measured to
    be no faster. Raises InputError naming an image that is damaged or of another size.
    """
    out = np.empty((count, size, size, channels), np.uint8)
    for i, (name, encoded) in enumerate(files):
        out[i] = pixels(name, encoded, size, channels)
    return torch.from_numpy(out)
