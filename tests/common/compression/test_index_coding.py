import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.compression import index_coding
from common.compression.entropy import index_bound
from common.compression.index_coding import (
    CodingError,
    IndexCoding,
    Positions,
    decode,
    read_varint,
    to_varint,
    varint_length,
)

BITMAP, INT32, VARINT, GOLOMB = list(IndexCoding)[1:]
SPARSE = [BITMAP, INT32, VARINT, GOLOMB]


@st.composite
def some_positions(draw):
    """Of a tensor of any density: none, one, a few, all."""
    size = draw(st.integers(0, 600))
    density = draw(st.sampled_from([0.0, 0.005, 0.1, 0.5, 0.95, 1.0]) | st.floats(0, 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return np.flatnonzero(rng.random(size) < density), size


def decoded(coding, content, count, size):
    indices, length = decode(coding, memoryview(content), count, size)
    assert length == len(content)
    return indices.tolist()


def refusal(coding, content, count, size):
    with pytest.raises(CodingError) as caught:
        decode(coding, memoryview(content), count, size)
    return str(caught.value)


@pytest.mark.parametrize(
    ("coding", "indices", "size", "content"),
    [
        # 1 + 8; the second byte's bit 1.
        (BITMAP, [0, 3, 9], 10, "09 02"),
        (INT32, [1, 300], 301, "01000000 2c010000"),
        # Five bytes: gaps of 0, 2, 0 and 295 = 2 * 128 + 39.
        (VARINT, [0, 3, 4, 300], 301, "05 00 02 00 a702"),
        # Modulus 1, one byte: four quotients of 0.
        (GOLOMB, [0, 1, 2, 3], 9, "01 01 0f"),
        (GOLOMB, [], 9, "01 00"),
        (VARINT, [], 9, "00"),
        (BITMAP, [], 9, "00 00"),
        (INT32, [], 9, ""),
        (BITMAP, [], 0, ""),
    ],
)
def test_bytes_computed_by_hand(coding, indices, size, content):
    positions = Positions(np.array(indices, np.int64), size)
    assert positions.encode(coding) == bytes.fromhex(content)
    assert decoded(coding, bytes.fromhex(content), len(indices), size) == indices


def test_golombs_code_computed_by_hand(monkeypatch):
    """Gaps of 0, 1, 2 and 5 at modulus 3, where one remainder has a short code of one bit.

    Remainders 0, 1, 2, 2 are 0, 10, 11, 11 in truncated binary: their first bits are the plane
    0111, the others 011. Quotients 0, 0, 0, 1 are 1, 1, 1, 01. Lowest first that is 0111 0111
    1101 0000, in two bytes.
    """
    monkeypatch.setattr(index_coding, "_best_modulus", lambda gaps: 3)
    content = bytes.fromhex("03 02 ee0b")
    assert Positions(np.array([0, 2, 5, 11]), 12).encode(GOLOMB) == content
    assert decoded(GOLOMB, content, 4, 12) == [0, 2, 5, 11]


@pytest.mark.parametrize("coding", SPARSE)
@given(some_positions())
@example((np.zeros(0, np.int64), 0))
@example((np.zeros(1, np.int64), 1))
@example((np.array([2**31 - 1]), 2**31))
def test_what_is_encoded_is_decoded_and_weighs_what_was_said(coding, given_positions):
    indices, size = given_positions
    if coding == BITMAP and size > 2**20:
        return
    positions = Positions(indices, size)
    content = positions.encode(coding)
    assert len(content) == positions.num_bytes(coding)
    found, length = decode(coding, memoryview(content + b"\xff\x00"), len(indices), size)
    assert length == len(content)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, indices)


@given(some_positions(), st.integers(1, 700))
def test_golombs_code_is_decoded_at_any_modulus(given_positions, modulus):
    indices, size = given_positions
    modulus = min(modulus, max(size, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_coding, "_best_modulus", lambda gaps: modulus)
        content = Positions(indices, size).encode(GOLOMB)
    assert decoded(GOLOMB, content, len(indices), size) == indices.tolist()


@pytest.mark.parametrize("gap", [0, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28 - 1, 2**28])
def test_varints_of_every_length(gap):
    indices = np.array([gap, gap + 1, 2 * gap + 2, 2 * gap + 3])
    content = Positions(indices, 2**31).encode(VARINT)
    assert len(content) == 1 + 2 * varint_length(gap) + 2
    assert decoded(VARINT, content, 4, 2**31) == indices.tolist()


@given(some_positions())
def test_the_cheapest_is_the_first_of_the_fewest_bytes(given_positions):
    indices, size = given_positions
    positions = Positions(indices, size)
    weights = [positions.num_bytes(coding) for coding in SPARSE]
    expected = SPARSE[int(np.argmin(weights))] if len(indices) < size else IndexCoding.DENSE
    assert positions.cheapest() == expected


def test_each_coding_is_the_cheapest_of_something():
    rng = np.random.default_rng(0)
    two_thirds = np.flatnonzero(rng.random(3000) < 2 / 3)
    one_in_100 = np.flatnonzero(rng.random(10**5) < 0.01)
    # Long runs: but for their first, gaps of 0, of which Golomb's code has no cheap one beside
    # such of 16,000.
    runs = (np.arange(3)[:, None] * 16_000 + np.arange(4)).ravel()
    assert Positions(two_thirds, 3000).cheapest() == BITMAP
    assert Positions(one_in_100, 10**5).cheapest() == GOLOMB
    assert Positions(runs, 10**5).cheapest() == VARINT
    assert Positions(np.zeros(0, np.int64), 9).cheapest() == INT32
    assert Positions(np.arange(9), 9).cheapest() == IndexCoding.DENSE


@pytest.mark.parametrize("density", [0.1, 0.01, 0.001])
def test_the_cheapest_is_within_1_percent_of_the_entropy_at_uniform_positions(density):
    size = 10**6
    rng = np.random.default_rng(1)
    for _ in range(3):
        indices = np.flatnonzero(rng.random(size) < density)
        positions = Positions(indices, size)
        bound = index_bound(size, len(indices)) / 8
        assert bound < positions.num_bytes(positions.cheapest()) < 1.01 * bound


def test_only_all_entries_are_dense():
    assert Positions(np.arange(4), 4).encode(IndexCoding.DENSE) == b""
    assert Positions(np.arange(4), 4).num_bytes(IndexCoding.DENSE) == 0
    with pytest.raises(ValueError, match="not 4 of 5"):
        Positions(np.arange(4), 5).encode(IndexCoding.DENSE)
    with pytest.raises(ValueError, match="not 4 of 5"):
        Positions(np.arange(4), 5).num_bytes(IndexCoding.DENSE)


@pytest.mark.parametrize(
    ("coding", "content", "count", "size", "reason"),
    [
        (BITMAP, "09", 3, 10, "end too early"),
        (BITMAP, "09 02", 2, 10, "are 3, not 2"),
        (BITMAP, "09 04", 3, 10, "go up to 10 in a tensor of 10 entries"),
        (INT32, "01000000 2c0100", 2, 301, "end too early"),
        (INT32, "01000000 01000000", 2, 301, "do not rise from 0 on"),
        (INT32, "02000000 01000000", 2, 301, "do not rise from 0 on"),
        (INT32, "ffffffff 01000000", 2, 301, "do not rise from 0 on"),
        (INT32, "01000000 2d010000", 2, 301, "go up to 301 in a tensor of 301 entries"),
        (VARINT, "", 1, 10, "end within a number"),
        (VARINT, "80", 1, 10, "end within a number"),
        (VARINT, "ffffffffff", 1, 10, "have a number too long"),
        (VARINT, "06 808080808001", 1, 10, "take 6 bytes for 1 varints"),
        (VARINT, "02 00", 1, 10, "end too early"),
        (VARINT, "02 00 00", 1, 10, "are not 1 varints"),
        (VARINT, "02 00 80", 1, 10, "are not 1 varints"),
        (VARINT, "01 0a", 1, 10, "skip more than the 10 entries of the tensor"),
        (VARINT, "02 05 04", 2, 10, "go up to 10 in a tensor of 10 entries"),
        (VARINT, "06 80808080 8000", 2, 10, "are not 2 varints"),
        (GOLOMB, "00 01 0f", 4, 9, "have a modulus of 0 in a tensor of 9 entries"),
        (GOLOMB, "0a 01 0f", 4, 9, "have a modulus of 10 in a tensor of 9 entries"),
        (GOLOMB, "01 7f", 4, 9, "take 127 bytes for 4 gaps"),
        (GOLOMB, "01 01", 4, 9, "end too early"),
        (GOLOMB, "01 01 07", 4, 9, "are not 4 gaps"),
        (GOLOMB, "01 01 1f", 4, 9, "are not 4 gaps"),
        (GOLOMB, "01 02 0f00", 4, 9, "are not 4 gaps"),
        (GOLOMB, "08 01 0f", 4, 9, "end too early"),
        (GOLOMB, "03 01 ff", 7, 90, "end too early"),
        (GOLOMB, "01 02 e001", 4, 8, "go up to 8 in a tensor of 8 entries"),
    ],
)
def test_what_is_no_code_is_refused(coding, content, count, size, reason):
    assert refusal(coding, bytes.fromhex(content), count, size) == reason


@pytest.mark.parametrize("coding", SPARSE)
@given(content=st.binary(max_size=40), count=st.integers(0, 40), size=st.integers(0, 60))
def test_any_bytes_are_rising_positions_or_refused(coding, content, count, size):
    count = min(count, size)
    try:
        indices, length = decode(coding, memoryview(content), count, size)
    except CodingError:
        return
    assert length <= len(content)
    assert len(indices) == count
    assert (np.diff(indices, prepend=-1) > 0).all()
    assert (indices < size).all()


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        (VARINT, "ffffffff0f"),
        (GOLOMB, "01 ffffffff0f"),
        (GOLOMB, "ffffffff0f 01 00"),
        (INT32, ""),
    ],
)
def test_a_length_takes_no_memory(coding, content):
    tracemalloc.start()
    try:
        refusal(coding, bytes.fromhex(content), 100, 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("number", "content"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**31, "8080808008")],
)
def test_varints(number, content):
    assert to_varint(number) == bytes.fromhex(content)
    assert varint_length(number) == len(to_varint(number))
    assert read_varint(memoryview(b"\xff" + to_varint(number) + b"\x01"), 1) == (
        number,
        1 + varint_length(number),
    )
