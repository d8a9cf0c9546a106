"""`flwr run` gives the numbers of our own engines, to the last bit."""

import json
from pathlib import Path

import fedprox
import pytest
from fedprox.client_app import app as client_app
from fedprox.config import FedProxConfig
from fedprox.server_app import app as server_app

from common.engine.flwr_run import COMPLETED, flwr_run
from common.engine.superlink import SuperLink
from common.experiment.run_experiment import run_experiment

BASELINE = Path(fedprox.__file__).parents[1]

LOGISTIC = {"dataset": "synthetic", "num_clients": 4, "num_rounds": 3}
CNN = {"model": "cnn", "partition": "iid", "num_clients": 4, "num_rounds": 2}
SMALL = {"clients_per_round": 2, "num_epochs": 2, "stragglers_fraction": 0.5, "seed": 5}


@pytest.fixture(scope="module")
def superlink(tiny_mnist_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with SuperLink() as superlink:
            yield superlink


def results(folder):
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for record in rounds:
        del record["seconds"]
    summary = json.loads((folder / "summary.json").read_text())
    return rounds, summary["model_sha256"]


def run_inline(defaults, values, folder):
    config = FedProxConfig.parse(
        defaults | values | {"engine": "inline", "output_dir": str(folder)}
    )
    run_experiment(config, server_app, client_app)
    return results(folder)


@pytest.mark.parametrize(
    "keys",
    [pytest.param(LOGISTIC, id="logistic"), pytest.param(CNN, id="cnn", marks=pytest.mark.slow)],
)
def test_flwr_run_agrees_with_inline(superlink, tiny_mnist, fedprox_defaults, tmp_path, keys):
    values = SMALL | keys
    folder = tmp_path / "flwr_run"
    run_config = values | {"output_dir": str(folder)}
    assert flwr_run(BASELINE, run_config, keys["num_clients"], superlink=superlink) == COMPLETED
    assert results(folder) == run_inline(fedprox_defaults, values, tmp_path / "inline")
