"""Positions of the entries that are sent, as bytes.

What is coded are the *gaps*: the entries skipped before each one that is sent. At positions drawn
uniformly they are close to geometric, for which Golomb's code (S. W. Golomb, "Run-length
encodings", IEEE Trans. Inf. Theory 12(3), 1966) is the best code of whole bits (Gallager and van
Voorhis 1975): within 1 % of the entropy where up to three in ten entries are sent. Rice's code, its
case of moduli that are powers of two, is 1.4 % above it for one in ten.

Integers of unknown length are varints: LEB128, seven bits a byte, the lowest first, the top bit set
on all bytes but the last. Bits fill a byte from its lowest. By coding, the bytes are:

- DENSE: none, for all entries are sent.
- BITMAP: one bit for each entry of the tensor, set where it is sent, padded with zeros to a byte.
- INT32: each position in four bytes, little-endian.
- VARINT: a varint, how many bytes follow; then each gap as a varint.
- GOLOMB: two varints, the modulus M >= 1 and how many bytes follow; then these bits, padded with
  zeros to a byte. A gap is q M + r. Of r, which is coded in truncated binary, b = floor(log2 M) or
  b + 1 bits are sent: with u = 2^(b + 1) - M and e = max(r - u, 0), first the b bits of
  min(r, u) + floor(e / 2), as b planes, the lowest bits of all entries before the second bits of
  all; then the bit e mod 2, of the entries with r >= u only; then of each entry q zeros and a one.
"""

from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_SIZE = 2**31
"""Entries of a tensor at most; positions fit 32 bits, and sums of as many products fit 64."""

_SAMPLED_GAPS = 4096


class CodingError(ValueError):
    """Bytes that are no code; the message says why, as what they do."""


class IndexCoding(IntEnum):
    """How positions are coded; of two that weigh the same, the first is taken."""

    DENSE = 0
    BITMAP = 1
    INT32 = 2
    VARINT = 3
    GOLOMB = 4


class Positions:
    """The positions of the entries of a tensor that are sent, to be weighed and encoded.

    Args:
        indices: Rising, each in [0, size), shape [count].
        size: Entries of the whole tensor, up to ``MAX_SIZE``.
    """

    def __init__(self, indices: NDArray[np.int64], size: int) -> None:
        self._indices = indices
        self._size = size

    def cheapest(self) -> IndexCoding:
        """Return the coding of the fewest bytes."""
        if len(self._indices) == self._size:
            return IndexCoding.DENSE
        best, fewest = IndexCoding.BITMAP, self.num_bytes(IndexCoding.BITMAP)
        for coding in (IndexCoding.INT32, IndexCoding.VARINT, IndexCoding.GOLOMB):
            # What it costs to weigh these two is saved where they cannot win.
            if self._at_least(coding) < fewest:
                num_bytes = self.num_bytes(coding)
                if num_bytes < fewest:
                    best, fewest = coding, num_bytes
        return best

    def num_bytes(self, coding: IndexCoding) -> int:
        """Return how many bytes :meth:`encode` makes, without encoding.

        Raises:
            ValueError: ``coding`` is DENSE, and there is an entry that is not sent.
        """
        count = len(self._indices)
        match coding:
            case IndexCoding.DENSE:
                self._require_all()
                return 0
            case IndexCoding.BITMAP:
                return _bytes_of(self._size)
            case IndexCoding.INT32:
                return 4 * count
            case IndexCoding.VARINT:
                length = self._varint_length
                return varint_length(length) + length
            case IndexCoding.GOLOMB:
                length = _bytes_of(self._golomb.num_bits)
                return varint_length(self._golomb.modulus) + varint_length(length) + length

    def encode(self, coding: IndexCoding) -> bytes:
        """Return the positions as the bytes that the module's docstring tells of.

        Raises:
            ValueError: ``coding`` is DENSE, and there is an entry that is not sent.
        """
        match coding:
            case IndexCoding.DENSE:
                self._require_all()
                return b""
            case IndexCoding.BITMAP:
                is_sent = np.zeros(self._size, np.uint8)
                is_sent[self._indices] = 1
                return np.packbits(is_sent, bitorder="little").tobytes()
            case IndexCoding.INT32:
                return self._indices.astype("<i4").tobytes()
            case IndexCoding.VARINT:
                content = _encode_varints(self._gaps, self._varint_length)
                return to_varint(len(content)) + content
            case IndexCoding.GOLOMB:
                content = self._golomb.encode()
                return to_varint(self._golomb.modulus) + to_varint(len(content)) + content

    def _at_least(self, coding: IndexCoding) -> int:
        count = len(self._indices)
        if coding == IndexCoding.VARINT:
            return count + 1
        if coding == IndexCoding.GOLOMB:
            # Of modulus 1 it is the bitmap up to the last one, otherwise two bits an entry or more.
            last = int(self._indices[-1]) + 1 if count else 0
            return 2 + _bytes_of(min(last, 2 * count))
        return self.num_bytes(coding)

    @cached_property
    def _gaps(self) -> NDArray[np.uint32]:
        positions = self._indices.astype(np.uint32)
        gaps = np.empty_like(positions)
        gaps[:1] = positions[:1]
        np.subtract(positions[1:], positions[:-1], out=gaps[1:])
        gaps[1:] -= 1
        return gaps

    @cached_property
    def _varint_length(self) -> int:
        return len(self._gaps) + sum(
            int(np.count_nonzero(self._gaps >= limit))
            for limit in (1 << 7, 1 << 14, 1 << 21, 1 << 28)
        )

    @cached_property
    def _golomb(self) -> "_Golomb":
        return _Golomb.of(self._gaps)

    def _require_all(self) -> None:
        if len(self._indices) != self._size:
            raise ValueError(f"DENSE codes all entries, not {len(self._indices)} of {self._size}")


def decode(
    coding: IndexCoding, content: memoryview, count: int, size: int
) -> tuple[NDArray[np.int64], int]:
    """Return what :class:`Positions` encoded, and how many bytes that was.

    No more memory is allocated than a few words for each of ``count`` entries and a byte for each
    of ``size``, whatever the bytes say.

    Args:
        coding: Not DENSE, which has no bytes.
        content: The code, and whatever follows it.
        count: Entries that are sent, <= ``size``.
        size: Entries of the whole tensor, up to ``MAX_SIZE``.

    Returns:
        The positions, rising, shape [count]; and the length of their code in bytes.

    Raises:
        CodingError: The bytes do not code ``count`` rising positions below ``size``.
    """
    start = 0
    if coding == IndexCoding.BITMAP:
        length = _bytes_of(size)
    elif coding == IndexCoding.INT32:
        length = 4 * count
    elif coding == IndexCoding.VARINT:
        length, start = read_varint(content, 0)
        if length > 5 * count:
            raise CodingError(f"take {length} bytes for {count} varints")
    else:
        modulus, start = read_varint(content, 0)
        length, start = read_varint(content, start)
        if not 1 <= modulus <= max(size, 1):
            raise CodingError(f"have a modulus of {modulus} in a tensor of {size} entries")
        if length > _bytes_of(count * (modulus.bit_length() + 1) + size // modulus):
            raise CodingError(f"take {length} bytes for {count} gaps")
    end = start + length
    if end > len(content):
        raise CodingError("end too early")
    code = np.frombuffer(content[start:end], np.uint8)
    if coding == IndexCoding.BITMAP:
        indices = _decode_bitmap(code, count, size)
    elif coding == IndexCoding.INT32:
        indices = _decode_int32(code, size)
    elif coding == IndexCoding.VARINT:
        indices = _decode_gaps(_decode_varints(code, count, size))
    else:
        indices = _decode_golomb(code, modulus, count)
    if count and indices[-1] >= size:
        raise CodingError(f"go up to {indices[-1]} in a tensor of {size} entries")
    return indices, end


def to_varint(number: int) -> bytes:
    """Return a number >= 0 as LEB128."""
    content = bytearray()
    while number >= 0x80:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)
    return bytes(content)


def varint_length(number: int) -> int:
    """Return how many bytes :func:`to_varint` makes."""
    return max(1, -(-number.bit_length() // 7))


def read_varint(content: memoryview, start: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where it ends.

    Raises:
        CodingError: There is none of at most five bytes.
    """
    number = 0
    for i, byte in enumerate(content[start : start + 5]):
        number |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return number, start + i + 1
    raise CodingError(
        "end within a number" if len(content) < start + 5 else "have a number too long"
    )


class _Golomb(NamedTuple):
    """Gaps, divided by the modulus of their code."""

    modulus: int
    quotients: NDArray[np.uint32]
    remainders: NDArray[np.unsignedinteger[Any]]
    num_long: int
    num_bits: int

    @classmethod
    def of(cls, gaps: NDArray[np.uint32]) -> "_Golomb":
        modulus = _best_modulus(gaps)
        width, num_short = _truncated_binary(modulus)
        quotients = gaps // np.uint32(modulus)
        remainders = (gaps - quotients * np.uint32(modulus)).astype(np.min_scalar_type(modulus))
        num_long = int(np.count_nonzero(remainders >= num_short)) if num_short < modulus else 0
        num_bits = len(gaps) * (width + 1) + num_long + int(quotients.sum(dtype=np.int64))
        return cls(modulus, quotients, remainders, num_long, num_bits)

    def encode(self) -> bytes:
        width, num_short = _truncated_binary(self.modulus)
        count = len(self.quotients)
        bits = np.zeros(self.num_bits, np.uint8)
        fixed = self.remainders
        unary = width * count + self.num_long
        if self.num_long:
            is_long = fixed >= num_short
            excess = fixed[is_long] - fixed.dtype.type(num_short)
            bits[width * count : unary] = excess & 1
            fixed = fixed.copy()
            fixed[is_long] = (excess >> 1) + fixed.dtype.type(num_short)
        for i, plane in enumerate(bits[: width * count].reshape(width, count)):
            np.copyto(plane, (fixed >> i) & 1, casting="unsafe")
        ends = np.cumsum(self.quotients, dtype=np.int64)
        ends += np.arange(unary, unary + count)
        bits[ends] = 1
        return np.packbits(bits, bitorder="little").tobytes()


def _best_modulus(gaps: NDArray[np.uint32]) -> int:
    """The modulus of the fewest bits for some of the gaps, near the best at the mean gap."""
    if not len(gaps):
        return 1
    # The best of geometric gaps of mean m is about (m + 1/2) ln 2; of gaps of clustered positions,
    # of which most are short, it is smaller.
    around = (float(gaps.mean()) + 0.5) * np.log(2)
    moduli = np.unique(
        np.maximum(np.rint(around * 1.19 ** np.arange(-8.0, 4.0)), 1).astype(np.uint32)
    )
    sample = gaps[:: -(-len(gaps) // _SAMPLED_GAPS)]
    quotients = sample // moduli[:, None]
    remainders = sample - quotients * moduli[:, None]
    widths = np.frexp(moduli)[1] - 1
    num_short = (2 << widths) - moduli.astype(np.int64)
    num_long = np.count_nonzero(remainders >= num_short[:, None], axis=1)
    num_bits = widths * len(sample) + num_long + quotients.sum(axis=1, dtype=np.int64)
    return int(moduli[num_bits.argmin()])


def _truncated_binary(modulus: int) -> tuple[int, int]:
    """Bits of the short codes of remainders, and how many have such a code."""
    width = modulus.bit_length() - 1
    return width, (2 << width) - modulus


def _bytes_of(num_bits: int) -> int:
    return -(-num_bits // 8)


def _encode_varints(numbers: NDArray[np.uint32], length: int) -> bytes:
    if length == len(numbers):
        return numbers.astype(np.uint8).tobytes()
    lengths = np.ones(len(numbers), np.int64)
    for limit in (1 << 7, 1 << 14, 1 << 21, 1 << 28):
        lengths += numbers >= limit
    starts = np.cumsum(lengths) - lengths
    content = np.empty(length, np.uint8)
    content[starts] = numbers & 0x7F
    while len(numbers):
        is_longer = numbers >= 0x80
        starts, numbers = starts[is_longer], numbers[is_longer] >> np.uint32(7)
        content[starts] |= 0x80
        starts += 1
        content[starts] = numbers & 0x7F
    return content.tobytes()


def _decode_varints(code: NDArray[np.uint8], count: int, size: int) -> NDArray[np.int64]:
    ends = np.flatnonzero(code < 0x80)
    if len(ends) != count or (count and ends[-1] != len(code) - 1):
        raise CodingError(f"are not {count} varints")
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    numbers = (code[starts] & 0x7F).astype(np.int64)
    longer = np.flatnonzero(ends > starts)
    for shift in (7, 14, 21, 28):
        starts = starts[longer] + 1 if shift == 7 else starts + 1
        numbers[longer] |= (code[starts] & 0x7F).astype(np.int64) << shift
        is_longer = ends[longer] > starts
        longer, starts = longer[is_longer], starts[is_longer]
    if len(longer) or (count and numbers.max() >= size):
        raise CodingError(f"skip more than the {size} entries of the tensor")
    return numbers


def _decode_gaps(gaps: NDArray[np.int64]) -> NDArray[np.int64]:
    indices = np.cumsum(gaps)
    indices += np.arange(len(gaps))
    return indices


def _decode_golomb(code: NDArray[np.uint8], modulus: int, count: int) -> NDArray[np.int64]:
    width, num_short = _truncated_binary(modulus)
    bits = np.unpackbits(code, bitorder="little")
    if len(bits) < width * count:
        raise CodingError("end too early")
    remainders = np.zeros(count, np.int64)
    for i, plane in enumerate(bits[: width * count].reshape(width, count)):
        remainders |= plane.astype(np.int64) << i
    unary = width * count
    if num_short < modulus:
        long = np.flatnonzero(remainders >= num_short)
        last_bits = bits[unary : unary + len(long)]
        if len(last_bits) < len(long):
            raise CodingError("end too early")
        remainders[long] += remainders[long] - num_short + last_bits
        unary += len(long)
    ends = np.flatnonzero(bits[unary:].view(np.bool_))
    padding = len(bits) - unary - (int(ends[-1]) + 1 if len(ends) else 0)
    if len(ends) != count or padding >= 8:
        raise CodingError(f"are not {count} gaps")
    entries = np.arange(count)
    indices = ends - entries
    indices *= modulus
    indices += entries
    indices += np.cumsum(remainders)
    return indices


def _decode_bitmap(code: NDArray[np.uint8], count: int, size: int) -> NDArray[np.int64]:
    indices = np.flatnonzero(np.unpackbits(code, bitorder="little").view(np.bool_))
    if len(indices) != count:
        raise CodingError(f"are {len(indices)}, not {count}")
    return indices


def _decode_int32(code: NDArray[np.uint8], size: int) -> NDArray[np.int64]:
    indices = code.view("<i4").astype(np.int64)
    if len(indices) and (indices[0] < 0 or (indices[1:] <= indices[:-1]).any()):
        raise CodingError("do not rise from 0 on")
    return indices
