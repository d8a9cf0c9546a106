import pytest
from fedprox.client_app import app as client_app
from fedprox.config import FedProxConfig
from fedprox.server_app import app as server_app

from common.experiment.run_experiment import run_experiment


@pytest.fixture
def make_config(fedprox_defaults, forget_data):
    """Six clients of Synthetic(1, 1) and a few epochs in this process, unless changed."""
    small = {
        "dataset": "synthetic",
        "num_clients": 6,
        "clients_per_round": 4,
        "num_rounds": 3,
        "num_epochs": 3,
        "learning_rate": 0.01,
        "stragglers_fraction": 0.5,
        "engine": "inline",
    }

    def make(**changes):
        return FedProxConfig.parse(fedprox_defaults | small | changes)

    return make


@pytest.fixture(scope="session")
def run():
    """Runs an experiment as the command line does, perhaps with other clients."""

    def run(config, clients=None):
        run_experiment(config, server_app, clients or client_app)

    return run
