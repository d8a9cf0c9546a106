import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord
from hypothesis import given
from hypothesis import strategies as st

from common.compression import wire
from common.compression.compressor import Compressor
from common.compression.density import DensitySchedule
from common.compression.entropy import information_bound
from common.compression.quantisers import BFloat16, Float16, Float32, Int8, Sign
from common.compression.sparse import SparseTensor
from common.compression.sparsifiers import GlobalTopK, Keep, RandomK, Threshold, TopK
from common.engine.inline import InlineGrid
from common.errors import ClientFailedError
from common.payload import to_record
from common.protocol import ARRAYS, METRICS, NUM_EXAMPLES, UPDATE, count_bytes, train_reply
from common.strategy.aggregate import Aggregation
from common.strategy.compressed import CompressedFedAvg
from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from common.strategy.server_optimizer import make_server_optimizer

NODES = [11, 12, 13]
NUM_EXAMPLES_OF = [1, 2, 5]
BUFFER = "bn.running_mean"
SERVERS = ["none", "fedavgm", "fedadagrad", "fedadam", "fedyogi"]


def record(**tensors):
    return ArrayRecord({key: Array(np.asarray(w)) for key, w in tensors.items()})


def model(w, buffer=0.0):
    return record(w=np.float32(w), **{BUFFER: np.float32([buffer])})


def make_strategy(num_examples=NUM_EXAMPLES_OF, kind=CompressedFedAvg, server=None, **options):
    values = {
        "clients_per_round": len(num_examples),
        "num_epochs": 1,
        "stragglers_fraction": 0.0,
        "seed": 0,
        "aggregation": Aggregation(parameters=["w"], server_optimizer=server),
    } | options
    if kind is not FedAvg:
        values.setdefault("error_feedback", False)
    return kind(NODES[: len(num_examples)], num_examples, **values)


def ask(strategy, w_global, round_=1):
    grid = InlineGrid(None, len(strategy.nodes), {})
    return list(strategy.configure_train(round_, w_global, ConfigRecord(), grid))


def encoded(tensors, compressor=None, seed=0):
    """Return the record of an update, by default of all that is not 0 in it."""
    compressor = compressor or Compressor(Threshold(1e-30), Float32())
    tensors = {key: np.asarray(w, np.float32) for key, w in tensors.items()}
    return to_record(compressor.compress(tensors, 1, np.random.default_rng(seed)).payload)


def reply_to(message, update, buffer=0.0, num_examples=None, **metrics):
    client = NODES.index(message.metadata.dst_node_id)
    n_k = NUM_EXAMPLES_OF[client] if num_examples is None else num_examples
    if not isinstance(update, ArrayRecord):
        update = encoded({"w": update})
    buffers = record(**{BUFFER: np.float32([buffer])})
    return train_reply(message, buffers, n_k, metrics, update=update)


def play(strategy, w_global, updates, buffers=(0.0, 0.0, 0.0), round_=1):
    """Return the next model; client k's update is updates[k]."""
    replies = [
        reply_to(message, update, buffer, strategy.num_examples[k])
        for k, (message, update, buffer) in enumerate(
            zip(ask(strategy, w_global, round_), updates, buffers, strict=False)
        )
    ]
    return strategy.aggregate_train(round_, replies)[0]


def values(arrays):
    return {key: array.numpy().tolist() for key, array in arrays.items()}


def test_clients_are_at_the_global_model_plus_what_is_decoded():
    found = play(
        make_strategy(),
        model([10.0, 20.0, 30.0]),
        [[8.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 8.0, 0.0]],
        buffers=[8.0, 0.0, 16.0],
    )
    # (8, 2 x 4 + 5 x 8, 0) / 8; the buffers are the clients' own, (8 + 5 x 16) / 8.
    assert values(found) == {"w": [11.0, 26.0, 30.0], BUFFER: [11.0]}
    assert list(found) == ["w", BUFFER]


def make_server(name, **changed):
    rates = {
        "server_learning_rate": 0.5, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-9,
        "bias_correction": False,
    }  # fmt: skip
    return make_server_optimizer(name, {"w": np.zeros(3, np.float32)}, **rates | changed)


@pytest.mark.parametrize("name", SERVERS)
def test_what_nobody_sent_does_not_move_and_buffers_are_averaged(name):
    strategy = make_strategy(server=make_server(name))
    w_global = model([0.1, 0.2, 0.3], buffer=9.0)
    for round_ in (1, 2):
        w_global = play(
            strategy,
            w_global,
            [[8.0, 0.0, 0.0], [0.0, -4.0, 0.0], [1.0, 0.0, 0.0]],
            buffers=[8.0, 0.0, 16.0],
            round_=round_,
        )
        w, start = w_global["w"].numpy(), np.float32([0.1, 0.2, 0.3])
        assert w[2] == start[2]
        assert (w[0] > start[0], w[1] < start[1]) == (True, True)
        # No optimiser touches these: (8 + 5 x 16) / 8 in both rounds.
        assert w_global[BUFFER].numpy().tolist() == [11.0]


def test_the_pseudo_gradient_is_the_mean_of_what_is_decoded():
    """Signs with one scale each: +-2, +-3 and +-1; the mean is weighted by n_k."""
    sign = Compressor(Keep(), Sign())
    updates = [[1.0, -2.0, 3.0], [-1.0, -3.0, 5.0], [1.0, 1.0, -1.0]]
    server = make_server("fedavgm", server_learning_rate=2.0)
    found = play(
        make_strategy(server=server), model([0.0] * 3), [encoded({"w": u}, sign) for u in updates]
    )
    expected = 2 * np.array([2 - 6 + 5, -2 - 6 + 5, 2 + 6 - 5]) / 8
    np.testing.assert_allclose(found["w"].numpy(), expected, rtol=1e-6)


floats = st.floats(-100, 100, width=32)


@given(st.lists(st.lists(floats, min_size=4, max_size=4), min_size=4, max_size=4))
def test_all_of_it_in_float32_is_fedavg_to_its_rounding(w):
    """w_t + (w_k - w_t) is w_k but for a rounding of each of the two."""
    w_global, *models = (np.float32(x) for x in w)
    fedavg = make_strategy(kind=FedAvg)
    replies = [
        train_reply(message, model(w_k), n_k)
        for message, w_k, n_k in zip(
            ask(fedavg, model(w_global)), models, NUM_EXAMPLES_OF, strict=True
        )
    ]
    expected, _ = fedavg.aggregate_train(1, replies)
    keep = Compressor(Keep(), Float32())
    updates = [encoded({"w": w_k - w_global}, keep) for w_k in models]
    found = play(make_strategy(), model(w_global), updates)
    largest = max(np.abs(x).max() for x in (w_global, *models))
    np.testing.assert_allclose(
        found["w"].numpy(), expected["w"].numpy(), rtol=0, atol=3 * largest * 2**-23
    )


COMPRESSORS = [
    Compressor(sparsifier, quantiser)
    for sparsifier in (
        Keep(),
        Threshold(1.0),
        TopK(DensitySchedule(0.1)),
        GlobalTopK(DensitySchedule(0.01)),
        RandomK(DensitySchedule(0.3), scaled=True),
    )
    for quantiser in (Float32(), Float16(), BFloat16(), Int8(), Int8(scale="per_row"), Sign())
]


@given(
    st.lists(st.sampled_from(COMPRESSORS), min_size=3, max_size=3),
    st.integers(1, 400),
    st.integers(0, 2**31),
)
def test_the_ledger_is_the_length_of_what_was_sent(compressors, size, seed):
    """NumPy's header and the names of arrays included, client by client; and beside it the bound"""
    rng, strategy = np.random.default_rng(seed), make_strategy()
    w_global = model(rng.standard_normal((size, 3)))
    updates = [
        encoded({"w": rng.standard_normal((size, 3))}, compressor, seed)
        for compressor in compressors
    ]
    play(strategy, w_global, updates)
    payloads = [update["payload"].numpy().tobytes() for update in updates]
    rest = len(BUFFER) + 128 + 4 + len(NUM_EXAMPLES) + 8
    expected = [len("payload") + 128 + len(payload) + rest for payload in payloads]
    assert strategy.traffic.client_bytes_up == expected
    assert strategy.traffic.bytes_up == sum(expected)
    down = [count_bytes(message.content) for message in ask(strategy, w_global)]
    assert strategy.traffic.client_bytes_down == down
    assert strategy.traffic.bytes_down == sum(down)

    tensors = [wire.decode(payload, {"w": (size, 3)}) for payload in payloads]
    bound = sum(
        information_bound(tensor, compressor.quantiser)
        for tensor, compressor in zip(tensors, compressors, strict=True)
    )
    assert strategy.measures["bound_up"] == pytest.approx(bound)
    assert strategy.measures["bound_up"] < sum(map(len, payloads))
    density = sum(tensor["w"].count for tensor in tensors) / (3 * 3 * size)
    assert strategy.measures["density_up"] == pytest.approx(density)


def test_density_and_bound_by_hand():
    """Of 8 entries, 1, 2 and 8: log2 8 and log2 28 bits for where, none for all of them."""
    sent = [np.zeros(8), np.zeros(8), np.ones(8)]
    sent[0][3] = sent[1][2] = sent[1][7] = 1.0
    strategy = make_strategy()
    play(strategy, model(np.zeros(8)), [encoded({"w": update}) for update in sent])
    assert strategy.measures["density_up"] == pytest.approx(11 / 24)
    assert strategy.measures["bound_up"] == pytest.approx((3 + np.log2(28)) / 8 + 4 * 11)


def test_the_measures_are_those_of_the_round():
    strategy = make_strategy()
    for dense in (True, False):
        play(strategy, model(np.zeros(100)), [np.eye(100)[0] + dense] * 3)
        assert strategy.measures["density_up"] == (1.0 if dense else 0.01)


def test_other_measures_are_beside_these():
    strategy = make_strategy(
        measure_drift=True, measure_traffic=lambda traffic: {"up": traffic.bytes_up}
    )
    play(strategy, model([0.0, 0.0]), [[3.0, 4.0]] * 3)
    assert strategy.measures["drift"] == 5
    assert strategy.measures["up"] == strategy.traffic.bytes_up
    assert strategy.measures.keys() >= {"density_up", "bound_up"}


def test_a_client_without_examples_moves_nothing():
    strategy = make_strategy(num_examples=[1, 0, 1])
    found = play(strategy, model([0.0, 0.0]), [[2.0, 2.0], [9.0, 9.0], [4.0, 0.0]])
    assert found["w"].numpy().tolist() == [3.0, 1.0]


def test_replies_may_be_views_of_a_workers_memory():
    updates = [[8.0, 0.0], [0.0, 4.0], [0.0, 8.0]]
    expected = play(make_strategy(), model([1.0, 2.0]), updates, [1.0, 2.0, 3.0])
    strategy = make_strategy()
    messages = ask(strategy, model([1.0, 2.0]))
    replies = [reply_to(*each) for each in zip(messages, updates, [1.0, 2.0, 3.0], strict=True)]
    for reply in replies:
        for arrays in reply.content.array_records.values():
            for array in arrays.values():
                array.data = memoryview(array.data)
    assert strategy.aggregate_train(1, replies)[0] == expected


@pytest.mark.parametrize("feeds_back", [True, False])
def test_clients_keep_state_if_they_feed_errors_back(feeds_back):
    assert make_strategy(error_feedback=feeds_back).clients_keep_state is feeds_back


def test_it_makes_other_strategies_compressed():
    class CompressedFedProx(CompressedFedAvg, FedProx):
        pass

    strategy = make_strategy(kind=CompressedFedProx, mu=0.25, batch_size=1)
    messages = ask(strategy, model([0.0, 0.0]))
    assert all(message.content["config"]["mu"] == 0.25 for message in messages)
    found = play(strategy, model([1.0, 1.0]), [[8.0, 0.0]] * 3)
    assert found["w"].numpy().tolist() == [9.0, 1.0]


def test_what_is_broadcast_only_is_neither_encoded_nor_moved():
    aggregation = Aggregation(parameters=["w", "r"], broadcast_only=["r"])
    w_global = ArrayRecord({**model([1.0, 2.0]), **record(r=np.float32([5.0]))})
    found = play(make_strategy(aggregation=aggregation), w_global, [[1.0, 0.0]] * 3)
    assert values(found) == {"w": [2.0, 2.0], BUFFER: [0.0], "r": [5.0]}


def failure_of(change):
    """Return what is said of client 2 in round 4, whose reply is changed in place or another."""
    strategy = make_strategy()
    replies = [reply_to(message, [1.0, 0.0]) for message in ask(strategy, model([3e38, 0.0]), 4)]
    replies[2] = change(replies[2]) or replies[2]
    with pytest.raises(ClientFailedError) as caught:
        strategy.aggregate_train(4, replies)
    start, _, reason = str(caught.value).partition(": ")
    assert start == "Client 2 failed in round 4"
    return reason


def failure(update):
    """Return what is said of client 2, whose update this is."""

    def change(reply):
        reply.content[UPDATE] = update

    return failure_of(change)


GOOD = encoded({"w": [1.0, 0.0]})["payload"].numpy().tobytes()


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_truncated_payload_fails_the_client_by_name(length):
    reason = failure(to_record(GOOD[:length]))
    if length < 18:  # Header and checksum.
        assert reason == f"its 'update' is {length} bytes, too few for an update"
    else:
        assert reason == "its 'update' does not match its checksum"


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_corrupt_payload_fails_the_client_by_name(where, flipped):
    damaged = bytearray(GOOD)
    damaged[where] ^= flipped
    assert failure(to_record(bytes(damaged))).startswith("its 'update' ")


def wire_encode(**tensors):
    whole = {key: np.ravel(np.float32(w)) for key, w in tensors.items()}
    sparse = {key: SparseTensor(None, w, np.shape(tensors[key])) for key, w in whole.items()}
    return to_record(wire.encode(sparse, Float32(), np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (to_record(GOOD + b"\0"), "its 'update' does not match its checksum"),
        (wire_encode(w=[1.0]), "its 'update' is of tensors of other names or shapes"),
        (wire_encode(w=[[1.0, 0.0]]), "its 'update' is of tensors of other names or shapes"),
        (wire_encode(v=[1.0, 0.0]), "its 'update' is of tensors of other names or shapes"),
        (wire_encode(w=[1.0, 0.0], v=[1.0]), "its 'update' has 2 tensors, not 1"),
        (wire_encode(), "its 'update' has 0 tensors, not 1"),
        (record(w=np.float32([1, 0])), "its 'update' has ['w'], not 'payload' alone"),
        (record(payload=np.float32([1, 0])), "its 'update' is float32[2], not bytes"),
    ],
)
def test_something_else_than_its_update_fails_the_client(update, reason):
    assert failure(update) == reason


def test_a_reply_that_lacks_a_record_fails_the_client():
    def without_update(reply):
        del reply.content[UPDATE]

    def with_metrics_as_update(reply):
        reply.content[UPDATE] = MetricRecord({"payload": 1})

    def without_arrays(reply):
        del reply.content[ARRAYS]

    def without_examples(reply):
        del reply.content[METRICS][NUM_EXAMPLES]

    assert failure_of(without_update) == "its reply has no 'update'"
    assert failure_of(with_metrics_as_update) == "its reply has no 'update'"
    assert failure_of(without_arrays) == "its reply has no 'arrays'"
    assert failure_of(without_examples) == "it reports None examples, but has 5"


@pytest.mark.filterwarnings("error")
def test_a_model_that_is_not_finite_fails_the_client():
    def beyond_float32(reply):
        reply.content[UPDATE] = encoded({"w": [3e38, 0.0]})

    def densely(reply):
        reply.content[UPDATE] = wire_encode(w=[3e38, 0.0])

    def nan_in_a_buffer(reply):
        reply.content[ARRAYS] = record(**{BUFFER: np.float32([np.nan])})

    assert failure_of(beyond_float32) == "its 'w' holds a number that is not finite"
    assert failure_of(densely) == "its 'w' holds a number that is not finite"
    assert failure_of(nan_in_a_buffer) == f"its {BUFFER!r} holds a number that is not finite"


def test_a_model_with_other_tensors_fails_the_client():
    def without_the_buffer(reply):
        reply.content[ARRAYS] = ArrayRecord()

    def with_one_more(reply):
        reply.content[ARRAYS]["v"] = Array(np.float32([1.0]))

    def twice(reply):
        """The tensor of the update is sent as it is, too."""
        reply.content[ARRAYS]["w"] = Array(np.float32([1.0, 2.0]))

    # What is not sent as it is must be in the update.
    assert failure_of(without_the_buffer) == "its 'update' has 1 tensors, not 2"
    assert failure_of(with_one_more) == "its model has 'v', which the global model has not"
    assert failure_of(twice) == "its 'update' has 1 tensors, not 0"


def test_a_client_that_raised_is_told_with_its_reason():
    def raising(reply):
        request = ask(make_strategy(), model([0.0, 0.0]))[2]
        return Message(Error(2, "ValueError: 'w' has a value that is not finite"), reply_to=request)

    assert failure_of(raising) == "ValueError: 'w' has a value that is not finite"


def test_a_client_may_be_left_out():
    strategy = make_strategy(on_client_failure="leave_out")
    updates = [[8.0, 0.0], to_record(GOOD[:-1]), [0.0, 8.0]]
    found = play(strategy, model([1.0, 1.0]), updates)
    np.testing.assert_allclose(found["w"].numpy(), [1 + 8 / 6, 1 + 40 / 6], rtol=1e-6)
    assert strategy.traffic.failed == {1: "its 'update' does not match its checksum"}
    # It did send something, though nothing that could be decoded.
    assert strategy.traffic.client_bytes_up[1] == strategy.traffic.client_bytes_up[0] - 1
    assert strategy.measures["density_up"] == 0.5


def test_updates_of_no_entries_have_no_density():
    aggregation = Aggregation(parameters=[])
    strategy = make_strategy(aggregation=aggregation)
    w_global = record(**{BUFFER: np.float32([0.0])})
    found = play(strategy, w_global, [wire_encode()] * 3, buffers=[8.0, 0.0, 16.0])
    assert values(found) == {BUFFER: [11.0]}
    assert strategy.measures["density_up"] is None
    assert strategy.measures["bound_up"] == 0
