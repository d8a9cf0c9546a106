import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from common.data.png import decode_png

GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)


def encode(image, kind="PNG"):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind)
    return file.getvalue()


def chunk(name, content):
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def test_pixels_are_those_of_the_image():
    np.testing.assert_array_equal(decode_png(encode(GREY), "L", 2, 3), GREY)
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(decode_png(encode(colour), "RGB", 2, 3), colour)


@pytest.mark.parametrize(
    ("png", "problem"),
    [
        (b"", "no PNG, or a damaged one"),
        (b"no image", "no PNG, or a damaged one"),
        (encode(GREY)[:-4], "no PNG, or a damaged one"),
        (encode(GREY)[:40], "no PNG, or a damaged one"),
        (encode(GREY, "GIF"), "no PNG, or a damaged one"),
        (encode(GREY, "JPEG"), "no PNG, or a damaged one"),
        (encode(GREY.T), "3 x 2"),
        (encode(np.zeros((2, 3, 3), np.uint8)), "of mode RGB"),
        (encode(Image.fromarray(GREY).convert("P")), "of mode P"),
        (encode(Image.fromarray(GREY).convert("1")), "of mode 1"),
        (encode(Image.fromarray(GREY.astype(np.uint16))), "of mode I;16"),
    ],
)
def test_what_is_not_such_an_image_is_refused(png, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        decode_png(png, "L", 2, 3)


def test_every_flipped_bit_is_noticed():
    png = encode(GREY)
    for bit in range(8 * len(png)):
        flipped = bytearray(png)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="damaged"):
            decode_png(bytes(flipped), "L", 2, 3)


def test_a_bomb_is_not_decoded(monkeypatch):
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10**6))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
    monkeypatch.setattr(Image, "open", None)  # Not even opened.
    with pytest.raises(ValueError, match=r"^50000 x 50000$"):
        decode_png(bomb + chunk(b"IEND", b""), "L", 2, 3)


def test_pixels_that_are_no_deflate_stream_are_refused():
    header = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"nonsense"), (b"IEND", b"")]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*named) for named in chunks)
    with pytest.raises(ValueError, match=r"^a PNG that cannot be decoded$"):
        decode_png(png, "L", 2, 3)
