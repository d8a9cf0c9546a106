"""FedProx as its difference from FedAvg, and what the clients of both are asked."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st

from common.engine.inline import InlineGrid
from common.errors import UserInputError
from common.protocol import TrainInstruction, train_reply
from common.strategy.aggregate import Aggregation
from common.strategy.cohort import partial_batches, partial_epochs, sample_cohort
from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from common.strategy.mu_schedule import MuSchedule
from common.strategy.server_optimizer import FedAvgM

NUM_CLIENTS, K, E = 40, 10, 6
ROUNDS = range(1, 16)


def make(strategy, fraction, seed=0, num_epochs=E, num_examples=1, **options):
    nodes = InlineGrid(None, NUM_CLIENTS, {}).nodes
    if strategy is FedProx:
        options = {"batch_size": 10} | options
    return strategy(
        nodes,
        [num_examples] * NUM_CLIENTS,
        clients_per_round=K,
        num_epochs=num_epochs,
        stragglers_fraction=fraction,
        seed=seed,
        **options,
    )


def play(strategy, rounds=ROUNDS):
    """Run rounds against clients that note what they are asked; return it by round and client."""
    asked = {round_: {} for round_ in rounds}
    app = ClientApp()

    @app.train()
    def train(message, context):
        instruction = TrainInstruction.of(message)
        client = context.node_config["partition-id"]
        asked[instruction.server_round][client] = instruction
        return train_reply(message, message.content["arrays"], 1)

    grid = InlineGrid(app, NUM_CLIENTS, {})
    cohorts = {}
    arrays = ArrayRecord({"w": Array(np.zeros(3, np.float32))})
    for round_ in rounds:
        messages = strategy.configure_train(round_, arrays, ConfigRecord(), grid)
        arrays, _ = strategy.aggregate_train(round_, grid.send_and_receive(messages))
        cohorts[round_] = strategy.traffic.clients, strategy.traffic.stragglers
    return asked, cohorts


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 0.9])
def test_fedavg_and_fedprox_meet_the_same_clients_and_stragglers(fraction):
    asked_avg, cohorts_avg = play(make(FedAvg, fraction, seed=3))
    asked_prox, cohorts_prox = play(make(FedProx, fraction, seed=3, mu=1.0))
    assert cohorts_avg == cohorts_prox
    for round_, (clients, stragglers) in cohorts_prox.items():
        assert sorted(asked_prox[round_]) == clients
        assert sorted(asked_avg[round_]) == sorted(set(clients) - set(stragglers))
        assert len(stragglers) == K - round(K * (1 - fraction))
    assert cohorts_prox != play(make(FedProx, fraction, seed=4, mu=1.0))[1]


def test_only_stragglers_do_fewer_epochs():
    asked, cohorts = play(make(FedProx, 0.5, mu=1.0))
    managed = []
    for round_, (clients, stragglers) in cohorts.items():
        for client in clients:
            epochs = asked[round_][client].epochs
            if client in stragglers:
                managed.append(epochs)
                assert epochs == partial_epochs(0, round_, client, E)
            else:
                assert epochs == E
    assert set(managed) == set(range(1, E))


def test_everybody_may_straggle():
    asked, _ = play(make(FedProx, 1.0, mu=1.0))
    assert all(1 <= i.epochs < E for round_ in asked.values() for i in round_.values())
    assert all(len(round_) == K for round_ in asked.values())


def test_stragglers_are_those_of_the_cohort():
    _, cohorts = play(make(FedProx, 0.5, seed=9, mu=1.0))
    for round_, (clients, stragglers) in cohorts.items():
        cohort = sample_cohort(9, round_, NUM_CLIENTS, K, 0.5)
        assert clients == cohort.clients.tolist()
        assert stragglers == cohort.clients[cohort.stragglers].tolist()


def test_mu_goes_to_the_clients():
    asked, _ = play(make(FedProx, 0.5, mu=0.25))
    assert {i.mu for round_ in asked.values() for i in round_.values()} == {0.25}
    asked, _ = play(make(FedAvg, 0.5))
    assert {i.mu for round_ in asked.values() for i in round_.values()} == {0.0}


def test_without_stragglers_mu_zero_asks_what_fedavg_asks():
    assert play(make(FedProx, 0.0, mu=0.0)) == play(make(FedAvg, 0.0))


def mus_asked(strategy, losses):
    mus = []
    for round_, loss in enumerate(losses, start=1):
        strategy.observe_train_loss(loss)
        asked, _ = play(strategy, [round_])
        mus += {instruction.mu for instruction in asked[round_].values()}
    return mus


def test_adaptive_mu_follows_the_training_loss():
    strategy = make(FedProx, 0.5, mu=0.0, adaptive_mu=True)
    assert mus_asked(strategy, [3, 4, 5, 4, 3, 2, 1, 0.5]) == [0, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.1]


def test_a_fixed_mu_stays():
    strategy = make(FedProx, 0.5, mu=0.5)
    assert mus_asked(strategy, [3, 4, 5, 6]) == [0.5] * 4


def test_at_one_epoch_stragglers_do_fewer_mini_batches():
    """By hand: 34 examples are 7 mini-batches of 5."""
    strategy = make(FedProx, 0.5, num_epochs=1, num_examples=34, batch_size=5, mu=1.0)
    managed = []
    for round_ in ROUNDS:
        cohort = sample_cohort(0, round_, NUM_CLIENTS, K, 0.5)
        instructions = strategy.instructions(round_, cohort)
        for client, straggles in zip(cohort.clients.tolist(), cohort.stragglers, strict=True):
            batches = instructions[client].batches
            assert instructions[client] == TrainInstruction(round_, 1, 1.0, batches)
            if straggles:
                managed.append(batches)
                assert batches == partial_batches(0, round_, client, 7)
            else:
                assert batches is None
    assert set(managed) == set(range(1, 7))


def test_a_client_of_one_mini_batch_does_it_even_as_a_straggler():
    strategy = make(FedProx, 1.0, num_epochs=1, num_examples=5, batch_size=5, mu=1.0)
    instructions = strategy.instructions(1, sample_cohort(0, 1, NUM_CLIENTS, K, 1.0))
    assert {instruction.batches for instruction in instructions.values()} == {1}


def test_a_failed_client_is_left_out_if_asked_to():
    assert make(FedProx, 0.5, mu=1.0).on_client_failure == "end"
    assert make(FedProx, 0.5, mu=1.0, on_client_failure="leave_out").on_client_failure == (
        "leave_out"
    )


@given(
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), max_size=20),
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), max_size=20),
)
def test_a_restored_strategy_goes_on_as_if_nothing_had_happened(before, after):
    strategy = make(FedProx, 0.5, mu=0.2, adaptive_mu=True)
    for loss in before:
        strategy.observe_train_loss(loss)
    restored = make(FedProx, 0.5, mu=0.2, adaptive_mu=True)
    restored.restore(strategy.state())
    assert restored.mu == strategy.mu
    for loss in after:
        strategy.observe_train_loss(loss)
        restored.observe_train_loss(loss)
        assert restored.mu == strategy.mu


def test_the_state_is_that_of_its_moment():
    strategy = make(FedProx, 0.5, mu=0.0, adaptive_mu=True)
    strategy.observe_train_loss(1.0)
    state = strategy.state()
    for loss in (2.0, 3.0):
        strategy.observe_train_loss(loss)
    assert strategy.mu == 0.2
    strategy.restore(state)
    assert strategy.mu == 0.0


def test_a_fixed_mu_needs_no_state():
    strategy = make(FedProx, 0.5, mu=0.5)
    assert not strategy.state()
    strategy.restore(RecordDict())
    assert strategy.mu == 0.5


def test_an_adaptive_mu_cannot_do_without_its_state():
    strategy = make(FedProx, 0.5, mu=0.5, adaptive_mu=True)
    with pytest.raises(KeyError):
        strategy.restore(RecordDict())
    assert strategy.mu == 0.5


def test_a_schedule_gives_every_round_its_mu():
    strategy = make(FedProx, 0.5, mu=MuSchedule("linear", 0.0, 1.0, 5))
    assert strategy.mu == 0.0
    assert mus_asked(strategy, [3, 4, 5, 6, 7]) == [0, 0.25, 0.5, 0.75, 1]
    assert strategy.mu == 1.0
    assert not strategy.follows_train_loss
    assert not strategy.state()


def test_a_schedule_needs_no_state():
    strategy = make(FedProx, 0.5, mu=MuSchedule("linear", 0.0, 1.0, 5))
    strategy.restore(RecordDict())
    asked, _ = play(strategy, [4])
    assert {instruction.mu for instruction in asked[4].values()} == {0.75}


def test_a_constant_schedule_may_be_where_adaptive_mu_starts():
    strategy = make(FedProx, 0.5, mu=MuSchedule("constant", 0.2, 0.0, 5), adaptive_mu=True)
    assert mus_asked(strategy, [3, 4, 5]) == [0.2, 0.3, 0.4]


def test_a_schedule_and_adaptive_mu_are_too_much():
    with pytest.raises(UserInputError, match=r"^mu_schedule='linear' is not allowed with adaptive"):
        make(FedProx, 0.5, mu=MuSchedule("linear", 0.0, 1.0, 5), adaptive_mu=True)


def test_the_options_of_fedavg_are_those_of_fedprox():
    aggregation = Aggregation(weighting="uniform")
    options = {
        "aggregation": aggregation,
        "measure_drift": True,
        "measure_divergence": True,
        "client_metrics": ["x"],
    }
    strategy = make(FedProx, 0.5, mu=1.0, **options)
    assert {name: getattr(strategy, name) for name in options} == options


def test_the_state_is_that_of_the_server_optimizer_and_of_mu():
    def make_both():
        momentum = FedAvgM({"w": np.zeros(2)}, server_learning_rate=1.0, beta_1=0.5)
        aggregation = Aggregation(server_optimizer=momentum)
        return make(FedProx, 0.5, mu=0.2, adaptive_mu=True, aggregation=aggregation)

    strategy, restored = make_both(), make_both()
    strategy.observe_train_loss(1.0)
    strategy.aggregation.server_optimizer.step({"w": np.zeros(2)}, {"w": np.ones(2)})
    restored.restore(strategy.state())
    assert restored.state() == strategy.state() != make_both().state()
    assert sorted(strategy.state()) == ["adaptive-mu", "server-momentum"]
