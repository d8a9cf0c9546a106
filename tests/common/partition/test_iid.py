from collections import Counter

import numpy as np
import pytest

from common.partition import iid


def test_sizes_differ_by_at_most_one_and_the_first_are_larger():
    assert iid(11, 4, np.random.default_rng(0)).sizes.tolist() == [3, 3, 3, 2]
    assert iid(12, 4, np.random.default_rng(0)).sizes.tolist() == [3, 3, 3, 3]


def test_as_many_clients_as_examples():
    assert iid(5, 5, np.random.default_rng(0)).sizes.tolist() == [1] * 5


def test_every_split_is_equally_likely():
    splits = Counter(
        tuple(iid(4, 2, np.random.default_rng(seed)).client(0).tolist()) for seed in range(3_000)
    )
    assert len(splits) == 6
    assert min(splits.values()) > 400  # 500 expected, deviation 20
    assert max(splits.values()) < 600


def test_refuses_no_examples():
    with pytest.raises(ValueError, match=r"^num_examples=0 is not allowed: it must be a whole num"):
        iid(0, 1, np.random.default_rng(0))


def test_refuses_more_clients_than_examples_in_one_sentence():
    with pytest.raises(ValueError, match="num_clients") as caught:
        iid(60_000, 70_000, np.random.default_rng(0))
    assert str(caught.value) == (
        "num_clients=70000 is not allowed: it must be at most the number of examples, 60000."
    )
