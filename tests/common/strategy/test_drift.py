import itertools
import math

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from common.strategy.drift import Drift, divergence


def record(**arrays):
    return ArrayRecord({key: Array(np.asarray(array)) for key, array in arrays.items()})


def measure(w_global, models, w_mean=None, parameters=None):
    drift = Drift(w_global, parameters)
    for w_k in models:
        drift.add(w_k)
    return drift.result(w_mean or w_global)


def test_by_hand():
    """Updates (3, 4), (6, 0) and (0, 2) from (0, 10): cosines 0.6, 0.8 and 0."""
    w_global = record(w=np.float32([0.0, 10.0]))
    models = [record(w=np.float32(w)) for w in ([3, 14], [6, 10], [0, 12])]
    measures = measure(w_global, models, record(w=np.float32([3, 12])))
    assert list(measures) == ["drift", "drift_relative", "update_cosine", "update_norm"]
    assert measures["drift"] == pytest.approx(13 / 3)
    assert measures["drift_relative"] == pytest.approx(13 / 30)
    assert measures["update_cosine"] == pytest.approx(1.4 / 3)
    assert measures["update_norm"] == pytest.approx(math.sqrt(13))


@pytest.mark.parametrize(
    ("updates", "cosine"),
    [
        ([], None),
        ([1.0], None),
        ([0.0, 0.0], None),
        ([1.0, 0.0], None),
        ([1.0, 3.0], 1.0),
        ([1.0, -3.0], -1.0),
        ([1.0, 0.0, -3.0], -1.0),
        ([1.0, 2.0, -3.0], -1 / 3),
    ],
)
def test_a_cosine_takes_two_updates_that_are_not_zero(updates, cosine):
    w_global = record(w=np.float32([7.0]))
    found = measure(w_global, [record(w=np.float32([7 + update])) for update in updates])
    assert found["update_cosine"] == (cosine if cosine is None else pytest.approx(cosine))


def test_what_cannot_be_told_is_none():
    zeros = record(w=np.zeros(2, np.float32))
    measures = measure(zeros, [record(w=np.float32([3, 4]))])
    assert (measures["drift"], measures["drift_relative"]) == (5, None)
    measures = measure(zeros, [])
    assert (measures["drift"], measures["drift_relative"], measures["update_norm"]) == (
        None,
        None,
        0,
    )


def test_only_parameters_are_measured():
    w_global = record(w=np.float32([1.0]), mean=np.float32([0.0]), batches=np.int64(0))
    w_k = record(w=np.float32([3.0]), mean=np.float32([100.0]), batches=np.int64(10**6))
    assert measure(w_global, [w_k], w_k, {"w"})["update_norm"] == 2
    assert measure(w_global, [w_k], w_k, {"w"})["drift_relative"] == 2
    # A count is no parameter, whoever calls it one.
    assert measure(w_global, [w_k], w_k)["drift"] == pytest.approx(math.hypot(2, 100))


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_equals_numpy_over_all_pairs(num_clients, seed):
    rng = np.random.default_rng(seed)
    shapes = {"w": (4, 3), "b": (3,), "scale": ()}
    w_global, *models = (
        record(**{key: np.float32(rng.standard_normal(shape)) for key, shape in shapes.items()})
        for _ in range(num_clients + 1)
    )

    def vector(model):
        return np.concatenate([model[key].numpy().ravel() for key in shapes]).astype(np.float64)

    updates = [vector(w_k) - vector(w_global) for w_k in models]
    norms = [np.linalg.norm(update) for update in updates]
    cosines = [
        updates[i] @ updates[j] / (norms[i] * norms[j])
        for i, j in itertools.combinations(range(num_clients), 2)
    ]
    measures = measure(w_global, models, models[0])
    assert measures["drift"] == pytest.approx(np.mean(norms))
    assert measures["drift_relative"] == pytest.approx(
        np.mean(norms) / np.linalg.norm(vector(w_global))
    )
    assert measures["update_cosine"] == pytest.approx(np.mean(cosines), abs=1e-12)
    assert measures["update_norm"] == pytest.approx(norms[0])


def test_small_updates_of_large_weights_count():
    """In single precision the squares of these would be lost."""
    w = np.full(10**5, 1024, np.float32)
    step = np.float32(2**-13)
    measures = measure(record(w=w), [record(w=w + step), record(w=w - step)])
    assert measures["drift"] == pytest.approx(2**-13 * math.sqrt(10**5), rel=1e-12)
    assert measures["update_cosine"] == pytest.approx(-1, rel=1e-12)


def test_memory_does_not_grow_with_the_cohort():
    w = record(w=np.zeros(1000, np.float32))
    drift = Drift(w)
    sums = drift._directions["w"]
    for k in range(50):
        drift.add(record(w=np.full(1000, k, np.float32)))
    assert drift._directions["w"] is sums


def test_leaves_the_models_as_they_were():
    w_global, w_k = record(w=np.float32([1.0])), record(w=np.float32([3.0]))
    measure(w_global, [w_k], w_k)
    assert (w_global["w"].numpy().tolist(), w_k["w"].numpy().tolist()) == ([1.0], [3.0])


def test_divergence_by_hand():
    """The models (3, 14), (6, 8), (0, 8) have mean (3, 10); from (0, 6) that is (3, 4)."""
    w_global = record(w=np.float32([0.0, 6.0]))
    models = [record(w=np.float32(w)) for w in ([3, 14], [6, 8], [0, 8])]
    measures = divergence(w_global, models)
    assert list(measures) == ["divergence", "divergence_relative", "divergence_to_update"]
    expected = (4 + 2 * math.sqrt(13)) / 3
    assert measures["divergence"] == pytest.approx(expected)
    assert measures["divergence_relative"] == pytest.approx(expected / 6)
    assert measures["divergence_to_update"] == pytest.approx(expected / 5)


def test_a_distance_is_that_of_whole_models():
    """Two models of a weight and a bias, (3, 4) from their mean: tensors do not count alone."""
    w_global = record(w=np.float32([[1.0]]), b=np.float32(0.0))
    models = [record(w=np.float32([[3.0]]), b=np.float32(4.0))]
    models.append(record(w=np.float32([[-3.0]]), b=np.float32(-4.0)))
    assert divergence(w_global, models)["divergence"] == 5


def test_divergence_that_cannot_be_told_is_none():
    zeros, w_k = record(w=np.zeros(2, np.float32)), record(w=np.float32([3, 4]))
    assert set(divergence(zeros, []).values()) == {None}
    assert divergence(zeros, [w_k]) == {
        "divergence": 0,
        "divergence_relative": None,
        "divergence_to_update": 0,
    }
    opposite = record(w=np.float32([-3, -4]))
    assert divergence(w_k, [zeros, w_k])["divergence_relative"] == 0.5
    assert divergence(zeros, [w_k, opposite])["divergence_to_update"] is None


def test_divergence_is_of_parameters_only():
    w_global = record(w=np.float32([1.0]), mean=np.float32([7.0]), batches=np.int64(0))
    models = [
        record(w=np.float32([w]), mean=np.float32([100 * w]), batches=np.int64(w)) for w in (2, 6)
    ]
    assert divergence(w_global, models, {"w", "batches"}) == {
        "divergence": 2,
        "divergence_relative": 2,
        "divergence_to_update": pytest.approx(2 / 3),
    }


def draw_models(num_clients, seed):
    rng = np.random.default_rng(seed)
    return [
        record(w=np.float32(rng.standard_normal((4, 3))), b=np.float32(rng.standard_normal(())))
        for _ in range(num_clients)
    ]


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_divergence_is_bounded_by_drift(num_clients, seed):
    """By the triangle inequality; and no point is nearer, in squares, than the mean."""
    w_global, *models = draw_models(num_clients + 1, seed)
    found = divergence(w_global, models)["divergence"]
    assert 0 <= found <= 2 * measure(w_global, models)["drift"] + 1e-9
    squares = [measure(w_global, [w_k])["drift"] ** 2 for w_k in models]
    assert found <= math.sqrt(math.fsum(squares) / num_clients) + 1e-9


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_divergence_is_zero_if_and_only_if_all_models_are_equal(num_clients, seed):
    w_global, w, other = draw_models(3, seed)
    assert divergence(w_global, [w] * num_clients)["divergence"] == 0
    assert divergence(w_global, [w] * num_clients + [other])["divergence"] > 0


@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.randoms())
def test_divergence_does_not_depend_on_the_order_of_clients(num_clients, seed, random):
    w_global, *models = draw_models(num_clients + 1, seed)
    found = divergence(w_global, models)
    random.shuffle(models)
    assert divergence(w_global, models) == pytest.approx(found, rel=1e-12)


def test_small_divergence_of_large_weights_counts():
    """In single precision the mean of the two would be one of them."""
    w, above = np.float32([2**24]), np.float32([2**24 + 2])
    assert divergence(record(w=w), [record(w=w), record(w=above)])["divergence"] == 1
