import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.compression.entropy import information_bound
from common.compression.index_coding import MAX_SIZE, IndexCoding, Positions
from common.compression.quantisers import (
    BFloat16,
    Float16,
    Float32,
    Int8,
    Sign,
    row_starts,
)
from common.compression.sparse import SparseTensor
from common.compression.wire import PayloadError, decode, encode, read_quantiser

ALL = [
    Float32(),
    Float16(),
    BFloat16(),
    Int8(),
    Int8("stochastic"),
    Int8("stochastic", "per_row"),
    Sign(),
]
RNG = np.random.default_rng(0)


def sparse(indices, values, shape):
    return SparseTensor(np.array(indices, np.int64), np.array(values, np.float32), shape)


def dense(values):
    values = np.array(values, np.float32)
    return SparseTensor(None, values.reshape(-1), values.shape)


# In the order of their names: one entry of 40, all of 4, none of 3.
TENSORS = {
    "c": sparse([], [], (3,)),
    "a": sparse([17], [2.5], (8, 5)),
    "b": dense([[1, -2], [0, 0.5]]),
}
SHAPES = {name: tensor.shape for name, tensor in TENSORS.items()}
PAYLOAD = encode(TENSORS, Float32(), RNG)


@st.composite
def updates(draw):
    """Up to four tensors of any density, of up to three axes."""
    tensors = {}
    for name in draw(st.lists(st.text(max_size=3), max_size=4, unique=True)):
        shape = tuple(draw(st.lists(st.integers(0, 7), max_size=3)))
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        values = rng.standard_normal(shape).astype(np.float32).reshape(-1)
        if draw(st.booleans()):
            tensors[name] = SparseTensor(None, values, shape)
        else:
            density = draw(st.sampled_from([0.0, 0.02, 0.3, 0.98, 1.0]))
            indices = np.flatnonzero(rng.random(len(values)) < density)
            tensors[name] = SparseTensor(indices, values[indices], shape)
    return tensors


def shapes_of(tensors):
    return {name: tensor.shape for name, tensor in tensors.items()}


def sealed(content):
    """The bytes with the checksum that they should have."""
    return content + struct.pack("<I", zlib.crc32(content))


def refusal(payload, shapes=SHAPES):
    with pytest.raises(PayloadError) as caught:
        decode(payload, shapes)
    reason = str(caught.value)
    assert "\n" not in reason
    assert len(reason) < 200
    return reason


def test_bytes_computed_by_hand():
    fingerprint = zlib.crc32(b"[('a', [8, 5]), ('b', [2, 2]), ('c', [3])]")
    header = b"FLUP" + bytes([1, 0]) + struct.pack("<II", 3, fingerprint)
    # One entry, after a gap of 17 in one byte; all entries; no entry.
    positions = bytes([IndexCoding.VARINT, 1, 1, 17, IndexCoding.DENSE, IndexCoding.INT32, 0])
    padding = bytes(3)
    values = struct.pack("<5f", 2.5, 1, -2, 0, 0.5)
    assert sealed(header + positions + padding + values) == PAYLOAD


@given(updates(), st.sampled_from(ALL), st.integers(0, 2**32))
def test_what_is_decoded_is_what_the_quantiser_makes_of_it(tensors, quantiser, seed):
    """Whichever coding was the cheapest, and whether or not zeros were sent as values."""
    payload = encode(tensors, quantiser, np.random.default_rng(seed))
    found = decode(payload, shapes_of(tensors))
    assert list(found) == list(tensors)
    assert read_quantiser(payload).code == quantiser.code
    rng = np.random.default_rng(seed)
    for name in sorted(tensors):
        tensor = tensors[name]
        rows = row_starts(tensor.indices, tensor.shape, quantiser.scale)
        content = memoryview(bytes(quantiser.encode(tensor.values, rows, rng)))
        values = quantiser.decode(content, tensor.count, rows)
        expected = SparseTensor(tensor.indices, values, tensor.shape).to_dense()
        assert found[name].shape == tensor.shape
        assert found[name].values.dtype == np.float32
        np.testing.assert_array_equal(found[name].to_dense(), expected)


@pytest.mark.parametrize("coding", list(IndexCoding)[1:])
@pytest.mark.parametrize("quantiser", ALL)
def test_the_same_is_decoded_from_each_coding(coding, quantiser, monkeypatch):
    rng = np.random.default_rng(1)
    indices = np.flatnonzero(rng.random(600) < 0.2)
    tensors = {"a": sparse(indices, rng.standard_normal(len(indices)), (20, 30))}
    cheapest = decode(encode(tensors, quantiser, np.random.default_rng(2)), {"a": (20, 30)})["a"]
    monkeypatch.setattr(Positions, "cheapest", lambda positions: coding)
    payload = encode(tensors, quantiser, np.random.default_rng(2))
    found = decode(payload, {"a": (20, 30)})["a"]
    assert payload[14] == coding
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.values, cheapest.values)


@pytest.mark.parametrize(
    ("quantiser", "unsent", "is_dense"),
    [
        # 1000 entries are a bitmap of 125 bytes; there are two more, of the count.
        (Float32(), 31, True),
        (Float32(), 32, False),
        (Float16(), 63, True),
        (Float16(), 64, False),
        (Int8(), 127, True),
        (Int8(), 128, False),
        (Sign(), 1, False),
        (Sign(), 0, True),
    ],
)
def test_zeros_are_sent_where_they_weigh_no_more_than_positions(quantiser, unsent, is_dense):
    # Those that are not sent are spread over the tensor, and its last entry is sent.
    indices = np.setdiff1d(np.arange(1000), np.arange(unsent) * 7)
    tensors = {"a": sparse(indices, np.ones(len(indices)), (1000,))}
    payload = encode(tensors, quantiser, RNG)
    found = decode(payload, {"a": (1000,)})["a"]
    assert (found.indices is None) is is_dense
    assert found.to_dense().sum() == pytest.approx(len(indices), rel=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(found.to_dense()), indices)


@pytest.mark.parametrize("quantiser", ALL)
@pytest.mark.parametrize("density", [0.1, 0.01, 0.001])
def test_a_payload_is_within_1_percent_and_its_header_of_the_bound(density, quantiser):
    shape = (500, 1000)
    indices = np.flatnonzero(np.random.default_rng(3).random(500_000) < density)
    tensors = {"a": sparse(indices, np.arange(len(indices)), shape)}
    bound = information_bound(tensors, quantiser)
    assert bound < len(encode(tensors, quantiser, RNG)) < 1.01 * bound + 28


def test_the_order_of_tensors_is_that_of_their_names():
    backwards = dict(reversed(TENSORS.items()))
    assert encode(backwards, Float32(), RNG) == PAYLOAD
    assert list(decode(PAYLOAD, shapes_of(backwards))) == list(backwards)


def test_no_tensors_are_20_bytes():
    payload = encode({}, Float32(), RNG)
    assert len(payload) == 14 + 2 + 4
    assert decode(payload, {}) == {}
    assert refusal(sealed(payload[:14]), {}) == "is not padded with zeros before its values"


def test_a_payload_may_be_a_view_of_an_array():
    array = np.frombuffer(PAYLOAD, np.uint8)
    found = decode(memoryview(array), SHAPES)
    np.testing.assert_array_equal(found["b"].to_dense(), TENSORS["b"].to_dense())
    assert np.shares_memory(found["b"].values, array)
    assert refusal(memoryview(array[:0])) == "is 0 bytes, too few for an update"


def test_stochastic_rounding_is_a_function_of_the_generator():
    values = np.random.default_rng(0).standard_normal(100)
    one, same, other = (
        encode({"a": dense(values)}, Int8("stochastic"), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_not_encoded(value):
    tensors = TENSORS | {"layer.weight": dense([1, value])}
    with pytest.raises(ValueError, match=r"'layer\.weight' has a value that is not finite"):
        encode(tensors, Float16(), RNG)


def test_a_tensor_that_is_too_large_is_not_encoded():
    with pytest.raises(ValueError, match="'a' has 2147483649 entries, more than 2147483648"):
        encode({"a": sparse([0], [1], (MAX_SIZE + 1,))}, Float32(), RNG)


@pytest.mark.parametrize("quantiser", ALL)
def test_a_payload_of_which_any_byte_is_another_is_refused(quantiser):
    payload = bytearray(encode(TENSORS, quantiser, RNG))
    decode(payload, SHAPES)
    for position, byte in enumerate(payload):
        for other in (byte ^ 1, byte ^ 0x80, byte ^ 0xFF):
            payload[position] = other
            refusal(payload)
        payload[position] = byte


@pytest.mark.parametrize("quantiser", ALL)
def test_a_payload_that_ends_early_or_late_is_refused(quantiser):
    payload = encode(TENSORS, quantiser, RNG)
    for length in range(len(payload)):
        refusal(payload[:length])
    for length in range(14, len(payload) - 4):
        refusal(sealed(payload[:length]))  # The checksum alone is not what tells.
    refusal(payload + b"\0")
    refusal(sealed(payload[:-4] + b"\0"))


def with_positions(*positions, values=b"", shapes=SHAPES, code=0):
    """A payload whose positions and values are these bytes."""
    fingerprint = (
        PAYLOAD[10:14] if shapes is SHAPES else encode(zeros(shapes), Float32(), RNG)[10:14]
    )
    content = b"FLUP" + bytes([1, code]) + struct.pack("<I", len(shapes)) + fingerprint
    content += bytes.fromhex(" ".join(positions))
    return sealed(content + bytes(-len(content) % 4) + values)


def zeros(shapes):
    return {name: dense(np.zeros(shape)) for name, shape in shapes.items()}


ONE = {"w": (10,)}


@pytest.mark.parametrize(
    ("payload", "shapes", "reason"),
    [
        (b"", SHAPES, "is 0 bytes, too few for an update"),
        (PAYLOAD[:17], SHAPES, "is 17 bytes, too few for an update"),
        (b"PK" + PAYLOAD[2:], SHAPES, "begins with b'PKUP', not with b'FLUP'"),
        (PAYLOAD[:4] + b"\x02" + PAYLOAD[5:], SHAPES, "is of version 2, not 1"),
        (
            PAYLOAD[:5] + b"\x06" + PAYLOAD[6:],
            SHAPES,
            "names the quantiser 6, of which there is none",
        ),
        (PAYLOAD[:-1] + b"\x00", SHAPES, "does not match its checksum"),
        (PAYLOAD, {"a": (8, 5)}, "has 3 tensors, not 1"),
        (PAYLOAD, SHAPES | {"a": (5, 8)}, "is of tensors of other names or shapes"),
        (PAYLOAD, {"a": (8, 5), "b": (2, 2), "d": (3,)}, "is of tensors of other names or shapes"),
        (sealed(PAYLOAD[:14]), SHAPES, "has positions of 'a' that end too early"),
        (
            with_positions("05", shapes=ONE),
            ONE,
            "has positions of 'w' that are coded in the way 5, of which there is none",
        ),
        (
            with_positions("02 80", shapes=ONE),
            ONE,
            "has positions of 'w' that end within a number",
        ),
        (
            with_positions("02 ffffffff0f", shapes=ONE),
            ONE,
            "has positions of 'w' that are 4294967295 of 10 entries",
        ),
        (
            with_positions("02 01 0a000000", values=bytes(4), shapes=ONE),
            ONE,
            "has positions of 'w' that go up to 10 in a tensor of 10 entries",
        ),
        (
            with_positions("00 01", values=bytes(40), shapes=ONE),
            ONE,
            "is not padded with zeros before its values",
        ),
        (
            with_positions("00", values=bytes(39), shapes=ONE),
            ONE,
            "ends before the values of 'w' do",
        ),
        (
            with_positions("00", values=bytes(41), shapes=ONE),
            ONE,
            "has 1 bytes after its last value",
        ),
        (
            with_positions("00", values=struct.pack("<10f", *[1] * 9, np.inf), shapes=ONE),
            ONE,
            "has a value of 'w' that is not finite",
        ),
        (
            with_positions("00", values=struct.pack("<10e", *[1] * 9, np.nan), shapes=ONE, code=1),
            ONE,
            "has a value of 'w' that is not finite",
        ),
        (
            with_positions("00", values=bytes.fromhex("807f" * 10), shapes=ONE, code=2),
            ONE,
            "has a value of 'w' that is not finite",
        ),
        (
            with_positions("00", values=struct.pack("<f", np.nan) + bytes(10), shapes=ONE, code=3),
            ONE,
            "has a value of 'w' that is not finite",
        ),
        (
            # 127 of it would be finite.
            with_positions(
                "00", values=struct.pack("<f", 2.679e36) + b"\x80" * 10, shapes=ONE, code=4
            ),
            ONE,
            "has a value of 'w' that is not finite",
        ),
        (
            with_positions("00", values=struct.pack("<f", np.inf) + bytes(2), shapes=ONE, code=5),
            ONE,
            "has a value of 'w' that is not finite",
        ),
    ],
)
def test_what_is_no_update_is_refused(payload, shapes, reason):
    assert refusal(payload, shapes) == reason


def test_a_quantiser_is_read_of_what_begins_as_a_payload_only():
    with pytest.raises(PayloadError, match="begins with"):
        read_quantiser(bytes(30))


@pytest.mark.parametrize(
    "positions",
    ["02 e807", "01 e807", "03 e807 ffffff7f", "04 e807 01 ffffff7f", "04 e807 e807 00"],
)
def test_a_length_takes_no_memory_but_for_the_tensors_expected(positions):
    """A thousand entries are claimed, and the payload is a few bytes."""
    shapes = {"w": (1000,)}
    payload = with_positions(positions, shapes=shapes)
    tracemalloc.start()
    try:
        refusal(payload, shapes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
