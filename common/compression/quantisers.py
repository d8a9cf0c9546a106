"""Values as bytes: as they are, or of fewer bits."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.compression.options import Rounding, ScaleOf

Values = NDArray[np.float32]

Rows = NDArray[np.int64]
"""Where the values of each row begin, among those that are sent, rising from 0.

Rows of which no value is sent are not there. To a quantiser with one scale a tensor, all of it is
one row.
"""

_FLOAT16_MAX = np.float32(65504)
_FLOAT16_NORMAL = np.float32(2.0**-14)
_FLOAT16_VALUES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
_BFLOAT16_MAX = np.uint32(0x7F7F0000).view(np.float32)
# 127 of the next one are infinite.
_LARGEST_SCALE = np.nextafter(np.finfo(np.float32).max / np.float32(127), np.float32(0))
# Values that are worked on at once: what is between one step and the next stays in the cache.
_BLOCK = 1 << 16


class Quantiser(ABC):
    """Turns the values of a tensor into bytes and back.

    Attributes:
        code: Names on the wire how the bytes are decoded.
        keeps_zero: Whether a 0 is decoded as 0 and leaves the other values as they are.
        scale: What has a scale of its own.
    """

    code: int
    keeps_zero: ClassVar[bool] = True
    scale: ScaleOf = "per_tensor"

    @abstractmethod
    def num_bytes(self, count: int, num_rows: int) -> int:
        """Return how many bytes ``count`` values in ``num_rows`` rows are."""

    @abstractmethod
    def encode(self, values: Values, rows: Rows, rng: np.random.Generator) -> bytes | memoryview:
        """Return values as bytes.

        Args:
            values: Finite, contiguous, shape [count].
            rows: Where each row begins, shape [rows].
            rng: What stochastic rounding draws from.

        Returns:
            The bytes; a view of ``values`` where they are the same.
        """

    @abstractmethod
    def decode(self, content: memoryview, count: int, rows: Rows) -> Values:
        """Return the values of such bytes.

        Args:
            content: As many bytes as there must be; of others than :meth:`encode` made, values may
                not be finite.
            count: Number of values.
            rows: Where each row begins, shape [rows].

        Returns:
            Values, shape [count]; a view of ``content`` where they are the same.
        """


class Float32(Quantiser):
    """Values as they are, 4 bytes each."""

    code = 0

    def num_bytes(self, count: int, num_rows: int) -> int:
        """Return how many bytes ``count`` values are."""
        return 4 * count

    def encode(self, values: Values, rows: Rows, rng: np.random.Generator) -> bytes | memoryview:
        """Return values as bytes, without a copy."""
        return _content(values.astype("<f4", copy=False))

    def decode(self, content: memoryview, count: int, rows: Rows) -> Values:
        """Return the values of such bytes, without a copy."""
        values = np.frombuffer(content, "<f4", count).astype(np.float32, copy=False)
        return np.require(values, requirements=["ALIGNED"])


class Float16(Quantiser):
    """IEEE 754's half precision, 2 bytes each.

    Rounded to nearest, ties to even: by at most ``|v| / 2**11``, or 2**-25 where ``|v| < 2**-14``.
    Beyond 65504 in magnitude they are clipped to that.
    """

    code = 1

    def num_bytes(self, count: int, num_rows: int) -> int:
        """Return how many bytes ``count`` values are."""
        return 2 * count

    def encode(self, values: Values, rows: Rows, rng: np.random.Generator) -> bytes | memoryview:
        """Return values as bytes."""
        return _content(_by_block(_to_float16, values, "<u2"))

    def decode(self, content: memoryview, count: int, rows: Rows) -> Values:
        """Return the values of such bytes."""
        return _by_block(
            lambda bits: _FLOAT16_VALUES.take(bits, mode="wrap"),
            np.frombuffer(content, "<u2", count),
            np.float32,
        )


class BFloat16(Quantiser):
    """The upper half of float32, 2 bytes each.

    Rounded to nearest, ties to even: by at most ``|v| / 2**8``. Beyond the largest of them, about
    3.39e38, in magnitude they are clipped to that.
    """

    code = 2

    def num_bytes(self, count: int, num_rows: int) -> int:
        """Return how many bytes ``count`` values are."""
        return 2 * count

    def encode(self, values: Values, rows: Rows, rng: np.random.Generator) -> bytes | memoryview:
        """Return values as bytes."""
        return _content(_by_block(_to_bfloat16, values, "<u2"))

    def decode(self, content: memoryview, count: int, rows: Rows) -> Values:
        """Return the values of such bytes."""
        halves = np.frombuffer(content, "<u2", count)
        bits = _by_block(lambda block: block.astype(np.uint32) << 16, halves, np.uint32)
        return bits.view(np.float32)


class Int8(Quantiser):
    """Whole multiples, from -127 to 127, of a scale: a byte each after 4 bytes for each scale.

    A scale is ``max |v| / 127``, of the values that are sent of the tensor or of each row, rounded
    up to a float32. QSGD (Alistarh et al. 2017, arXiv 1610.02132) has the l2 norm in its place.

    Args:
        rounding: "nearest", ties to even: by at most half a scale. Or "stochastic", to floor(v /
            scale + u) scales, u uniform on [0, 1) in steps of 2**-16: by less than a scale, and
            right on average.
        scale: "per_tensor", or "per_row": one for each index of the tensor's first axis of which a
            value is sent; a tensor of fewer than two axes is one row.
    """

    def __init__(self, rounding: Rounding = "nearest", scale: ScaleOf = "per_tensor") -> None:
        self.rounding = rounding
        self.scale = scale
        self.code = 3 if scale == "per_tensor" else 4

    def num_bytes(self, count: int, num_rows: int) -> int:
        """Return how many bytes ``count`` values in ``num_rows`` rows are."""
        return 4 * num_rows + count

    def encode(self, values: Values, rows: Rows, rng: np.random.Generator) -> bytes | memoryview:
        """Return values as bytes; nothing is drawn for those that are 0."""
        scales = _int8_scales(values, rows)
        content = np.empty(self.num_bytes(len(values), len(rows)), np.uint8)
        content[: 4 * len(rows)].view("<f4")[:] = scales
        codes = content[4 * len(rows) :].view(np.int8)
        noise = _noise(values, rng) if self.rounding == "stochastic" else None
        steps = np.where(scales, scales, np.float32(1))
        for block, step in _blocks_of_rows(steps, rows, len(values)):
            scaled = values[block] / step
            if noise is None:
                np.rint(scaled, out=scaled)
            else:
                scaled += (noise[block] + np.float32(0.5)) * np.float32(2**-16)
                np.floor(scaled, out=scaled)
                np.clip(scaled, -127, 127, out=scaled)
            np.copyto(codes[block], scaled, casting="unsafe")
        return _content(content)

    def decode(self, content: memoryview, count: int, rows: Rows) -> Values:
        """Return the values of such bytes."""
        scales = np.frombuffer(content, "<f4", len(rows))
        codes = np.frombuffer(content, np.int8, count, offset=4 * len(rows))
        values = np.empty(count, np.float32)
        # A scale that is not finite, or too large, shows in the values.
        with np.errstate(over="ignore", invalid="ignore"):
            for block, scale in _blocks_of_rows(scales, rows, count):
                np.multiply(codes[block], scale, out=values[block])
        return values


class Sign(Quantiser):
    """A bit each, set where v < 0, after 4 bytes for the scale: the mean ``|v|``, with that sign.

    Of no values, not even the scale is sent. It is the compressor of SignSGD with a scale
    (Karimireddy et al. 2019, arXiv 1901.09847, section 4): only error feedback makes it converge.
    """

    code = 5
    keeps_zero = False

    def num_bytes(self, count: int, num_rows: int) -> int:
        """Return how many bytes ``count`` values in one row, or none, are."""
        return 4 * num_rows - (-count // 8)

    def encode(self, values: Values, rows: Rows, rng: np.random.Generator) -> bytes | memoryview:
        """Return values as bytes."""
        content = np.empty(self.num_bytes(len(values), len(rows)), np.uint8)
        content[: 4 * len(rows)].view("<f4")[:] = _mean_magnitude(values)
        content[4 * len(rows) :] = np.packbits(values < 0, bitorder="little")
        return _content(content)

    def decode(self, content: memoryview, count: int, rows: Rows) -> Values:
        """Return the values of such bytes."""
        scale = np.frombuffer(content, "<f4", len(rows))
        packed = np.frombuffer(content, np.uint8, offset=4 * len(rows))
        is_negative = np.unpackbits(packed, count=count, bitorder="little").view(np.int8)
        with np.errstate(invalid="ignore"):  # Of a scale that is NaN, the values are, too.
            return _by_block(lambda bits: (1 - 2 * bits) * scale, is_negative, np.float32)


def row_starts(indices: NDArray[np.int64] | None, shape: tuple[int, ...], scale: ScaleOf) -> Rows:
    """Return where each row begins among the values that are sent.

    Args:
        indices: Of these values, rising positions in the raveled tensor, shape [count]; None for
            all.
        shape: Of the tensor.
        scale: "per_row" for rows along the first axis; "per_tensor" for a single one.

    Returns:
        Rising from 0, shape [rows of which a value is sent].
    """
    size = math.prod(shape)
    count = size if indices is None else len(indices)
    if not count:
        return np.zeros(0, np.int64)
    if scale == "per_tensor" or len(shape) < 2:
        return np.zeros(1, np.int64)
    begins = np.arange(0, size, size // shape[0])
    if indices is None:
        return begins
    # Where nothing of a row is sent, the next row begins at the same value, or there is none.
    starts = np.searchsorted(indices, begins)
    return starts[np.diff(starts, append=count) > 0]


def _to_float16(values: Values) -> NDArray[np.uint32]:
    """The bits of half precision: what ``astype`` does, several times faster."""
    magnitudes = np.minimum(np.abs(values), _FLOAT16_MAX)
    bits = magnitudes.view(np.uint32)
    # Normal ones: the exponent's bias falls by 112, and rounding is the addition's carry.
    normal = (bits >> np.uint32(13)) & np.uint32(1)
    normal += bits
    normal -= (112 << 23) - 0xFFF
    normal >>= 13
    # Others are multiples of 2**-24, which is what the addition of 1/2 rounds to.
    subnormal = (magnitudes + np.float32(0.5)).view(np.uint32)
    subnormal -= np.float32(0.5).view(np.uint32)
    np.copyto(normal, subnormal, where=magnitudes < _FLOAT16_NORMAL)
    normal |= (values.view(np.uint32) >> np.uint32(16)) & np.uint32(0x8000)
    return normal


def _to_bfloat16(values: Values) -> NDArray[np.uint32]:
    bits = np.clip(values, -_BFLOAT16_MAX, _BFLOAT16_MAX).view(np.uint32)
    is_odd = (bits >> np.uint32(16)) & np.uint32(1)
    bits += 0x7FFF
    bits += is_odd
    return bits >> np.uint32(16)


def _int8_scales(values: Values, rows: Rows) -> NDArray[np.float32]:
    if not len(rows):
        return np.zeros(0, np.float32)
    peaks = np.maximum(
        np.abs(np.maximum.reduceat(values, rows)), np.abs(np.minimum.reduceat(values, rows))
    )
    exact = peaks.astype(np.float64) / 127
    scales = exact.astype(np.float32)
    # Rounded down, as tiny ones may be by much or to 0, the peak would be above 127 scales.
    scales = np.where(scales < exact, np.nextafter(scales, np.float32(np.inf)), scales)
    with np.errstate(over="ignore"):
        is_too_large = np.isinf(scales * np.float32(127))
    return np.where(is_too_large, _LARGEST_SCALE, scales)


def _noise(values: Values, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Sixteen random bits for each value but those that are 0, so that zeros change no other."""
    is_value = values != 0
    count = np.count_nonzero(is_value)
    drawn = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    if count == len(values):
        return drawn
    noise = np.zeros(len(values), np.uint16)
    noise[is_value] = drawn
    return noise


def _mean_magnitude(values: Values) -> float:
    blocks = range(0, len(values), _BLOCK)
    total = sum(float(np.abs(values[i : i + _BLOCK]).sum(dtype=np.float64)) for i in blocks)
    return total / max(len(values), 1)


def _by_block(
    function: Callable[[NDArray[Any]], NDArray[Any]], array: NDArray[Any], dtype: Any
) -> NDArray[Any]:
    result = np.empty(len(array), dtype)
    for start in range(0, len(array), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.copyto(result[block], function(array[block]), casting="unsafe")
    return result


def _blocks_of_rows(
    scales: NDArray[np.float32], rows: Rows, count: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Blocks of the values, each with the scale of every value, or with the one that all have."""
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        first, last = np.searchsorted(rows, start, "right") - 1, np.searchsorted(rows, stop)
        here = scales[first:last]
        if len(here) > 1:
            lengths = np.diff(np.maximum(rows[first:last], start), append=stop)
            here = np.repeat(here, lengths)
        yield slice(start, stop), here


def _content(array: NDArray[Any]) -> bytes | memoryview:
    # A view of no entries cannot be cast.
    return array.data.cast("B") if array.size else b""
