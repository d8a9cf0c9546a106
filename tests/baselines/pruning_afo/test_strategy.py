import pytest
from flwr.app import ArrayRecord
from pruning_afo.feddst import FedDst
from pruning_afo.links import LINKS, round_seconds
from pruning_afo.model import make_model
from pruning_afo.prunefl import PruneFl
from pruning_afo.scheduled_pruning import ScheduledPruning
from pruning_afo.strategy import make_strategy

from common.strategy.compressed import CompressedFedAvg
from common.strategy.fedavg import FedAvg, RoundTraffic
from common.strategy.server_optimizer import FedAdagrad, FedAdam, FedAvgM, FedYogi

pytestmark = pytest.mark.usefixtures("server_process")

NODES = [2, 3, 4]
NUM_EXAMPLES = [9, 8, 7]


@pytest.fixture
def make(make_config):
    """Makes the strategy for a configuration that differs in these keys."""

    def make(**changes):
        config = make_config(**changes)
        return make_strategy(config, NODES, NUM_EXAMPLES, make_model(config, 10))

    return make


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, FedAvg),
        ({"sparsifier": "random_k"}, CompressedFedAvg),
        ({"quantiser": "sign"}, CompressedFedAvg),
        ({"error_feedback": True}, CompressedFedAvg),
        ({"pruning": "one_shot"}, ScheduledPruning),
        ({"pruning": "gradual", "pruning_end": 2, "quantiser": "int8"}, ScheduledPruning),
        ({"pruning": "prunefl", "pruning_end": 2}, PruneFl),
        ({"pruning": "feddst", "pruning_end": 2}, FedDst),
    ],
    ids=str,
)
def test_keys_choose_the_strategy(make, keys, kind):
    strategy = make(
        **keys,
        clients_per_round=2,
        num_epochs=7,
        seed=9,
        on_client_failure="leave_out",
        measure_drift=True,
    )
    assert type(strategy) is kind
    assert strategy.nodes == NODES
    assert strategy.num_examples == NUM_EXAMPLES
    assert strategy.clients_per_round == 2
    assert strategy.num_epochs == 7
    assert strategy.stragglers_fraction == 0
    assert strategy.seed == 9
    assert strategy.mu == 0
    assert strategy.on_client_failure == "leave_out"
    assert strategy.measure_drift is True


def test_clients_keep_state_only_with_error_feedback(make):
    for feeds_back in (False, True):
        strategy = make(quantiser="int8", error_feedback=feeds_back)
        assert strategy.clients_keep_state is feeds_back
    assert make().clients_keep_state is False


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_in_float16_clients_tell_how_many_steps_overflowed(make, precision):
    expected = ["skipped-steps"] if precision == "float16" else []
    assert make(precision=precision).client_metrics == expected


def test_seconds_on_all_links_are_of_the_bytes_and_the_seed(make):
    found = []
    for seed in (1, 2):
        strategy = make(seed=seed)
        traffic = RoundTraffic([0, 2], [])
        traffic.count_up(0, 10**6)
        traffic.count_up(2, 2 * 10**6)
        traffic.count_down(2, 5 * 10**6)
        measures = strategy.measure_traffic(traffic)
        assert measures == {
            link.metric: round_seconds(link, seed, [0, 2], [10**6, 2 * 10**6], [0, 5 * 10**6])
            for link in LINKS
        }
        found.append(measures)
    assert found[0] != found[1]


def test_the_mean_is_as_configured(make, make_config):
    parameters = [name for name, _ in make_model(make_config(), 10).named_parameters()]
    for weighting in ("uniform", "examples"):
        aggregation = make(weighting=weighting).aggregation
        assert aggregation.parameters == parameters
        assert (aggregation.weighting, aggregation.buffers) == (weighting, "average")
        assert aggregation.server_optimizer is None


RATES = {"server_learning_rate": 0.25, "beta_1": 0.5, "beta_2": 0.75, "tau": 0.125}


@pytest.mark.parametrize(
    ("name", "kind", "has"),
    [
        ("fedavgm", FedAvgM, ["server_learning_rate", "beta_1"]),
        ("fedadagrad", FedAdagrad, ["server_learning_rate", "beta_1", "tau"]),
        ("fedadam", FedAdam, [*RATES]),
        ("fedyogi", FedYogi, [*RATES]),
    ],
)
@pytest.mark.parametrize("keys", [{}, {"sparsifier": "top_k"}, {"pruning": "one_shot"}], ids=str)
def test_a_server_optimiser_moves_parameters_only(make, make_config, name, kind, has, keys):
    optimizer = make(server_optimizer=name, **RATES, **keys).aggregation.server_optimizer
    assert type(optimizer) is kind
    parameters = [name for name, _ in make_model(make_config(), 10).named_parameters()]
    assert [*optimizer.parameters] == parameters
    for key in has:
        assert getattr(optimizer, key) == RATES[key]


@pytest.mark.parametrize("corrects", [False, True])
@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_bias_is_corrected_if_asked_for(make, name, corrects):
    strategy = make(server_optimizer=name, bias_correction=corrects)
    assert strategy.aggregation.server_optimizer.bias_correction is corrects
    assert ("server-steps" in strategy.state()) is corrects


def test_everybody_is_asked_for_all_epochs(make):
    strategy = make(num_epochs=3)
    messages = strategy.configure_train(1, ArrayRecord(), None, None)
    assert [message.content["config"]["epochs"] for message in messages] == [3, 3, 3]
    assert strategy.traffic.stragglers == []
