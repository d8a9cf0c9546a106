import numpy as np
import pytest

from common.data.arrays import ChosenRows


@pytest.fixture
def stored(tmp_path):
    """Ten examples of shape [2, 3], on disk."""
    array = np.arange(60, dtype=np.uint8).reshape(10, 2, 3)
    np.save(tmp_path / "x.npy", array)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_rows_are_those_of_the_array(stored):
    chosen = ChosenRows(stored, np.array([7, 2, 2, 9]))
    assert len(chosen) == 4
    assert chosen.shape == (4, 2, 3)
    assert chosen.dtype == np.uint8
    np.testing.assert_array_equal(chosen[np.array([3, 0, 1])], stored[[9, 7, 2]])


def test_all_rows_by_default(stored):
    chosen = ChosenRows(stored)
    assert chosen.shape == stored.shape
    np.testing.assert_array_equal(chosen[np.arange(10)], stored)


def test_what_is_taken_is_a_copy_in_memory(stored):
    taken = ChosenRows(stored)[np.array([4])]
    assert not isinstance(taken, np.memmap)
    taken[:] = 0
    assert stored[4].any()
