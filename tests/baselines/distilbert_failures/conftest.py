from pathlib import Path

import distilbert_failures
import pytest
import tiny_encoders
from distilbert_failures import client_app, dataset, encoder
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.server_app import app as server_app

from common.experiment.config import read_default_config
from common.experiment.run_experiment import run_experiment


@pytest.fixture(scope="session")
def distilbert_defaults():
    """The table of defaults of baselines/distilbert_failures/pyproject.toml, nested."""
    pyproject = Path(distilbert_failures.__file__).parents[1] / "pyproject.toml"
    return read_default_config(pyproject)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A data folder: AG News of 80 and 40 texts, and encoders that nobody trained."""
    folder = tmp_path_factory.mktemp("tiny_encoders")
    tiny_encoders.write(folder / "data")
    return folder


@pytest.fixture
def forget_texts():
    """What this process loaded before or during the test is not kept."""
    caches = (
        *(dataset._load, dataset._tokenized, dataset._resident_trunk),
        *(client_app._resident_model, encoder.load_settings, encoder.fingerprint),
    )
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def tiny_texts(tiny_folder, monkeypatch, forget_texts):
    """Make dataset="ag_news" the tiny one; frozen layers are run once a session."""
    monkeypatch.setenv("FLOWERBED_DATA", str(tiny_folder / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_folder / "cache"))


@pytest.fixture(scope="session")
def small():
    """Keys of two rounds of three clients of the tiny AG News in this process."""
    return {
        "encoder": tiny_encoders.DISTILBERT,
        "num_train_texts": 0,
        "max_length": 32,
        "num_clients": 3,
        "clients_per_round": 3,
        "num_rounds": 2,
        "num_epochs": 1,
        "batch_size": 8,
        "learning_rate": 0.002,
        "dirichlet_alpha": 0.5,
        "engine": "inline",
    }


@pytest.fixture
def make_config(distilbert_defaults, small, tiny_texts):
    """Makes a small configuration that differs in these keys."""

    def make(**changes):
        return DistilBertConfig.parse(distilbert_defaults | small | changes)

    return make


@pytest.fixture(scope="session")
def run():
    """Runs an experiment as the command line does, perhaps with other clients."""

    def run(config, clients=None):
        run_experiment(config, server_app, clients or client_app.app)

    return run
