import numpy as np

from common.partition import Partition


def test_rows_by_hand():
    partition = Partition.from_rows([np.array([4, 0]), np.array([], dtype=int), np.array([2])])
    assert partition.num_clients == 3
    assert partition.sizes.tolist() == [2, 0, 1]
    assert [partition.client(k).tolist() for k in range(3)] == [[4, 0], [], [2]]


def test_owners_by_hand():
    partition = Partition.from_owners(np.array([2, 0, 2, 2, 0]), 4)
    assert [partition.client(k).tolist() for k in range(4)] == [[1, 4], [], [0, 2, 3], []]
    assert partition.indices.dtype == partition.offsets.dtype == np.int64


def test_a_client_is_a_view():
    partition = Partition.from_owners(np.array([0, 1, 1]), 2)
    assert np.shares_memory(partition.client(1), partition.indices)
