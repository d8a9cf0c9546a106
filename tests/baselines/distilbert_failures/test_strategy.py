import pytest
from distilbert_failures.lora import ExactLora
from distilbert_failures.model import make_tail
from distilbert_failures.strategy import CLIENT_ACCURACY, CLIENT_TRAIN_LOSS, make_strategy
from flwr.supercore.task_identity import TaskIdentity
from torch import nn

from common.engine.flower import become_server
from common.strategy.aggregate import Aggregation
from common.strategy.fedavg import FedAvg
from common.strategy.fedprox import FedProx
from common.strategy.scaffold import Scaffold
from common.strategy.server_optimizer import FedAdagrad, FedAdam, FedAvgM, FedYogi

NODES = [2, 3, 4]
NUM_EXAMPLES = [9, 8, 7]
SGD = {"optimizer": "sgd"}


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


@pytest.fixture
def make(make_config):
    """Makes the strategy for a configuration that differs in these keys."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)

    def make(model=model, **changes):
        return make_strategy(make_config(**changes), NODES, NUM_EXAMPLES, model)

    return make


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("fedavg", FedAvg), ("fedprox", FedProx), ("scaffold", Scaffold)]
)
def test_the_algorithm_key_chooses_the_strategy(make, algorithm, kind):
    strategy = make(
        **SGD,
        algorithm=algorithm,
        clients_per_round=2,
        num_epochs=7,
        seed=9,
        batch_size=5,
        on_client_failure="leave_out",
        measure_divergence=False,
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
    assert strategy.measure_drift is strategy.measure_divergence is False
    assert strategy.client_metrics == [CLIENT_TRAIN_LOSS, CLIENT_ACCURACY]
    if kind is FedProx:
        assert strategy.batch_size == 5


def test_cohorts_have_the_seed_of_sampling(make):
    assert make(seed=9, sampling_seed=4, model_seed=5, partition_seed=6).seed == 4


def test_by_default_divergence_is_measured_and_clients_are_not_evaluated(make):
    assert make().measure_drift is make().measure_divergence is True
    assert make().client_metrics == [CLIENT_TRAIN_LOSS]


def test_mu_is_for_fedprox(make):
    assert make(algorithm="fedprox", mu=0.3).mu == 0.3
    assert make(algorithm="fedavg", mu=0.3).mu == 0.0
    assert make(algorithm="scaffold", mu=0.3, **SGD).mu == 0.0


@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "scaffold"])
def test_the_mean_is_of_what_is_trained_weighted_as_configured(make, algorithm):
    aggregation = make(algorithm=algorithm, **SGD).aggregation
    assert type(aggregation) is Aggregation
    assert aggregation.parameters == ["1.weight", "1.bias"]
    assert aggregation.weighting == "examples"
    assert aggregation.server_optimizer is None
    assert make(algorithm=algorithm, weighting="uniform", **SGD).aggregation.weighting == "uniform"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fedavgm", FedAvgM), ("fedadagrad", FedAdagrad), ("fedadam", FedAdam), ("fedyogi", FedYogi)],
)
def test_a_server_optimiser_moves_what_is_trained(make, name, kind):
    optimizer = make(server_optimizer=name).aggregation.server_optimizer
    assert type(optimizer) is kind
    assert [*optimizer.parameters] == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("how", "kind"), [("exact", ExactLora), ("naive", Aggregation), ("freeze_a", Aggregation)]
)
def test_adapters_are_averaged_as_configured(make, make_config, how, kind):
    keys = {"trainable": "lora", "lora_aggregation": how}
    aggregation = make(make_tail(make_config(**keys), 4), **keys).aggregation
    assert type(aggregation) is kind
    assert any("lora_A" in key for key in aggregation.parameters) is (how != "freeze_a")
