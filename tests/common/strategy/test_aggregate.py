import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from common.strategy.aggregate import WeightedMean


def record(**arrays):
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def weighted_mean(models, num_examples, w_global):
    mean = WeightedMean(w_global)
    for w_k, n_k in zip(models, num_examples, strict=True):
        mean.add(w_k, n_k)
    return mean.result()


def test_weighs_by_examples():
    models = [
        record(w=np.float32([1, 2]), b=np.float32([[0]])),
        record(w=np.float32([5, -2]), b=np.float32([[8]])),
    ]
    mean = weighted_mean(models, [30, 10], models[0])
    assert list(mean) == ["w", "b"]
    assert mean["w"].numpy().tolist() == [2.0, 1.0]
    assert mean["b"].numpy().tolist() == [[2.0]]
    assert mean["w"].numpy().dtype == np.float32


def test_a_client_without_examples_has_no_say():
    models = [record(w=np.float32([1.0])), record(w=np.float32([100.0]))]
    assert weighted_mean(models, [7, 0], models[1])["w"].numpy().tolist() == [1.0]


def test_without_any_examples_the_model_stays():
    models = [record(w=np.float32([1.0])), record(w=np.float32([100.0]))]
    w_global = record(w=np.float32([3.0]))
    assert weighted_mean(models, [0, 0], w_global)["w"].numpy().tolist() == [3.0]
    assert weighted_mean([], [], w_global)["w"].numpy().tolist() == [3.0]


def test_a_model_that_is_not_finite_shows():
    models = [record(w=np.float32([1.0, 1.0])), record(w=np.float32([np.nan, 1.0]))]
    mean = weighted_mean(models, [1, 1], models[0])["w"].numpy()
    assert np.isnan(mean[0])
    assert mean[1] == 1.0


def test_sums_in_double_precision():
    """In single precision 1e8 + 1 is 1e8, and the result would be 0."""
    models = [record(w=np.float32([value])) for value in (1e8, 1, -1e8)]
    assert weighted_mean(models, [1, 1, 1], models[0])["w"].numpy() == pytest.approx(1 / 3)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_equals_numpy_and_stays_between_the_models(counts, seed):
    values = np.random.default_rng(seed).standard_normal((len(counts), 6), dtype=np.float32)
    mean = weighted_mean([record(w=row) for row in values], counts, record(w=values[0]))
    found = mean["w"].numpy()
    np.testing.assert_allclose(
        found, np.average(values.astype(np.float64), axis=0, weights=counts), rtol=1e-5, atol=1e-6
    )
    assert (found >= values.min(axis=0)).all()
    assert (found <= values.max(axis=0)).all()


@given(st.integers(1, 30), st.integers(1, 10_000))
def test_clients_that_agree_change_nothing(num_clients, count):
    w = np.float32([0.1, -1e-30, 3e30, 7])
    mean = weighted_mean([record(w=w)] * num_clients, [count] * num_clients, record(w=w))
    np.testing.assert_array_equal(mean["w"].numpy(), w)


@given(st.integers(1, 30), st.integers(1, 1000))
def test_counters_that_agree_change_nothing(num_clients, counter):
    """Such as BatchNorm's num_batches_tracked: ten tenths of 3 are 3, not 2.9999 cut to 2."""
    w = np.int64([counter])
    mean = weighted_mean([record(w=w)] * num_clients, [1] * num_clients, record(w=w))
    assert mean["w"].numpy().dtype == np.int64
    assert mean["w"].numpy().tolist() == [counter]


def test_the_whole_state_of_a_network_with_batch_norm():
    """Its counter is a whole number without dimensions."""
    states = []
    for batches in (3, 5):
        layer = torch.nn.BatchNorm1d(2)
        layer.num_batches_tracked.fill_(batches)
        states.append(ArrayRecord(layer.state_dict()))
    mean = weighted_mean(states, [1, 1], states[0]).to_torch_state_dict()
    assert mean["num_batches_tracked"].dtype == torch.int64
    assert mean["num_batches_tracked"].shape == ()
    assert mean["num_batches_tracked"].item() == 4
    torch.nn.BatchNorm1d(2).load_state_dict(mean)


def test_leaves_the_models_as_they_were():
    models = [record(w=np.float32([1.0])), record(w=np.float32([3.0]))]
    weighted_mean(models, [1, 1], models[0])
    assert [model["w"].numpy().tolist() for model in models] == [[1.0], [3.0]]
