"""One seed, one result: whatever runs the clients, and on however many workers."""

import pytest
import tiny_encoders
from distilbert_failures import dataset
from distilbert_failures.config import DistilBertConfig
from engines_agree import WORKERS, ray_that_finds, run_on_every_engine
from run_folders import read_outcome

pytestmark = pytest.mark.slow

SMALL = {
    "encoder": tiny_encoders.DISTILBERT,
    "num_train_texts": 0,
    "max_length": 32,
    "num_clients": 5,
    "clients_per_round": 5,
    "num_rounds": 3,
    "batch_size": 8,
    "learning_rate": 0.002,
    "evaluate_clients": True,
    "seed": 1,
}
EXPERIMENTS = {
    "last_2": {"server_optimizer": "fedyogi", "server_learning_rate": 0.01},
    "not cached": {"cache_frozen_layers": False, "encoder": tiny_encoders.BERT},
    "scaffold": {"algorithm": "scaffold", "optimizer": "sgd", "learning_rate": 0.05},
    "lora": {"trainable": "lora", "lora_aggregation": "exact"},
}


@pytest.fixture(scope="module")
def outcomes(run, distilbert_defaults, tiny_folder, tmp_path_factory):
    """What came of each experiment, by engine."""
    folder = tmp_path_factory.mktemp("engines")

    def outcome(name, **changes):
        values = distilbert_defaults | SMALL | changes | {"output_dir": str(folder / name)}
        run(DistilBertConfig.parse(values))
        return read_outcome(folder / name)

    loaded = dataset._load, dataset._tokenized
    with ray_that_finds(tiny_folder / "data", folder / "cache", *loaded):
        yield run_on_every_engine(outcome, EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("workers", WORKERS)
def test_ray_gives_the_same_bits_as_inline(outcomes, workers, name):
    assert outcomes[workers, name] == outcomes["inline", name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_runs_were_what_they_are_taken_for(outcomes, name):
    engines = [outcomes[by, name].engine for by in ("inline", *WORKERS)]
    assert engines == ["inline", "ray", "ray"]
    assert outcomes["seed", name].sha256 != outcomes["inline", name].sha256
    rounds = outcomes["inline", name].rounds
    assert [line["clients"] for line in rounds] == [[0, 1, 2, 3, 4]] * 3
    assert len({line["test_loss"] for line in rounds}) == 3
