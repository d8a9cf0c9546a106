"""A compressed update as bytes, and back without trusting them.

All numbers are little-endian; a varint is one of :mod:`common.compression.index_coding`. Tensors
are in the order of their names. The bytes are:

====================  ==============================================================================
Header, 14 bytes
  4 bytes             "FLUP"
  1 byte              version of this format: 1
  1 byte              the quantiser's code (:mod:`common.compression.quantisers`): 0 float32,
                      1 float16, 2 bfloat16, 3 int8 per tensor, 4 int8 per row, 5 sign
  4 bytes             number of tensors
  4 bytes             CRC-32 of their names and shapes
Then of each tensor
  1 byte              coding of its positions: 0 dense, 1 bitmap, 2 int32, 3 varint, 4 Golomb
  varint              not if dense: how many entries are sent, k
  as long as it says  not if dense: the positions, in that coding
Then
  0 to 3 bytes        zeros, up to a multiple of 4 from the first byte on
Then of each tensor
  as long as k says   the values in the order of their positions, as the quantiser writes them
Then
  4 bytes             CRC-32 of all bytes before
====================  ==============================================================================

How many bytes a tensor's values are, follows from its shape and positions; the rows that have a
scale of their own do, too. So the values of a dense float32 update are read where they lie.
"""

import struct
import zlib
from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.compression import index_coding
from common.compression.index_coding import MAX_SIZE, CodingError, IndexCoding, Positions
from common.compression.quantisers import (
    BFloat16,
    Float16,
    Float32,
    Int8,
    Quantiser,
    Rows,
    Sign,
    row_starts,
)
from common.compression.sparse import SparseTensor
from common.finite import is_finite

Shapes = Mapping[str, tuple[int, ...]]

_MAGIC = b"FLUP"
_VERSION = 1
_HEADER = struct.Struct("<4sBBII")
_CHECKSUM = struct.Struct("<I")
_QUANTISERS: dict[int, Quantiser] = {
    quantiser.code: quantiser
    for quantiser in (Float32(), Float16(), BFloat16(), Int8(), Int8(scale="per_row"), Sign())
}


class PayloadError(ValueError):
    """A payload that is no update of the tensors expected; the message says why, as what it does.

    It goes on after "its payload".
    """


def encode(
    tensors: Mapping[str, SparseTensor], quantiser: Quantiser, rng: np.random.Generator
) -> bytes:
    """Return an update as bytes, the positions of each tensor in the coding that is cheapest.

    Where it weighs less, the zeros between the entries are sent as values and no positions, unless
    the quantiser does not keep zeros. Either way the same numbers are decoded.

    Args:
        tensors: By name, of up to ``MAX_SIZE`` entries each.
        quantiser: How the values are written.
        rng: What stochastic rounding draws from.

    Raises:
        ValueError: A value is not finite, or a tensor is too large.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    positions = [_HEADER.pack(_MAGIC, _VERSION, quantiser.code, len(tensors), _fingerprint(shapes))]
    values: list[bytes | memoryview] = []
    for name in sorted(tensors):
        _require_encodable(name, tensors[name])
        part = _part(tensors[name], quantiser)
        positions.append(part.positions)
        values.append(quantiser.encode(part.values, part.rows, rng))
    positions.append(bytes(-sum(map(len, positions)) % 4))
    content = [*positions, *values]
    checksum = 0
    for part_content in content:
        checksum = zlib.crc32(part_content, checksum)
    return b"".join([*content, _CHECKSUM.pack(checksum)])


def decode(payload: bytes | memoryview, shapes: Shapes) -> dict[str, SparseTensor]:
    """Return the update that a payload holds.

    Nothing in the payload is trusted: what memory is taken has a bound that its own length and
    ``shapes`` give, not a length it names.

    Args:
        payload: Contiguous bytes.
        shapes: Of the tensors expected, by name.

    Returns:
        The tensors, in the order of ``shapes``. Values may be read-only views of the payload.

    Raises:
        PayloadError: The payload is not one that :func:`encode` makes of such tensors.
    """
    content = _bytes_of(payload)
    quantiser = read_quantiser(content)
    end = len(content) - _CHECKSUM.size
    if zlib.crc32(content[:end]) != _CHECKSUM.unpack_from(content, end)[0]:
        raise PayloadError("does not match its checksum")
    _, _, _, num_tensors, fingerprint = _HEADER.unpack_from(content)
    if num_tensors != len(shapes):
        raise PayloadError(f"has {num_tensors} tensors, not {len(shapes)}")
    if fingerprint != _fingerprint(shapes):
        raise PayloadError("is of tensors of other names or shapes")
    content = content[:end]
    start = _HEADER.size
    positions = {}
    for name in sorted(shapes):
        try:
            positions[name], start = _decode_positions(content, start, prod(shapes[name]))
        except CodingError as error:
            raise PayloadError(f"has positions of {name!r} that {error}") from None
    padding = bytes(-start % 4)
    if content[start : start + len(padding)] != padding:
        raise PayloadError("is not padded with zeros before its values")
    start += len(padding)
    tensors = {}
    for name in sorted(shapes):
        shape, indices = tuple(shapes[name]), positions[name]
        count = prod(shape) if indices is None else len(indices)
        rows = row_starts(indices, shape, quantiser.scale)
        length = quantiser.num_bytes(count, len(rows))
        if length > len(content) - start:
            raise PayloadError(f"ends before the values of {name!r} do")
        values = quantiser.decode(content[start : start + length], count, rows)
        if not is_finite(values):
            raise PayloadError(f"has a value of {name!r} that is not finite")
        tensors[name] = SparseTensor(indices, values, shape)
        start += length
    if start < len(content):
        raise PayloadError(f"has {len(content) - start} bytes after its last value")
    return {name: tensors[name] for name in shapes}


def read_quantiser(payload: bytes | memoryview) -> Quantiser:
    """Return what wrote a payload's values; of how it rounded, nothing is known.

    Raises:
        PayloadError: The payload does not begin as one, or is shorter than the shortest.
    """
    content = _bytes_of(payload)
    if len(content) < _HEADER.size + _CHECKSUM.size:
        raise PayloadError(f"is {len(content)} bytes, too few for an update")
    magic, version, code, _, _ = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        raise PayloadError(f"begins with {magic!r}, not with {_MAGIC!r}")
    if version != _VERSION:
        raise PayloadError(f"is of version {version}, not {_VERSION}")
    if code not in _QUANTISERS:
        raise PayloadError(f"names the quantiser {code}, of which there is none")
    return _QUANTISERS[code]


class _Part(NamedTuple):
    """A tensor as it is written: its positions in bytes, and what the quantiser gets."""

    positions: bytes
    values: NDArray[np.float32]
    rows: Rows


def _part(tensor: SparseTensor, quantiser: Quantiser) -> _Part:
    all_rows = row_starts(None, tensor.shape, quantiser.scale)
    if tensor.indices is None:
        return _dense_part(tensor, all_rows)
    positions = Positions(tensor.indices, tensor.size)
    coding = positions.cheapest()
    if coding == IndexCoding.DENSE:
        return _dense_part(tensor, all_rows)
    rows = row_starts(tensor.indices, tensor.shape, quantiser.scale)
    count = index_coding.to_varint(tensor.count)
    num_bytes = (
        len(count) + positions.num_bytes(coding) + quantiser.num_bytes(tensor.count, len(rows))
    )
    if quantiser.keeps_zero and quantiser.num_bytes(tensor.size, len(all_rows)) <= num_bytes:
        return _dense_part(tensor, all_rows)
    coded = bytes([coding]) + count + positions.encode(coding)
    return _Part(coded, np.ascontiguousarray(tensor.values), rows)


def _dense_part(tensor: SparseTensor, rows: Rows) -> _Part:
    values = np.ascontiguousarray(tensor.to_dense()).reshape(-1)
    return _Part(bytes([IndexCoding.DENSE]), values, rows)


def _decode_positions(
    content: memoryview, start: int, size: int
) -> tuple[NDArray[np.int64] | None, int]:
    """Return the positions of a tensor that begin at a byte, and where they end."""
    if start >= len(content):
        raise CodingError("end too early")
    code = content[start]
    start += 1
    if code == IndexCoding.DENSE:
        return None, start
    if code not in list(IndexCoding):
        raise CodingError(f"are coded in the way {code}, of which there is none")
    count, start = index_coding.read_varint(content, start)
    if count > size:
        raise CodingError(f"are {count} of {size} entries")
    indices, length = index_coding.decode(IndexCoding(code), content[start:], count, size)
    return indices, start + length


def _require_encodable(name: str, tensor: SparseTensor) -> None:
    if not is_finite(tensor.values):
        raise ValueError(f"{name!r} has a value that is not finite")
    if tensor.size > MAX_SIZE:
        raise ValueError(f"{name!r} has {tensor.size} entries, more than {MAX_SIZE}")


def _bytes_of(payload: bytes | memoryview) -> memoryview:
    view = memoryview(payload)
    return view.cast("B") if view.nbytes else memoryview(b"")  # A view of nothing cannot be cast.


def _fingerprint(shapes: Shapes) -> int:
    described = sorted((name, list(map(int, shape))) for name, shape in shapes.items())
    return zlib.crc32(repr(described).encode())
