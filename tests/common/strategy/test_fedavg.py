import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message
from hypothesis import given
from hypothesis import strategies as st

from common.engine.inline import InlineGrid
from common.errors import ClientFailedError, UserInputError
from common.protocol import TrainInstruction, train_reply
from common.strategy.cohort import sample_cohort
from common.strategy.fedavg import FedAvg

NUM_CLIENTS = 30
NODES = [int(node) for node in np.random.default_rng(0).permutation(10**6)[:NUM_CLIENTS]]


def model(*w):
    return ArrayRecord({"w": Array(np.array(w, dtype=np.float64))})


def make_strategy(
    clients_per_round=10, num_epochs=20, stragglers_fraction=0.0, seed=0, nodes=NODES
):
    return FedAvg(nodes, clients_per_round, num_epochs, stragglers_fraction, seed)


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


def test_averages_by_examples():
    strategy = make_strategy(clients_per_round=3)
    messages = ask(strategy)
    replies = [
        train_reply(message, model(*w), n)
        for message, w, n in zip(messages, [(1, 0), (2, 0), (4, 8)], [1, 2, 5], strict=True)
    ]
    mean, metrics = strategy.aggregate_train(1, replies)
    assert mean["w"].numpy().tolist() == [25 / 8, 5.0]
    assert metrics is None


def test_without_any_examples_the_model_stays():
    strategy = make_strategy(clients_per_round=2)
    messages = ask(strategy, w_global=model(7, 8))
    mean, _ = strategy.aggregate_train(1, [train_reply(m, model(1, 2), 0) for m in messages])
    assert mean["w"].numpy().tolist() == [7, 8]


def replies_of(strategy, rng):
    """Return replies whose sum depends on its order: large values that cancel, and small ones."""
    replies = []
    for message in ask(strategy, w_global=model(*np.zeros(50))):
        w = rng.standard_normal(50) * 10.0 ** rng.integers(-8, 9, 50)
        replies.append(train_reply(message, model(*w), int(rng.integers(1, 500))))
    return replies


@given(st.permutations(range(8)), st.permutations(NODES), st.integers(0, 1000))
def test_the_order_of_arrival_and_the_node_ids_change_no_bit(arrival, nodes, seed):
    def mean(nodes, arrival):
        strategy = make_strategy(clients_per_round=8, nodes=list(nodes))
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
    replies = [train_reply(message, model(1, 2), 5) for message in ask(strategy)]
    with pytest.raises(ClientFailedError, match="1 of 4 clients did not reply in round 1"):
        strategy.aggregate_train(1, replies[1:])
    with pytest.raises(ClientFailedError, match="4 of 4"):
        strategy.aggregate_train(1, [])


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
