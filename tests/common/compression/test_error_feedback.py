import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.compression.compressor import Compressor, make_compressor
from common.compression.density import DensitySchedule
from common.compression.error_feedback import ErrorFeedback, Memory
from common.compression.options import QuantiserName, SparsifierName
from common.compression.quantisers import Float32, Sign
from common.compression.sparsifiers import Keep, Threshold, TopK


def top_1_of(n):
    return Compressor(TopK(DensitySchedule(1 / n)), Float32())


EVERYTHING = Compressor(Keep(), Float32())


def vector(*entries):
    return {"w": np.array(entries, dtype=np.float32)}


def run(error_feedback, updates, seed=0):
    """What is sent in each round, whole, and the memory at the end."""
    rng = np.random.default_rng(seed)
    memory, sent = Memory(), []
    for round_, update in enumerate(updates, start=1):
        compressed, memory = error_feedback.compress(update, memory, round_, rng)
        sent.append({name: tensor.to_dense() for name, tensor in compressed.sent.items()})
    return sent, memory


def of_w(sent):
    return [tensors["w"].tolist() for tensors in sent]


def test_without_momentum_by_hand():
    sent, memory = run(ErrorFeedback(top_1_of(2)), [vector(1, 2)] * 3)
    assert of_w(sent) == [[0, 2], [2, 0], [0, 4]]
    assert memory.residual["w"].tolist() == [1, 0]
    assert memory.momentum == {}


def test_sign_by_hand():
    sent, memory = run(ErrorFeedback(Compressor(Keep(), Sign())), [vector(1, -3), vector(1, 1)])
    # First + and - 2, leaving (-1, -1); then (0, 0).
    assert of_w(sent) == [[2, -2], [0, 0]]
    assert memory.residual["w"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("factor_masking", "sent", "residual", "momentum"),
    [
        # u = (1, 2), then (1.5, 3); v = (1, 2), then (2.5, 3).
        (False, [[0, 2], [0, 3]], [2.5, 0], [1.5, 3]),
        # u = (1, 2), of which (1, 0) stays, then (1.5, 2); v = (1, 2), then (2.5, 2).
        (True, [[0, 2], [2.5, 0]], [0, 2], [0, 2]),
    ],
)
def test_momentum_correction_by_hand(factor_masking, sent, residual, momentum):
    error_feedback = ErrorFeedback(top_1_of(2), 0.5, factor_masking)
    found, memory = run(error_feedback, [vector(1, 2)] * 2)
    assert of_w(found) == sent
    assert memory.residual["w"].tolist() == residual
    assert memory.momentum["w"].tolist() == momentum


def test_entries_that_the_payload_has_but_were_not_chosen_keep_their_momentum():
    update = {"w": np.arange(1, 1001, dtype=np.float32)}
    compressor = Compressor(TopK(DensitySchedule(0.999)), Float32())  # Weighs less with the zero.
    _, memory = run(ErrorFeedback(compressor, 0.5, factor_masking=True), [update])
    assert memory.momentum["w"].tolist() == [1] + 999 * [0]
    assert memory.residual["w"].tolist() == [1] + 999 * [0]


def test_the_norm_is_clipped_over_all_tensors():
    update = {"a": np.array([3, 0], np.float32), "b": np.array([[4]], np.float32)}

    def sent(clip_norm):
        (found,), _ = run(ErrorFeedback(EVERYTHING, clip_norm=clip_norm), [update])
        return {name: values.tolist() for name, values in found.items()}

    assert sent(2.5) == {"a": [1.5, 0], "b": [[2]]}
    assert sent(5) == sent(math.inf) == {"a": [3, 0], "b": [[4]]}


def test_the_norm_of_a_large_tensor_is_clipped():
    update = {"w": np.full(200_000, 2, dtype=np.float32)}  # More than what is squared at once.
    (sent,), _ = run(ErrorFeedback(EVERYTHING, clip_norm=math.sqrt(200_000)), [update])
    np.testing.assert_allclose(sent["w"], 1, rtol=1e-6)


def test_what_is_added_is_clipped_not_what_was_kept():
    sent, _ = run(ErrorFeedback(top_1_of(2), clip_norm=5), [vector(3, 4), vector(3, 0)])
    assert of_w(sent) == [[0, 4], [6, 0]]


def test_the_warm_up_follows_the_round():
    compressor = Compressor(TopK(DensitySchedule(0.25, warmup_rounds=1)), Float32())
    sent, _ = run(ErrorFeedback(compressor), [vector(1, 2, 3, 4)] * 2)
    assert of_w(sent) == [[0, 0, 3, 4], [0, 4, 0, 0]]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_whole_update_leaves_nothing(momentum):
    update = {"w": np.linspace(-2, 3, 7, dtype=np.float32)}
    for compressor in (EVERYTHING, Compressor(TopK(DensitySchedule(1.0)), Float32())):
        sent, memory = run(ErrorFeedback(compressor, momentum, factor_masking=True), [update] * 3)
        assert of_w(sent) == [update["w"].tolist()] * 3
        assert not memory.residual["w"].any()
        assert not any(u.any() for u in memory.momentum.values())


ENTRIES = st.floats(-1e6, 1e6, width=32)  # Some are beyond float16, and are clipped.
UPDATES = st.tuples(st.integers(1, 30), st.integers(1, 4)).flatmap(
    lambda sizes: st.lists(
        st.fixed_dictionaries(
            {
                "w": hnp.arrays(np.float32, (3, sizes[0]), elements=ENTRIES),
                "b": hnp.arrays(np.float32, sizes[0], elements=ENTRIES),
                "scale": hnp.arrays(np.float32, (), elements=ENTRIES),
                "empty": hnp.arrays(np.float32, (0, 2), elements=ENTRIES),
            }
        ),
        min_size=sizes[1],
        max_size=sizes[1],
    )
)


@given(
    UPDATES,
    st.sampled_from(get_args(SparsifierName)),
    st.sampled_from(get_args(QuantiserName)),
    st.sampled_from(["nearest", "stochastic"]),
    st.sampled_from(["per_tensor", "per_row"]),
    st.integers(0, 3),
)
def test_nothing_is_lost(updates, sparsifier, quantiser, rounding, scale, warmup_rounds):
    """What was sent and what is kept add up to the updates."""
    compressor = make_compressor(
        sparsifier,
        quantiser,
        threshold=10.0,
        density=0.1,
        warmup_rounds=warmup_rounds,
        int8_rounding=rounding,
        int8_scale=scale,
        scaled=False,
    )
    sent, memory = run(ErrorFeedback(compressor), updates)
    for name, residual in memory.residual.items():
        total = sum(tensors[name].astype(np.float64) for tensors in sent) + residual
        expected = sum(update[name].astype(np.float64) for update in updates)
        largest = sum(np.abs(update[name]).max(initial=0) for update in updates)
        np.testing.assert_allclose(total, expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_update_and_memory_stay_as_they_are(momentum):
    error_feedback = ErrorFeedback(top_1_of(3), momentum, factor_masking=True, clip_norm=1.0)
    rng = np.random.default_rng(0)
    update = vector(1, 2, 3)
    _, memory = error_feedback.compress(update, Memory(), 1, rng)
    arrays = [update["w"], memory.residual["w"], *memory.momentum.values()]
    before = [values.copy() for values in arrays]
    _, after = error_feedback.compress(update, memory, 2, rng)
    for values, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(values, was)
        for kept in (*after.residual.values(), *after.momentum.values()):
            assert not np.shares_memory(values, kept)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_tensors_of_any_layout_and_of_no_dimension(momentum):
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    update = {"w": np.asfortranarray(w), "scale": np.array(3, dtype=np.float32)}
    error_feedback = ErrorFeedback(top_1_of(6), momentum, factor_masking=True)
    (sent,), memory = run(error_feedback, [update])
    assert sent["w"].tolist() == [[0, 0, 0], [0, 0, 5]]
    assert memory.residual["w"].tolist() == [[0, 1, 2], [3, 4, 0]]
    assert (sent["scale"].shape, memory.residual["scale"].shape) == ((), ())
    assert (sent["scale"], memory.residual["scale"]) == (3, 0)


@pytest.mark.parametrize(
    ("memory", "part"),
    [
        (Memory({"v": np.zeros(2, np.float32)}, {"v": np.zeros(2, np.float32)}), "residual"),
        (Memory(vector(1, 2, 3), vector(1, 2, 3)), "residual"),
        (Memory({}, vector(1, 2)), "residual"),
        (Memory(vector(1, 2), {}), "momentum"),
        (Memory(vector(1, 2), {"w": np.zeros((2, 1), np.float32)}), "momentum"),
    ],
)
def test_the_memory_of_another_model_is_refused(memory, part):
    error_feedback = ErrorFeedback(top_1_of(2), momentum=0.9)
    with pytest.raises(ValueError, match=f"^the memory's {part} has the shapes "):
        error_feedback.compress(vector(1, 2), memory, 2, np.random.default_rng(0))


def test_momentum_is_refused_by_an_error_feedback_without():
    memory = Memory(vector(1, 2), vector(1, 2))
    with pytest.raises(ValueError, match="memory's momentum"):
        ErrorFeedback(top_1_of(2)).compress(vector(1, 2), memory, 2, np.random.default_rng(0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("clip_norm", [1.0, math.inf])
def test_it_names_a_tensor_that_is_not_finite(bad, clip_norm):
    error_feedback = ErrorFeedback(top_1_of(2), clip_norm=clip_norm)
    with pytest.raises(ValueError, match=r"^'w' has a value that is not finite"):
        error_feedback.compress(vector(1, bad), Memory(), 1, np.random.default_rng(0))


# f_k(w) = |w - a_k| ** 2 / 2: the mean of the updates is 0 at the mean of the a_k, but the clients'
# own updates are not, and what a biased compressor makes of them has another mean.
OPTIMA = np.array([[10, 1, 2], [-10, 1, -4], [3, 1, -4]], dtype=np.float32)


@pytest.mark.parametrize(
    "compressor",
    [top_1_of(3), Compressor(Threshold(0.1), Float32()), Compressor(Keep(), Sign())],
)
def test_it_finds_the_minimum_where_the_compressor_alone_does_not(compressor):
    def distance(step):
        w = np.zeros(3, dtype=np.float32)
        for round_ in range(1, 201):
            eta = 2 / (20 + round_)
            sent = [step(k, {"w": eta * (a - w)}, round_) for k, a in enumerate(OPTIMA)]
            w += np.mean([compressed.sent["w"].to_dense() for compressed in sent], axis=0)
        return np.linalg.norm(w - OPTIMA.mean(axis=0))

    rng = np.random.default_rng(0)
    memories = [Memory() for _ in OPTIMA]

    def with_feedback(k, update, round_):
        compressed, memories[k] = ErrorFeedback(compressor).compress(
            update, memories[k], round_, rng
        )
        return compressed

    assert distance(lambda k, update, round_: compressor.compress(update, round_, rng)) > 0.8
    assert distance(with_feedback) < 0.1
