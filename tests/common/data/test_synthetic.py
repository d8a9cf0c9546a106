import numpy as np
import pytest

from common.data import synthetic, synthetic_iid
from common.errors import UserInputError
from common.randomness import Purpose, generator

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@pytest.fixture(scope="module")
def data():
    return synthetic(1.0, 1.0, num_clients=30, seed=0)


def split(data, client):
    """Return a client's training and test examples; the test set has the clients in order."""
    num_train = data.natural_partition.sizes
    num_test = num_examples(30) - num_train
    start = num_test[:client].sum()
    train = data.natural_partition.client(client)
    test = slice(start, start + num_test[client])
    return data.x_train[train], data.y_train[train], data.x_test[test], data.y_test[test]


def num_examples(num_clients, seed=0):
    """Return n_k of every client, by the formula."""
    draws = [generator(seed, Purpose.DATA, client=k).lognormal(4, 2) for k in range(num_clients)]
    return np.array(draws).astype(np.int64) + 50


def test_shapes_and_types(data):
    assert data.num_classes == 10
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert x.shape == (len(y), 60)
        assert np.isfinite(x).all()
        assert y.min() >= 0
        assert y.max() < 10


@pytest.mark.parametrize("seed", range(3))
def test_ninety_per_cent_of_each_client_train(seed):
    data = synthetic(0.5, 0.5, num_clients=12, seed=seed)
    n = num_examples(12, seed)
    assert n.min() >= 50
    assert data.natural_partition.sizes.tolist() == [int(0.9 * n_k) for n_k in n]
    assert len(data.y_train) + len(data.y_test) == n.sum()


def test_partition_gives_every_training_example_once(data):
    partition = data.natural_partition
    assert partition.num_clients == 30
    assert sorted(partition.indices.tolist()) == list(range(len(data.y_train)))
    assert partition.offsets[0] == 0
    assert partition.offsets[-1] == len(data.y_train)
    assert partition.sizes.min() >= 45


@pytest.mark.parametrize("client", [0, 7, 29])
def test_client_is_that_of_the_paper(data, client):
    """Draw one client again: labels are argmax(W x + b), with the paper's distributions."""
    rng = generator(0, Purpose.DATA, client=client)
    n = int(np.exp(4 + 2 * rng.standard_normal())) + 50
    u, B = rng.standard_normal(), rng.standard_normal()
    W = u + rng.standard_normal((60, 10))
    b = u + rng.standard_normal(10)
    v = B + rng.standard_normal(60)
    variances = np.array([1 / j**1.2 for j in range(1, 61)])
    x = v + rng.standard_normal((n, 60)) * np.sqrt(variances)
    y = np.array([np.argmax(W.T @ example + b) for example in x])

    x_train, y_train, x_test, y_test = split(data, client)
    np.testing.assert_allclose(np.concatenate([x_train, x_test]), x, rtol=1e-5, atol=1e-6)
    assert np.concatenate([y_train, y_test]).tolist() == y.tolist()


def test_variances_fall_as_the_index_to_the_minus_1_2(data):
    sizes = data.natural_partition.sizes
    assert sizes.max() > 2_000
    largest = data.x_train[data.natural_partition.client(int(sizes.argmax()))]
    covariance = np.cov(largest.astype(np.float64).T)
    scaled = covariance * np.outer(np.arange(1, 61), np.arange(1, 61)) ** 0.6
    # A variance of 2,000 examples has a relative deviation of 3 %, a correlation one of 0.02.
    np.testing.assert_allclose(np.diag(scaled), 1, atol=0.2)
    np.testing.assert_allclose(scaled, np.eye(60), atol=0.2)


def test_beta_spreads_the_clients_inputs():
    def spread(beta):
        data = synthetic(0.0, beta, num_clients=40, seed=1)
        means = [
            data.x_train[data.natural_partition.client(k)].mean(dtype=np.float64) for k in range(40)
        ]
        return np.std(means)

    # The mean over 60 features of v_k has deviation sqrt(beta^2 + 1/60) over clients.
    assert spread(0.0) == pytest.approx(60**-0.5, rel=0.4)
    assert spread(1.0) == pytest.approx(1.0, rel=0.4)
    assert spread(10.0) == pytest.approx(10.0, rel=0.4)


def test_alpha_shifts_all_logits_alike_and_so_changes_no_label():
    """A weakness of the paper's definition: W_k and b_k have one common mean u_k."""
    small, large = (synthetic(alpha, 1.0, num_clients=10, seed=0) for alpha in (0.0, 5.0))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(small, name), getattr(large, name))


@pytest.mark.parametrize(("alpha", "beta"), [(0, 0), (0.0, 1.0), (0.5, 0.5), (1, 1), (0, 3.5)])
def test_every_client_has_data_for_any_alpha_and_beta(alpha, beta):
    data = synthetic(alpha, beta, num_clients=5, seed=2)
    assert data.natural_partition.sizes.min() >= 45
    assert np.isfinite(data.x_train).all()
    assert len(np.unique(data.y_train)) > 1


def test_same_seed_same_arrays_another_seed_others():
    first, again, other = (synthetic(1.0, 1.0, num_clients=5, seed=seed) for seed in (3, 3, 4))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.natural_partition.sizes.tolist() != other.natural_partition.sizes.tolist()


def test_a_client_does_not_depend_on_how_many_there_are(data):
    few = synthetic(1.0, 1.0, num_clients=4, seed=0)
    np.testing.assert_array_equal(few.x_train, data.x_train[: len(few.x_train)])
    np.testing.assert_array_equal(few.x_test, data.x_test[: len(few.x_test)])
    np.testing.assert_array_equal(few.y_train, data.y_train[: len(few.y_train)])


def test_clients_differ(data):
    assert not np.array_equal(split(data, 0)[0][:40], split(data, 1)[0][:40])


def test_clients_of_synthetic_iid_share_a_model_and_a_distribution():
    data = synthetic_iid(num_clients=30, seed=0)
    assert data.natural_partition.sizes.tolist() == (num_examples(30) * 0.9).astype(int).tolist()
    x, y = data.x_train.astype(np.float64), data.y_train
    deviations = np.arange(1, 61) ** -0.6
    np.testing.assert_allclose(x.std(axis=0), deviations, rtol=0.05)
    assert abs(x.mean(axis=0) / deviations).max() < 5 / np.sqrt(len(x))
    # One model labels the examples of all clients.
    rng = generator(0, Purpose.SHARED_MODEL)
    W, b = rng.normal(0, 1, (60, 10)), rng.normal(0, 1, 10)
    assert (np.argmax(x @ W + b, axis=1) == y).mean() > 0.999  # x was rounded to float32.


def test_synthetic_iid_is_another_problem_for_another_seed():
    first, again, other = (synthetic_iid(5, seed) for seed in (3, 3, 4))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert len(first.y_train) != len(other.y_train)


@pytest.mark.parametrize("value", [-1.0, -1e-9, np.inf, np.nan])
def test_bad_spread_is_refused(value):
    with pytest.raises(UserInputError) as caught:
        synthetic(value, 1.0, num_clients=2, seed=0)
    assert str(caught.value) == (f"synthetic_alpha={value} is not allowed: it must be at least 0.")
    with pytest.raises(UserInputError, match=rf"^synthetic_beta={value} is not allowed: "):
        synthetic(1.0, value, num_clients=2, seed=0)
