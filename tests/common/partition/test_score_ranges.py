from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from common.errors import UserInputError
from common.partition import score_quantiles, score_ranges

# Few different values, so that there are ties; 0.0 and -0.0 are one.
values = st.sampled_from([-1e300, -1.5, -0.0, 0.0, 5e-324, 2.0, 1e300])
scores_and_clients = arrays(np.float64, st.integers(1, 60), elements=values).flatmap(
    lambda scores: st.tuples(st.just(scores), st.integers(1, len(scores)))
)


def test_by_hand():
    scores = np.array([5.0, 1.0, 4.0, 1.0, 3.0, 1.0, 2.0])
    partition = score_ranges(scores, 3)
    # In order: 1 (examples 1, 3, 5), 2 (6), 3 (4), 4 (2), 5 (0); sizes 3, 2, 2.
    assert [partition.client(k).tolist() for k in range(3)] == [[1, 3, 5], [4, 6], [0, 2]]
    assert score_quantiles(scores, 3).tolist() == [2, 0, 2, 0, 1, 0, 1]


def test_equal_scores_are_cut_in_the_order_of_the_examples():
    partition = score_ranges(np.zeros(5, np.float32), 2)
    assert [partition.client(k).tolist() for k in range(2)] == [[0, 1, 2], [3, 4]]


@settings(max_examples=100)
@given(scores_and_clients)
def test_every_example_once_in_even_ranges_that_ascend(case):
    scores, num_clients = case
    before = scores.copy()
    partition = score_ranges(scores, num_clients)
    assert np.array_equal(np.sort(partition.indices), np.arange(len(scores)))
    assert partition.indices.dtype == partition.offsets.dtype == np.int64
    assert partition.num_clients == num_clients
    assert partition.sizes.max() - partition.sizes.min() <= 1
    rows = [partition.client(k) for k in range(num_clients)]
    assert all((np.diff(row) > 0).all() for row in rows)
    for lower, higher in pairwise(rows):
        highest, lowest = scores[lower].max(), scores[higher].min()
        assert highest <= lowest
        if highest == lowest:  # A tie is cut by position.
            assert lower[scores[lower] == highest].max() < higher[scores[higher] == lowest].min()
    assert np.array_equal(scores, before)


def test_quantiles_may_outnumber_the_examples():
    assert score_quantiles(np.array([0.3, 0.1]), 4).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.array([0.0, np.nan]), "scores[1]=nan is not allowed: it must be finite."),
        (np.array([-np.inf, 0.0]), "scores[0]=-inf is not allowed: it must be finite."),
        (
            np.zeros((2, 3)),
            "scores.shape=(2, 3) is not allowed: it must be one-dimensional with at",
        ),
        (np.zeros(0), "scores.shape=(0,) is not allowed: it must be one-dimensional with at least"),
        (np.array(["a"]), "scores.dtype=<U1 is not allowed: it must be a floating-point type."),
    ],
)
@pytest.mark.parametrize("scheme", [score_ranges, score_quantiles])
def test_refuses_what_are_not_scores(scheme, scores, message):
    with pytest.raises(UserInputError) as caught:
        scheme(scores, 1)
    assert str(caught.value).startswith(message)


def test_refuses_impossible_numbers_of_clients():
    scores = np.zeros(10)
    for wrong in (0, 2.5):
        with pytest.raises(UserInputError, match=rf"^num_clients={wrong} is not allowed: it must "):
            score_ranges(scores, wrong)
    with pytest.raises(UserInputError, match=r"^num_clients=11 .* number of examples, 10\.$"):
        score_ranges(scores, 11)
    with pytest.raises(UserInputError, match=r"^num_quantiles=0 .* whole number of at least 1\.$"):
        score_quantiles(scores, 0)
