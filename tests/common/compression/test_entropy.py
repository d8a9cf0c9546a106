import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.compression.entropy import index_bound, information_bound
from common.compression.quantisers import Float32, Int8, Sign
from common.compression.sparse import SparseTensor


def sparse(indices, shape):
    return SparseTensor(np.array(indices), np.ones(len(indices), np.float32), shape)


@given(st.integers(0, 300), st.data())
def test_a_choice_of_k_of_n_takes_the_logarithm_of_their_number(size, data):
    count = data.draw(st.integers(0, size))
    expected = math.log2(math.comb(size, count))
    assert index_bound(size, count) == pytest.approx(expected, abs=1e-9)


def test_a_choice_of_many():
    # 1000 of 10**6: H(.001) = .0114 bits an entry, less half the logarithm of 2 pi 999.
    entropy = -(0.001 * math.log2(0.001) + 0.999 * math.log2(0.999)) * 10**6
    expected = entropy - math.log2(2 * math.pi * 999) / 2
    assert index_bound(10**6, 1000) == pytest.approx(expected, abs=0.01)


def test_positions_and_values_are_added_up():
    tensors = {"a": sparse([0, 3], (2, 2)), "b": sparse([1], (4,))}
    positions = (math.log2(6) + math.log2(4)) / 8
    assert information_bound(tensors, Float32()) == pytest.approx(positions + 12)
    # A bit each takes a byte, and a scale four, of each tensor.
    assert information_bound(tensors, Sign()) == pytest.approx(positions + 2 * 5)
    # The first has a value in both of its rows.
    assert information_bound(tensors, Int8(scale="per_row")) == pytest.approx(positions + 10 + 5)
    assert information_bound(tensors, Int8()) == pytest.approx(positions + 6 + 5)


def test_a_tensor_that_is_sent_whole_has_no_positions():
    tensors = {"a": SparseTensor(None, np.ones(6, np.float32), (2, 3))}
    assert information_bound(tensors, Float32()) == 24
    assert information_bound(tensors, Int8(scale="per_row")) == 2 * 4 + 6


def test_nothing_weighs_nothing():
    assert information_bound({}, Float32()) == 0
    assert information_bound({"a": sparse([], (3,)), "b": sparse([], (0,))}, Sign()) == 0
