"""Whole rounds of server and clients on quadratics, whose optimum is known; then the strategy."""

import json

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.arrays import load_arrays, to_arrays
from common.client.control_variate import ControlVariate
from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.engine.grid import node_id
from common.engine.inline import InlineGrid
from common.errors import ClientFailedError
from common.experiment.config import ExperimentConfig
from common.experiment.federate import federate
from common.experiment.recorder import Evaluation
from common.protocol import (
    ARRAYS,
    CONTROL_VARIATE,
    TrainInstruction,
    count_bytes,
    train_reply,
)
from common.strategy.aggregate import Aggregation
from common.strategy.fedavg import FedAvg
from common.strategy.scaffold import Scaffold
from common.strategy.server_optimizer import FedAvgM

UNIFORM = Aggregation(weighting="uniform")


def model(*w):
    return ArrayRecord({"w": Array(np.array(w, np.float32))})


def make(kind, num_examples, clients_per_round=None, size=2, **options):
    if kind is Scaffold:
        options["w_0"] = {"w": np.zeros(size, np.float32)}
    defaults = {"num_epochs": 2, "stragglers_fraction": 0.0, "seed": 0}
    return kind(
        [node_id(client) for client in range(len(num_examples))],
        num_examples,
        clients_per_round=clients_per_round or len(num_examples),
        **defaults | options,
    )


class Quadratics:
    """Clients k with F_k(w) = 1/2 sum_j a_kj (w_j - b_kj)^2 that make whole-gradient steps.

    Args:
        a: Curvatures, shape [clients, weights].
        b: Optima of the clients, shape [clients, weights].
        num_examples: n_k of every client, without which it makes no step.
        learning_rate: eta.
    """

    def __init__(self, a, b, num_examples, learning_rate):
        self.a, self.b = (torch.tensor(np.asarray(p, np.float32)) for p in (a, b))
        self.num_examples = num_examples
        self.learning_rate = learning_rate

    def optimum(self, weights):
        """Return the minimum of sum_k p_k F_k."""
        p, a, b = np.array(weights)[:, None], self.a.numpy(), self.b.numpy()
        return (p * a * b).sum(axis=0) / (p * a).sum(axis=0)

    def app(self, corrupt=lambda round_, client, change: change):
        """Return clients of SCAFFOLD and FedAvg, as many local steps as epochs.

        Args:
            corrupt: Returns what a client sends for its change; may raise in its place.
        """
        app = ClientApp()

        @app.train()
        def train(message, context):
            client = context.node_config["partition-id"]
            instruction = TrainInstruction.of(message)
            net = nn.ParameterDict({"w": torch.zeros(self.a.shape[1])})
            load_arrays(net, message.content.array_records[ARRAYS])
            control = ControlVariate.of(message, context, net)
            num_steps = instruction.epochs if self.num_examples[client] else 0
            with torch.no_grad():
                for _ in range(num_steps):
                    gradient = self.a[client] * (net["w"] - self.b[client])
                    if control is not None:
                        control.correct([gradient])
                    net["w"] -= self.learning_rate * gradient
            w_k, n_k = to_arrays(net), self.num_examples[client]
            if control is None:
                return train_reply(message, w_k, n_k)
            change = control.update(num_steps, self.learning_rate)
            change = corrupt(instruction.server_round, client, change)
            return train_reply(message, w_k, n_k, control_variate_change=change)

        return app


def play(strategy, grid, w, rounds):
    """Return the global models after each of these rounds."""
    models = []
    for round_ in rounds:
        messages = strategy.configure_train(round_, w, ConfigRecord(), grid)
        w, _ = strategy.aggregate_train(round_, grid.send_and_receive(messages))
        grid.take_back(strategy.traffic.failed)
        models.append(w)
    return models


def c_of(strategy):
    return strategy.state()["server-control-variate"]["w"].numpy()


def c_k_of(grid, client, size=2):
    state = grid.client_states.get(client)
    return np.zeros(size) if state is None else state[CONTROL_VARIATE]["w"].numpy()


def test_two_rounds_of_two_clients_by_hand():
    """F_0 = w^2/2 and F_1 = (w - 8)^2/2, two steps of 1/2 from 8; n_k of 3 and 1."""
    clients = Quadratics([[1], [1]], [[0], [8]], [3, 1], learning_rate=0.5)
    strategy = make(Scaffold, [3, 1], size=1)
    grid = InlineGrid(clients.app(), 2, {})
    (w,) = play(strategy, grid, model(8), [1])
    # Client 0 goes to 4, then 2: c_0 = (8 - 2) / (2 / 2) = 6. Client 1 stays.
    assert w["w"].numpy().tolist() == [(3 * 2 + 8) / 4] == [3.5]
    assert (c_k_of(grid, 0), c_k_of(grid, 1), c_of(strategy)) == (6, 0, 4.5)
    (w,) = play(strategy, grid, w, [2])
    # Client 0, corrected by -1.5: 3.5 - (3.5 - 1.5)/2 = 2.5, then 2.5 - 1/2 = 2.
    # Client 1, corrected by 4.5: 3.5 - (-4.5 + 4.5)/2 = 3.5, and again.
    assert w["w"].numpy().tolist() == [(3 * 2 + 3.5) / 4] == [2.375]
    # c_0+ = 6 - 4.5 + 1.5 = 3, c_1+ = 0 - 4.5 + 0 = -4.5.
    assert (c_k_of(grid, 0), c_k_of(grid, 1)) == (3, -4.5)
    assert c_of(strategy) == 4.5 + 0.75 * (3 - 6) + 0.25 * (-4.5 - 0) == 1.125


def test_of_a_cohort_the_change_counts_by_its_share_of_all_clients():
    """The paper's line: c + |S|/N times the mean change, the n_k aside."""
    num_examples = [1, 5, 2, 9, 0]  # N is 4: one has no examples.
    clients = Quadratics(np.ones((5, 1)), [[8]] * 5, num_examples, learning_rate=0.5)
    strategy = make(Scaffold, num_examples, 2, size=1, aggregation=UNIFORM, seed=3)
    grid = InlineGrid(clients.app(), 5, {})
    play(strategy, grid, model(0), [1])
    cohort = strategy.traffic.clients
    assert len(cohort) == 2
    assert 4 not in cohort
    # Each goes to 4, then 6: c_k = (0 - 6) / 1.
    assert c_of(strategy) == 2 / 4 * -6


@st.composite
def problems(draw):
    num_clients = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    num_examples = rng.integers(0, 9, num_clients).tolist()
    num_examples[0] += 1
    a, b = rng.uniform(0.5, 2, (num_clients, 2)), rng.standard_normal((num_clients, 2))
    return Quadratics(a, b, num_examples, learning_rate=0.25)


@given(problems(), st.integers(1, 5), st.sampled_from([UNIFORM, Aggregation()]))
def test_c_is_the_mean_of_all_c_k_whoever_took_part(clients, clients_per_round, aggregation):
    num_examples = clients.num_examples
    num_clients = len(num_examples)
    strategy = make(
        Scaffold, num_examples, min(clients_per_round, num_clients), aggregation=aggregation
    )
    grid = InlineGrid(clients.app(), num_clients, {})
    weights = np.array([aggregation.weight(n_k) for n_k in num_examples])
    w = model(1, -1)
    for round_ in (1, 2, 3):
        (w,) = play(strategy, grid, w, [round_])
        mean = sum(p * c_k_of(grid, k) for k, p in enumerate(weights / weights.sum()))
        np.testing.assert_allclose(c_of(strategy), mean, atol=1e-5)


HETEROGENEOUS = Quadratics(
    a=[[1, 2], [0.1, 1], [0.5, 0.2]], b=[[0, 4], [10, -4], [-5, 3]], num_examples=[1, 4, 2],
    learning_rate=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("aggregation", "p"), [(Aggregation(), [1 / 7, 4 / 7, 2 / 7]), (UNIFORM, [1 / 3] * 3)]
)
def test_it_converges_to_the_optimum_where_fedavg_is_biased(aggregation, p):
    """Ten whole-gradient steps a round, all clients: FedAvg's error is client drift alone."""
    optimum = HETEROGENEOUS.optimum(p)
    found = {}
    for kind in (FedAvg, Scaffold):
        strategy = make(kind, HETEROGENEOUS.num_examples, num_epochs=10, aggregation=aggregation)
        grid = InlineGrid(HETEROGENEOUS.app(), 3, {})
        *_, before, after = play(strategy, grid, model(0, 0), range(1, 121))
        found[kind] = after["w"].numpy()
        # Of both it is a fixed point: more rounds would not help FedAvg.
        np.testing.assert_allclose(found[kind], before["w"].numpy(), atol=1e-5)
    np.testing.assert_allclose(found[Scaffold], optimum, atol=1e-4)
    assert np.linalg.norm(found[FedAvg] - optimum) > 0.5


def test_it_converges_although_few_take_part():
    strategy = make(Scaffold, HETEROGENEOUS.num_examples, 1, num_epochs=3, aggregation=UNIFORM)
    grid = InlineGrid(HETEROGENEOUS.app(), 3, {})
    (*_, w) = play(strategy, grid, model(0, 0), range(1, 301))
    np.testing.assert_allclose(w["w"].numpy(), HETEROGENEOUS.optimum([1, 1, 1]), atol=1e-3)


def network_app():
    """Clients that train a network with dropout, by the library's own local SGD."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        client = context.node_config["partition-id"]
        rng = np.random.default_rng(client)
        x, y = rng.standard_normal((7, 3)).astype(np.float32), rng.integers(0, 2, 7)
        net = make_network()
        load_arrays(net, message.content.array_records[ARRAYS])
        control = ControlVariate.of(message, context, net)
        correct = None if control is None else control.correct
        work = LocalWork(epochs=2, batch_size=3, learning_rate=0.3, mu=0.0)
        training = train_locally(net, x, y, work, rng, correct)
        change = None if control is None else control.update(training.num_steps, 0.3)
        return train_reply(message, to_arrays(net), 7, control_variate_change=change)

    return app


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))


def test_the_first_round_is_that_of_fedavg_to_the_last_bit():
    options = {"clients_per_round": 3, "num_epochs": 2, "stragglers_fraction": 0.0, "seed": 0}
    nodes = [node_id(client) for client in range(3)]
    parameters = {name: w.detach().numpy() for name, w in make_network().named_parameters()}
    found = []
    for strategy in (
        FedAvg(nodes, [7] * 3, **options),
        Scaffold(nodes, [7] * 3, w_0=parameters, **options),
    ):
        grid = InlineGrid(network_app(), 3, {})
        found.append(play(strategy, grid, to_arrays(make_network()), [1, 2]))
    fedavg, scaffold = found
    assert scaffold[0] == fedavg[0] != to_arrays(make_network())
    assert scaffold[1] != fedavg[1]


def test_a_server_optimizer_is_the_global_step_size():
    """eta_g = 1/2 of the paper: half the way that the mean goes, and the same c."""
    half = FedAvgM({"w": np.zeros(2)}, server_learning_rate=0.5, beta_1=0.0)
    found = []
    for aggregation in (Aggregation(), Aggregation(server_optimizer=half)):
        strategy = make(Scaffold, HETEROGENEOUS.num_examples, aggregation=aggregation)
        grid = InlineGrid(HETEROGENEOUS.app(), 3, {})
        (w,) = play(strategy, grid, model(0, 0), [1])
        found.append((w["w"].numpy(), c_of(strategy)))
    (whole, c), (halved, same_c) = found
    np.testing.assert_allclose(halved, whole / 2, rtol=1e-6)
    np.testing.assert_array_equal(same_c, c)


def ask(strategy, round_=1, w=None):
    return list(strategy.configure_train(round_, w or model(0, 0), ConfigRecord(), None))


def reply_with(message, change, n_k=1):
    return train_reply(message, model(1, 1), n_k, control_variate_change=change)


def test_all_clients_are_sent_the_same_c_and_work_as_by_fedavg():
    strategy, fedavg = (make(kind, [1] * 6, 4, stragglers_fraction=0.5) for kind in KINDS)
    messages = ask(strategy)
    plain = ask(fedavg)
    assert [TrainInstruction.of(m) for m in messages] == [TrainInstruction.of(m) for m in plain]
    assert strategy.traffic.stragglers == fedavg.traffic.stragglers != []
    first, second = (message.content for message in messages)
    # The Ray engine finds by identity what all clients of a round receive.
    assert first[CONTROL_VARIATE] is second[CONTROL_VARIATE]
    assert first[CONTROL_VARIATE]["w"].numpy().tolist() == [0, 0]


KINDS = (Scaffold, FedAvg)


def test_control_variates_count_as_bytes_both_ways():
    strategy, fedavg = (make(kind, [1, 1]) for kind in KINDS)
    for each, change in ((strategy, model(1, 2)), (fedavg, None)):
        each.aggregate_train(1, [reply_with(message, change) for message in ask(each)])
    per_client = count_bytes(RecordDict({"c": model(1, 2)}))
    assert strategy.traffic.bytes_down - fedavg.traffic.bytes_down == 2 * per_client
    assert strategy.traffic.bytes_up - fedavg.traffic.bytes_up == 2 * per_client


@pytest.mark.parametrize("arrival", [(0, 1, 2), (2, 0, 1)])
def test_the_order_of_arrival_changes_no_bit(arrival):
    strategy = make(Scaffold, [1, 2, 3], size=50)
    rng = np.random.default_rng(0)
    changes = [rng.standard_normal(50) * 10.0 ** rng.integers(-8, 9, 50) for _ in range(3)]
    w = model(*np.zeros(50))
    replies = [
        train_reply(message, w, n_k, control_variate_change=model(*change))
        for n_k, message, change in zip((1, 2, 3), ask(strategy, w=w), changes, strict=True)
    ]
    strategy.aggregate_train(1, [replies[place] for place in arrival])
    total = np.zeros(50)
    for n_k, change in zip((1, 2, 3), changes, strict=True):
        total += n_k * change.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(c_of(strategy), (total / 6).astype(np.float32))


BAD_CHANGES = {
    "its reply has no 'control-variate-change'": None,
    "its 'control-variate-change' lacks 'w'": ArrayRecord(),
    "its 'control-variate-change' has 'b', which is no parameter that is trained": ArrayRecord(
        {**model(1, 2), **ArrayRecord({"b": model(1)["w"]})}
    ),
    "its 'control-variate-change' of 'w' is float32[3], not float32[2]": model(1, 2, 3),
    "its 'control-variate-change' of 'w' is float64[2], not float32[2]": ArrayRecord(
        {"w": Array(np.ones(2))}
    ),
    "its 'control-variate-change' of 'w' holds a number that is not finite": model(1, np.inf),
    "its 'control-variate-change' of 'w' is no array": ArrayRecord(
        {"w": Array("float32", (2,), "numpy.ndarray", b"x" * 20)}
    ),
}


@pytest.mark.parametrize("reason", BAD_CHANGES)
def test_a_change_that_cannot_be_added_ends_the_run(reason):
    strategy = make(Scaffold, [1, 1, 1])
    replies = [reply_with(message, model(1, 2)) for message in ask(strategy)]
    replies[1] = reply_with(ask(strategy)[1], BAD_CHANGES[reason])
    with pytest.raises(ClientFailedError) as caught:
        strategy.aggregate_train(1, replies)
    # Of bytes that are no array, NumPy says in its own words what is wrong.
    assert str(caught.value).partition(" (")[0] == f"Client 1 failed in round 1: {reason}"
    assert c_of(strategy).tolist() == [0, 0]


@pytest.mark.parametrize(
    "bad",
    [
        lambda message: reply_with(message, model(1, np.nan)),
        lambda message: reply_with(message, model(64, 64), n_k=99),
        lambda message: train_reply(
            message, model(np.nan, 1), 1, control_variate_change=model(64, 64)
        ),
        lambda message: None,
    ],
    ids=["change", "examples", "model", "silence"],
)
def test_who_failed_counts_neither_in_the_model_nor_in_c(bad):
    strategy = make(Scaffold, [1, 1, 2], on_client_failure="leave_out")
    messages = ask(strategy)
    replies = [
        train_reply(messages[0], model(2, 4), 1, control_variate_change=model(4, 8)),
        bad(messages[1]),
        train_reply(messages[2], model(8, 4), 2, control_variate_change=model(1, 2)),
    ]
    w, _ = strategy.aggregate_train(1, [reply for reply in replies if reply is not None])
    assert list(strategy.traffic.failed) == [1]
    assert w["w"].numpy().tolist() == [6, 4]
    assert c_of(strategy).tolist() == [(4 + 2) / 4, (8 + 4) / 4]


def test_what_a_left_out_client_kept_is_taken_back():
    """Its c_k stays what c has of it."""

    def corrupt(round_, client, change):
        return model(np.nan, 0) if (round_, client) == (2, 1) else change

    strategy = make(Scaffold, HETEROGENEOUS.num_examples, on_client_failure="leave_out")
    grid = InlineGrid(HETEROGENEOUS.app(corrupt), 3, {})
    (w,) = play(strategy, grid, model(0, 0), [1])
    before = c_k_of(grid, 1)
    play(strategy, grid, w, [2])
    np.testing.assert_array_equal(c_k_of(grid, 1), before)
    mean = sum(p / 7 * c_k_of(grid, k) for k, p in enumerate(HETEROGENEOUS.num_examples))
    np.testing.assert_allclose(c_of(strategy), mean, atol=1e-5)


@pytest.mark.parametrize("num_examples", [[2, 0, 2], [0, 0, 0]])
def test_a_client_without_examples_changes_nothing(num_examples):
    strategy = make(Scaffold, num_examples)
    replies = [
        reply_with(message, model(8, 8) if n_k else model(64, 64), n_k)
        for message, n_k in zip(ask(strategy), num_examples, strict=True)
    ]
    strategy.aggregate_train(1, replies)
    assert strategy.traffic.failed == {}
    assert c_of(strategy).tolist() == ([8, 8] if any(num_examples) else [0, 0])


def test_a_restored_strategy_goes_on_as_if_nothing_had_happened():
    def momentum():
        optimizer = FedAvgM({"w": np.zeros(2, np.float32)}, server_learning_rate=1.0, beta_1=0.5)
        aggregation = Aggregation(server_optimizer=optimizer)
        return make(Scaffold, HETEROGENEOUS.num_examples, aggregation=aggregation)

    strategy, restored = momentum(), momentum()
    grid, other = (InlineGrid(HETEROGENEOUS.app(), 3, {}) for _ in range(2))
    *_, w = play(strategy, grid, model(0, 0), [1, 2])
    restored.restore(strategy.state())
    other.client_states.update(grid.client_states)
    assert play(restored, other, w, [3, 4]) == play(strategy, grid, w, [3, 4])
    assert restored.state() == strategy.state()
    assert set(strategy.state()) == {"server-momentum", "server-control-variate"}


def test_the_state_is_that_of_its_moment():
    strategy = make(Scaffold, HETEROGENEOUS.num_examples)
    grid = InlineGrid(HETEROGENEOUS.app(), 3, {})
    play(strategy, grid, model(0, 0), [1])
    state, c = strategy.state(), c_of(strategy)
    play(strategy, grid, model(0, 0), [2])
    assert c_of(strategy).tolist() != c.tolist()
    strategy.restore(state)
    assert c_of(strategy).tolist() == c.tolist()


@pytest.mark.parametrize(
    "state",
    [
        RecordDict(),
        RecordDict({"server-control-variate": ConfigRecord({"w": 1.0})}),
        *(
            RecordDict({"server-control-variate": bad})
            for bad in BAD_CHANGES.values()
            if bad is not None
        ),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(state):
    strategy = make(Scaffold, [1, 1])
    strategy.aggregate_train(1, [reply_with(message, model(1, 2)) for message in ask(strategy)])
    with pytest.raises((KeyError, ValueError)):
        strategy.restore(state)
    assert c_of(strategy).tolist() == [1, 2]


def test_a_state_without_the_optimizers_moments_changes_nothing_either():
    optimizer = FedAvgM({"w": np.zeros(2, np.float32)}, server_learning_rate=1.0, beta_1=0.5)
    strategy = make(Scaffold, [1, 1], aggregation=Aggregation(server_optimizer=optimizer))
    with pytest.raises(KeyError):
        strategy.restore(RecordDict({"server-control-variate": model(3, 4)}))
    assert c_of(strategy).tolist() == [0, 0]


def test_a_run_that_was_stopped_in_any_round_comes_to_the_same_end(experiment_values, tmp_path):
    """c and every c_k are in the checkpoint; two of three clients take part."""

    def run(folder, stops_in=0):
        def corrupt(round_, client, change):
            if round_ == stops_in:
                raise ValueError("the disk is full")
            return change

        keys = {"num_clients": 3, "clients_per_round": 2, "num_rounds": 4}
        config = ExperimentConfig.parse(experiment_values | keys | {"output_dir": str(folder)})
        strategy = make(Scaffold, HETEROGENEOUS.num_examples, 2)
        grid = InlineGrid(HETEROGENEOUS.app(corrupt), 3, {})
        federate(grid, strategy, config, model(0, 0), lambda w: Evaluation(0.5, 0.5, None))
        return json.loads((folder / "summary.json").read_text())["model_sha256"]

    expected = run(tmp_path / "whole")
    for stops_in in range(1, 5):
        with pytest.raises(ClientFailedError, match="the disk is full"):
            run(tmp_path / str(stops_in), stops_in)
        assert run(tmp_path / str(stops_in)) == expected
