"""Masks as bytes: in messages, and in checkpoints.

For each parameter, in the order of their names, a byte says how its positions are coded: whichever
:class:`common.compression.index_coding.IndexCoding` takes the fewest bytes. DENSE keeps everything,
and nothing follows; otherwise the number of entries kept as a varint, then their positions. The
CRC-32 of all that, little-endian, is at the end.

A mask travels apart from the values that it keeps: the wire format of updates
(:mod:`common.compression.wire`) may send zeros in the place of positions, from which no receiver
could tell a pruned entry from one that is kept and zero, as those that grow are at first.
"""

import math
import struct
import zlib
from typing import Final

import numpy as np

from common.compression.index_coding import (
    CodingError,
    IndexCoding,
    Positions,
    decode,
    read_varint,
    to_varint,
)
from pruning_afo.masks import Mask, Shapes, mask_of_indices

_CHECKSUM: Final = struct.Struct("<I")


def encode_mask(mask: Mask) -> bytes:
    """Return a mask as bytes."""
    parts = []
    for _, kept in sorted(mask.is_kept.items()):
        indices = np.flatnonzero(kept)
        positions = Positions(indices, kept.size)
        coding = positions.cheapest()
        parts.append(bytes([coding]))
        if coding != IndexCoding.DENSE:
            parts += [to_varint(len(indices)), positions.encode(coding)]
    content = b"".join(parts)
    return content + _CHECKSUM.pack(zlib.crc32(content))


def decode_mask(payload: bytes | memoryview, shapes: Shapes) -> Mask:
    """Return the mask that :func:`encode_mask` encoded.

    Args:
        payload: Its bytes, or any others.
        shapes: Of the parameters.

    Raises:
        ValueError: They are no mask of these parameters; the text goes on after the mask's name.
    """
    payload = memoryview(payload)
    end = len(payload) - _CHECKSUM.size
    if end < 0 or zlib.crc32(payload[:end]) != _CHECKSUM.unpack_from(payload, end)[0]:
        raise ValueError("is damaged")
    content, indices, at = payload[:end], {}, 0
    for name, shape in sorted(shapes.items()):
        try:
            indices[name], length = _decode_one(content[at:], math.prod(shape))
        except CodingError as error:
            raise ValueError(f"has positions in {name!r} that {error}") from None
        at += length
    if at != end:
        raise ValueError(f"is {end - at} bytes longer than a mask of this model")
    return mask_of_indices(shapes, [indices[name] for name in shapes])


def _decode_one(
    content: memoryview, size: int
) -> "tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int]":
    """Return the positions kept of a parameter, and how many bytes they took."""
    if not len(content) or content[0] not in IndexCoding.__members__.values():
        raise CodingError("have no coding")
    coding = IndexCoding(content[0])
    if coding == IndexCoding.DENSE:
        return np.arange(size), 1
    count, start = read_varint(content, 1)
    if count > size:
        raise CodingError(f"are {count}, more than its {size} entries")
    indices, length = decode(coding, content[start:], count, size)
    return indices, start + length
