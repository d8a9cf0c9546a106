import numpy as np
from new_baseline.dataset import load_dataset


def test_every_training_example_is_one_clients(make_config):
    data = load_dataset(make_config(num_clients=5))
    assert data.partition.num_clients == 5
    assert sorted(data.partition.indices) == list(range(len(data.train_set[1])))
    labels = np.concatenate([data.client(client)[1] for client in range(5)])
    assert np.array_equal(np.bincount(labels), np.bincount(data.train_set[1]))


def test_a_seed_draws_data_of_its_own(make_config):
    x = [load_dataset(make_config(seed=seed)).client(0)[0] for seed in (0, 1, 0)]
    assert np.array_equal(x[0], x[2])
    assert x[0][0, 0] != x[1][0, 0]
