import numpy as np

from common.partition.allocation import owners_from_counts


def test_gives_each_client_its_counts():
    labels = np.array([2, 0, 0, 2, 1, 2, 0])
    counts = np.array([[1, 0, 2], [2, 1, 1]])
    owners = owners_from_counts(labels, counts, np.random.default_rng(0))
    realised = [[((owners == k) & (labels == c)).sum() for c in range(3)] for k in range(2)]
    assert np.array_equal(realised, counts)


def test_which_examples_of_a_class_is_uniform():
    labels = np.array([0, 1, 0, 0, 0])
    counts = np.array([[1, 0], [3, 1]])
    times = np.zeros(5)
    for seed in range(2_000):
        times += owners_from_counts(labels, counts, np.random.default_rng(seed)) == 0
    assert times[1] == 0
    assert times[[0, 2, 3, 4]].min() > 420  # 500 expected, deviation 19
