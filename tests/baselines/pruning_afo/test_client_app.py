from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Message, RecordDict
from pruning_afo import client_app
from pruning_afo.client_app import app
from pruning_afo.dataset import load_dataset
from pruning_afo.learning_rate import learning_rate_at
from pruning_afo.model import make_model
from torch import nn

from common.compression import wire
from common.engine.grid import node_id
from common.engine.inline import InlineGrid
from common.images import CIFAR10_COLOURS, crop_and_flip, normalise
from common.payload import of_record
from common.protocol import METRICS, NUM_EXAMPLES, UPDATE, TrainInstruction
from common.randomness import Purpose, generator

pytestmark = pytest.mark.usefixtures("server_process")

CPU = torch.device("cpu")
TOP_K = {"sparsifier": "top_k", "density": 0.1, "quantiser": "int8", "int8_rounding": "stochastic"}
FEEDBACK = TOP_K | {"error_feedback": True}
DGC = FEEDBACK | {"residual_momentum": 0.9}


def initial_arrays(config):
    return ArrayRecord(make_model(config, 10).state_dict())


def ask(config, clients, round_=1, epochs=1, mu=0.0, grid=None):
    """Let clients train, in this order; return their replies' contents."""
    content = TrainInstruction(round_, epochs, mu).to_content(initial_arrays(config))
    messages = [Message(content, node_id(client), "train") for client in clients]
    grid = grid or grid_of(config)
    replies = list(grid.send_and_receive(messages))
    assert not any(reply.has_error() for reply in replies), replies[0].error.reason
    return [reply.content for reply in replies]


def grid_of(config):
    return InlineGrid(app, config.num_clients, config.to_run_config())


def weights(content):
    return {name: array.numpy() for name, array in content["arrays"].items()}


def payload(content):
    return bytes(of_record(content[UPDATE]))


def decoded(content, config):
    """Return the whole update of a reply."""
    shapes = {name: tuple(w.shape) for name, w in make_model(config, 10).named_parameters()}
    tensors = wire.decode(of_record(content[UPDATE]), shapes)
    return {name: tensor.to_dense() for name, tensor in tensors.items()}


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, w in expected.items():
        np.testing.assert_array_equal(found[name], w, err_msg=name)


def reference(config, client, round_, epochs):
    """Train with torch's SGD, in the documented order."""
    model = make_model(config, 10).train()
    inputs, y = load_dataset(config).client(client, CPU, np.random.default_rng())
    x, y = inputs.take(torch.arange(len(y))), torch.tensor(y)
    rate = learning_rate_at(
        round_, config.num_rounds, config.learning_rate, config.learning_rate_steps
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    rng = generator(config.seed, Purpose.BATCH_ORDER, round_, client)
    orders = rng.permuted(np.tile(np.arange(len(y)), (epochs, 1)), axis=1)
    for order in torch.tensor(orders):
        for batch in list(order.split(config.batch_size))[: config.batches_per_epoch or None]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return {name: value.numpy() for name, value in model.state_dict().items()}


def distance(found, expected):
    found, expected = (np.concatenate([w.ravel() for w in v.values()]) for v in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    "keys",
    [{}, {"batches_per_epoch": 2, "norm": "group"}, {"stem": "cifar", "weight_decay": 0.1}],
    ids=str,
)
def test_a_client_does_sgd_with_momentum_and_weight_decay(make_config, keys):
    config = make_config(augmentation="none", num_rounds=5, width=4, **keys)
    (content,) = ask(config, [1], round_=3, epochs=2)
    assert dict(content[METRICS]) == {NUM_EXAMPLES: 40}
    expected = reference(config, 1, round_=3, epochs=2)
    assert distance(weights(content), expected) < 1e-4
    start = {name: array.numpy() for name, array in initial_arrays(config).items()}
    assert distance(expected, start) > 1e-3


def test_the_learning_rate_is_that_of_the_round(make_config, monkeypatch):
    seen = []
    monkeypatch.setattr(client_app, "train_locally", lambda *a: seen.append(a[3].learning_rate))
    config = make_config(num_rounds=10, learning_rate=0.5)
    for round_ in (4, 5, 7, 9):
        ask(config, [0], round_=round_)
    assert seen == pytest.approx([0.5, 0.05, 0.005, 0.0005])


def test_a_compressed_update_is_of_the_same_training(make_config):
    """All of it in float32 but for the rounding of w_k - w_t; what is not trained is sent."""
    config = make_config()
    start = {name: array.numpy() for name, array in initial_arrays(config).items()}
    (plain,) = ask(config, [1])
    whole = make_config(error_feedback=True)
    (content,) = ask(whole, [1])
    update, expected = decoded(content, whole), weights(plain)
    assert update.keys() == {name for name, _ in make_model(config, 10).named_parameters()}
    buffers = weights(content)
    assert buffers.keys() == expected.keys() - update.keys()
    for name, w in buffers.items():
        np.testing.assert_array_equal(w, expected[name])
    for name, delta in update.items():
        np.testing.assert_array_equal(delta, expected[name] - start[name])


@pytest.mark.parametrize("keys", [{}, TOP_K, DGC, {"norm": "group"}], ids=str)
def test_one_client_leaves_nothing_behind_for_the_next(make_config, keys):
    """Neither weights, nor BatchNorm statistics, nor draws, nor residuals."""
    config = make_config(**keys)
    forth, back = ask(config, [0, 1]), ask(config, [1, 0])
    for i in (0, 1):
        assert forth[i] == back[1 - i]


def test_a_residual_is_the_clients_own_and_goes_into_its_next_update(make_config):
    config = make_config(**FEEDBACK)
    grid, fresh = grid_of(config), grid_of(config)
    first = ask(config, [0, 1], round_=1, grid=grid)
    residuals = {
        client: {key: w.numpy() for key, w in state["residual"].items()}
        for client, state in grid.client_states.items()
    }
    assert residuals.keys() == {0, 1}
    (update,) = (decoded(content, config) for content in first[:1])
    (whole,) = ask(make_config(error_feedback=True), [0])
    for name, delta in decoded(whole, config).items():
        np.testing.assert_allclose(residuals[0][name] + update[name], delta, atol=1e-6)

    (second,) = ask(config, [0], round_=2, grid=grid)
    (without,) = ask(config, [0], round_=2, grid=fresh)
    assert payload(second) != payload(without)
    assert weights(second).keys() == weights(without).keys()
    assert_same_bits(weights(second), weights(without))


def test_momentum_correction_keeps_momentum_besides(make_config):
    for keys, kept in ((TOP_K, set()), (FEEDBACK, {"residual"}), (DGC, None)):
        config = make_config(**keys)
        grid = grid_of(config)
        ask(config, [2], grid=grid)
        names = {*grid.client_states[2]} if grid.client_states else set()
        assert names == ({"residual", "residual-momentum"} if kept is None else kept)


def test_does_what_instruction_and_configuration_say(make_config):
    (first,), (again,) = ask(make_config(**TOP_K), [0]), ask(make_config(**TOP_K), [0])
    assert payload(again) == payload(first)
    for change in ({"round_": 2}, {"epochs": 2}, {"mu": 0.5}):
        (other,) = ask(make_config(**TOP_K), [0], **change)
        assert payload(other) != payload(first), change
    for change in (
        {"learning_rate": 0.02},
        {"batch_size": 20},
        {"momentum": 0.0},
        {"weight_decay": 0.1},
        {"augmentation": "none"},
        {"batches_per_epoch": 1},
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"density": 0.2},
        {"sparsifier": "global_top_k"},
        {"int8_rounding": "nearest"},
        {"int8_scale": "per_row"},
        {"compress_local_gradients": True},
    ):
        (other,) = ask(make_config(**TOP_K | change), [0])
        assert payload(other) != payload(first), change


def test_draws_of_the_compression_are_of_seed_round_and_client(make_config, monkeypatch):
    """The update is the same each time: only what is drawn of it differs."""

    def move(model, *rest):
        with torch.no_grad():
            for w in model.parameters():
                w += 1.0

    monkeypatch.setattr(client_app, "train_locally", move)
    keys = {"sparsifier": "random_k", "density": 0.1}
    config = make_config(**keys)
    first = [payload(content) for content in ask(config, [0, 1])]
    assert first == [payload(content) for content in ask(config, [0, 1])]
    others = [
        *(payload(content) for content in ask(config, [0, 1], round_=2)),
        *(payload(content) for content in ask(make_config(**keys, seed=1), [0, 1])),
    ]
    assert len({*first, *others}) == 6


def test_augmentation_is_drawn_for_round_and_client(make_config, monkeypatch):
    seen = []
    monkeypatch.setattr(
        client_app, "train_locally", lambda *a: seen.append(a[1].take(torch.arange(3)))
    )
    config = make_config()
    data = load_dataset(config)
    ask(config, [0, 1])
    ask(config, [1])
    ask(config, [1], round_=2)
    own = torch.from_numpy(data.images.x_train[data.partition.client(1)[:3]])
    draws = generator(config.seed, Purpose.AUGMENTATION, 1, 1)
    assert torch.equal(seen[1], normalise(crop_and_flip(own, draws), CIFAR10_COLOURS))
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])


LOCAL = {"sparsifier": "threshold", "threshold": 1e6, "compress_local_gradients": True}


def test_gradients_below_a_threshold_make_no_step(make_config):
    """What is sent is nothing, too; but running statistics go on."""
    config = make_config(**LOCAL, weight_decay=0.0)
    (content,) = ask(config, [0], epochs=2)
    assert all(not w.any() for w in decoded(content, config).values())
    start = {name: array.numpy() for name, array in initial_arrays(config).items()}
    assert not np.array_equal(weights(content)["bn1.running_mean"], start["bn1.running_mean"])
    # So it is the gradients that were compressed, not only the update.
    (content,) = ask(make_config(weight_decay=0.0), [0], epochs=2)
    assert not np.array_equal(weights(content)["conv1.weight"], start["conv1.weight"])


def test_weight_decay_is_no_part_of_the_compressed_gradient(make_config, monkeypatch):
    """As no gradient is left, each of three steps is w <- w - 0.01 x 0.5 w."""
    models = []

    def train(model, *rest):
        client_app_train(model, *rest)
        models.append({name: w.detach().clone() for name, w in model.named_parameters()})

    client_app_train = client_app.train_locally
    monkeypatch.setattr(client_app, "train_locally", train)
    config = make_config(**LOCAL, weight_decay=0.5, learning_rate=0.1, momentum=0.0)
    assert learning_rate_at(1, 2, 0.1, config.learning_rate_steps) == pytest.approx(0.01)
    ask(config, [0])
    start = dict(make_model(config, 10).named_parameters())
    for name, w in models[0].items():
        torch.testing.assert_close(w, 0.995**3 * start[name].detach(), rtol=1e-5, atol=1e-8)


def test_a_model_that_diverged_is_told_by_a_tensor(make_config):
    config = make_config(**FEEDBACK, learning_rate=1e38)
    content = TrainInstruction(1, 3, 0.0).to_content(initial_arrays(config))
    grid = grid_of(config)
    (reply,) = grid.send_and_receive([Message(content, node_id(2), "train")])
    assert "has a value that is not finite" in reply.error.reason
    assert not grid.client_states


@pytest.mark.parametrize("keys", [{}, TOP_K], ids=["fedavg", "top_k"])
def test_steps_that_overflowed_in_float16_are_told(make_config, monkeypatch, keys):
    seen = []

    def train(*arguments):
        training = client_app_train(*arguments)
        seen.append(training.num_skipped)
        return replace(training, num_skipped=17)

    client_app_train = client_app.train_locally
    monkeypatch.setattr(client_app, "train_locally", train)
    (content,) = ask(make_config(**keys, precision="float16"), [0])
    assert dict(content[METRICS]) == {NUM_EXAMPLES: 40, "skipped-steps": 17}
    assert seen[0] < 3
    for precision in ("float32", "bfloat16"):
        (content,) = ask(make_config(**keys, precision=precision), [0])
        assert dict(content[METRICS]) == {NUM_EXAMPLES: 40}


def test_says_which_partition_it_holds(make_config):
    grid = grid_of(make_config())
    messages = [Message(RecordDict(), node, "query") for node in grid.nodes]
    replies = grid.send_and_receive(messages)
    assert [reply.content["identity"]["partition-id"] for reply in replies] == [0, 1, 2]
