import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserInputError
from common.partition.rounding import even_sizes, largest_remainder, systematic

rows = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.floats(0.0, 1.0)), min_size=1, max_size=20
).filter(any)
totals = st.integers(0, 10**6)
both_rules = pytest.mark.parametrize(
    "split",
    [
        largest_remainder,
        lambda shares, total: systematic(shares, total, np.random.default_rng(0)),
    ],
    ids=["largest_remainder", "systematic"],
)


@both_rules
@given(rows, totals)
def test_adds_up_and_is_within_one_of_the_exact_share(split, shares, total):
    counts = split(shares, total)
    exact = np.array(shares) / np.sum(shares) * total
    assert counts.sum() == total
    assert (counts >= 0).all()
    assert (np.abs(counts - exact) < 1 + 1e-6).all()
    assert not counts[np.array(shares) == 0].any()


@pytest.mark.parametrize(
    ("shares", "total", "counts"),
    [
        ([0.5, 0.3, 0.2], 10, [5, 3, 2]),
        ([1, 1, 1], 10, [4, 3, 3]),  # equal fractions: the first wins
        ([1, 1, 1], 2, [1, 1, 0]),
        ([3, 0, 1], 0, [0, 0, 0]),
        # Hamilton's method: quotas 4.7, 1.6, 1.58, 1.2, 0.6, 0.32 for ten seats
        ([47, 16, 15.8, 12, 6, 3.2], 10, [5, 2, 1, 1, 1, 0]),
        ([1e300, 1e-300], 7, [7, 0]),
    ],
)
def test_largest_remainder_by_hand(shares, total, counts):
    assert largest_remainder(shares, total).tolist() == counts


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 7))
def test_no_split_is_closer_than_largest_remainder(shares, total):
    exact = np.array(shares) / np.sum(shares) * total
    splits = np.array(
        [c for c in itertools.product(range(total + 1), repeat=len(shares)) if sum(c) == total]
    )
    closest = np.abs(splits - exact).sum(axis=1).min()
    assert np.abs(largest_remainder(shares, total) - exact).sum() == pytest.approx(closest)


def test_largest_remainder_splits_each_row_on_its_own():
    shares = np.random.default_rng(0).random((2, 3, 5))
    totals = np.arange(6).reshape(2, 3) * 10
    together = largest_remainder(shares, totals)
    for row in np.ndindex(2, 3):
        assert together[row].tolist() == largest_remainder(shares[row], totals[row]).tolist()


def test_systematic_is_right_on_average():
    shares = [0.05, 0.62, 0.0, 0.33]
    draws = systematic(np.tile(shares, (20_000, 1)), np.full(20_000, 7), np.random.default_rng(0))
    # Counts differ from the share by less than one, so a mean of 20,000 has a deviation < 0.0036.
    assert draws.mean(axis=0) == pytest.approx(np.array(shares) * 7, abs=0.015)


def test_systematic_adds_up_where_the_last_point_is_rounded_up():
    class AlmostOne:
        def random(self, shape):
            return np.full(shape, np.nextafter(1.0, 0.0))

    assert 3 + AlmostOne().random(()) == 4.0
    assert systematic([0.5, 0.5], 3, AlmostOne()).sum() == 3


def test_systematic_lets_any_neighbours_meet():
    draws = systematic(np.ones((2_000, 4)), np.full(2_000, 2), np.random.default_rng(0))
    pairs, times = np.unique(draws, axis=0, return_counts=True)
    assert len(pairs) == 6
    assert times.min() > 250  # 333 expected, deviation 17


@both_rules
@pytest.mark.parametrize(
    "shares", [[1.0, -0.5], [0.0, 0.0], [1.0, np.nan], [np.inf, 1.0], [1e308, 1e308]]
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_refuses_what_are_not_shares(split, shares):
    with pytest.raises(UserInputError, match=r"^shares=.* is not allowed: it must be"):
        split(shares, 5)


@given(st.integers(0, 10**6), st.integers(1, 500))
def test_even_sizes(total, parts):
    sizes = even_sizes(total, parts)
    assert sizes.sum() == total
    assert len(sizes) == parts
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(sizes) <= 0).all()
