import numpy as np
import pytest

from common.partition import label_counts, shards


def test_a_client_has_its_number_of_runs_of_the_sorted_examples():
    labels = np.random.default_rng(1).integers(0, 5, 103)
    partition = shards(labels, 10, np.random.default_rng(0), shards_per_client=3)
    rank = np.empty(103, dtype=int)
    rank[np.argsort(labels, kind="stable")] = np.arange(103)
    # 103 = 13 shards of 4 and 17 of 3, cut from the left.
    shard_of_rank = np.repeat(np.arange(30), [4] * 13 + [3] * 17)
    owners_of_shards = []
    for client in range(10):
        own, sizes = np.unique(shard_of_rank[rank[partition.client(client)]], return_counts=True)
        assert len(own) == 3
        assert (sizes == np.bincount(shard_of_rank)[own]).all()
        owners_of_shards.extend(own)
    assert sorted(owners_of_shards) == list(range(30))


def test_the_papers_mnist_gives_at_most_two_digits():
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 600))
    partition = shards(labels, 100, np.random.default_rng(0))
    seen = (label_counts(partition, labels, 10) > 0).sum(axis=1)
    assert (partition.sizes == 60).all()
    assert seen.max() == 2
    # Two of 200 shards at random have the same digit with probability 19/199.
    assert 1 <= (seen == 1).sum() <= 25


def test_one_client_gets_everything():
    partition = shards(np.array([1, 0, 1]), 1, np.random.default_rng(0))
    assert partition.client(0).tolist() == [0, 1, 2]


def test_who_gets_which_shard_is_random():
    labels = np.array([0, 1])
    first = {
        shards(labels, 2, np.random.default_rng(seed), shards_per_client=1).client(0)[0]
        for seed in range(20)
    }
    assert first == {0, 1}


@pytest.mark.parametrize(
    ("shards_per_client", "message"),
    [
        (0, "shards_per_client=0 is not allowed: it must be a whole number of at least 1."),
        (
            4,
            "shards_per_client=4 is not allowed: it must be at most 3, 10 examples / 3 clients.",
        ),
    ],
)
def test_refuses(shards_per_client, message):
    with pytest.raises(ValueError, match="shards_per_client") as caught:
        shards(np.zeros(10, int), 3, np.random.default_rng(0), shards_per_client)
    assert str(caught.value) == message
