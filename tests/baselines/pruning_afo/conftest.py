from pathlib import Path

import pruning_afo
import pytest
import tiny_cifar10
from flwr.supercore.task_identity import TaskIdentity
from pruning_afo import client_app, dataset
from pruning_afo.config import PruningConfig
from pruning_afo.server_app import app as server_app

from common.engine.flower import become_server
from common.experiment.config import read_default_config
from common.experiment.run_experiment import run_experiment


@pytest.fixture(scope="session")
def pruning_defaults():
    """The table of defaults of baselines/pruning_afo/pyproject.toml, nested."""
    return read_default_config(Path(pruning_afo.__file__).parents[1] / "pyproject.toml")


@pytest.fixture(scope="session")
def cifar10_folder(tmp_path_factory):
    """A data folder: CIFAR-10 of 120 and 30 images."""
    folder = tmp_path_factory.mktemp("tiny_cifar10")
    tiny_cifar10.write(folder / "data")
    return folder


@pytest.fixture
def forget_cifar10():
    """What this process loaded before or during the test is not kept."""
    caches = (dataset._load, client_app._resident_model)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def tiny_cifar10_at_hand(cifar10_folder, monkeypatch, forget_cifar10):
    """Make dataset="cifar10" the tiny one, decoded once a session."""
    monkeypatch.setenv("FLOWERBED_DATA", str(cifar10_folder / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cifar10_folder / "cache"))


@pytest.fixture(scope="session")
def small():
    """Keys of two rounds of three clients, with a network of 2 channels, in this process."""
    return {
        "width": 2,
        "num_clients": 3,
        "clients_per_round": 3,
        "num_rounds": 2,
        "batch_size": 16,
        "engine": "inline",
    }


@pytest.fixture
def make_config(pruning_defaults, small, tiny_cifar10_at_hand):
    """A small run on the tiny CIFAR-10, unless changed."""

    def make(**changes):
        return PruningConfig.parse(pruning_defaults | small | changes)

    return make


@pytest.fixture
def server_process(monkeypatch):
    """Make this process one that may make messages, for the time of a test."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


@pytest.fixture(scope="session")
def run():
    """Runs an experiment as the command line does, perhaps with other clients."""

    def run(config, clients=None):
        run_experiment(config, server_app, clients or client_app.app)

    return run
