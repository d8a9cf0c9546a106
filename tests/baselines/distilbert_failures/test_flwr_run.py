"""`flwr run` gives the numbers of our own engines, to the last bit."""

import json

import pytest
import tiny_encoders
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.replication import REPLICATION

from common.engine.flwr_run import COMPLETED, flwr_run
from common.engine.superlink import SuperLink

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBED_DATA", str(tiny_folder / "data"))
        patch.setenv("XDG_CACHE_HOME", str(tiny_folder / "cache"))
        with SuperLink() as superlink:
            yield superlink


def results(folder):
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    for record in rounds:
        del record["seconds"]
    summary = json.loads((folder / "summary.json").read_text())
    return rounds, summary["model_sha256"]


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
    folder = tmp_path / "flwr_run"
    run_config = values | {"output_dir": str(folder)}
    ended = flwr_run(REPLICATION.folder, run_config, SMALL["num_clients"], superlink=superlink)
    assert ended == COMPLETED
    inline = {"engine": "inline", "output_dir": str(tmp_path / "inline")}
    run(DistilBertConfig.parse(distilbert_defaults | values | inline))
    assert results(folder) == results(tmp_path / "inline")
