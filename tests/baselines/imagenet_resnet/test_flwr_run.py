"""`flwr run` gives the numbers of our own engines, to the last bit."""

import pytest
import tiny_imagenette
from flower_runs import run_by_flower, superlink_that_finds
from imagenet_resnet.config import ImageNetConfig
from imagenet_resnet.replication import REPLICATION
from run_folders import read_outcome

pytestmark = pytest.mark.slow

SMALL = {
    "dataset": "imagenette",
    "image_size": 32,
    "num_stages": 3,
    "num_clients": 3,
    "clients_per_round": 3,
    "num_rounds": 2,
    "num_epochs": 1,
    "batch_size": 8,
    "min_partition_size": 8,
    "seed": 5,
}


@pytest.fixture(scope="module")
def superlink(tiny_folder):
    with superlink_that_finds(tiny_folder / "data", tiny_folder / "cache") as superlink:
        yield superlink


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"weights": tiny_imagenette.TRUNK, "trainable": "head"}, id="head"),
        pytest.param({"weights": "none", "evaluate_clients": True}, id="all"),
    ],
)
def test_flwr_run_agrees_with_inline(
    superlink, tiny_images, imagenet_defaults, run, tmp_path, keys
):
    values = SMALL | keys
    by_flower = run_by_flower(REPLICATION.folder, values, superlink, tmp_path / "flwr_run")
    inline = {"engine": "inline", "output_dir": str(tmp_path / "inline")}
    run(ImageNetConfig.parse(imagenet_defaults | values | inline))
    assert by_flower == read_outcome(tmp_path / "inline")
