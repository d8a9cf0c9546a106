"""One seed, one result: whatever runs the clients, and on however many workers."""

import pytest
import tiny_imagenette
from engines_agree import WORKERS, ray_that_finds, run_on_every_engine
from imagenet_resnet import dataset
from imagenet_resnet.config import ImageNetConfig
from run_folders import read_outcome

pytestmark = pytest.mark.slow

SMALL = {
    "dataset": "imagenette",
    "image_size": 32,
    "num_stages": 3,
    "num_clients": 5,
    "clients_per_round": 5,
    "num_rounds": 2,
    "num_epochs": 2,
    "batch_size": 8,
    "min_partition_size": 8,
    "evaluate_clients": True,
    "seed": 1,
}
EXPERIMENTS = {
    "head": {"weights": tiny_imagenette.TRUNK, "trainable": "head", "server_optimizer": "fedyogi"},
    "all": {"weights": "none", "augmentation": "crop_flip"},
}


@pytest.fixture(scope="module")
def outcomes(run, imagenet_defaults, tiny_folder, tmp_path_factory):
    """What came of each experiment, by engine."""
    folder = tmp_path_factory.mktemp("engines")

    def outcome(name, **changes):
        values = imagenet_defaults | SMALL | changes | {"output_dir": str(folder / name)}
        run(ImageNetConfig.parse(values))
        return read_outcome(folder / name)

    with ray_that_finds(tiny_folder / "data", folder / "cache", dataset._load):
        yield run_on_every_engine(outcome, EXPERIMENTS)


@pytest.mark.parametrize("model", EXPERIMENTS)
@pytest.mark.parametrize("workers", WORKERS)
def test_ray_gives_the_same_bits_as_inline(outcomes, workers, model):
    assert outcomes[workers, model] == outcomes["inline", model]


@pytest.mark.parametrize("model", EXPERIMENTS)
def test_the_runs_were_what_they_are_taken_for(outcomes, model):
    engines = [outcomes[by, model].engine for by in ("inline", *WORKERS)]
    assert engines == ["inline", "ray", "ray"]
    assert outcomes["seed", model].sha256 != outcomes["inline", model].sha256
    rounds = outcomes["inline", model].rounds
    assert [line["clients"] for line in rounds] == [[0, 1, 2, 3, 4]] * 2
    assert len({line["test_loss"] for line in rounds}) == 2
