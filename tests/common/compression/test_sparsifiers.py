import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.compression.density import DensitySchedule
from common.compression.sparsifiers import GlobalTopK, Keep, RandomK, Threshold, TopK

UPDATE = {
    "a": np.array([[0.5, -3], [2, 0]], dtype=np.float32),
    "empty": np.zeros((0, 2), dtype=np.float32),
    "b": np.array(-2, dtype=np.float32),
}


def sparsify(sparsifier, update=UPDATE, round_=1, seed=0):
    return sparsifier.sparsify(update, round_, np.random.default_rng(seed))


def dense(sparsifier, update=UPDATE, round_=1):
    return {name: t.to_dense().tolist() for name, t in sparsify(sparsifier, update, round_).items()}


def top_k(density, warmup_rounds=0):
    return TopK(DensitySchedule(density, warmup_rounds))


def test_keep():
    assert dense(Keep()) == {"a": [[0.5, -3], [2, 0]], "empty": [], "b": -2}


def test_threshold_keeps_what_reaches_it():
    assert dense(Threshold(2)) == {"a": [[0, -3], [2, 0]], "empty": [], "b": -2}
    assert dense(Threshold(2.5)) == {"a": [[0, -3], [0, 0]], "empty": [], "b": 0}
    assert dense(Threshold(9)) == {"a": [[0, 0], [0, 0]], "empty": [], "b": 0}
    assert sparsify(Threshold(9))["a"].count == 0


def test_the_documents_threshold_of_a_hundredth():
    update = {"w": np.array([0.0099, 0.01, -0.01, 0.011], dtype=np.float32)}
    assert sparsify(Threshold(0.01), update)["w"].indices.tolist() == [1, 2, 3]


def test_top_k_of_each_tensor():
    assert dense(top_k(0.5)) == {"a": [[0, -3], [2, 0]], "empty": [], "b": -2}
    # At least one entry of a tensor that has any.
    assert dense(top_k(0.001)) == {"a": [[0, -3], [0, 0]], "empty": [], "b": -2}


def test_top_k_of_all_tensors():
    def chosen(density):
        return dense(GlobalTopK(DensitySchedule(density)))

    # Of the two entries of magnitude 2, that of the first tensor comes first.
    assert chosen(0.4) == {"a": [[0, -3], [2, 0]], "empty": [], "b": 0}
    assert chosen(0.6) == {"a": [[0, -3], [2, 0]], "empty": [], "b": -2}
    assert chosen(0.001) == {"a": [[0, -3], [0, 0]], "empty": [], "b": 0}


def test_an_update_without_entries():
    update = {"empty": np.zeros(0, dtype=np.float32)}
    schedule = DensitySchedule(0.5)
    for sparsifier in (Keep(), Threshold(1), TopK(schedule), GlobalTopK(schedule)):
        assert sparsify(sparsifier, update)["empty"].count == 0
        assert sparsify(sparsifier, {}) == {}
    assert sparsify(RandomK(schedule, scaled=True), update)["empty"].count == 0


@pytest.mark.parametrize(
    "sparsifier", [TopK, GlobalTopK, lambda schedule: RandomK(schedule, scaled=False)]
)
def test_the_density_is_that_of_the_round(sparsifier):
    update = {"w": np.ones(1000, dtype=np.float32)}
    counts = [
        sparsify(sparsifier(DensitySchedule(0.001, warmup_rounds=4)), update, round_)["w"].count
        for round_ in range(1, 7)
    ]
    assert counts == [251, 63, 16, 4, 1, 1]


WHOLE = DensitySchedule(1.0)


@pytest.mark.parametrize(
    "sparsifier",
    [Keep(), Threshold(0), TopK(WHOLE), GlobalTopK(WHOLE), RandomK(WHOLE, scaled=True)],
)
def test_all_entries_have_no_indices(sparsifier):
    sent = sparsify(sparsifier)
    assert all(tensor.indices is None for tensor in sent.values())
    assert {name: t.to_dense().tolist() for name, t in sent.items()} == dense(Keep())


@given(
    hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-9, 9, width=32)),
    st.floats(0.01, 1),
    st.integers(0, 9),
)
def test_random_k_sends_k_different_entries(values, density, seed):
    tensor = sparsify(RandomK(DensitySchedule(density), scaled=False), {"w": values}, seed=seed)[
        "w"
    ]
    assert tensor.count == max(1, round(density * len(values)))
    if tensor.indices is not None:
        assert (np.diff(tensor.indices) > 0).all()
        np.testing.assert_array_equal(tensor.values, values[tensor.indices])


def test_random_k_scaled_is_unbiased():
    values = np.array([1, -2, 0, 4, 0.5, 3, -1, 2, 7, -5], dtype=np.float32)
    sparsifier = RandomK(DensitySchedule(0.3), scaled=True)
    rng = np.random.default_rng(1)
    draws = 2000
    mean = np.mean(
        [sparsifier.sparsify({"w": values}, 1, rng)["w"].to_dense() for _ in range(draws)], axis=0
    )
    # An entry v is sent as v n / k with probability k / n: variance v ** 2 (n / k - 1).
    deviation = np.abs(values) * np.sqrt((10 / 3 - 1) / draws)
    assert (np.abs(mean - values) <= 5 * deviation + 1e-6).all()


def test_random_k_is_the_generators():
    sparsifier = RandomK(DensitySchedule(0.1), scaled=False)
    update = {"v": np.ones(200, dtype=np.float32), "w": np.ones(200, dtype=np.float32)}
    first, again, other = (sparsify(sparsifier, update, seed=seed) for seed in (0, 0, 1))
    assert first["v"].indices.tolist() == again["v"].indices.tolist()
    assert first["v"].indices.tolist() != other["v"].indices.tolist()
    assert first["v"].indices.tolist() != first["w"].indices.tolist()


def test_entries_are_counted_in_c_order():
    update = {"w": np.asfortranarray(UPDATE["a"])}
    for sparsifier in (Threshold(2), top_k(0.5)):
        assert dense(sparsifier, update) == {"w": [[0, -3], [2, 0]]}
