import numpy as np

from common.compression.sparse import SparseTensor


def test_zeros_are_where_nothing_is_sent():
    tensor = SparseTensor(np.array([1, 5]), np.array([3, -4], np.float32), (2, 3))
    assert (tensor.size, tensor.count) == (6, 2)
    dense = tensor.to_dense()
    assert dense.dtype == np.float32
    assert dense.tolist() == [[0, 3, 0], [0, 0, -4]]


def test_without_indices_all_entries_are_sent():
    tensor = SparseTensor(None, np.arange(6, dtype=np.float32), (2, 3))
    assert (tensor.size, tensor.count) == (6, 6)
    assert tensor.to_dense().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_tensors_of_one_entry_and_of_none():
    assert SparseTensor(None, np.ones(1, np.float32), ()).to_dense().tolist() == 1
    nothing = SparseTensor(np.zeros(0, np.int64), np.zeros(0, np.float32), (3, 0))
    assert (nothing.size, nothing.count) == (0, 0)
    assert nothing.to_dense().shape == (3, 0)
