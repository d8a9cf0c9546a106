import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from common.finite import is_finite

FLOAT32_MAX = np.finfo(np.float32).max


def array(*values):
    return np.array(values, dtype=np.float32)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (array(), True),
        (array(1, -2), True),
        (array(FLOAT32_MAX, FLOAT32_MAX), True),
        (array(np.nan, 1), False),
        (array(np.inf, -np.inf), False),
        (array(FLOAT32_MAX, FLOAT32_MAX, np.nan), False),
    ],
)
def test_what_is_finite(values, expected):
    assert is_finite(values) is expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_finite_numbers_whose_sum_overflows_are_finite(dtype, recwarn):
    w = np.full(1000, np.finfo(dtype).max)
    assert is_finite(w)
    assert is_finite(np.concatenate([w, -w]))
    assert not recwarn.list


@given(
    arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int32]), array_shapes(min_dims=0)
    )
)
def test_finite_is_what_numpy_calls_so(w):
    assert is_finite(w) == np.isfinite(w).all()
