import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from common.arrays import to_arrays, view
from common.strategy.aggregate import MEAN_BY_EXAMPLES, Aggregation, WeightedMean
from common.strategy.server_optimizer import make_server_optimizer


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


def test_what_is_not_averaged_stays():
    models = [record(w=np.float32([1.0]), b=np.float32([5.0]), n=np.int64(7))] * 2
    w_global = record(w=np.float32([3.0]), b=np.float32([4.0]), n=np.int64(2))
    mean = WeightedMean(w_global, {"b"})
    for w_k in models:
        mean.add(w_k, 1)
    found = mean.result()
    assert list(found) == ["w", "b", "n"]
    assert [found[key].numpy().tolist() for key in found] == [[3.0], [5.0], 2]


def aggregate(aggregation, models, num_examples, w_global):
    mean = aggregation.start(w_global)
    for w_k, n_k in zip(models, num_examples, strict=True):
        mean.add(w_k, aggregation.weight(n_k))
    return aggregation.next_model(w_global, mean.result())


def test_a_uniform_mean_counts_every_client_with_examples_alike():
    models = [record(w=np.float32([value])) for value in (1.0, 6.0, 100.0)]
    by_examples, uniform = (
        aggregate(Aggregation(weighting=weighting), models, [4, 1, 0], models[0])["w"].numpy()
        for weighting in ("examples", "uniform")
    )
    assert by_examples.tolist() == [2.0]
    assert uniform.tolist() == [3.5]


@pytest.mark.parametrize("buffers", ["average", "keep"])
def test_what_is_broadcast_only_stays(buffers):
    """Clients do not send it, and it is no parameter to measure, whatever else it is."""
    w_global = record(w=np.float32([1.0]), r=np.float32([2.0]), b=np.float32([3.0]))
    models = [record(w=np.float32([w]), b=np.float32([9.0])) for w in (5.0, 7.0)]
    aggregation = Aggregation(["w", "r"], buffers=buffers, broadcast_only=["r"])
    found = aggregate(aggregation, models, [1, 1], w_global)
    assert list(found) == ["w", "r", "b"]
    buffer = {"average": 9.0, "keep": 3.0}[buffers]
    assert [found[key].numpy().item() for key in found] == [6.0, 2.0, buffer]
    assert aggregation.sent_parameters(w_global) == ["w"]
    assert Aggregation(broadcast_only=["r"]).sent_parameters(w_global) == ["w", "b"]


PARAMETERS = {"0.weight", "0.bias", "1.weight", "1.bias"}
BUFFERS = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def batch_norm_models(count, seed=0):
    """Return a network with BatchNorm as it is before a round, and as clients trained it."""
    generator = torch.Generator().manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    assert network.state_dict().keys() == PARAMETERS | BUFFERS
    models = []
    for batches in range(count + 1):
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator))
        network[1].num_batches_tracked.fill_(batches)
        models.append(to_arrays(network))
    return models[0], models[1:]


def optimizer_of(name, w_global, beta_1=0.9, server_learning_rate=0.1):
    w_0 = {key: view(w_global[key]) for key in sorted(PARAMETERS)}
    return make_server_optimizer(
        name,
        w_0,
        server_learning_rate=server_learning_rate,
        beta_1=beta_1,
        beta_2=0.99,
        tau=0.001,
        bias_correction=False,
    )


def bytes_of(model, keys):
    return {key: model[key].data for key in keys}


@pytest.mark.parametrize("name", ["none", "fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_no_server_optimizer_touches_the_statistics_of_batch_norm(name):
    w_global, models = batch_norm_models(3)
    plain = aggregate(MEAN_BY_EXAMPLES, models, [1, 2, 3], w_global)
    averaged, kept = (
        aggregate(
            Aggregation(PARAMETERS, buffers=buffers, server_optimizer=optimizer_of(name, w_global)),
            models,
            [1, 2, 3],
            w_global,
        )
        for buffers in ("average", "keep")
    )
    assert list(averaged) == list(kept) == list(w_global)
    assert bytes_of(averaged, BUFFERS) == bytes_of(plain, BUFFERS)
    assert bytes_of(kept, BUFFERS) == bytes_of(w_global, BUFFERS)
    assert bytes_of(kept, PARAMETERS) == bytes_of(averaged, PARAMETERS)
    for key in PARAMETERS:
        assert (averaged[key].data == plain[key].data) == (name == "none")
    assert not bytes_of(averaged, BUFFERS).items() & bytes_of(w_global, BUFFERS).items()


@pytest.mark.parametrize("seed", range(20))
def test_momentum_of_nothing_at_rate_one_is_fedavg_to_the_bit(seed):
    w_global, models = batch_norm_models(3, seed)
    optimizer = optimizer_of("fedavgm", w_global, beta_1=0.0, server_learning_rate=1.0)
    found = aggregate(Aggregation(server_optimizer=optimizer), models, [5, 3, 9], w_global)
    expected = aggregate(MEAN_BY_EXAMPLES, models, [5, 3, 9], w_global)
    assert bytes_of(found, w_global) == bytes_of(expected, w_global)


@given(
    st.sampled_from(["fedavgm", "fedadagrad", "fedadam", "fedyogi"]),
    st.integers(1, 30),
    st.integers(1, 10_000),
)
def test_a_server_optimizer_leaves_what_no_client_changed(name, num_clients, count):
    """Such as a frozen layer. Its mean in float64 need not be its value."""
    w = record(w=np.float32([0.1, -1e-30, 3e30, 7]))
    optimizer = make_server_optimizer(
        name,
        {"w": view(w["w"])},
        server_learning_rate=1.0,
        beta_1=0.9,
        beta_2=0.99,
        tau=1e-30,
        bias_correction=False,
    )
    aggregation = Aggregation(server_optimizer=optimizer)
    found = aggregate(aggregation, [w] * num_clients, [count] * num_clients, w)
    assert found["w"].data == w["w"].data


def test_a_server_optimizer_goes_along_the_mean_update():
    """By hand: the updates are -1 and 4, so Delta = 1.5 uniformly, m = 1.5, w = 1 + 0.5 * 1.5."""
    w_global = record(w=np.float32([1.0]))
    models = [record(w=np.float32([0.0])), record(w=np.float32([5.0]))]
    optimizer = make_server_optimizer(
        "fedavgm",
        {"w": view(w_global["w"])},
        server_learning_rate=0.5,
        beta_1=0.9,
        beta_2=0.0,
        tau=1.0,
        bias_correction=False,
    )
    aggregation = Aggregation(weighting="uniform", server_optimizer=optimizer)
    assert aggregate(aggregation, models, [9, 1], w_global)["w"].numpy().tolist() == [1.75]
