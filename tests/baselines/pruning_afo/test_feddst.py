import math

import numpy as np
import pytest
from flwr.app import ArrayRecord
from pruning_afo.feddst import FedDst, readjusted_share
from pruning_afo.importance import keep_per_layer
from pruning_afo.masks import Mask, erdos_renyi_counts
from pruning_afo.packed import MASK, decode_tensors, mask_of_record, mask_to_record
from pruning_afo.pruning_schedule import PruningRounds
from tiny_pruning import (
    NUM_EXAMPLES,
    PRUNABLE,
    app,
    grid_of,
    num_kept,
    options,
    play,
    same,
    server_process,
    tiny_net,
)

from common.arrays import to_arrays, view
from common.compression.quantisers import Int8
from common.errors import ClientFailedError
from common.protocol import UPDATE
from common.strategy.server_optimizer import make_server_optimizer

__all__ = ["server_process"]
pytestmark = pytest.mark.usefixtures("server_process")

W_0 = to_arrays(tiny_net())
SHAPES = {name: tuple(w.shape) for name, w in tiny_net().named_parameters()}
COUNTS = erdos_renyi_counts(PRUNABLE, 0.3)


def strategy(start=0, end=6, every=1, share=0.5, **changes):
    return FedDst(
        **options(**changes),
        shapes=PRUNABLE,
        rounds=PruningRounds(start, end, every),
        density=0.3,
        readjusted_share=share,
    )


def mask_of(strategy):
    return mask_of_record(strategy.state()["pruning-mask"], PRUNABLE)


def test_the_share_decays_as_a_cosine():
    assert readjusted_share(0.0, 0.4) == 0.4
    assert readjusted_share(0.5, 0.4) == pytest.approx(0.2)
    assert readjusted_share(0.25, 0.4) == pytest.approx(0.2 * (1 + math.sqrt(0.5)))
    assert readjusted_share(1.0, 0.4) == 0


@pytest.mark.parametrize("quantiser", [None, Int8()], ids=["float32", "int8"])
def test_each_layer_keeps_its_number_of_entries_while_they_change(quantiser):
    feddst, grid = strategy(1, 6, 2), grid_of(app(quantiser))
    w, before, change = W_0, Mask.full(PRUNABLE), []
    for round_ in range(1, 8):
        (w,) = play(feddst, grid, w, [round_])
        after = mask_of(feddst)
        assert after.counts == COUNTS
        assert all(not view(w[key])[~after.is_kept[key]].any() for key in PRUNABLE)
        assert feddst.measures["mask_change"] == after.difference(before) / 456
        change.append(after.difference(before) > 0)
        before = after
    # Rounds 3 and 5; round 6 is the last, when the share has come to 0.
    assert change == [True, False, True, False, True, False, False]


def test_the_first_mask_is_by_magnitude():
    feddst = strategy(0, 6, 6)
    play(feddst, grid_of(app()), W_0, [1])
    w = {key: view(W_0[key]) for key in PRUNABLE}
    assert mask_of(feddst).difference(keep_per_layer(Mask.full(PRUNABLE), w, COUNTS)) == 0


@pytest.mark.parametrize("name", ["none", "fedavgm"])
def test_each_entry_is_the_mean_over_the_clients_that_keep_it(name):
    """Weighted by n_k; a server optimiser moves w_t towards that mean."""
    parameters = {key: w.detach().numpy() for key, w in tiny_net().named_parameters()}
    optimizer = make_server_optimizer(
        name,
        parameters,
        server_learning_rate=0.5,
        beta_1=0.0,
        beta_2=0.9,
        tau=0.1,
        bias_correction=False,
    )
    masks, models = {}, {}
    feddst = strategy(0, 9, 1, server_optimizer=optimizer)
    feddst_mask = []

    def keep(round_, client, reply):
        mask = masks[client] = mask_of_record(reply.content[MASK], PRUNABLE)
        update = decode_tensors(reply.content[UPDATE], mask.packed_shapes(SHAPES))
        first = feddst_mask[0] if feddst_mask else mask_of(feddst)
        feddst_mask.append(first)
        w_t = first.apply({key: view(W_0[key]) for key in SHAPES})
        moved = {key: w + update[key] for key, w in mask.pack(w_t).items()}
        models[client] = mask.unpack(moved)
        return reply

    (w,) = play(feddst, grid_of(app(corrupt=keep)), W_0, [1])
    n = np.array(NUM_EXAMPLES)[[0, 2]]
    step = 1.0 if name == "none" else 0.5
    num_mixed = 0
    for key in PRUNABLE:
        w_t = np.where(feddst_mask[0].is_kept[key], view(W_0[key]), 0)
        kept = np.stack([masks[k].is_kept[key] for k in (0, 2)])
        w_k = np.stack([models[k][key] for k in (0, 2)])
        weights = n[:, None, None, None, None] if w_t.ndim == 4 else n[:, None, None]
        held = (weights * kept).sum(axis=0)
        mean = (weights * w_k).sum(axis=0) / np.maximum(held, 1)
        target = w_t + step * (mean - w_t)
        magnitude = np.where(held > 0, np.abs(target), -1)
        final = magnitude >= np.sort(magnitude, axis=None)[-COUNTS[key]]
        assert (mask_of(feddst).is_kept[key] == final).all()
        np.testing.assert_allclose(view(w[key]), np.where(final, target, 0), rtol=1e-5, atol=1e-7)
        num_mixed += (final & (kept.sum(axis=0) == 1)).sum()
    assert num_mixed > 0


def test_what_grew_is_kept_by_the_server_if_it_moved_far_enough():
    feddst = strategy(0, 9, 1)
    first, second = play(feddst, grid_of(app()), W_0, [1, 2])
    grown = [(view(first[key]) == 0) & (view(second[key]) != 0) for key in PRUNABLE]
    assert sum(int(places.sum()) for places in grown) > 0


def test_masks_travel_up_in_the_rounds_of_a_change_only():
    sent = []

    def look(round_, client, reply):
        sent.append((round_, MASK in reply.content))
        return reply

    play(strategy(1, 5, 2), grid_of(app(corrupt=look)), W_0, range(1, 6))
    assert sorted(set(sent)) == [(1, False), (2, False), (3, True), (4, False), (5, False)]


def test_with_a_share_of_nothing_the_mask_stays():
    feddst = strategy(share=0.0)
    models = play(feddst, grid_of(app()), W_0, [1, 2])
    assert feddst.measures["mask_change"] == 0
    assert [num_kept(w) for w in models] == [COUNTS, COUNTS]


def test_without_a_client_that_trains_the_mask_stays():
    feddst = strategy(num_examples=[0, 0, 0])

    def without_examples(round_, client, reply):
        reply.content["metrics"]["num-examples"] = 0
        return reply

    play(feddst, grid_of(app(corrupt=without_examples)), W_0, [1])
    assert feddst.measures["mask_change"] == 0


def test_a_restored_strategy_goes_on_as_if_nothing_had_happened():
    feddst, restored = strategy(), strategy()
    *_, w = play(feddst, grid_of(app()), W_0, [1, 2])
    restored.restore(feddst.state())
    expected = play(feddst, grid_of(app()), w, [3, 4])[-1]
    assert same(play(restored, grid_of(app()), w, [3, 4])[-1], expected)


def test_a_cohort_of_a_client_that_failed_is_that_of_the_others():
    def broken(round_, client, reply):
        if client == 2:
            reply.content[UPDATE] = ArrayRecord()
        return reply

    left = strategy(on_client_failure="leave_out")
    (w,) = play(left, grid_of(app(corrupt=broken)), W_0, [1])
    assert left.traffic.failed.keys() == {2}
    assert mask_of(left).counts == COUNTS
    assert num_kept(w) == COUNTS


def denser(reply):
    reply.content[MASK] = mask_to_record(Mask.full(PRUNABLE))


def missing(reply):
    del reply.content[MASK]


def of_another_kind(reply):
    reply.content[MASK] = ArrayRecord()


def moved(reply):
    mask = mask_of_record(reply.content[MASK], PRUNABLE)
    flat = np.roll(mask.is_kept["6.weight"].reshape(-1), 1)
    flat[np.flatnonzero(flat)[0]] = False
    is_kept = {**mask.is_kept, "6.weight": flat.reshape(PRUNABLE["6.weight"])}
    reply.content[MASK] = mask_to_record(Mask(is_kept))


@pytest.mark.parametrize(
    ("corrupt", "reason"),
    [
        (denser, "its 'mask' keeps 216 entries of '3.weight', not"),
        (moved, rf"its 'mask' keeps {COUNTS['6.weight'] - 1} entries of '6.weight', not"),
        (missing, "its reply has no 'mask'"),
        (of_another_kind, "its 'mask' has"),
    ],
)
def test_a_mask_that_a_client_may_not_have_names_it(corrupt, reason):
    def of_client_2(round_, client, reply):
        if client == 2:
            corrupt(reply)
        return reply

    with pytest.raises(ClientFailedError, match=f"Client 2 failed in round 1: {reason}"):
        play(strategy(), grid_of(app(corrupt=of_client_2)), W_0, [1])
