import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from common.compression import quantisers
from common.compression.quantisers import (
    BFloat16,
    Float16,
    Float32,
    Int8,
    Sign,
    row_starts,
)

ONE_ROW = np.zeros(1, np.int64)
NO_ROW = np.zeros(0, np.int64)
FLOAT32_MAX = np.finfo(np.float32).max
BFLOAT16_MAX = (2 - 2**-7) * 2.0**127
ALL = [
    Float32(),
    Float16(),
    BFloat16(),
    Int8(),
    Int8("stochastic"),
    Int8(scale="per_row"),
    Int8("stochastic", "per_row"),
    Sign(),
]

finite = npst.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def array(*values):
    return np.array(values, np.float32)


def through(quantiser, values, rows=ONE_ROW, seed=0):
    """What is decoded of what is encoded; the bytes are as many as was said."""
    values = np.asarray(values, np.float32)
    content = quantiser.encode(values, rows, np.random.default_rng(seed))
    assert len(content) == quantiser.num_bytes(len(values), len(rows))
    found = quantiser.decode(memoryview(bytes(content)), len(values), rows)
    assert found.dtype == np.float32
    assert found.shape == values.shape
    return found


def encoded(quantiser, values, rows=ONE_ROW, seed=0):
    return bytes(quantiser.encode(values, rows, np.random.default_rng(seed))).hex(" ")


def test_bytes_computed_by_hand():
    values = array(1, -2, 0, 0.5)
    assert encoded(Float32(), values[:2]) == "00 00 80 3f 00 00 00 c0"
    assert encoded(Float16(), values) == "00 3c 00 c0 00 00 00 38"
    assert encoded(BFloat16(), values) == "80 3f 00 c0 00 00 00 3f"
    # A scale of 1/4, then 127, -8, 0 and 1.5 of them, which is a tie.
    assert encoded(Int8(), array(31.75, -2, 0, 0.375)) == "00 00 80 3e 7f f8 00 02"
    # A scale of 3.5 / 4; of four bits the second.
    assert encoded(Sign(), values) == "00 00 60 3f 02"


@pytest.mark.parametrize("quantiser", ALL)
def test_no_values_are_no_bytes(quantiser):
    assert encoded(quantiser, array(), NO_ROW) == ""
    assert through(quantiser, [], NO_ROW).tolist() == []


@given(finite)
@example(array(FLOAT32_MAX, -FLOAT32_MAX))
def test_what_is_decoded_is_finite(values):
    for quantiser in ALL:
        assert np.isfinite(through(quantiser, values)).all()


@given(st.sampled_from([q for q in ALL if q.keeps_zero]), finite, st.integers(0, 2**32))
def test_zeros_stay_and_leave_the_others_as_they_are(quantiser, values, seed):
    """With zeros between them, values are decoded as without: so sparse tensors may be dense."""
    size = 2 * len(values)
    indices = np.sort(np.random.default_rng(seed).permutation(size)[: len(values)])
    with_zeros, expected = np.zeros((2, size), np.float32)
    with_zeros[indices] = values
    expected[indices] = through(quantiser, values, seed=seed)
    np.testing.assert_array_equal(through(quantiser, with_zeros, seed=seed), expected)


@given(finite)
@example(array(-0.0, 1e-45))
def test_float32_is_exact_and_not_copied(values):
    content = Float32().encode(values, ONE_ROW, np.random.default_rng())
    assert np.shares_memory(np.frombuffer(content, np.uint8), values)
    payload = memoryview(bytes(content))
    found = Float32().decode(payload, len(values), ONE_ROW)
    assert found.tobytes() == values.tobytes()
    assert np.shares_memory(found, np.frombuffer(payload, np.uint8))


def test_float32_is_aligned_wherever_it_begins():
    payload = memoryview(b"x" + array(1, 2).tobytes())[1:]
    found = Float32().decode(payload, 2, ONE_ROW)
    assert found.flags.aligned
    assert found.tolist() == [1, 2]


def test_float16_is_numpys_for_all_exponents_and_ties():
    bits = np.arange(0, 0x7F800000, 0x07FF, dtype=np.uint32)  # 0x0fff is below a tie, 0x1000 one.
    ties = np.arange(0x1000, 0x7F800000, 0x10000, dtype=np.uint32)
    values = np.concatenate([bits, ties, ties + 0x2000]).view(np.float32)
    values = values[np.isfinite(values)]
    values = np.concatenate([values, -values])
    expected = np.clip(values, -65504, 65504).astype(np.float16)
    content = Float16().encode(values, ONE_ROW, np.random.default_rng())
    assert bytes(content) == expected.tobytes()
    np.testing.assert_array_equal(through(Float16(), values), expected.astype(np.float32))


@given(finite)
@example(array(65504, 65519.996, 65520, 1e30, -1e30))
@example(array(2**-14, 2**-14 - 2**-25, 2**-25, 3 * 2**-25, 2**-26))
def test_float16_is_off_by_half_its_spacing_or_clipped(values):
    clipped = np.clip(values.astype(np.float64), -65504, 65504)
    error = np.abs(through(Float16(), values) - clipped)
    assert (error <= np.maximum(np.abs(clipped) * 2.0**-11, 2.0**-25)).all()


@given(finite)
@example(array(BFLOAT16_MAX, FLOAT32_MAX, -FLOAT32_MAX))
@example(array(1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20))
def test_bfloat16_is_off_by_half_its_spacing_or_clipped(values):
    clipped = np.clip(values.astype(np.float64), -BFLOAT16_MAX, BFLOAT16_MAX)
    error = np.abs(through(BFloat16(), values) - clipped)
    assert (error <= np.maximum(np.abs(clipped) * 2.0**-8, 2.0**-134)).all()


def test_bfloat16_rounds_ties_to_even():
    found = through(BFloat16(), [1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20])
    assert found.tolist() == [1, 1 + 2**-6, -1, 1 + 2**-7]


def test_int8_rounds_ties_to_even():
    found = through(Int8(), [127, 0.5, 1.5, -0.5, -2.5, 2.4, -127])
    assert found.tolist() == [127, 0, 2, 0, -2, 2, -127]


@given(finite, st.integers(0, 2**32))
@example(array(1e-45, -7e-45, 0), 0)
@example(array(0, 0), 0)
@example(array(FLOAT32_MAX, -FLOAT32_MAX, FLOAT32_MAX / 3), 0)
def test_int8_is_off_by_half_a_scale_or_by_one_if_stochastic(values, seed):
    exact = values.astype(np.float64)
    scale = max(np.abs(exact).max() / 127 * (1 + 2**-20), 2.0**-149)
    # The scale is a float32, and so is what it is multiplied and divided by.
    rounding = np.abs(exact) * 2.0**-22
    assert (np.abs(through(Int8(), values) - exact) <= scale / 2 + rounding).all()
    stochastic = through(Int8("stochastic"), values, seed=seed)
    assert (np.abs(stochastic - exact) <= scale + rounding).all()


def test_the_largest_value_is_exact_but_for_the_scale():
    for peak in (1, 3e-45, 1e-40, 1e-38, 0.1, FLOAT32_MAX):
        found = through(Int8(), [peak, -peak])
        np.testing.assert_allclose(found, array(peak, -peak), rtol=2e-7, atol=2e-43)


def test_stochastic_int8_is_right_on_average():
    """The mean of n draws is within 5 standard errors, sqrt(f (1 - f) / n) of a scale each."""
    steps = np.array([127, 0.5, 0.1, -0.1, -126.75, 3, 1e-3, 63.3])
    count = 40_000
    values = np.tile(steps.astype(np.float32), count)
    found = through(Int8("stochastic"), values, seed=5).reshape(count, -1)
    fraction = steps - np.floor(steps)
    error = np.abs(found.astype(np.float64).mean(axis=0) - steps)
    assert (error <= 5 * np.sqrt(fraction * (1 - fraction) / count) + 2e-5).all()
    assert set(np.unique(found[:, 1])) == {0, 1}
    assert set(np.unique(found[:, 4])) == {-127, -126}


def test_nearest_draws_nothing_and_stochastic_the_same_from_the_same_seed():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    Int8().encode(values, ONE_ROW, rng)
    assert rng.bit_generator.state == before
    first, second, other = (encoded(Int8("stochastic"), values, seed=seed) for seed in (3, 3, 4))
    assert first == second != other


def test_each_row_has_its_scale():
    rows = np.array([0, 3, 4])
    values = array(127, -1.4, 0, 31.75, 0, 0)
    assert through(Int8(scale="per_row"), values, rows).tolist() == [127, -1, 0, 31.75, 0, 0]
    assert Int8(scale="per_row").num_bytes(6, 3) == 3 * 4 + 6


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 8), st.data())
def test_rows_are_as_if_each_were_a_tensor_whatever_the_blocks(lengths, block, data):
    rows = np.cumsum([0, *lengths[:-1]])
    seed = data.draw(st.integers(0, 2**32))
    values = np.random.default_rng(seed).standard_normal(sum(lengths)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantisers, "_BLOCK", block)
        found = through(Int8(scale="per_row"), values, rows)
    expected = np.concatenate([through(Int8(), row) for row in np.split(values, rows[1:])])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("quantiser", [q for q in ALL if q.scale == "per_tensor"])
def test_what_is_done_in_blocks_is_as_if_done_at_once(quantiser, monkeypatch):
    values = np.random.default_rng(0).standard_normal(1001).astype(np.float32)
    at_once = through(quantiser, values, seed=1)
    monkeypatch.setattr(quantisers, "_BLOCK", 64)
    np.testing.assert_allclose(through(quantiser, values, seed=1), at_once, rtol=1e-6)


@given(finite)
def test_sign_is_plus_or_minus_the_mean_magnitude(values):
    mean = np.abs(values.astype(np.float64)).mean()
    assume(mean <= FLOAT32_MAX)
    found = through(Sign(), values)
    np.testing.assert_allclose(np.abs(found), mean, rtol=1e-6, atol=1e-45)
    assert ((found < 0) == (values < 0)).all() or mean < 1e-44


def test_codes_tell_apart_what_is_decoded_in_other_ways():
    codes = {quantiser.code: (type(quantiser), quantiser.scale) for quantiser in ALL}
    assert sorted(codes) == [0, 1, 2, 3, 4, 5]
    assert all(codes[q.code] == (type(q), q.scale) for q in ALL)


@pytest.mark.parametrize(
    ("indices", "shape", "starts"),
    [
        (None, (3, 2), [0, 2, 4]),
        (None, (3, 2, 2), [0, 4, 8]),
        (None, (5,), [0]),
        (None, (), [0]),
        (None, (0,), []),
        (None, (3, 0), []),
        (None, (0, 3), []),
        ([0, 1, 5], (3, 2), [0, 2]),
        ([4, 5], (3, 2), [0]),
        ([1, 2, 4], (3, 2), [0, 1, 2]),
        ([1, 4], (5,), [0]),
        ([], (3, 2), []),
    ],
)
def test_where_rows_start(indices, shape, starts):
    indices = None if indices is None else np.array(indices, np.int64)
    assert row_starts(indices, shape, "per_row").tolist() == starts
    assert row_starts(indices, shape, "per_tensor").tolist() == starts[:1]
