"""One seed, one result: whatever runs the clients, and on however many workers."""

import json
import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from fedprox import dataset, normalisation
from fedprox.client_app import app as fedprox_client
from fedprox.config import FedProxConfig
from flwr.clientapp import ClientApp
from ray.cluster_utils import Cluster

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
# CPUs that a worker reserves, so that there are as many workers.
WORKERS = {"two workers": os.cpu_count() / 2, "one worker": float(os.cpu_count())}


def outcomes_of(run):
    """Run each experiment on each engine; three Rays are started, one after the other."""
    found = {}
    for model, keys in EXPERIMENTS.items():
        found["inline", model] = run(f"inline_{model}", engine="inline", **keys)
        found["seed", model] = run(f"seed_{model}", engine="inline", **keys, seed=2)
    for workers, num_cpus in WORKERS.items():
        resources = {"num_cpus": num_cpus, "num_gpus": 0.0}
        for model, keys in EXPERIMENTS.items():
            found[workers, model] = run(
                f"{workers}_{model}", engine="ray", client_resources=resources, **keys
            )
        found[workers, "size"] = worker_pool(num_cpus, 0.0, "").size
        if workers == "two workers":
            found["killed worker", "logistic"] = run(
                "killed_worker",
                engine="ray",
                client_resources=resources,
                client_app=kills_its_worker_once(),
                **EXPERIMENTS["logistic"],
            )
    with two_machines() as address:
        found["beside a Ray", "logistic"] = run(
            "beside_a_ray", engine="ray", **EXPERIMENTS["logistic"]
        )
        found["beside a Ray", "machines"] = len(ray.nodes())
        for model, keys in EXPERIMENTS.items():
            found["two machines", model] = run(
                f"cluster_{model}", engine="ray", ray_address=address, **keys
            )
        workers = worker_pool(1.0, 0.0, address).workers(99)
        machines = ray.get([worker.__ray_call__.remote(machine_of) for worker in workers])
        found["two machines", "machines"] = machines
    return found


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


def forget_data():
    """Drop what this process has loaded, perhaps from elsewhere."""
    dataset._load.cache_clear()
    normalisation._per_pixel.cache_clear()


@pytest.fixture(scope="module")
def outcomes(run, tiny_mnist_folder, tmp_path_factory):
    """What came of each experiment, by engine; no Ray is left behind."""
    folder = tmp_path_factory.mktemp("engines")
    defaults = read_default_config(Path(dataset.__file__).parents[1] / "pyproject.toml")

    def outcome(name, client_app=fedprox_client, **changes):
        config = FedProxConfig.parse(
            defaults | SMALL | changes | {"output_dir": str(folder / name)}
        )
        run(config, client_app)
        summary = json.loads((folder / name / "summary.json").read_text())
        lines = (folder / name / "rounds.jsonl").read_text().splitlines()
        rounds = [json.loads(line) for line in lines]
        for line in rounds:
            line.pop("seconds")
        environment = json.loads((folder / name / "environment.json").read_text())
        return {"sha256": summary["model_sha256"], "rounds": rounds, "environment": environment}

    with pytest.MonkeyPatch.context() as patch:
        # Workers see these as they are when they start.
        patch.setenv("FLOWERBED_DATA", str(tiny_mnist_folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        # Otherwise Ray has its own opinion of the number, in a container.
        patch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")
        forget_data()
        try:
            yield outcomes_of(outcome)
        finally:
            ray.shutdown()
            worker_pool.cache_clear()
            forget_data()


MODELS = pytest.mark.parametrize("model", EXPERIMENTS)


@MODELS
@pytest.mark.parametrize("workers", [*WORKERS, "two machines"])
def test_ray_gives_the_same_bits_as_inline(outcomes, workers, model):
    found, expected = outcomes[workers, model], outcomes["inline", model]
    assert found["rounds"] == expected["rounds"]
    assert found["sha256"] == expected["sha256"]


def test_a_worker_killed_in_the_middle_of_a_round_changes_no_bit(outcomes):
    assert KILLED[-1].exists()  # One was.
    found, expected = outcomes["killed worker", "logistic"], outcomes["inline", "logistic"]
    assert found["rounds"] == expected["rounds"]
    assert found["sha256"] == expected["sha256"]


def test_a_ray_that_runs_already_is_left_alone(outcomes):
    """The run has one of its own, of one machine, though one of two is there to be found."""
    found, expected = outcomes["beside a Ray", "logistic"], outcomes["inline", "logistic"]
    assert outcomes["beside a Ray", "machines"] == 1
    assert found["sha256"] == expected["sha256"]


@MODELS
def test_another_seed_gives_another_model(outcomes, model):
    assert outcomes["seed", model]["sha256"] != outcomes["inline", model]["sha256"]
    assert outcomes["seed", model]["rounds"] != outcomes["inline", model]["rounds"]


@MODELS
def test_the_runs_were_what_they_are_taken_for(outcomes, model):
    assert outcomes["one worker", "size"] == 1
    assert outcomes["two workers", "size"] == 2
    assert len(set(outcomes["two machines", "machines"])) == 2
    engines = [outcomes[by, model]["environment"]["engine"] for by in ("inline", *WORKERS)]
    assert engines == ["inline", "ray", "ray"]
    rounds = outcomes["inline", model]["rounds"]
    losses = [line["train_loss"] for line in rounds]
    assert len(set(losses)) == len(losses) > 1
    assert all(len(line["clients"]) == 5 and len(line["stragglers"]) == 2 for line in rounds)
