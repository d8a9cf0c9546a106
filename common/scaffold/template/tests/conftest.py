from pathlib import Path

import new_baseline
import pytest
from flwr.supercore.task_identity import TaskIdentity
from new_baseline.client_app import app as client_app
from new_baseline.config import NewBaselineConfig
from new_baseline.server_app import app as server_app

from common.engine.flower import become_server
from common.experiment.config import read_default_config
from common.experiment.run_experiment import run_experiment

FOLDER = Path(new_baseline.__file__).parents[1]
SMALL = {
    "num_clients": 6,
    "clients_per_round": 4,
    "num_rounds": 3,
    "num_epochs": 2,
    "engine": "inline",
}


@pytest.fixture(scope="session")
def make_config():
    """The defaults with six clients and a few epochs in this process, unless changed."""
    defaults = read_default_config(FOLDER / "pyproject.toml")

    def make(**changes):
        return NewBaselineConfig.parse(defaults | SMALL | changes)

    return make


@pytest.fixture(scope="session")
def run():
    """Runs an experiment as the command line does, perhaps with other clients."""

    def run(config, clients=None):
        run_experiment(config, server_app, clients or client_app)

    return run


@pytest.fixture
def server_process(monkeypatch):
    """Make this process one that may make messages, for the time of a test."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()
