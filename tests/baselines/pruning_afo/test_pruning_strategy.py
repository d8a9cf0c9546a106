"""Whole rounds of server and clients with a tiny network."""

import json

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from pruning_afo.importance import keep_per_layer
from pruning_afo.masks import Mask, uniform_counts
from pruning_afo.packed import MASK, PARAMETERS, mask_of_record, mask_to_record
from pruning_afo.pruning_schedule import PruningRounds
from pruning_afo.scheduled_pruning import ScheduledPruning
from tiny_pruning import (
    NEVER_PRUNED,
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

from common.arrays import to_array, to_arrays, view
from common.compression.quantisers import BFloat16, Float16, Int8, Sign
from common.errors import ClientFailedError
from common.experiment.config import ExperimentConfig
from common.experiment.federate import federate
from common.experiment.recorder import Evaluation
from common.protocol import ARRAYS, UPDATE
from common.strategy.fedavg import FedAvg
from common.strategy.server_optimizer import make_server_optimizer

__all__ = ["server_process"]
pytestmark = pytest.mark.usefixtures("server_process")

W_0 = to_arrays(tiny_net())
PARAMETERS_OF_NET = {name: w.detach().numpy() for name, w in tiny_net().named_parameters()}
KEPT_ENTRIES = {"3.weight": 43, "6.weight": 48}  # A fifth of 216 and of 240.


def one_shot(start=1, density=0.2, **changes):
    return ScheduledPruning(
        **options(**changes),
        shapes=PRUNABLE,
        rounds=PruningRounds(start, start, 1),
        importance="weight",
        density=density,
    )


def optimizer(name):
    return make_server_optimizer(
        name,
        PARAMETERS_OF_NET,
        server_learning_rate=0.7,
        beta_1=0.9,
        beta_2=0.99,
        tau=0.01,
        bias_correction=False,
    )


def pruned_places(arrays):
    return {key: view(arrays[key]) == 0 for key in PRUNABLE}


def test_with_nothing_pruned_it_is_fedavg():
    """To the rounding of w_k = w_t + (w_k - w_t), where entries are near 0."""
    pruned = play(one_shot(density=1.0), grid_of(app()), W_0, [1, 2, 3])[-1]
    fedavg = play(FedAvg(**options()), grid_of(app()), W_0, [1, 2, 3])[-1]
    for key in W_0:
        np.testing.assert_allclose(view(pruned[key]), view(fedavg[key]), rtol=1e-4, atol=1e-6)


def test_what_is_pruned_stays_zero_at_clients_and_server():
    models = []
    clients = app(see=lambda model: models.append(to_arrays(model)))
    for name in ("none", "fedavgm", "fedadam"):
        del models[:]
        first, *later = play(
            one_shot(server_optimizer=optimizer(name)), grid_of(clients), W_0, [1, 2, 3, 4]
        )
        assert num_kept(first) == KEPT_ENTRIES
        zeros = pruned_places(first)
        for w in [*later, *models[3:]]:
            for key, is_pruned in zeros.items():
                assert not view(w[key])[is_pruned].any()
                assert view(w[key])[~is_pruned].all()
        for key in NEVER_PRUNED:
            assert (view(later[-1][key]) != view(first[key])).all()


def test_the_first_mask_may_be_that_of_the_initial_model():
    strategy = one_shot(start=0)
    (w,) = play(strategy, grid_of(app()), W_0, [1])
    mask = keep_per_layer(
        Mask.full(PRUNABLE),
        {key: view(W_0[key]) for key in PRUNABLE},
        uniform_counts(PRUNABLE, 0.2),
    )
    for key, is_pruned in pruned_places(w).items():
        assert (mask.is_kept[key] == ~is_pruned).all()
    assert strategy.measures["model_density"] == 91 / 456
    assert strategy.measures["mask_change"] == 0


def test_measures_tell_the_density_of_the_next_model():
    strategy = one_shot(start=2)
    w, measures = W_0, []
    for round_ in (1, 2, 3):
        (w,) = play(strategy, grid_of(app()), w, [round_])
        measures.append((strategy.measures["model_density"], strategy.measures["mask_change"]))
    assert measures == [(1, 0), (91 / 456, 365 / 456), (91 / 456, 0)]


def test_bytes_shrink_with_the_density_as_they_are_counted():
    """Down, a mask is sent, too, in less than a bit for each of 456 entries, and some words."""

    def bytes_of(density):
        strategy = one_shot(start=0, density=density)
        play(strategy, grid_of(app()), W_0, [1])
        traffic = strategy.traffic
        assert traffic.bytes_up == sum(traffic.client_bytes_up)
        assert len(set(traffic.client_bytes_down)) == 1
        return traffic.client_bytes_up[0], traffic.client_bytes_down[0]

    (dense_up, dense_down), (up, down) = bytes_of(1.0), bytes_of(0.2)
    # 64 bytes of a payload's heads, and arrays are padded to as many.
    assert dense_up - up == pytest.approx(4 * 365, abs=64)
    assert 0 < 4 * 365 - (dense_down - down) < 456 / 8 + 300


def test_a_dense_model_weighs_what_fedavg_sends():
    pruned, fedavg = one_shot(density=1.0), FedAvg(**options())
    play(pruned, grid_of(app()), W_0, [1])
    play(fedavg, grid_of(app()), W_0, [1])
    # One array's header in the place of ten.
    assert pruned.traffic.bytes_down <= fedavg.traffic.bytes_down
    assert pruned.traffic.bytes_up <= fedavg.traffic.bytes_up


def test_the_model_is_encoded_once_a_round():
    strategy = one_shot(start=0)
    messages = strategy.configure_train(1, W_0, ConfigRecord(), grid_of(app()))
    contents = [message.content for message in messages]
    assert len({id(content[PARAMETERS]) for content in contents}) == 1
    assert len({id(content[MASK]) for content in contents}) == 1
    assert set(contents[0][ARRAYS]) == {
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    }


@pytest.mark.parametrize(
    "quantiser",
    [Float16(), BFloat16(), Int8(), Sign()],
    ids=lambda quantiser: type(quantiser).__name__,
)
def test_updates_are_quantised(quantiser):
    strategies = [one_shot(start=0) for _ in range(2)]
    (coarse,) = play(strategies[0], grid_of(app(quantiser)), W_0, [1])
    (exact,) = play(strategies[1], grid_of(app()), W_0, [1])
    assert num_kept(coarse) == KEPT_ENTRIES
    assert strategies[0].traffic.bytes_up < strategies[1].traffic.bytes_up
    assert strategies[0].traffic.bytes_down == strategies[1].traffic.bytes_down
    moved = [
        np.concatenate([(view(w[key]) - view(W_0[key]))[view(w[key]) != 0] for key in PRUNABLE])
        for w in (coarse, exact)
    ]
    assert not np.array_equal(*moved)
    assert np.corrcoef(*moved)[0, 1] > (0.6 if isinstance(quantiser, Sign) else 0.99)


@pytest.mark.parametrize("server_optimizer", ["none", "fedadam"])
def test_a_restored_strategy_goes_on_as_if_nothing_had_happened(server_optimizer):
    strategy, restored = (one_shot(server_optimizer=optimizer(server_optimizer)) for _ in range(2))
    *_, w = play(strategy, grid_of(app()), W_0, [1, 2])
    restored.restore(strategy.state())
    expected = play(strategy, grid_of(app()), w, [3, 4])[-1]
    assert same(play(restored, grid_of(app()), w, [3, 4])[-1], expected)


def test_a_damaged_state_is_refused_and_changes_nothing():
    strategy = one_shot(start=0)
    play(strategy, grid_of(app()), W_0, [1])
    state = strategy.state()
    payload = view(state["pruning-mask"]["payload"]).copy()
    payload[3] ^= 1
    others = Mask.full({"3.weight": (6, 4, 3, 3)})
    for bad in (
        RecordDict(),
        RecordDict({"pruning-mask": ConfigRecord({"payload": 1})}),
        RecordDict({"pruning-mask": ArrayRecord()}),
        RecordDict({"pruning-mask": ArrayRecord({"payload": to_array(payload)})}),
        RecordDict({"pruning-mask": mask_to_record(others)}),
    ):
        with pytest.raises((KeyError, ValueError)):
            strategy.restore(bad)
    assert same(strategy.state()["pruning-mask"], state["pruning-mask"])
    assert mask_of_record(state["pruning-mask"], PRUNABLE).counts == KEPT_ENTRIES


def test_a_run_that_was_stopped_in_any_round_comes_to_the_same_end(experiment_values, tmp_path):
    def run(folder, stops_in=0):
        def corrupt(round_, client, reply):
            if round_ == stops_in:
                raise ValueError("the disk is full")
            return reply

        keys = {"num_clients": 3, "num_rounds": 3, "output_dir": str(folder)}
        config = ExperimentConfig.parse(experiment_values | keys)
        strategy = one_shot(start=1, server_optimizer=optimizer("fedyogi"))
        grid = grid_of(app(corrupt=corrupt))
        federate(grid, strategy, config, W_0, lambda w: Evaluation(0.5, 0.5, None))
        return json.loads((folder / "summary.json").read_text())["model_sha256"]

    expected = run(tmp_path / "whole")
    for stops_in in (1, 2, 3):
        with pytest.raises(ClientFailedError, match="the disk is full"):
            run(tmp_path / str(stops_in), stops_in)
        assert run(tmp_path / str(stops_in)) == expected


def without(name):
    def corrupt(reply):
        del reply.content[name]

    return corrupt


def flip_a_bit(reply):
    payload = view(reply.content[UPDATE]["payload"]).copy()
    payload[len(payload) // 2] ^= 4
    reply.content[UPDATE] = ArrayRecord({"payload": to_array(payload)})


def cut(reply):
    payload = view(reply.content[UPDATE]["payload"])[:-9].copy()
    reply.content[UPDATE] = ArrayRecord({"payload": to_array(payload)})


def of_another_kind(reply):
    reply.content[UPDATE] = ArrayRecord({"payload": to_array(np.zeros(9, np.float32))})


def with_a_mask(reply):
    reply.content[MASK] = mask_to_record(Mask.full(PRUNABLE))


def with_a_parameter(reply):
    reply.content[ARRAYS] = ArrayRecord({**reply.content[ARRAYS], "8.bias": W_0["8.bias"]})


def with_a_buffer_too_many(reply):
    reply.content[ARRAYS] = ArrayRecord({**reply.content[ARRAYS], "more": W_0["8.bias"]})


def with_a_nan(reply):
    nan = to_array(np.full(4, np.nan, np.float32))
    reply.content[ARRAYS] = ArrayRecord({**reply.content[ARRAYS], "1.running_mean": nan})


@pytest.mark.parametrize(
    ("corrupt", "reason"),
    [
        (without(UPDATE), "its reply has no 'update'"),
        (without(ARRAYS), "its reply has no 'arrays'"),
        (flip_a_bit, "its 'update' "),
        (cut, "its 'update' "),
        (of_another_kind, "its 'update' is float32"),
        (with_a_mask, "its reply has a 'mask', for which it was not asked"),
        (with_a_parameter, "its 'arrays' has '8.bias', which is in its 'update'"),
        (with_a_buffer_too_many, "its model has 'more', which the global model has not"),
        (with_a_nan, "its '1.running_mean' holds a number that is not finite"),
    ],
)
def test_a_client_whose_reply_cannot_be_used_is_named_and_left_out(corrupt, reason):
    def of_client_2(round_, client, reply):
        if client == 2:
            corrupt(reply)
        return reply

    with pytest.raises(ClientFailedError, match=f"Client 2 failed in round 1: {reason}"):
        play(one_shot(start=0), grid_of(app(corrupt=of_client_2)), W_0, [1])
    left = one_shot(start=0, on_client_failure="leave_out")
    (w,) = play(left, grid_of(app(corrupt=of_client_2)), W_0, [1])
    assert left.traffic.failed[2].startswith(reason)
    nobody = one_shot(start=0, num_examples=[7, 0, 0])
    alone = app(corrupt=lambda round_, client, reply: without_examples(client, reply))
    assert same(w, play(nobody, grid_of(alone), W_0, [1])[0])


def without_examples(client, reply):
    if client == 2:
        reply.content["metrics"]["num-examples"] = 0
    return reply


def test_an_update_of_another_mask_is_refused():
    def other(round_, client, reply):
        return others.pop() if client == 2 else reply

    others = []
    keep = app(corrupt=lambda round_, client, reply: others.append(reply) or reply)
    play(one_shot(start=0, density=0.3), grid_of(keep), W_0, [1])
    with pytest.raises(ClientFailedError, match="Client 2 failed in round 1: its 'update' "):
        play(one_shot(start=0), grid_of(app(corrupt=other)), W_0, [1])


def test_the_cohort_has_one_client_without_examples():
    assert NUM_EXAMPLES[1] == 0
