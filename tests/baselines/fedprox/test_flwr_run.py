"""`flwr run` gives the numbers of our own engines, to the last bit."""

import pytest
from fedprox.config import FedProxConfig
from fedprox.replication import REPLICATION
from flower_runs import run_by_flower, superlink_that_finds
from run_folders import read_outcome

pytestmark = pytest.mark.slow

LOGISTIC = {"dataset": "synthetic", "num_clients": 4, "num_rounds": 3}
CNN = {"model": "cnn", "partition": "iid", "num_clients": 4, "num_rounds": 2}
SMALL = {"clients_per_round": 2, "num_epochs": 2, "stragglers_fraction": 0.5, "seed": 5}


@pytest.fixture(scope="module")
def superlink(tiny_mnist_folder, tmp_path_factory):
    with superlink_that_finds(tiny_mnist_folder, tmp_path_factory.mktemp("cache")) as superlink:
        yield superlink


@pytest.mark.parametrize(
    "keys", [pytest.param(LOGISTIC, id="logistic"), pytest.param(CNN, id="cnn")]
)
def test_flwr_run_agrees_with_inline(superlink, tiny_mnist, fedprox_defaults, run, tmp_path, keys):
    values = SMALL | keys
    by_flower = run_by_flower(REPLICATION.folder, values, superlink, tmp_path / "flwr_run")
    inline = {"engine": "inline", "output_dir": str(tmp_path / "inline")}
    run(FedProxConfig.parse(fedprox_defaults | values | inline))
    assert by_flower == read_outcome(tmp_path / "inline")
