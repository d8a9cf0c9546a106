import itertools

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message
from hypothesis import given
from hypothesis import strategies as st

from common.engine.inline import InlineGrid
from common.errors import ClientFailedError, UserInputError
from common.protocol import TrainInstruction, train_reply
from common.strategy.aggregate import Aggregation, WeightedMean
from common.strategy.cohort import sample_cohort
from common.strategy.fedavg import FedAvg
from common.strategy.reply import BadReplyError
from common.strategy.server_optimizer import FedAvgM

NUM_CLIENTS = 30
NODES = [int(node) for node in np.random.default_rng(0).permutation(10**6)[:NUM_CLIENTS]]
NUM_EXAMPLES = [5] * NUM_CLIENTS


def model(*w):
    return ArrayRecord({"w": Array(np.array(w, dtype=np.float64))})


def make_strategy(
    clients_per_round=10,
    num_epochs=20,
    stragglers_fraction=0.0,
    seed=0,
    nodes=NODES,
    num_examples=NUM_EXAMPLES,
    **options,
):
    return FedAvg(
        nodes,
        num_examples,
        clients_per_round=clients_per_round,
        num_epochs=num_epochs,
        stragglers_fraction=stragglers_fraction,
        seed=seed,
        **options,
    )


def ask(strategy, round_=1, w_global=None):
    """Return the messages of a round; the grid is not looked at."""
    w_global = model(0.0, 0.0) if w_global is None else w_global
    grid = InlineGrid(None, len(strategy.nodes), {})
    return list(strategy.configure_train(round_, w_global, ConfigRecord(), grid))


def client_of(message, nodes=NODES):
    return nodes.index(message.metadata.dst_node_id)


def test_every_client_of_the_cohort_is_asked_for_all_epochs():
    strategy = make_strategy()
    for round_ in (1, 2, 3):
        w_global = model(1.0, float(round_))
        messages = ask(strategy, round_, w_global)
        cohort = sample_cohort(0, round_, NUM_CLIENTS, 10, 0.0).clients.tolist()
        assert [client_of(message) for message in messages] == cohort
        assert strategy.traffic.clients == cohort
        assert strategy.traffic.stragglers == []
        for message in messages:
            assert message.metadata.message_type == "train"
            assert TrainInstruction.of(message) == TrainInstruction(round_, epochs=20, mu=0.0)
            assert message.content["arrays"]["w"].numpy().tolist() == [1.0, round_]


@pytest.mark.parametrize(("fraction", "asked"), [(0.5, 5), (0.9, 1)])
def test_stragglers_are_sent_nothing(fraction, asked):
    strategy = make_strategy(stragglers_fraction=fraction)
    for round_ in range(1, 20):
        clients = [client_of(message) for message in ask(strategy, round_)]
        cohort = sample_cohort(0, round_, NUM_CLIENTS, 10, fraction)
        assert len(clients) == asked
        assert clients == cohort.clients[~cohort.stragglers].tolist()
        assert strategy.traffic.stragglers == cohort.clients[cohort.stragglers].tolist()
        assert strategy.traffic.clients == cohort.clients.tolist()


def test_the_draw_is_that_of_the_seed():
    first, again, other = ([client_of(m) for m in ask(make_strategy(seed=s))] for s in (1, 1, 2))
    assert first == again != other


def examples_of(clients, counts):
    """Return the n_k of all clients, given those of some."""
    num_examples = list(NUM_EXAMPLES)
    for client, n_k in zip(clients, counts, strict=True):
        num_examples[client] = n_k
    return num_examples


def test_averages_by_examples():
    cohort = sample_cohort(0, 1, NUM_CLIENTS, 3, 0.0).clients
    strategy = make_strategy(clients_per_round=3, num_examples=examples_of(cohort, [1, 2, 5]))
    messages = ask(strategy)
    replies = [
        train_reply(message, model(*w), n)
        for message, w, n in zip(messages, [(1, 0), (2, 0), (4, 8)], [1, 2, 5], strict=True)
    ]
    mean, metrics = strategy.aggregate_train(1, replies)
    assert mean["w"].numpy().tolist() == [25 / 8, 5.0]
    assert metrics is None


def test_without_any_examples_the_model_stays():
    strategy = make_strategy(clients_per_round=2, num_examples=[0] * NUM_CLIENTS)
    messages = ask(strategy, w_global=model(7, 8))
    mean, _ = strategy.aggregate_train(1, [train_reply(m, model(1, 2), 0) for m in messages])
    assert mean["w"].numpy().tolist() == [7, 8]


@pytest.mark.parametrize("policy", ["end", "leave_out"])
def test_a_client_without_examples_has_no_weight_and_is_no_failure(policy):
    cohort = sample_cohort(0, 1, NUM_CLIENTS, 3, 0.0).clients
    counts = [4, 0, 12]
    strategy = make_strategy(
        clients_per_round=3, num_examples=examples_of(cohort, counts), on_client_failure=policy
    )
    replies = [
        train_reply(message, model(*w), n_k)
        for message, w, n_k in zip(ask(strategy), [(1, 0), (50, 50), (5, 8)], counts, strict=True)
    ]
    mean, _ = strategy.aggregate_train(1, replies)
    assert mean["w"].numpy().tolist() == [4, 6]
    assert strategy.traffic.failed == {}


def replies_of(strategy, rng):
    """Return replies whose sum depends on its order: large values that cancel, and small ones."""
    replies = []
    for message in ask(strategy, w_global=model(*np.zeros(50))):
        w = rng.standard_normal(50) * 10.0 ** rng.integers(-8, 9, 50)
        n_k = strategy.num_examples[client_of(message, strategy.nodes)]
        replies.append(train_reply(message, model(*w), n_k))
    return replies


@given(st.permutations(range(8)), st.permutations(NODES), st.integers(0, 1000))
def test_the_order_of_arrival_and_the_node_ids_change_no_bit(arrival, nodes, seed):
    counts = np.random.default_rng(seed).integers(1, 500, NUM_CLIENTS).tolist()

    def mean(nodes, arrival):
        strategy = make_strategy(clients_per_round=8, nodes=list(nodes), num_examples=counts)
        replies = replies_of(strategy, np.random.default_rng(seed))
        aggregated, _ = strategy.aggregate_train(1, [replies[i] for i in arrival])
        return aggregated["w"].numpy()

    expected = mean(range(1, NUM_CLIENTS + 1), range(8))
    np.testing.assert_array_equal(mean(nodes, arrival), expected)


def test_the_order_of_a_sum_would_matter_to_the_test_above():
    strategy = make_strategy(clients_per_round=8)
    replies = replies_of(strategy, np.random.default_rng(0))
    values = [reply.content["arrays"]["w"].numpy() for reply in replies]
    assert (sum(values) != sum(reversed(values))).any()


def failing(message, reason="ValueError: no such file\nTraceback ..."):
    return Message(Error(2, reason), reply_to=message)


def test_a_client_that_raised_ends_the_run_with_its_number_and_reason():
    strategy = make_strategy(clients_per_round=4)
    messages = ask(strategy, round_=3)
    replies = [train_reply(message, model(1, 2), 5) for message in messages]
    replies[2] = failing(messages[2])
    with pytest.raises(ClientFailedError) as caught:
        strategy.aggregate_train(3, replies)
    client = client_of(messages[2])
    assert str(caught.value).startswith(f"Client {client} failed in round 3: ValueError: no such")


def test_of_several_that_raised_the_first_client_is_named_whatever_the_order():
    strategy = make_strategy(clients_per_round=4)
    messages = ask(strategy)
    replies = [failing(message, f"reason {client_of(message)}") for message in messages]
    first = client_of(messages[0])
    with pytest.raises(ClientFailedError, match=f"Client {first} .*reason {first}$"):
        strategy.aggregate_train(1, reversed(replies))


def test_a_client_that_did_not_reply_ends_the_run():
    strategy = make_strategy(clients_per_round=4)
    messages = ask(strategy)
    first, second = (client_of(message) for message in messages[:2])
    replies = [train_reply(message, model(1, 2), 5) for message in messages]
    with pytest.raises(ClientFailedError) as caught:
        strategy.aggregate_train(1, replies[:1] + replies[2:])
    assert str(caught.value) == f"Client {second} failed in round 1: it did not reply"
    with pytest.raises(ClientFailedError, match=f"^Client {first} failed in round 1: it did not"):
        strategy.aggregate_train(1, [])


def test_nobody_is_averaged_twice_or_unasked():
    strategy = make_strategy(clients_per_round=2)
    messages = ask(strategy)
    replies = [
        train_reply(m, model(w, 0), NUM_EXAMPLES[client_of(m)])
        for m, w in zip(messages, (1, 3), strict=True)
    ]
    expected, _ = strategy.aggregate_train(1, replies)
    ask(strategy)
    stranger = next(
        node for node in NODES if node not in {m.metadata.dst_node_id for m in messages}
    )
    unasked = Message(messages[0].content, stranger, "train")
    unasked = train_reply(unasked, model(9, 9), NUM_EXAMPLES[NODES.index(stranger)])
    found, _ = strategy.aggregate_train(
        1, [replies[0], unasked, replies[1], replies[1], replies[0]]
    )
    assert found["w"].numpy().tolist() == expected["w"].numpy().tolist()


def test_who_says_what_went_wrong_is_named_rather_than_who_did_not_reply():
    strategy = make_strategy(clients_per_round=4)
    messages = ask(strategy)
    last = client_of(messages[3])
    with pytest.raises(ClientFailedError, match=f"^Client {last} failed .*no such file"):
        strategy.aggregate_train(1, [failing(messages[3])])


BAD_MODELS = {
    "its model lacks 'w'": ArrayRecord(),
    "its 'w' is float64[3], not float64[2]": model(1, 2, 3),
    "its 'w' holds a number that is not finite": model(1, np.nan),
}


@pytest.mark.parametrize("reason", BAD_MODELS)
def test_a_model_that_cannot_be_averaged_ends_the_run(reason):
    strategy = make_strategy(clients_per_round=4)
    messages = ask(strategy, round_=2)
    replies = [train_reply(message, model(1, 2), 5) for message in messages]
    replies[1] = train_reply(messages[1], BAD_MODELS[reason], 5)
    with pytest.raises(ClientFailedError) as caught:
        strategy.aggregate_train(2, replies)
    assert str(caught.value) == f"Client {client_of(messages[1])} failed in round 2: {reason}"


def test_a_client_that_lies_about_its_examples_ends_the_run():
    strategy = make_strategy(clients_per_round=4)
    replies = [train_reply(message, model(1, 2), 10**6) for message in ask(strategy)]
    with pytest.raises(ClientFailedError, match=r"reports 1000000 examples, but has 5$"):
        strategy.aggregate_train(1, replies)


def leave_out(bad, seed=0, arrival=None, num_clients=6):
    """Aggregate replies, some of them bad; return the strategy and the mean."""
    strategy = make_strategy(num_clients, seed=seed, on_client_failure="leave_out")
    replies = replies_of(strategy, np.random.default_rng(seed))
    sent = [
        bad[place](strategy, reply) if place in bad else reply
        for place, reply in enumerate(replies)
    ]
    arrived = [sent[place] for place in arrival or range(num_clients) if sent[place] is not None]
    mean, _ = strategy.aggregate_train(1, arrived)
    return strategy, mean["w"].numpy()


def raise_(strategy, reply):
    message = ask(strategy, w_global=model(*np.zeros(50)))[0]
    message.metadata.dst_node_id = reply.metadata.src_node_id
    return failing(message)


def vanish(strategy, reply):
    return None


def diverge(strategy, reply):
    reply.content["arrays"] = model(*np.full(50, np.inf))
    return reply


@given(
    st.dictionaries(
        st.integers(0, 5), st.sampled_from([raise_, vanish, diverge]), min_size=1, max_size=5
    ),
    st.permutations(range(6)),
    st.integers(0, 1000),
)
def test_a_mean_without_some_is_that_of_the_others_to_the_bit(bad, arrival, seed):
    strategy, found = leave_out(bad, seed, arrival)
    clients = strategy.traffic.clients
    assert sorted(strategy.traffic.failed) == sorted(clients[place] for place in bad)
    expected = WeightedMean(model(*np.zeros(50)))
    for place, reply in enumerate(replies_of(strategy, np.random.default_rng(seed))):
        if place not in bad:
            expected.add(reply.content["arrays"], 5)
    np.testing.assert_array_equal(found, expected.result()["w"].numpy())


def test_who_was_left_out_and_why_is_told_in_one_line():
    strategy, _ = leave_out({1: raise_, 2: vanish, 4: diverge})
    clients = strategy.traffic.clients
    assert strategy.traffic.failed == {
        clients[1]: "ValueError: no such file",
        clients[2]: "it did not reply",
        clients[4]: "its 'w' holds a number that is not finite",
    }


def test_a_long_reason_is_cut():
    strategy = make_strategy(clients_per_round=2, on_client_failure="leave_out")
    messages = ask(strategy)
    replies = [failing(messages[0], "x" * 10**6), train_reply(messages[1], model(1, 2), 5)]
    strategy.aggregate_train(1, replies)
    assert strategy.traffic.failed == {client_of(messages[0]): "x" * 200}


def test_who_failed_is_forgotten_in_the_next_round():
    strategy, _ = leave_out({0: vanish})
    play(strategy)
    assert strategy.traffic.failed == {}


def test_a_round_in_which_everybody_fails_ends_the_run_all_the_same():
    strategy = make_strategy(clients_per_round=3, on_client_failure="leave_out")
    messages = ask(strategy, round_=4)
    replies = [failing(message, f"reason {client_of(message)}\nmore") for message in messages]
    first = client_of(messages[0])
    with pytest.raises(ClientFailedError) as caught:
        strategy.aggregate_train(4, reversed(replies))
    assert str(caught.value) == (
        f"All clients of round 4 failed, client {first} because: reason {first}"
    )


def test_what_a_failed_client_sent_counts_as_received():
    strategy = make_strategy(clients_per_round=4, on_client_failure="leave_out")
    messages = ask(strategy)
    replies = [train_reply(message, model(1, 2), 5) for message in messages]
    replies[0] = train_reply(messages[0], model(1, 2, 3), 5)
    replies[1] = failing(messages[1])
    strategy.aggregate_train(1, replies[:3])
    assert strategy.traffic.bytes_up == weight(replies[0].content) + weight(replies[2].content)
    assert strategy.traffic.bytes_down == sum(weight(message.content) for message in messages)


def test_a_reply_is_added_as_soon_as_those_before_it_are_there():
    """The server works while later clients still train."""
    strategy = make_strategy(clients_per_round=4)
    added = []

    def replies():
        messages = ask(strategy)
        size = weight(train_reply(messages[0], model(1, 2), 5).content)
        for place in (1, 0, 3, 2):
            added.append(strategy.traffic.bytes_up // size)
            yield train_reply(messages[place], model(1, 2), 5)

    arriving = replies()
    first = next(arriving)
    strategy.aggregate_train(1, itertools.chain([first], arriving))
    assert added == [0, 0, 2, 2]


def test_nothing_but_the_model_goes_from_round_to_round():
    strategy = make_strategy()
    play(strategy)
    assert not strategy.state()
    other = make_strategy()
    other.restore(strategy.state())
    assert [client_of(m) for m in ask(other, 2)] == [client_of(m) for m in ask(strategy, 2)]


def test_a_dropped_straggler_is_not_missed():
    strategy = make_strategy(clients_per_round=10, stragglers_fraction=0.9)
    replies = [train_reply(message, model(1, 2), 5) for message in ask(strategy)]
    mean, _ = strategy.aggregate_train(1, replies)
    assert mean["w"].numpy().tolist() == [1, 2]


def weight(content):
    return sum(record.count_bytes() for record in content.values())


def play(strategy):
    messages = ask(strategy)
    replies = [train_reply(message, model(1.0, 2.0), 5) for message in messages]
    strategy.aggregate_train(1, replies)
    return messages, replies


def test_the_bytes_are_those_of_what_was_sent_and_received():
    strategy = make_strategy(clients_per_round=6)
    messages, replies = play(strategy)
    assert strategy.traffic.bytes_down == sum(weight(message.content) for message in messages)
    assert strategy.traffic.bytes_up == sum(weight(reply.content) for reply in replies)
    # Both hold two weights of 8 bytes; more goes down beside them.
    assert strategy.traffic.bytes_down > strategy.traffic.bytes_up > 6 * 2 * 8


def test_the_bytes_of_each_client_are_its_own_whoever_is_first():
    """A client with a longer list of metrics sends more; one that fails or is dropped, less."""
    strategy = make_strategy(
        clients_per_round=6, stragglers_fraction=1 / 3, on_client_failure="leave_out"
    )
    messages = ask(strategy)
    replies = [
        train_reply(message, model(1, 2), 5, {"x" * place: 1.0 for place in range(1, 1 + count)})
        for count, message in enumerate(messages)
    ]
    replies[1] = failing(messages[1])
    strategy.aggregate_train(1, [replies[i] for i in (3, 1, 0)])
    asked = [client_of(message) for message in messages]
    traffic = strategy.traffic
    up = dict(zip(traffic.clients, traffic.client_bytes_up, strict=True))
    down = dict(zip(traffic.clients, traffic.client_bytes_down, strict=True))
    assert len(asked) == 4
    for client in traffic.stragglers:
        assert (up[client], down[client]) == (0, 0)
    assert [up[client] for client in asked] == [
        *(weight(replies[0].content), 0, 0, weight(replies[3].content))
    ]
    assert [down[client] for client in asked] == [weight(message.content) for message in messages]
    assert (traffic.bytes_up, traffic.bytes_down) == (sum(up.values()), sum(down.values()))
    assert up[asked[3]] > up[asked[0]] > 0


def test_measures_of_the_traffic_are_of_the_whole_round():
    seen = []

    def measure(traffic):
        seen.append((traffic.bytes_up, list(traffic.client_bytes_down)))
        return {"seconds_mobile": 2.5}

    strategy = make_strategy(clients_per_round=3, measure_traffic=measure, measure_drift=True)
    play(strategy)
    assert seen == [(strategy.traffic.bytes_up, strategy.traffic.client_bytes_down)]
    assert strategy.measures["seconds_mobile"] == 2.5
    assert "drift" in strategy.measures


def test_a_model_may_be_read_in_another_way():
    """What is read is what is averaged and measured."""

    class Doubled(FedAvg):
        def read_model(self, reply, w_global, n_k):
            (w,) = w_global["w"].numpy().tolist()
            if n_k == 2:
                raise BadReplyError("it is the second")
            return model(w + 2 * reply.content["arrays"]["w"].numpy()[0])

    strategy = Doubled(
        NODES[:3],
        [1, 2, 3],
        clients_per_round=3,
        num_epochs=1,
        stragglers_fraction=0.0,
        seed=0,
        on_client_failure="leave_out",
        measure_drift=True,
    )
    replies = [
        train_reply(message, model(4.0), n_k)
        for n_k, message in enumerate(ask(strategy, w_global=model(10.0)), start=1)
    ]
    mean, _ = strategy.aggregate_train(1, replies)
    assert mean["w"].numpy().tolist() == [18]
    assert strategy.measures["drift"] == 8
    assert strategy.traffic.failed == {1: "it is the second"}


def test_the_bytes_are_proportional_to_those_who_take_part():
    def traffic(fraction):
        strategy = make_strategy(clients_per_round=10, stragglers_fraction=fraction)
        play(strategy)
        return strategy.traffic.bytes_down, strategy.traffic.bytes_up

    down, up = traffic(0.9)
    assert min(down, up) > 0
    assert traffic(0.5) == (5 * down, 5 * up)
    assert traffic(0.0) == (10 * down, 10 * up)


def test_the_bytes_are_counted_anew_each_round():
    strategy = make_strategy()
    play(strategy)
    first = strategy.traffic
    play(strategy)
    assert strategy.traffic == first


def test_a_fraction_that_drops_everybody_is_refused():
    with pytest.raises(UserInputError, match=r"stragglers_fraction=1\.0"):
        make_strategy(stragglers_fraction=1.0)
    with pytest.raises(UserInputError, match=r"stragglers_fraction=0\.8"):
        make_strategy(clients_per_round=2, stragglers_fraction=0.8)


def test_one_epoch_with_stragglers_is_nothing_to_refuse():
    assert len(ask(make_strategy(num_epochs=1, stragglers_fraction=0.5))) == 5


def test_clients_evaluate_nothing():
    strategy = make_strategy()
    grid = InlineGrid(None, NUM_CLIENTS, {})
    assert list(strategy.configure_evaluate(1, model(0.0), ConfigRecord(), grid)) == []
    assert strategy.aggregate_evaluate(1, []) is None


def test_the_training_loss_changes_nothing():
    strategy = make_strategy()
    for loss in (1.0, 2.0, 3.0):
        strategy.observe_train_loss(loss)
    assert strategy.mu == 0.0


def measured(counts, models, metrics=None, policy="end", **options):
    """Aggregate a round of three clients; return the strategy and the next model's weights."""
    cohort = sample_cohort(0, 1, NUM_CLIENTS, 3, 0.0).clients
    strategy = make_strategy(
        clients_per_round=3,
        num_examples=examples_of(cohort, counts),
        on_client_failure=policy,
        **options,
    )
    replies = [
        train_reply(message, model(*w), n_k, {"test-accuracy": accuracy, "loss": 1.0})
        for message, w, n_k, accuracy in zip(
            ask(strategy), models, counts, metrics or [0.5, 0.25, 1.0], strict=True
        )
    ]
    mean, _ = strategy.aggregate_train(1, replies)
    return strategy, mean["w"].numpy().tolist()


MODELS = [(3, 4), (6, 8), (0, 20)]


def test_nothing_is_measured_unless_asked_for():
    strategy, _ = measured([1, 2, 5], MODELS)
    assert strategy.measures == {}


def test_the_mean_may_be_uniform():
    aggregation = Aggregation(weighting="uniform")
    assert measured([1, 2, 5], [(1, 2), (3, 4), (8, 3)], aggregation=aggregation)[1] == [4, 3]
    assert measured([1, 0, 5], [(1, 2), (3, 4), (8, 4)], aggregation=aggregation)[1] == [4.5, 3]


def test_the_measures_are_those_of_the_clients_in_the_mean():
    """From (0, 0): the drift is unweighted; that of the mean is not."""
    strategy, mean = measured(
        [1, 1, 2], MODELS, measure_drift=True, client_metrics=["test-accuracy"]
    )
    assert mean == [2.25, 13]
    assert strategy.measures == {
        "drift": pytest.approx(35 / 3),
        "drift_relative": None,
        "update_cosine": pytest.approx((1 + 0.8 + 0.8) / 3),
        "update_norm": pytest.approx(np.hypot(2.25, 13)),
        "client_test_accuracy": pytest.approx(1.75 / 3),
        "worst_client_test_accuracy": 0.25,
    }


def test_divergence_is_before_any_weighting():
    """From the mean (3, 4) of what counts: the client without examples is nowhere."""
    strategy, mean = measured([1, 0, 3], [(6, 8), (9, 9), (0, 0)], measure_divergence=True)
    assert mean == [1.5, 2]
    assert strategy.measures == {
        "divergence": 5,
        "divergence_relative": None,
        "divergence_to_update": 1,
    }


def test_what_is_broadcast_only_stays_and_is_nowhere_measured():
    """Clients go from w = (0, 0) and r = 100s to (3, 4) and (6, 8), and do not send r."""
    aggregation = Aggregation(broadcast_only=["r"])
    strategy = make_strategy(
        clients_per_round=2, aggregation=aggregation, measure_drift=True, measure_divergence=True
    )
    frozen = model(*[100.0] * 50)["w"]
    messages = ask(strategy, w_global=ArrayRecord({"w": model(0, 0)["w"], "r": frozen}))
    replies = [
        train_reply(message, model(*w), 5) for message, w in zip(messages, MODELS[:2], strict=True)
    ]
    mean, _ = strategy.aggregate_train(1, replies)
    assert list(mean) == ["w", "r"]
    assert mean["w"].numpy().tolist() == [4.5, 6]
    assert mean["r"] == frozen
    assert strategy.measures["drift"] == 7.5
    assert strategy.measures["drift_relative"] is None
    assert strategy.measures["divergence"] == 2.5
    assert strategy.measures["divergence_relative"] is None
    assert strategy.traffic.bytes_down - strategy.traffic.bytes_up > 2 * 50 * 8


def test_a_client_that_sends_what_is_broadcast_only_fails():
    aggregation = Aggregation(broadcast_only=["r"])
    strategy = make_strategy(clients_per_round=2, aggregation=aggregation)
    w_global = ArrayRecord({"w": model(0, 0)["w"], "r": model(1)["w"]})
    messages = ask(strategy, w_global=w_global)
    with pytest.raises(ClientFailedError, match="its model has 'r', which only the server sends"):
        strategy.aggregate_train(1, [train_reply(message, w_global, 5) for message in messages])


def test_a_client_without_examples_is_not_measured():
    strategy, _ = measured([1, 0, 1], MODELS, measure_drift=True, client_metrics=["test-accuracy"])
    assert strategy.measures["drift"] == pytest.approx(12.5)
    assert strategy.measures["worst_client_test_accuracy"] == 0.5


def test_a_client_with_a_bad_metric_is_neither_averaged_nor_measured():
    strategy, mean = measured(
        [1, 1, 1],
        MODELS,
        metrics=[0.5, np.nan, 1.0],
        policy="leave_out",
        measure_drift=True,
        client_metrics=["test-accuracy"],
    )
    bad = strategy.traffic.clients[1]
    reason = "its 'test-accuracy' is nan, which is not a finite number"
    assert strategy.traffic.failed == {bad: reason}
    assert mean == [1.5, 12]
    assert strategy.measures["drift"] == pytest.approx(12.5)
    assert strategy.measures["client_test_accuracy"] == 0.75


def test_a_client_that_lacks_a_metric_ends_the_run():
    with pytest.raises(
        ClientFailedError, match=r"^Client \d+ failed in round 1: it reports no 'x'$"
    ):
        measured([1, 1, 1], MODELS, client_metrics=["x"])


def test_the_measures_are_those_of_the_last_round():
    strategy = make_strategy(clients_per_round=2, measure_drift=True)
    play(strategy)
    first = strategy.measures
    messages = ask(strategy)
    strategy.aggregate_train(1, [train_reply(message, model(3.0, 4.0), 5) for message in messages])
    assert strategy.measures["drift"] == 5 != first["drift"]


def make_momentum():
    """m = 0.5 m + Delta, and w = w + m."""
    momentum = FedAvgM({"w": np.zeros(2)}, server_learning_rate=1.0, beta_1=0.5)
    return make_strategy(clients_per_round=2, aggregation=Aggregation(server_optimizer=momentum))


def play_momentum(strategy, rounds, w):
    """Clients move every weight by 1; the mean update of a round is 1."""
    for round_ in rounds:
        messages = ask(strategy, round_, w)
        replies = [train_reply(message, model(*(w["w"].numpy() + 1)), 5) for message in messages]
        w, _ = strategy.aggregate_train(round_, replies)
    return w


def test_a_server_optimizer_remembers_from_round_to_round():
    w = play_momentum(make_momentum(), range(1, 4), model(0, 0))
    assert w["w"].numpy().tolist() == [1 + 1.5 + 1.75] * 2


def test_what_a_server_optimizer_remembers_is_in_the_state():
    strategy, restored = make_momentum(), make_momentum()
    w = play_momentum(strategy, range(1, 3), model(0, 0))
    state = strategy.state()
    expected = play_momentum(strategy, [3], w)
    restored.restore(state)
    assert play_momentum(restored, [3], w)["w"].data == expected["w"].data
    assert restored.state() == strategy.state() != state


def test_a_server_optimizer_cannot_do_without_its_state():
    with pytest.raises(KeyError):
        make_momentum().restore(make_strategy().state())
