import numpy as np
import pytest
import torch
from fedprox.client_app import app
from fedprox.dataset import load_dataset
from fedprox.model import make_model
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import nn

from common.engine.flower import become_server
from common.engine.grid import node_id
from common.engine.inline import InlineGrid
from common.protocol import METRICS, NUM_EXAMPLES, TrainInstruction
from common.randomness import Purpose, generator

CNN = {"model": "cnn", "dataset": "mnist", "partition": "iid"}


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


def initial_model(config):
    data = load_dataset(config)
    return make_model(config, data.num_features, data.num_classes)


def ask(config, clients, w_global=None, round_=1, epochs=2, mu=1.0):
    """Let clients train, in this order; return their weights and example counts."""
    w_global = w_global or ArrayRecord(initial_model(config).state_dict())
    content = TrainInstruction(round_, epochs, mu).to_content(w_global)
    messages = [Message(content, node_id(client), "train") for client in clients]
    grid = InlineGrid(app, config.num_clients, config.to_run_config())
    replies = list(grid.send_and_receive(messages))
    assert not any(reply.has_error() for reply in replies), replies[0].error.reason
    weights = [
        {name: array.numpy() for name, array in reply.content["arrays"].items()}
        for reply in replies
    ]
    return weights, [reply.content.metric_records[METRICS][NUM_EXAMPLES] for reply in replies]


def reference(config, client, round_, epochs, mu):
    """Train with autograd on a loss that has the proximal term, in the documented order."""
    model = initial_model(config)
    x, y = map(torch.tensor, load_dataset(config).client(client))
    start = [parameter.detach().clone() for parameter in model.parameters()]
    rng = generator(config.seed, Purpose.BATCH_ORDER, round_, client)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate)
    orders = rng.permuted(np.tile(np.arange(len(y)), (epochs, 1)), axis=1)
    for order in torch.tensor(orders):
        for batch in order.split(config.batch_size):
            squares = [(w - w0).square().sum() for w, w0 in zip(model.parameters(), start)]  # noqa: B905
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            (loss + mu / 2 * torch.stack(squares).sum()).backward()
            optimizer.step()
    return {name: value.numpy() for name, value in model.state_dict().items()}


def distance(found, expected):
    found, expected = (np.concatenate([w.ravel() for w in v.values()]) for v in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, w in expected.items():
        np.testing.assert_array_equal(found[name], w)


@pytest.mark.parametrize("mu", [0.0, 1.0])
@pytest.mark.parametrize("keys", [{}, CNN], ids=["logistic", "cnn"])
def test_a_client_minimises_the_proximal_objective(make_config, tiny_mnist, keys, mu):
    config = make_config(**keys)
    (found,), (count,) = ask(config, [1], round_=4, epochs=3, mu=mu)
    assert count == len(load_dataset(config).client(1)[1])
    expected = reference(config, 1, round_=4, epochs=3, mu=mu)
    assert distance(found, expected) < 3e-6
    start = {name: value.numpy() for name, value in initial_model(config).state_dict().items()}
    assert distance(expected, start) > 1e-3


@pytest.mark.parametrize("keys", [{}, CNN], ids=["logistic", "cnn"])
def test_one_client_leaves_nothing_behind_for_the_next(make_config, tiny_mnist, keys):
    config = make_config(**keys)
    together, counts = ask(config, [0, 3, 1])
    reversed_, _ = ask(config, [1, 3, 0])
    for i, client in enumerate([0, 3, 1]):
        (alone,), (count,) = ask(config, [client])
        assert_same_bits(together[i], alone)
        assert_same_bits(reversed_[2 - i], alone)
        assert counts[i] == count


@pytest.mark.parametrize(
    "changes", [{"round_": 2}, {"epochs": 3}, {"mu": 0.5}], ids=["round", "epochs", "mu"]
)
def test_does_what_the_instruction_says(make_config, changes):
    config = make_config()
    (first,), _ = ask(config, [0])
    (again,), _ = ask(config, [0])
    (other,), _ = ask(config, [0], **changes)
    assert_same_bits(again, first)
    assert not np.array_equal(other["weight"], first["weight"])


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.02}, {"batch_size": 20}], ids=["learning_rate", "batch_size"]
)
def test_does_what_the_configuration_says(make_config, changes):
    (first,), _ = ask(make_config(), [0])
    (other,), _ = ask(make_config(**changes), [0])
    assert not np.array_equal(other["weight"], first["weight"])


def test_trains_from_the_weights_it_was_sent(make_config):
    config = make_config()
    zeros = {name: torch.zeros_like(w) for name, w in initial_model(config).state_dict().items()}
    (from_zeros,), _ = ask(config, [0], ArrayRecord(zeros), epochs=1)
    (from_start,), _ = ask(config, [0], epochs=1)
    assert not np.allclose(from_zeros["weight"], from_start["weight"], atol=1e-3)
    (unchanged,), _ = ask(config, [0], ArrayRecord(zeros), epochs=0)
    assert not unchanged["weight"].any()


def test_counts_are_those_of_the_partition(make_config):
    config = make_config()
    _, counts = ask(config, range(6), epochs=1)
    assert counts == load_dataset(config).partition.sizes.tolist()
    assert len(set(counts)) > 1


def test_says_which_partition_it_holds(make_config):
    config = make_config()
    grid = InlineGrid(app, 6, config.to_run_config())
    messages = [Message(RecordDict(), node, "query") for node in grid.nodes]
    replies = grid.send_and_receive(messages)
    found = [reply.content["identity"]["partition-id"] for reply in replies]
    assert found == list(range(6))
