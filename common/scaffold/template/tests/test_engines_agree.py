"""One seed, one result: whatever runs the clients, and on however many workers."""

import pytest
from engines_agree import WORKERS, ray_that_finds, run_on_every_engine
from new_baseline import dataset
from run_folders import read_outcome

pytestmark = pytest.mark.slow

EXPERIMENTS = {"default": {}}


@pytest.fixture(scope="module")
def outcomes(make_config, run, tmp_path_factory):
    """What came of each experiment, by engine."""
    folder = tmp_path_factory.mktemp("engines")

    def outcome(name, **changes):
        run(make_config(output_dir=str(folder / name), **({"seed": 1} | changes)))
        return read_outcome(folder / name)

    with ray_that_finds(folder / "data", folder / "cache", dataset.generate):
        yield run_on_every_engine(outcome, EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("workers", WORKERS)
def test_ray_gives_the_same_bits_as_inline(outcomes, workers, name):
    assert outcomes[workers, name] == outcomes["inline", name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_another_seed_gives_another_model(outcomes, name):
    assert outcomes["seed", name].sha256 != outcomes["inline", name].sha256
