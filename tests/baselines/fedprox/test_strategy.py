import pytest
from fedprox.strategy import make_strategy

from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx

NODES = [2, 3, 4, 5, 6, 7]
NUM_EXAMPLES = [9, 8, 7, 6, 5, 4]


@pytest.mark.parametrize(("algorithm", "kind"), [("fedavg", FedAvg), ("fedprox", FedProx)])
def test_the_algorithm_key_chooses_the_strategy(make_config, algorithm, kind):
    config = make_config(
        algorithm=algorithm,
        clients_per_round=5,
        num_epochs=7,
        stragglers_fraction=0.25,
        seed=9,
        on_client_failure="leave_out",
    )
    strategy = make_strategy(config, NODES, NUM_EXAMPLES)
    assert type(strategy) is kind
    assert strategy.nodes == NODES
    assert strategy.num_examples == NUM_EXAMPLES
    assert strategy.clients_per_round == 5
    assert strategy.num_epochs == 7
    assert strategy.stragglers_fraction == 0.25
    assert strategy.seed == 9
    assert strategy.on_client_failure == "leave_out"
    if kind is FedProx:
        assert strategy.batch_size == config.batch_size


def test_a_failed_client_ends_the_run_by_default(make_config):
    assert make_strategy(make_config(), NODES, NUM_EXAMPLES).on_client_failure == "end"


def test_mu_is_for_fedprox(make_config):
    assert make_strategy(make_config(algorithm="fedprox", mu=0.3), NODES, NUM_EXAMPLES).mu == 0.3
    assert make_strategy(make_config(algorithm="fedavg", mu=0.3), NODES, NUM_EXAMPLES).mu == 0.0


@pytest.mark.parametrize(("adaptive", "then"), [(True, 0.4), (False, 0.3)])
def test_mu_adapts_if_asked_to(make_config, adaptive, then):
    strategy = make_strategy(make_config(mu=0.3, adaptive_mu=adaptive), NODES, NUM_EXAMPLES)
    for loss in (1.0, 2.0):
        strategy.observe_train_loss(loss)
    assert strategy.mu == then
