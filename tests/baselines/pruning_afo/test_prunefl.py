from itertools import combinations

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord
from hypothesis import given
from hypothesis import strategies as st
from pruning_afo.masks import Mask, mask_of_indices
from pruning_afo.packed import (
    REST,
    SQUARED_GRADIENTS,
    TASK,
    PruningTask,
    decode_tensors,
    encode_tensors,
    mask_of_record,
)
from pruning_afo.prunefl import PruneFl, reconfigure, removable_share
from pruning_afo.pruning_schedule import PruningRounds
from tiny_pruning import (
    NUM_EXAMPLES,
    PRUNABLE,
    app,
    grid_of,
    options,
    play,
    same,
    server_process,
    tiny_net,
)

from common.arrays import to_arrays, view
from common.compression.quantisers import Float32
from common.errors import ClientFailedError
from common.strategy.server_optimizer import FedAvgM

__all__ = ["server_process"]
pytestmark = pytest.mark.usefixtures("server_process")

W_0 = to_arrays(tiny_net())
SMALL = {"a": (2, 3), "b": (4,)}


def strategy(start=1, end=4, every=1, density=0.3, fixed_time=0.7, **changes):
    return PruneFl(
        **options(**changes),
        shapes=PRUNABLE,
        rounds=PruningRounds(start, end, every),
        density=density,
        fixed_time=fixed_time,
    )


def flat(mask):
    return np.concatenate([kept.ravel() for kept in mask.is_kept.values()])


def test_the_greedy_choice_by_hand():
    """Time is 1 + |M| / 4 and nothing is sure but entry 0, which gains 4 in 1.25: 3.2.

    Entry 1 gains 2 in .25, as 8 do: 6 / 1.5 = 4. Entry 3 gains .9, as 3.6 do: no more than 4.
    """
    mask = mask_of_indices({"w": (4,)}, [np.array([0, 2])])
    w = {"w": np.float32([3, 0, 1, 0])}
    squares = {"w": np.array([4, 2, 0.1, 0.9])}
    chosen = reconfigure(mask, w, squares, 0.0, removable=0.5, fixed_time=1.0)
    assert chosen.is_kept["w"].tolist() == [True, True, False, False]


def test_what_is_never_pruned_raises_the_mean_that_entries_have_to_beat():
    mask = mask_of_indices({"w": (4,)}, [np.array([0, 2])])
    w = {"w": np.float32([3, 0, 1, 0])}
    squares = {"w": np.array([4, 2, 0.1, 0.9])}
    chosen = reconfigure(mask, w, squares, 100.0, removable=0.5, fixed_time=1.0)
    assert chosen.is_kept["w"].tolist() == [True, False, False, False]


def test_without_gradients_all_that_may_go_goes():
    mask = Mask.full(SMALL)
    w = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([9, 0, 8, 7])}
    zeros = {name: np.zeros(shape) for name, shape in SMALL.items()}
    chosen = reconfigure(mask, w, zeros, 0.0, removable=0.5, fixed_time=0.7)
    assert flat(chosen).tolist() == [False] * 3 + [True] * 4 + [False] + [True] + [False]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.3, 0.6]),
    st.sampled_from([0.05, 0.7, 3.0]),
    st.sampled_from([0.0, 1.0]),
)
def test_no_set_that_may_be_chosen_is_better(seed, removable, fixed_time, rest):
    """All subsets of the ten entries that have what is sure."""
    rng = np.random.default_rng(seed)
    mask = Mask({name: rng.random(shape) < 0.6 for name, shape in SMALL.items()})
    w = mask.apply({name: rng.standard_normal(shape) for name, shape in SMALL.items()})
    w = {name: tensor.astype(np.float32) for name, tensor in w.items()}
    # Whole numbers, so that many sets are as good as each other.
    squares = {name: rng.integers(5, size=shape).astype(float) for name, shape in SMALL.items()}
    sure = []
    for name in SMALL:
        kept = [i for i in range(w[name].size) if mask.is_kept[name].ravel()[i]]
        kept.sort(key=lambda i, name=name: abs(w[name].ravel()[i]))
        offset = 0 if name == "a" else 6
        sure += [offset + i for i in kept[int(removable * len(kept)) :]]
    gains = np.concatenate([squares[name].ravel() for name in SMALL])

    def rate(entries):
        return (rest + gains[list(entries)].sum()) / (fixed_time + len(entries) / 10)

    free = [i for i in range(10) if i not in sure]
    best = max(
        rate([*sure, *more]) for count in range(len(free) + 1) for more in combinations(free, count)
    )
    chosen = reconfigure(mask, w, squares, rest, removable=removable, fixed_time=fixed_time)
    entries = np.flatnonzero(flat(chosen))
    assert set(sure) <= set(entries)
    assert rate(entries) == pytest.approx(best, rel=1e-12)


def test_less_and_less_may_go():
    assert removable_share(0) == 0.3
    assert removable_share(10_000) == pytest.approx(0.15)


def momentum():
    parameters = {name: w.detach().numpy() for name, w in tiny_net().named_parameters()}
    return FedAvgM(parameters, server_learning_rate=1.0, beta_1=0.9)


def mask_of(strategy):
    return mask_of_record(strategy.state()["pruning-mask"], PRUNABLE)


def test_the_mask_is_chosen_by_the_squared_gradients_of_the_clients():
    """Weighted by n_k; the weights are those of the same round without a choice."""
    squares = {}

    def keep(round_, client, reply):
        record = reply.content[SQUARED_GRADIENTS]
        squares[client] = decode_tensors(record, {**PRUNABLE, REST: (1,)})
        return reply

    # A long time that nothing changes, at which many entries are worth theirs.
    choosing, resting = strategy(0, 2, 1, fixed_time=20), strategy(0, 0, 1)
    (w,) = play(choosing, grid_of(app(corrupt=keep)), W_0, [1])
    resting.restore(choosing.state())
    before = mask_of(choosing)
    (chosen,) = play(choosing, grid_of(app(corrupt=keep)), w, [2])
    (unchosen,) = play(resting, grid_of(app()), w, [2])
    mean = {
        name: sum(n_k * squares[k][name].astype(np.float64) for k, n_k in enumerate(NUM_EXAMPLES))
        / sum(NUM_EXAMPLES)
        for name in (*PRUNABLE, REST)
    }
    w_next = {key: view(unchosen[key]) for key in PRUNABLE}
    expected = reconfigure(
        before, w_next, mean, mean[REST][0], removable=removable_share(2), fixed_time=20
    )
    after = mask_of(choosing)
    assert after.difference(expected) == 0
    assert (expected.is_kept["3.weight"] & ~before.is_kept["3.weight"]).any()
    assert (before.is_kept["3.weight"] & ~expected.is_kept["3.weight"]).any()
    for key in PRUNABLE:
        np.testing.assert_array_equal(
            view(chosen[key]), np.where(after.is_kept[key], w_next[key], 0)
        )
    assert choosing.measures["model_density"] == after.density
    assert choosing.measures["mask_change"] == after.difference(before) / 456


def test_what_comes_anew_is_zero_and_then_trained():
    prunefl = strategy(0, 1, 1, server_optimizer=momentum())
    (w,) = play(prunefl, grid_of(app()), W_0, [1])
    new = {key: mask_of(prunefl).is_kept[key] & (view(w[key]) == 0) for key in PRUNABLE}
    assert any(places.any() for places in new.values())
    (w,) = play(prunefl, grid_of(app()), w, [2])
    assert all(view(w[key])[places].all() for key, places in new.items())


def test_what_comes_back_begins_at_zero_whatever_momentum_is_left():
    """Of entries that moved before they were pruned, by a server optimiser."""
    prunefl = strategy(1, 2, 1, fixed_time=20, server_optimizer=momentum())
    (w,) = play(prunefl, grid_of(app()), W_0, [1])
    before = mask_of(prunefl)
    (w,) = play(prunefl, grid_of(app()), w, [2])
    back = {key: mask_of(prunefl).is_kept[key] & ~before.is_kept[key] for key in PRUNABLE}
    assert all(places.any() and not view(w[key])[places].any() for key, places in back.items())


def test_gradients_travel_in_the_rounds_of_a_choice_only_and_are_counted():
    prunefl, grid = strategy(1, 6, 2), grid_of(app())
    w, bytes_up, change = W_0, [], []
    for round_ in range(1, 8):
        (w,) = play(prunefl, grid, w, [round_])
        bytes_up.append(prunefl.traffic.client_bytes_up[0])
        change.append(prunefl.measures["mask_change"] > 0)
    assert change == [True, False, True, False, True, True, False]
    # Round 4 has the mask of round 3, and no choice; the 456 entries and the sum weigh 4 bytes.
    assert bytes_up[4] - bytes_up[3] == pytest.approx(4 * 457, abs=300)
    assert min(bytes_up[4], bytes_up[5]) > max(bytes_up[3], bytes_up[6]) + 4 * 400


def test_without_a_client_that_trains_the_mask_stays():
    prunefl = strategy(0, 1, 1, num_examples=[0, 0, 0])
    nobody = app(corrupt=lambda round_, client, reply: without_examples(reply))
    play(prunefl, grid_of(nobody), W_0, [1])
    assert prunefl.measures["mask_change"] == 0


def without_examples(reply):
    reply.content["metrics"]["num-examples"] = 0
    return reply


def test_a_restored_strategy_goes_on_as_if_nothing_had_happened():
    prunefl, restored = strategy(), strategy()
    *_, w = play(prunefl, grid_of(app()), W_0, [1, 2])
    restored.restore(prunefl.state())
    expected = play(prunefl, grid_of(app()), w, [3, 4, 5])[-1]
    assert same(play(restored, grid_of(app()), w, [3, 4, 5])[-1], expected)


def negative(reply):
    shapes = {**PRUNABLE, REST: (1,)}
    squares = decode_tensors(reply.content[SQUARED_GRADIENTS], shapes)
    squares[REST] = -squares[REST]
    reply.content[SQUARED_GRADIENTS] = encode_tensors(squares, Float32(), np.random.default_rng(0))


def missing(reply):
    del reply.content[SQUARED_GRADIENTS]


def of_another_kind(reply):
    reply.content[SQUARED_GRADIENTS] = ArrayRecord()


@pytest.mark.parametrize(
    ("corrupt", "reason"),
    [
        (negative, "its 'squared-gradients' hold a number below 0"),
        (missing, "its reply has no 'squared-gradients'"),
        (of_another_kind, "its 'squared-gradients' has"),
    ],
)
def test_gradients_that_cannot_be_used_name_their_client(corrupt, reason):
    def of_client_2(round_, client, reply):
        if client == 2:
            corrupt(reply)
        return reply

    with pytest.raises(ClientFailedError, match=f"Client 2 failed in round 1: {reason}"):
        play(strategy(0, 1, 1), grid_of(app(corrupt=of_client_2)), W_0, [1])


def test_gradients_that_were_not_asked_are_refused():
    prunefl = strategy(1, 1, 1)
    messages = list(prunefl.configure_train(1, W_0, ConfigRecord(), grid_of(app())))
    messages[2].content[TASK] = PruningTask(send_squared_gradients=True).to_record()
    with pytest.raises(ClientFailedError, match=r"Client 2 .* which were not asked"):
        prunefl.aggregate_train(1, grid_of(app()).send_and_receive(messages))
