"""One seed, one result: whatever runs the clients, and on however many workers.

So what a client keeps, residual and momentum, goes with it from worker to worker.
"""

import pytest
from engines_agree import WORKERS, ray_that_finds, run_on_every_engine
from pruning_afo import dataset
from pruning_afo.config import PruningConfig
from run_folders import read_outcome

pytestmark = pytest.mark.slow

SMALL = {
    "width": 2,
    "num_clients": 5,
    "clients_per_round": 4,
    "num_rounds": 3,
    "batch_size": 8,
    "partition": "dirichlet_over_clients",
    "dirichlet_alpha": 0.5,
    "min_partition_size": 8,
    "density": 0.05,
    "seed": 1,
}
FEEDBACK = {
    "sparsifier": "top_k", "quantiser": "int8", "int8_rounding": "stochastic",
    "error_feedback": True,
}  # fmt: skip
EXPERIMENTS = {
    "fedavg": {"norm": "group", "precision": "bfloat16"},
    "feedback": FEEDBACK | {"server_optimizer": "fedadam", "bias_correction": True},
    "dgc": FEEDBACK | {"residual_momentum": 0.9, "warmup_rounds": 1, "clip_norm": 5.0},
    "random_k": {"sparsifier": "random_k", "compress_local_gradients": True},
    "feddst": {"pruning": "feddst", "quantiser": "int8", "pruning_end": 3, "pruning_every": 1},
}


@pytest.fixture(scope="module")
def outcomes(run, pruning_defaults, cifar10_folder, tmp_path_factory):
    """What came of each experiment, by engine."""
    folder = tmp_path_factory.mktemp("engines")

    def outcome(name, **changes):
        values = pruning_defaults | SMALL | changes | {"output_dir": str(folder / name)}
        run(PruningConfig.parse(values))
        return read_outcome(folder / name)

    with ray_that_finds(cifar10_folder / "data", folder / "cache", dataset._load):
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
    # Cohorts differ: some clients are away from a round, with what they keep.
    assert len({tuple(line["clients"]) for line in rounds}) > 1
    assert len({line["test_loss"] for line in rounds}) == 3
