"""Whatever bytes a client sends as its update, they are one or are refused with a short reason.

FLOWERBED_FUZZ_EXAMPLES says how many examples each test tries.
"""

import struct
import zlib

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.compression.quantisers import BFloat16, Float16, Float32, Int8, Sign
from common.compression.sparse import SparseTensor
from common.compression.wire import PayloadError, decode, encode

fuzz = settings.get_profile("fuzz")
SHAPES = {"bias": (7,), "empty": (0, 3), "scale": (), "weight": (20, 30)}
RNG = np.random.default_rng(0)
QUANTISERS = [Float32(), Float16(), BFloat16(), Int8(), Int8(scale="per_row"), Sign()]
DENSITIES = [0.004, 0.1, 0.5, 0.8, 1.0]  # Varint, Golomb, bitmap twice, dense.


def update(density):
    tensors = {}
    for name, shape in SHAPES.items():
        values = RNG.standard_normal(shape).astype(np.float32).reshape(-1)
        indices = np.flatnonzero(RNG.random(len(values)) < density)
        tensors[name] = SparseTensor(indices, values[indices], shape)
    return tensors


GOOD = [encode(update(density), q, RNG) for density in DENSITIES for q in QUANTISERS]
HEADER = GOOD[0][:14]


def sealed(content):
    """The bytes with the checksum that they should have: without it none would be looked at."""
    return content + struct.pack("<I", zlib.crc32(content))


def read(payload):
    try:
        tensors = decode(payload, SHAPES)
    except PayloadError as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert "\n" not in reason
        assert len(reason) < 200
        return None
    assert list(tensors) == list(SHAPES)
    for name, tensor in tensors.items():
        assert tensor.shape == SHAPES[name]
        assert tensor.values.dtype == np.float32
        assert np.isfinite(tensor.values).all()
        if tensor.indices is None:
            assert len(tensor.values) == tensor.size
        else:
            assert len(tensor.values) == len(tensor.indices)
            assert (np.diff(tensor.indices, prepend=-1) > 0).all()
            assert (tensor.indices < tensor.size).all()
        assert tensor.to_dense().shape == tensor.shape
    return tensors


def test_the_bytes_below_are_updates_before_they_are_edited():
    assert {payload[5] for payload in GOOD} == {0, 1, 2, 3, 4, 5}
    for payload in GOOD:
        assert read(payload) is not None
        assert sealed(payload[:-4]) == payload


@fuzz
@given(st.binary(max_size=200))
@example(b"")
@example(GOOD[0][:18])
def test_any_bytes(payload):
    read(payload)


@fuzz
@given(st.sampled_from(GOOD), st.data())
def test_without_the_right_checksum_no_edit_is_an_update(payload, data):
    position = data.draw(st.integers(0, len(payload) - 1))
    other = data.draw(st.integers(1, 255)) ^ payload[position]
    assert read(payload[:position] + bytes([other]) + payload[position + 1 :]) is None
    assert read(payload[:position]) is None


@fuzz
@given(st.integers(0, 5), st.binary(max_size=200))
@example(0, b"\x04\xd8\x04\x01\xff\xff\xff\x7f")
@example(3, b"\x02\x07" + bytes(28))
def test_any_bytes_after_a_good_header(quantiser, content):
    read(sealed(HEADER[:5] + bytes([quantiser]) + HEADER[6:] + content))


edits = st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=3)), min_size=1, max_size=4)


@fuzz
@given(st.sampled_from(GOOD), edits, st.booleans())
def test_bytes_replaced_under_a_right_checksum(payload, edits, near_the_positions):
    content = bytearray(payload[:-4])
    for position, replacement in edits:
        # Where the positions are, of all that is sent, most can go wrong.
        start, length = (14, 40) if near_the_positions else (0, len(content) + 1)
        position = start + position % length
        content[position : position + 1] = replacement
    read(sealed(bytes(content)))


varints = st.integers(0, 2**40) | st.integers(0, 700)


@fuzz
@given(st.integers(0, 6), st.lists(varints, max_size=4), st.binary(max_size=60), st.integers(0, 5))
def test_any_numbers_before_any_positions(coding, numbers, content, quantiser):
    lengths = b"".join(_varint(number) for number in numbers)
    header = HEADER[:5] + bytes([quantiser]) + HEADER[6:]
    # The first tensor has 7 entries; of the others nothing is sent.
    content = header + bytes([coding]) + lengths + content + bytes([2, 0] * 3)
    read(sealed(content))


def _varint(number):
    content = b""
    while number >= 0x80:
        content += bytes([number & 0x7F | 0x80])
        number >>= 7
    return content + bytes([number])
