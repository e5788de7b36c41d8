"""What real JPEG files surprise with is either read as documented or refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import encoded, noise
from PIL import Image

from lthpaper.data.decode import MOST_PIXELS, decode, photograph, pixels
from lthpaper.errors import InputError

COLOURS = [(255, 0, 0), (0, 255, 0), (20, 60, 230), (255, 255, 255), (0, 0, 0)]


def flat(colour: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (40, 30), colour)


def stored(image: Image.Image, kind: str = "JPEG", **how) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 95} if kind == "JPEG" else {}), **how)
    return stream.getvalue()


def read(content: bytes) -> np.ndarray:
    return np.asarray(photograph("x.JPEG", content, resize=32))


@pytest.mark.parametrize("colour", COLOURS)
def test_cmyk_jpegs_as_adobe_inverts_them_become_rgb(colour):
    ink = Image.fromarray(255 - np.asarray(flat(colour)))  # C, M, Y without black
    cmyk = Image.merge("CMYK", (*ink.split(), Image.new("L", ink.size, 0)))
    content = stored(cmyk)  # Pillow writes CMYK inverted, with Adobe's marker
    assert b"Adobe" in content
    found = read(content)
    assert found.shape == (30, 40, 3)
    assert np.abs(found.astype(int) - colour).max() <= 4


def test_grey_palette_transparent_and_two_colour_images_become_rgb():
    grey = noise(1, 30, 1)[0]
    assert np.array_equal(read(encoded(grey, "PNG")), np.repeat(grey, 3, axis=2))
    red = np.zeros((30, 40, 3), np.uint8) + np.array([250, 10, 10], np.uint8)
    see_through = Image.fromarray(np.dstack([red, np.full((30, 40), 7, np.uint8)]))
    assert np.array_equal(read(stored(see_through, "PNG")), red)  # transparency is left out
    palette = Image.fromarray(red).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.abs(read(stored(palette, "PNG")).astype(int) - red).max() <= 4
    assert np.abs(read(stored(palette, "PNG", transparency=b"\x01")).astype(int) - red).max() <= 4
    assert np.array_equal(read(stored(Image.new("1", (40, 30), 1), "PNG")), np.full((30, 40, 3), 255))


def test_a_rotation_in_exif_is_not_applied():
    image = Image.fromarray(noise(1, 30)[0]).crop((0, 0, 30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    turned = read(stored(image, exif=exif))
    assert turned.shape == (20, 30, 3)
    assert np.array_equal(turned, read(stored(image)))


def test_the_content_decides_and_not_the_name():
    image = noise(1, 30)[0]
    assert np.array_equal(read(encoded(image, "PNG")), image)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged (the file is empty)"),
        (b"\xff\xd8\xff", "damaged (not a PNG or JPEG image)"),
        (b"GIF89a" + bytes(50), "damaged (not a PNG or JPEG image)"),
        (stored(flat((1, 2, 3)), "GIF"), "damaged (not a PNG or JPEG image)"),
        (encoded(noise(1, 64)[0], "JPEG")[:-500], "damaged (image file is truncated"),
        (encoded(noise(1, 64)[0], "PNG")[:-500], "damaged ("),
        (
            stored(Image.fromarray(np.full((30, 40), 40_000, np.uint16)), "PNG"),
            "has mode I;16; expected 8 bits",
        ),
        (stored(Image.new("L", (1, 3000)), "PNG"), "is 1×3000: too narrow"),
    ],
    ids=["empty", "three bytes", "nonsense", "gif", "jpeg cut", "png cut", "16 bits", "narrow"],
)
def test_what_cannot_be_used_is_named(content, said):
    with pytest.raises(InputError) as caught:
        photograph("train/n01/a.JPEG", content, resize=256)
    assert "train/n01/a.JPEG" in str(caught.value)
    assert said in str(caught.value)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 20_000, 2_000_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side):
    assert side * side > MOST_PIXELS
    for reading in (lambda c: photograph("a.png", c, resize=256), lambda c: pixels("a.png", c, 32, 3)):
        with pytest.raises(InputError, match=r"The image a.png is (9500×9500; at most|damaged)"):
            reading(bomb(side, side))


def test_images_of_one_size_are_held_to_it():
    with pytest.raises(InputError, match=r"b.png is 30×30, mode RGB; expected 32×32"):
        decode([("a.png", encoded(noise(1)[0])), ("b.png", encoded(noise(1, 30)[0]))], 2, 32, 3)
