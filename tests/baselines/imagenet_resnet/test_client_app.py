from functools import cache

import numpy as np
import pytest
import tiny_imagenette
import torch
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from imagenet_resnet import client_app
from imagenet_resnet.client_app import app
from imagenet_resnet.dataset import load_dataset
from imagenet_resnet.model import make_model
from torch import nn

from common.engine.flower import become_server
from common.engine.grid import node_id
from common.engine.inline import InlineGrid
from common.experiment.evaluation import evaluate_top_k
from common.images import IMAGENET_COLOURS, crop_and_flip, normalise
from common.protocol import METRICS, NUM_EXAMPLES, TrainInstruction
from common.randomness import Purpose, generator

CPU = torch.device("cpu")
# With BatchNorm in what is trained, and without.
ALL = {"weights": tiny_imagenette.TRUNK, "num_stages": 3}
HEAD = ALL | {"trainable": "head"}


NOT_ABOUT_THE_START = {"learning_rate": 1.0, "batch_size": 1, "momentum": 0.0}


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


@cache
def initial_arrays(config):
    """Return the initial model of a configuration."""
    return ArrayRecord(make_model(config, 10).tail.state_dict())


def ask(config, clients, round_=1, epochs=1, mu=0.0):
    """Let clients train, in this order; return their weights and what they report."""
    w_global = initial_arrays(config.model_copy(update=NOT_ABOUT_THE_START))
    content = TrainInstruction(round_, epochs, mu).to_content(w_global)
    messages = [Message(content, node_id(client), "train") for client in clients]
    grid = InlineGrid(app, config.num_clients, config.to_run_config())
    replies = list(grid.send_and_receive(messages))
    assert not any(reply.has_error() for reply in replies), replies[0].error.reason
    weights = [
        {name: array.numpy() for name, array in reply.content["arrays"].items()}
        for reply in replies
    ]
    return weights, [dict(reply.content.metric_records[METRICS]) for reply in replies]


def reference(config, client, round_, epochs, mu):
    """Train with torch's SGD on a loss that has the proximal term, in the documented order."""
    tail = make_model(config, 10).tail.train()
    inputs, y = load_dataset(config).client(client, CPU, np.random.default_rng())
    x, y = inputs.take(torch.arange(len(y))), torch.tensor(y)
    parameters = list(tail.parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.SGD(parameters, lr=config.learning_rate, momentum=config.momentum)
    rng = generator(config.seed, Purpose.BATCH_ORDER, round_, client)
    orders = rng.permuted(np.tile(np.arange(len(y)), (epochs, 1)), axis=1)
    for order in torch.tensor(orders):
        for batch in order.split(config.batch_size):
            squares = [(w - w0).square().sum() for w, w0 in zip(parameters, start, strict=True)]
            loss = nn.functional.cross_entropy(tail(x[batch]), y[batch])
            optimizer.zero_grad()
            (loss + mu / 2 * torch.stack(squares).sum()).backward()
            optimizer.step()
    return {name: value.numpy() for name, value in tail.state_dict().items()}


def distance(found, expected):
    found, expected = (np.concatenate([w.ravel() for w in v.values()]) for v in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, w in expected.items():
        np.testing.assert_array_equal(found[name], w)


@pytest.mark.parametrize("keys", [HEAD, ALL], ids=["head", "all"])
def test_a_client_minimises_the_proximal_objective_with_momentum(make_config, keys):
    config = make_config(**keys, learning_rate=0.002)
    n_k = load_dataset(config).partition.sizes[1]
    assert n_k % 8 != 1  # No example that would join another batch.
    (found,), (metrics,) = ask(config, [1], round_=4, epochs=2, mu=0.5)
    assert metrics == {NUM_EXAMPLES: n_k}
    expected = reference(config, 1, round_=4, epochs=2, mu=0.5)
    assert distance(found, expected) < 1e-4
    start = {name: w.numpy() for name, w in make_model(config, 10).tail.state_dict().items()}
    assert distance(expected, start) > 1e-3


def test_one_client_leaves_nothing_behind_for_the_next(make_config):
    """Neither weights, nor velocities, nor BatchNorm statistics; nor does evaluating its model."""
    config = make_config(**ALL, evaluate_clients=True)
    forth, said_forth = ask(config, [0, 1])
    back, said_back = ask(config, [1, 0])
    for i in (0, 1):
        assert_same_bits(forth[i], back[1 - i])
        assert said_forth[i] == said_back[1 - i]


def test_does_what_instruction_and_configuration_say(make_config):
    (first,), _ = ask(make_config(**HEAD), [0])
    (again,), _ = ask(make_config(**HEAD), [0])
    assert_same_bits(again, first)
    for change in ({"round_": 2}, {"epochs": 2}, {"mu": 0.5}):
        (other,), _ = ask(make_config(**HEAD), [0], **change)
        assert not np.array_equal(other["fc.weight"], first["fc.weight"]), change
    for change in (
        {"learning_rate": 0.02},
        {"batch_size": 20},
        {"momentum": 0.0},
        {"precision": "bfloat16"},
        {"precision": "float16"},
    ):
        (other,), _ = ask(make_config(**HEAD, **change), [0])
        assert not np.array_equal(other["fc.weight"], first["fc.weight"]), change


def test_augmentation_is_drawn_for_round_and_client(make_config, monkeypatch):
    """All layers are trained; the views of an image are the same whoever trains before."""
    seen = []

    def record(model, x, y, work, rng):
        seen.append(x.take(torch.arange(3)))

    monkeypatch.setattr(client_app, "train_locally", record)
    config = make_config(**ALL, augmentation="crop_flip")
    first_three = load_dataset(config).partition.client(1)[:3]
    ask(config, [0, 1])
    ask(config, [1])
    ask(config, [1], round_=2)
    own = torch.from_numpy(load_dataset(config).images.x_train[first_three])
    draws = generator(config.seed, Purpose.AUGMENTATION, 1, 1)
    assert torch.equal(seen[1], normalise(crop_and_flip(own, draws), IMAGENET_COLOURS))
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[2], normalise(own, IMAGENET_COLOURS))


def test_a_client_reports_the_accuracy_of_its_own_model_if_asked(make_config):
    config = make_config(**HEAD, evaluate_clients=True)
    weights, metrics = ask(config, [0, 1, 2], epochs=3)
    tail, accuracies = make_model(config, 10).tail, []
    for w in weights:
        tail.load_state_dict({name: torch.tensor(value) for name, value in w.items()})
        test_set = load_dataset(config).test_set(CPU)
        accuracies.append(evaluate_top_k(tail, *test_set, k=1).accuracy)
    assert [of_client["test-accuracy"] for of_client in metrics] == accuracies
    assert len({*accuracies}) > 1
    assert all(0 < accuracy < 1 for accuracy in accuracies)


def test_without_epochs_the_model_comes_back_as_it_was(make_config):
    config = make_config(**ALL)
    start = {name: w.numpy() for name, w in make_model(config, 10).tail.state_dict().items()}
    (found,), _ = ask(config, [0], epochs=0)
    assert_same_bits(found, start)


def test_counts_are_those_of_the_partition(make_config):
    config = make_config(**HEAD)
    _, metrics = ask(config, range(3))
    counts = [of_client[NUM_EXAMPLES] for of_client in metrics]
    assert counts == load_dataset(config).partition.sizes.tolist()
    assert len({*counts}) > 1


def test_says_which_partition_it_holds(make_config):
    config = make_config(**HEAD)
    grid = InlineGrid(app, 3, config.to_run_config())
    messages = [Message(RecordDict(), node, "query") for node in grid.nodes]
    replies = grid.send_and_receive(messages)
    assert [reply.content["identity"]["partition-id"] for reply in replies] == [0, 1, 2]
