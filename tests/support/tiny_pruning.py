"""A tiny network, clients that train it, and rounds of a pruning strategy."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from pruning_afo.pruned_client import PrunedClient
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.compression.quantisers import Float32
from common.engine.flower import become_server
from common.engine.grid import node_id
from common.engine.inline import InlineGrid
from common.protocol import ARRAYS, TrainInstruction, train_reply
from common.strategy.aggregate import Aggregation

NUM_EXAMPLES = [7, 0, 12]
NEVER_PRUNED = ("0.weight", "0.bias", "1.weight", "1.bias", "3.bias", "6.bias", "8.weight")
PRUNABLE = {"3.weight": (6, 4, 3, 3), "6.weight": (10, 24)}


@pytest.fixture
def server_process(monkeypatch):
    """Make this process one that may make messages, for the time of a test."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


def tiny_net():
    """Images of 6 x 6 to 3 classes; two convolutions, a norm, two linear layers."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24, 10),
            nn.ReLU(),
            nn.Linear(10, 3),
        )


def images(client):
    """Return a client's x and y."""
    rng = np.random.default_rng(client)
    n_k = NUM_EXAMPLES[client]
    x = rng.standard_normal((n_k, 1, 6, 6)).astype(np.float32)
    return x, rng.integers(3, size=n_k)


WORK = LocalWork(epochs=2, batch_size=4, learning_rate=0.1, mu=0.5, momentum=0.9, weight_decay=0.01)


def app(quantiser=None, corrupt=lambda round_, client, reply: reply, see=lambda model: None):
    """Return clients that train the tiny network.

    Args:
        quantiser: Of the updates; Float32 without.
        corrupt: Returns what a client answers in the place of its reply.
        see: Called with every trained model.
    """
    clients = ClientApp()

    @clients.train()
    def train(message, context):
        client = context.node_config["partition-id"]
        round_ = TrainInstruction.of(message).server_round
        x, y = images(client)
        model = tiny_net()
        pruned = PrunedClient.of(message, model)
        if pruned is None:
            load_arrays(model, message.content.array_records[ARRAYS])
            train_locally(model, x, y, WORK, np.random.default_rng([round_, client]))
            return train_reply(message, to_arrays(model), len(y))
        with pruned.training(WORK, len(y)) as correct:
            train_locally(model, x, y, WORK, np.random.default_rng([round_, client]), correct)
        see(model)
        rng = np.random.default_rng([1, round_, client])
        return corrupt(round_, client, pruned.reply(len(y), quantiser or Float32(), rng))

    return clients


def grid_of(clients):
    return InlineGrid(clients, len(NUM_EXAMPLES), {})


def options(server_optimizer=None, **changes):
    """Return what every strategy of the three clients takes."""
    nodes = [node_id(client) for client in range(len(NUM_EXAMPLES))]
    parameters = [name for name, _ in tiny_net().named_parameters()]
    defaults = {
        "nodes": nodes,
        "num_examples": NUM_EXAMPLES,
        "clients_per_round": 3,
        "num_epochs": 2,
        "stragglers_fraction": 0.0,
        "seed": 0,
        "aggregation": Aggregation(parameters=parameters, server_optimizer=server_optimizer),
    }
    return defaults | changes


def play(strategy, grid, arrays, rounds):
    """Return the global models after each of these rounds."""
    models = []
    for round_ in rounds:
        messages = strategy.configure_train(round_, arrays, ConfigRecord(), grid)
        arrays, _ = strategy.aggregate_train(round_, grid.send_and_receive(messages))
        models.append(arrays)
    return models


def same(a, b):
    return a.keys() == b.keys() and all(
        a[key].numpy().tobytes() == b[key].numpy().tobytes() for key in a
    )


def num_kept(arrays):
    """Return the entries of each prunable parameter that are not 0."""
    return {key: int(np.count_nonzero(arrays[key].numpy())) for key in PRUNABLE}
