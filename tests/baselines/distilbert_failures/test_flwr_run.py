"""`flwr run` gives the numbers of our own engines, to the last bit."""

import pytest
import tiny_encoders
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.replication import REPLICATION
from flower_runs import run_by_flower, superlink_that_finds
from run_folders import read_outcome

pytestmark = pytest.mark.slow

SMALL = {
    "encoder": tiny_encoders.DISTILBERT,
    "num_train_texts": 0,
    "max_length": 32,
    "num_clients": 3,
    "clients_per_round": 3,
    "num_rounds": 2,
    "num_epochs": 1,
    "batch_size": 8,
    "seed": 5,
}


@pytest.fixture(scope="module")
def superlink(tiny_folder):
    with superlink_that_finds(tiny_folder / "data", tiny_folder / "cache") as superlink:
        yield superlink


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"evaluate_clients": True, "model_seed": 7}, id="last_2"),
        pytest.param({"algorithm": "scaffold", "optimizer": "sgd"}, id="scaffold"),
    ],
)
def test_flwr_run_agrees_with_inline(
    superlink, tiny_texts, distilbert_defaults, run, tmp_path, keys
):
    values = SMALL | keys
    by_flower = run_by_flower(REPLICATION.folder, values, superlink, tmp_path / "flwr_run")
    inline = {"engine": "inline", "output_dir": str(tmp_path / "inline")}
    run(DistilBertConfig.parse(distilbert_defaults | values | inline))
    assert by_flower == read_outcome(tmp_path / "inline")
