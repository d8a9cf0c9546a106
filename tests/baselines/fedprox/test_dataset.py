from typing import get_args

import numpy as np
import pytest
from fedprox.config import FedProxConfig
from fedprox.dataset import load_dataset

from common.errors import UserInputError

PARTITIONS = get_args(FedProxConfig.model_fields["partition"].annotation)


@pytest.fixture
def config(fedprox_defaults, forget_data):
    """Twelve clients of Synthetic(1, 1), unless changed."""
    small = {
        "dataset": "synthetic",
        "partition": "iid",
        "num_clients": 12,
        "normalisation": "global",
        "dirichlet_alpha": 0.5,
    }

    def make(**changes):
        return FedProxConfig.parse(fedprox_defaults | small | changes)

    return make


def assert_every_example_is_given_once(data, num_examples):
    assert sorted(data.partition.indices.tolist()) == list(range(num_examples))
    assert data.partition.num_clients == 12
    assert sum(len(data.client(k)[1]) for k in range(12)) == num_examples


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_partition_of_synthetic(config, partition):
    data = load_dataset(config(partition=partition))
    assert_every_example_is_given_once(data, len(data.arrays.y_train))
    assert (data.num_features, data.num_classes) == (60, 10)
    x, y = data.client(3)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert x.shape == (len(y), 60)


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_partition_of_mnist(config, partition, tiny_mnist):
    data = load_dataset(config(dataset="mnist", partition=partition))
    assert_every_example_is_given_once(data, 200)
    assert (data.num_features, data.num_classes) == (784, 10)


def labels_per_client(data):
    return [len(np.unique(data.client(k)[1])) for k in range(data.partition.num_clients)]


def test_each_partition_key_is_the_scheme_of_its_name(config, tiny_mnist):
    """By a mark of each: the tiny data set has 200 examples, 20 of every label."""

    def load(partition, **changes):
        return load_dataset(config(dataset="mnist", partition=partition, **changes))

    iid = load("iid")
    assert sorted(set(iid.partition.sizes.tolist())) == [16, 17]
    assert min(labels_per_client(iid)) > 5

    shards = load("shards")  # Two runs of at most nine of the sorted examples each.
    assert max(labels_per_client(shards)) <= 4
    assert sorted(set(shards.partition.sizes.tolist())) in ([16, 17], [16, 17, 18])

    power_law = load("power_law")
    for client in range(12):
        held = np.unique(power_law.client(client)[1]).tolist()
        assert held == sorted({client % 10, (client + 1) % 10})

    skewed = load("quantity_skew", quantity_sigma=3.0)
    assert skewed.partition.sizes.max() > 5 * np.median(skewed.partition.sizes)


@pytest.mark.parametrize("partition", ["dirichlet_over_clients", "dirichlet_over_labels"])
def test_dirichlet_keys_reach_the_scheme(config, tiny_mnist, partition):
    def load(**changes):
        return load_dataset(config(dataset="mnist", partition=partition, **changes))

    concentrated = np.mean(labels_per_client(load(dirichlet_alpha=0.01)))
    mixed = np.mean(labels_per_client(load(dirichlet_alpha=1e4)))
    assert concentrated < 4
    assert mixed > 8
    assert load(dirichlet_alpha=0.01, min_partition_size=10).partition.sizes.min() >= 10


def test_dirichlet_conventions_differ(config, tiny_mnist):
    """Over clients sizes vary, over labels they are equal."""
    over_labels, over_clients = (
        load_dataset(config(dataset="mnist", partition=f"dirichlet_over_{what}")).partition.sizes
        for what in ("labels", "clients")
    )
    assert np.ptp(over_clients) > np.ptp(over_labels)


def test_the_power_law_of_synthetic_is_that_of_its_own_clients(config):
    data = load_dataset(config(partition="power_law"))
    assert data.partition is data.arrays.natural_partition


@pytest.mark.parametrize(
    ("partition", "changes"),
    [("power_law", {"num_clients": 500, "clients_per_round": 10}), ("iid", {"num_clients": 201})],
)
def test_a_partition_that_is_not_possible_is_refused(config, tiny_mnist, partition, changes):
    with pytest.raises(UserInputError, match=f"^partition='{partition}' is not possible: .*\\.$"):
        load_dataset(config(dataset="mnist", partition=partition, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"mu": 0.5},
        {"adaptive_mu": True},
        {"stragglers_fraction": 0.0},
        {"algorithm": "fedavg"},
        {"learning_rate": 1.5},
        {"num_rounds": 7},
        {"output_dir": "elsewhere"},
    ],
)
def test_runs_that_differ_in_the_method_share_the_data(config, changes):
    assert load_dataset(config(**changes)) is load_dataset(config())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"num_clients": 11},
        {"partition": "shards"},
        {"synthetic_beta": 2.0},
    ],
)
def test_runs_that_differ_in_the_data_do_not_share_it(config, changes):
    first, other = load_dataset(config()), load_dataset(config(**changes))
    assert first is not other
    assert not np.array_equal(first.client(0)[0], other.client(0)[0])
    np.testing.assert_array_equal(load_dataset(config()).client(0)[0], first.client(0)[0])


def test_another_seed_is_another_partition_of_the_same_images(config, tiny_mnist):
    first, other = (load_dataset(config(dataset="mnist", seed=seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first.train_set[0], other.train_set[0])
    assert first.partition.indices.tolist() != other.partition.indices.tolist()


def test_clients_hold_their_examples_flat_and_normalised(config, tiny_mnist):
    data = load_dataset(config(dataset="mnist", partition="quantity_skew"))
    inputs = (tiny_mnist.x_train.reshape(200, 784) - data.shift) / data.scale
    for client in range(12):
        examples = data.partition.client(client)
        x, y = data.client(client)
        np.testing.assert_allclose(x, inputs[examples], rtol=1e-6)
        np.testing.assert_array_equal(y, tiny_mnist.y_train[examples])


@pytest.mark.parametrize("dataset", ["mnist", "synthetic"])
def test_a_client_without_examples_has_empty_arrays(config, tiny_mnist, dataset):
    data = load_dataset(
        config(dataset=dataset, partition="dirichlet_over_clients", dirichlet_alpha=0.01)
    )
    assert data.partition.sizes.min() == 0
    x, y = data.client(int(data.partition.sizes.argmin()))
    assert x.shape == (0, data.num_features)
    assert y.shape == (0,)


def test_train_set_is_everybodys_examples(config, tiny_mnist):
    data = load_dataset(config(dataset="mnist", partition="power_law"))
    x, y = data.train_set
    np.testing.assert_allclose(
        x, (tiny_mnist.x_train.reshape(200, 784) - data.shift) / data.scale, rtol=1e-6
    )
    np.testing.assert_array_equal(y, tiny_mnist.y_train)


def test_test_set_is_normalised_as_the_training_set(config, tiny_mnist):
    data = load_dataset(config(dataset="mnist", normalisation="per_pixel"))
    x, y = data.test_set
    assert x.dtype == np.float32
    train = tiny_mnist.x_train.reshape(200, 784).astype(np.float64)
    expected = (tiny_mnist.x_test.reshape(30, 784) - train.mean(axis=0)) / (
        train.std(axis=0) + 1e-3
    )
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(y, tiny_mnist.y_test)


def test_synthetic_is_left_as_it_is(config):
    data = load_dataset(config(partition="power_law"))
    np.testing.assert_array_equal(data.train_set[0], data.arrays.x_train)
    np.testing.assert_array_equal(data.test_set[0], data.arrays.x_test)


def test_stored_images_are_not_changed(config, tiny_mnist):
    data = load_dataset(config(dataset="mnist"))
    data.client(0), data.train_set, data.test_set
    np.testing.assert_array_equal(data.arrays.x_train, tiny_mnist.x_train)
