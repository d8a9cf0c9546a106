import numpy as np
import pytest
import torch
from distilbert_failures.client_app import app
from distilbert_failures.dataset import load_dataset
from distilbert_failures.lora import travelling_state
from distilbert_failures.model import make_tail
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import nn

from common.arrays import to_arrays
from common.engine.flower import become_server
from common.engine.grid import node_id
from common.engine.inline import InlineGrid
from common.experiment.evaluation import evaluate_top_k
from common.protocol import METRICS, NUM_EXAMPLES, TrainInstruction
from common.randomness import Purpose, generator

CPU = torch.device("cpu")
HEAD = {"trainable": "head", "learning_rate": 0.05}


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


def initial_arrays(config):
    return to_arrays(travelling_state(make_tail(config, 4)))


def ask(config, clients, round_=1, epochs=1, mu=0.0):
    """Let clients train, in this order; return their weights and what they report."""
    content = TrainInstruction(round_, epochs, mu).to_content(initial_arrays(config))
    messages = [Message(content, node_id(client), "train") for client in clients]
    grid = InlineGrid(app, config.num_clients, config.to_run_config())
    replies = list(grid.send_and_receive(messages))
    assert not any(reply.has_error() for reply in replies), replies[0].error.reason
    weights = [
        {name: array.numpy() for name, array in reply.content["arrays"].items()}
        for reply in replies
    ]
    return weights, [dict(reply.content.metric_records[METRICS]) for reply in replies]


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, w in expected.items():
        np.testing.assert_array_equal(found[name], w)


def test_a_client_minimises_the_proximal_objective_with_adamw(make_config):
    """As torch's AdamW does on a loss that has the proximal term, in the documented order."""
    config = make_config(**HEAD, weight_decay=0.1)
    (found,), (metrics,) = ask(config, [1], round_=4, epochs=2, mu=0.5)

    tail = make_tail(config, 4).eval()  # In the head alone dropout is what draws.
    x, y = load_dataset(config).client(1, CPU)
    y = torch.tensor(y)
    parameters = [*tail.parameters()]
    start = [w.detach().clone() for w in parameters]
    adamw = torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1)
    rng = generator(config.seed, Purpose.BATCH_ORDER, 4, 1)
    orders = torch.tensor(rng.permuted(np.tile(np.arange(len(y)), (2, 1)), axis=1))
    torch_seed = int(rng.integers(2**63))
    tail.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed)
        for order in orders:
            losses = []
            for batch in order.split(config.batch_size):
                loss = nn.functional.cross_entropy(tail(x.take(batch)), y[batch])
                losses.append(loss.item() * len(batch))
                squares = [(w - w0).square().sum() for w, w0 in zip(parameters, start, strict=True)]
                adamw.zero_grad()
                (loss + 0.25 * torch.stack(squares).sum()).backward()
                adamw.step()
    for name, w in tail.state_dict().items():
        np.testing.assert_allclose(found[name], w, rtol=1e-4, atol=1e-5)
    assert metrics[NUM_EXAMPLES] == len(y)
    assert metrics["train-loss"] == pytest.approx(sum(losses) / len(y), rel=1e-5)


@pytest.mark.parametrize("keys", [HEAD, {}, {"trainable": "lora"}], ids=["head", "last_2", "lora"])
def test_one_client_leaves_nothing_behind_for_the_next(make_config, keys):
    """Neither weights, nor moments, nor draws; nor does evaluating its model."""
    config = make_config(**keys, evaluate_clients=True)
    forth, said_forth = ask(config, [0, 1])
    back, said_back = ask(config, [1, 0])
    for i in (0, 1):
        assert_same_bits(forth[i], back[1 - i])
        assert said_forth[i] == said_back[1 - i]


def test_does_what_instruction_and_configuration_say(make_config):
    def head(config, **instruction):
        (weights,), _ = ask(config, [0], **instruction)
        return weights["classifier.weight"]

    first = head(make_config(**HEAD))
    np.testing.assert_array_equal(head(make_config(**HEAD)), first)
    for change in ({"round_": 2}, {"epochs": 2}, {"mu": 5.0}):
        assert not np.array_equal(head(make_config(**HEAD), **change), first), change
    decoupled = head(make_config(**HEAD, proximal_term="decoupled"), mu=5.0)
    assert not np.array_equal(decoupled, head(make_config(**HEAD), mu=5.0))
    for change in (
        {"learning_rate": 0.02},
        {"batch_size": 20},
        {"optimizer": "sgd"},
        {"weight_decay": 0.5},
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"sampling_seed": 4},
    ):
        assert not np.array_equal(head(make_config(**HEAD | change)), first), change
    sgd = HEAD | {"optimizer": "sgd"}
    plain = head(make_config(**sgd))
    assert not np.array_equal(head(make_config(**sgd, momentum=0.9)), plain)
    np.testing.assert_array_equal(head(make_config(**sgd | {"weight_decay": 0.5})), plain)


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ({"trainable": "lora", "lora_aggregation": "exact"}, {"lora_A", "lora_B", "lassifier"}),
        ({"trainable": "lora", "lora_aggregation": "freeze_a"}, {"lora_B", "lassifier"}),
        ({}, {"layer.2.", "layer.3.", "lassifier"}),
    ],
    ids=["exact", "freeze_a", "last_2"],
)
def test_a_client_sends_what_it_trains_alone(make_config, keys, sent):
    (weights,), _ = ask(make_config(**keys), [0])
    assert all(any(part in name for part in sent) for name in weights)
    assert all(any(part in name for name in weights) for part in sent)


def test_a_client_reports_the_accuracy_of_its_own_model_if_asked(make_config):
    keys = {"trainable": "all", "learning_rate": 0.01, "partition": "iid"}
    config = make_config(**keys, evaluate_clients=True)
    weights, metrics = ask(config, [0, 1, 2], epochs=4)
    tail, accuracies = make_tail(config, 4), []
    for w in weights:
        tail.load_state_dict({name: torch.tensor(value) for name, value in w.items()})
        test_set = load_dataset(config).test_set(CPU)
        accuracies.append(evaluate_top_k(tail, *test_set, k=1).accuracy)
    assert [of_client["test-accuracy"] for of_client in metrics] == accuracies
    assert len({*accuracies}) > 1


def test_without_epochs_the_model_comes_back_as_it_was(make_config):
    config = make_config()
    (found,), (metrics,) = ask(config, [0], epochs=0)
    start = {name: array.numpy() for name, array in initial_arrays(config).items()}
    assert_same_bits(found, start)
    assert metrics == {NUM_EXAMPLES: len(load_dataset(config).partition.client(0))}


def test_says_which_partition_it_holds(make_config):
    grid = InlineGrid(app, 3, make_config().to_run_config())
    messages = [Message(RecordDict(), node, "query") for node in grid.nodes]
    replies = grid.send_and_receive(messages)
    assert [reply.content["identity"]["partition-id"] for reply in replies] == [0, 1, 2]
