"""PNG -> pixels, for images whose size and mode are known and whose origin is not."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_png(png: bytes, mode: str, height: int, width: int) -> NDArray[np.uint8]:
    """Return the pixels of an image, shape [height, width] and, if in colour, channels.

    Its size is compared with the header's before anything is decompressed, so that a few bytes
    cannot ask for gigabytes, and its checksums are verified: Pillow leaves those of the pixels
    out, and takes one flipped bit in fifty for a slightly different image.

    Args:
        png: A file's content.
        mode: What it must be in Pillow's terms: "L" is 8-bit grey, "RGB" 8-bit colour.
        height: In pixels.
        width: In pixels.

    Raises:
        ValueError: It is no PNG, damaged, or of another size or mode; the message says which.
    """
    if not _is_whole(png):
        raise ValueError("no PNG, or a damaged one")
    found_width, found_height = struct.unpack_from(">II", png, 16)
    if (found_height, found_width) != (height, width):
        raise ValueError(f"{found_height} x {found_width}")
    try:
        # No other format: the fewer decoders a stranger's file can reach, the better.
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            found_mode = image.mode
            pixels = np.asarray(image)
    except Exception:  # Pillow raises half a dozen unrelated types for what it cannot decode.
        raise ValueError("a PNG that cannot be decoded") from None
    if found_mode != mode:
        raise ValueError(f"of mode {found_mode}")
    return pixels


def _is_whole(png: bytes) -> bool:
    """Say whether a file is a PNG header and further chunks up to the end, none of them damaged."""
    if not png.startswith(_SIGNATURE) or png[8:16] != b"\x00\x00\x00\x0dIHDR":
        return False
    start = len(_SIGNATURE)
    while start + 12 <= len(png):  # A chunk is its length, its name, its content and its CRC-32.
        end = start + 8 + int.from_bytes(png[start : start + 4])
        if zlib.crc32(png[start + 4 : end]) != int.from_bytes(png[end : end + 4]):
            return False
        if png[start + 4 : start + 8] == b"IEND":
            return True
        start = end + 4
    return False
