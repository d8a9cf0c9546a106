import pytest
from flwr.app import ArrayRecord
from flwr.supercore.task_identity import TaskIdentity
from imagenet_resnet.strategy import CLIENT_ACCURACY, make_strategy
from torch import nn

from common.engine.flower import become_server
from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from common.strategy.server_optimizer import FedAdagrad, FedAdam, FedAvgM, FedYogi

NODES = [2, 3, 4]
NUM_EXAMPLES = [9, 8, 7]


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


@pytest.fixture
def make(make_config):
    """Makes the strategy for a configuration that differs in these keys."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def make(**changes):
        return make_strategy(make_config(**changes), NODES, NUM_EXAMPLES, model)

    return make


@pytest.mark.parametrize(("algorithm", "kind"), [("fedavg", FedAvg), ("fedprox", FedProx)])
def test_the_algorithm_key_chooses_the_strategy(make, algorithm, kind):
    strategy = make(
        algorithm=algorithm,
        clients_per_round=2,
        num_epochs=7,
        seed=9,
        batch_size=5,
        on_client_failure="leave_out",
        measure_drift=False,
        evaluate_clients=True,
    )
    assert type(strategy) is kind
    assert strategy.nodes == NODES
    assert strategy.num_examples == NUM_EXAMPLES
    assert strategy.clients_per_round == 2
    assert strategy.num_epochs == 7
    assert strategy.stragglers_fraction == 0
    assert strategy.seed == 9
    assert strategy.on_client_failure == "leave_out"
    assert strategy.measure_drift is False
    assert strategy.client_metrics == [CLIENT_ACCURACY]
    if kind is FedProx:
        assert strategy.batch_size == 5


def test_by_default_drift_is_measured_and_clients_are_not_evaluated(make):
    assert make().measure_drift is True
    assert list(make().client_metrics) == []


def test_mu_is_for_fedprox(make):
    assert make(algorithm="fedprox", mu=0.3).mu == 0.3
    assert make(algorithm="fedavg", mu=0.3).mu == 0.0


@pytest.mark.parametrize(
    ("shape", "mus"),
    [
        ("constant", [0.4, 0.4, 0.4]),
        ("linear", [0.4, 0.3, 0.2]),
        ("cosine", [0.4, 0.3, 0.2]),  # Half of the way in the middle, too.
    ],
)
def test_mu_follows_its_schedule(make, shape, mus):
    strategy = make(mu=0.4, mu_schedule=shape, mu_final=0.2, num_rounds=3)
    found = []
    for server_round in (1, 2, 3):
        strategy.configure_train(server_round, ArrayRecord(), None, None)
        found.append(strategy.mu)
    assert found == pytest.approx(mus)


@pytest.mark.parametrize(("adaptive", "then"), [(True, 0.4), (False, 0.3)])
def test_mu_adapts_if_asked_to(make, adaptive, then):
    strategy = make(mu=0.3, adaptive_mu=adaptive, evaluate_train_loss=True)
    for loss in (1.0, 2.0):
        strategy.observe_train_loss(loss)
    assert strategy.mu == then


@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox"])
def test_the_mean_is_as_configured(make, algorithm):
    aggregation = make(algorithm=algorithm).aggregation
    assert aggregation.parameters == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert (aggregation.weighting, aggregation.buffers) == ("uniform", "average")
    assert aggregation.server_optimizer is None
    aggregation = make(
        algorithm=algorithm, weights="some", weighting="examples", buffers="keep"
    ).aggregation
    assert (aggregation.weighting, aggregation.buffers) == ("examples", "keep")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fedavgm", FedAvgM), ("fedadagrad", FedAdagrad), ("fedadam", FedAdam), ("fedyogi", FedYogi)],
)
@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox"])
def test_a_server_optimiser_moves_parameters_only(make, algorithm, name, kind):
    optimizer = make(algorithm=algorithm, server_optimizer=name).aggregation.server_optimizer
    assert type(optimizer) is kind
    assert [*optimizer.parameters] == ["0.weight", "0.bias", "1.weight", "1.bias"]
