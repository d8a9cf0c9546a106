import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from new_baseline.strategy import make_strategy

from common.protocol import TrainInstruction, train_reply

NODES = [7, 8]
NUM_EXAMPLES = [10, 30]


def model(w):
    return ArrayRecord({"w": Array(np.array([w], dtype=np.float32))})


def ask(strategy, w_global):
    """Return the messages of the first round, one a client; the grid is not looked at."""
    return list(strategy.configure_train(1, model(w_global), ConfigRecord(), None))


@pytest.fixture
def strategy(make_config, server_process):
    config = make_config(num_clients=2, clients_per_round=2, num_epochs=3)
    return make_strategy(config, NODES, NUM_EXAMPLES)


def test_every_client_is_asked_for_all_epochs(strategy):
    messages = ask(strategy, 0.5)
    assert [message.metadata.dst_node_id for message in messages] == NODES
    assert {TrainInstruction.of(message) for message in messages} == {TrainInstruction(1, 3, 0.0)}


def test_the_next_model_is_the_mean_of_the_clients_by_examples(strategy):
    """By hand: (10 * 1.5 + 30 * 3.5) / 40 = 3."""
    replies = [
        train_reply(message, model(w), n_k)
        for message, w, n_k in zip(ask(strategy, 0.5), [1.5, 3.5], NUM_EXAMPLES, strict=True)
    ]
    w, _ = strategy.aggregate_train(1, replies)
    assert w["w"].numpy() == pytest.approx([3.0])
