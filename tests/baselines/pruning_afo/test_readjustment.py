import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.readjustment import grow, remove

KEPT = np.array([[True, True, False], [True, False, True]])


def test_the_smallest_share_is_removed():
    w = np.float32([[-3, 0.5, 99], [1, 99, -2]])
    assert remove(KEPT, w, 0.5).tolist() == [[True, False, False], [False, False, True]]
    assert remove(KEPT, w, 0.3).tolist() == [[True, False, False], [True, False, True]]
    assert remove(KEPT, w, 0.24).tolist() == KEPT.tolist()
    assert not remove(KEPT, w, 1.0).any()


def test_the_largest_gradients_of_what_is_not_kept_grow():
    gradient = np.float32([[9, 9, -2], [9, 1, 9]])
    assert grow(KEPT, gradient, 1).tolist() == [[True, True, True], [True, False, True]]
    assert grow(KEPT, gradient, 2).all()
    assert grow(KEPT, gradient, 0).tolist() == KEPT.tolist()


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_as_many_grow_as_are_removed(seed, density, share):
    rng = np.random.default_rng(seed)
    kept = rng.random((6, 7)) < density
    w, gradient = rng.standard_normal((2, 6, 7)).astype(np.float32)
    left = remove(kept, w, share)
    grown = grow(left, gradient, int(kept.sum() - left.sum()))
    assert not (left & ~kept).any()
    assert (left & grown).sum() == left.sum() == kept.sum() - int(share * kept.sum())
    assert grown.sum() == kept.sum()
