import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.compression.top_k import _sampled, at_least, top_k

# Few magnitudes, so that most inputs have ties; zeros of both signs; the smallest subnormal.
TIED = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 0.5, -0.5, 1.0, -1.0, 3e38])
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAY = st.sampled_from([TIED, ANY]).flatmap(
    lambda entries: hnp.arrays(np.float32, st.integers(0, 40), elements=entries)
)


def oracle(arrays, k):
    """A stable sort of all magnitudes."""
    whole = np.concatenate(arrays)
    is_chosen = np.zeros(len(whole), dtype=bool)
    is_chosen[np.argsort(-np.abs(whole), kind="stable")[:k]] = True
    ends = np.cumsum([len(values) for values in arrays])[:-1]
    return [np.flatnonzero(part) for part in np.split(is_chosen, ends)]


def assert_same(found, expected):
    assert [indices.tolist() for indices in found] == [indices.tolist() for indices in expected]
    assert all(indices.dtype == np.int64 for indices in found)


def test_by_hand():
    values = np.array([0.5, -2, 2, 0, 2], dtype=np.float32)
    assert [top_k([values], k)[0].tolist() for k in range(6)] == [
        [],
        [1],
        [1, 2],
        [1, 2, 4],
        [0, 1, 2, 4],
        [0, 1, 2, 3, 4],
    ]


def test_ties_go_to_the_first_array():
    arrays = [np.array([1, 2], np.float32), np.array([], np.float32), np.array([-2, 3], np.float32)]
    assert_same(top_k(arrays, 2), [np.array([1]), np.array([], int), np.array([1])])
    assert_same(top_k(arrays, 3), [np.array([1]), np.array([], int), np.array([0, 1])])


@given(st.lists(ARRAY, min_size=1, max_size=4), st.data())
def test_it_is_the_head_of_a_stable_sort(arrays, data):
    k = data.draw(st.integers(0, sum(map(len, arrays))))
    assert_same(top_k(arrays, k), oracle(arrays, k))


N = 150_000  # More than one piece, and enough for a sample.
STEP = N // (1 << 14)
NORMAL = np.random.default_rng(0).standard_normal(N, dtype=np.float32)
BEGIN_OF_STEP = np.arange(N) % STEP == 0
LARGE = {
    "normal": NORMAL,
    "equal": np.full(N, 0.5),
    "zeros of both signs": np.where(NORMAL > 0, 0.0, -0.0),
    "rising": np.sort(NORMAL),
    "falling magnitudes": np.sort(np.abs(NORMAL))[::-1],
    "one spike": np.eye(1, N, 777)[0],
    "signs": np.sign(NORMAL),
    "subnormal": NORMAL * np.float32(1e-42),
    "every tenth": np.where(np.arange(N) % 10 == 3, NORMAL, 0),
    "large where the steps begin": np.where(BEGIN_OF_STEP, 50 + NORMAL, NORMAL),
    "small where the steps begin": np.where(BEGIN_OF_STEP, NORMAL, 50 + NORMAL),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_arrays(name):
    values = LARGE[name].astype(np.float32)
    for k in (1, N // 1000, N // 10, N // 2, N - 1):
        assert_same(top_k([values], k), oracle([values], k))


def test_a_sample_that_misleads_is_of_no_consequence():
    is_sampled = np.zeros(N, dtype=np.float32)
    is_sampled[_sampled(N, STEP)] = 1
    for values in (is_sampled, 1 - is_sampled, 1 + is_sampled):
        for k in (100, 20_000, N // 2):
            assert_same(top_k([values], k), oracle([values], k))


def test_large_arrays_together():
    arrays = [NORMAL, NORMAL[:64] * 100, NORMAL[:100_000] / 2]
    for k in (1, 100, 30_000, 200_000):
        assert_same(top_k(arrays, k), oracle(arrays, k))


def test_arrays_too_small_for_a_sample():
    arrays = np.split(NORMAL[:66_000], 22_000)
    assert_same(top_k(arrays, 1000), oracle(arrays, 1000))


@pytest.mark.parametrize("magnitude", [0, 1e-45, 0.5, 3.0, np.inf])
def test_at_least(magnitude):
    expected = np.flatnonzero(np.abs(NORMAL) >= np.float32(magnitude))
    assert at_least(NORMAL, np.float32(magnitude)).tolist() == expected.tolist()
