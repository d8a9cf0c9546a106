"""One seed, one result: whatever runs the clients, and on however many workers."""

import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from engines_agree import WORKERS, ray_that_finds, resources_for, run_inline, run_on_ray
from fedprox import dataset, normalisation
from fedprox.client_app import app as fedprox_client
from fedprox.config import FedProxConfig
from fedprox.replication import REPLICATION
from flwr.clientapp import ClientApp
from ray.cluster_utils import Cluster
from run_folders import read_outcome

from common.engine.worker_pool import worker_pool
from common.experiment.config import read_default_config
from common.protocol import TrainInstruction

SMALL = {
    "num_clients": 7,
    "clients_per_round": 5,
    "num_rounds": 3,
    "num_epochs": 3,
    "stragglers_fraction": 0.4,
    "seed": 1,
}
# The workers cannot import this module: send its functions as they are.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
EXPERIMENTS = {
    "logistic": {"dataset": "synthetic", "learning_rate": 0.01},
    "cnn": {"dataset": "mnist", "partition": "iid", "model": "cnn", "num_rounds": 2},
}


def run_with_one_killed(run):
    """Run an experiment on the Ray of two workers that is there, and kill one in round 2."""
    resources = resources_for("two workers")
    keys = {"engine": "ray", "client_resources": resources, **EXPERIMENTS["logistic"]}
    return run("killed worker", clients=kills_its_worker_once(), **keys)


def kills_its_worker_once():
    """The clients' app, but in round 2 a client with others before and after it ends its worker."""
    memory = Path(tempfile.mkdtemp()) / "killed"
    app = ClientApp()

    @app.train()
    def train(message, context):
        reply = fedprox_client(message, context)
        is_round_2 = TrainInstruction.of(message).server_round == 2
        if is_round_2 and context.node_config["partition-id"] in (2, 3) and not memory.exists():
            memory.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return reply

    KILLED.append(memory)
    return app


KILLED = []


@contextmanager
def two_machines():
    """A Ray cluster of two machines with one CPU each, both of them this one."""
    ray.shutdown()
    cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        ray.shutdown()
        worker_pool.cache_clear()
        cluster.shutdown()


def machine_of(worker):
    return ray.get_runtime_context().get_node_id()


@pytest.fixture(scope="module")
def outcome(run, tiny_mnist_folder, tmp_path_factory):
    """Runs an experiment into a folder of this name, with some keys changed."""
    folder = tmp_path_factory.mktemp("engines")
    defaults = read_default_config(REPLICATION.folder / "pyproject.toml")

    def outcome(name, clients=None, **changes):
        values = defaults | SMALL | changes | {"output_dir": str(folder / name)}
        run(FedProxConfig.parse(values), clients)
        return read_outcome(folder / name)

    loaded = dataset._load, normalisation._per_pixel
    with ray_that_finds(tiny_mnist_folder, folder / "cache", *loaded):
        yield outcome


@pytest.fixture(scope="module")
def outcomes(outcome):
    """What came of each experiment, by engine; two Rays are started, one after the other."""
    found = run_inline(outcome, EXPERIMENTS)
    found |= run_on_ray(outcome, EXPERIMENTS, "two workers")
    found["killed worker", "logistic"] = run_with_one_killed(outcome)
    return found | run_on_ray(outcome, EXPERIMENTS, "one worker")


@pytest.fixture(scope="module")
def cluster_outcomes(outcome):
    """What came of each experiment on two machines, and beside them; and which machines did it."""
    with two_machines() as address:
        found = {
            ("beside a Ray", "logistic"): outcome(
                "beside a Ray", engine="ray", **EXPERIMENTS["logistic"]
            ),
            ("beside a Ray", "machines"): len(ray.nodes()),
        }
        for model, keys in EXPERIMENTS.items():
            found["two machines", model] = outcome(
                f"cluster {model}", engine="ray", ray_address=address, **keys
            )
        workers = worker_pool(1.0, 0.0, address).workers(99)
        machines = ray.get([worker.__ray_call__.remote(machine_of) for worker in workers])
        found["two machines", "machines"] = machines
        yield found


MODELS = pytest.mark.parametrize("model", EXPERIMENTS)


@MODELS
@pytest.mark.parametrize("workers", WORKERS)
def test_ray_gives_the_same_bits_as_inline(outcomes, workers, model):
    assert outcomes[workers, model] == outcomes["inline", model]


def test_a_worker_killed_in_the_middle_of_a_round_changes_no_bit(outcomes):
    assert KILLED[-1].exists()  # One was.
    assert outcomes["killed worker", "logistic"] == outcomes["inline", "logistic"]


@pytest.mark.slow
@MODELS
def test_two_machines_give_the_same_bits_as_inline(outcomes, cluster_outcomes, model):
    assert len(set(cluster_outcomes["two machines", "machines"])) == 2
    assert cluster_outcomes["two machines", model] == outcomes["inline", model]


@pytest.mark.slow
def test_a_ray_that_runs_already_is_left_alone(outcomes, cluster_outcomes):
    """The run has one of its own, of one machine, though one of two is there to be found."""
    assert cluster_outcomes["beside a Ray", "machines"] == 1
    assert cluster_outcomes["beside a Ray", "logistic"] == outcomes["inline", "logistic"]


@MODELS
def test_another_seed_gives_another_model(outcomes, model):
    assert outcomes["seed", model].sha256 != outcomes["inline", model].sha256
    assert outcomes["seed", model].rounds != outcomes["inline", model].rounds


@MODELS
def test_the_runs_were_what_they_are_taken_for(outcomes, model):
    engines = [outcomes[by, model].engine for by in ("inline", *WORKERS)]
    assert engines == ["inline", "ray", "ray"]
    rounds = outcomes["inline", model].rounds
    losses = [line["train_loss"] for line in rounds]
    assert len(set(losses)) == len(losses) > 1
    assert all(len(line["clients"]) == 5 and len(line["stragglers"]) == 2 for line in rounds)
