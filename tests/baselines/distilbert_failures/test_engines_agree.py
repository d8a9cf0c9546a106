"""One seed, one result: whatever runs the clients, and on however many workers."""

import json
import os

import pytest
import ray
import tiny_encoders
from distilbert_failures import dataset
from distilbert_failures.client_app import app as distilbert_client
from distilbert_failures.config import DistilBertConfig

from common.engine.worker_pool import worker_pool

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
# CPUs that a worker reserves, so that there are as many workers.
WORKERS = {"two workers": os.cpu_count() / 2, "one worker": float(os.cpu_count())}


@pytest.fixture(scope="module")
def outcomes(run, distilbert_defaults, tiny_folder, tmp_path_factory):
    """What came of each experiment, by engine; no Ray is left behind."""
    folder = tmp_path_factory.mktemp("engines")

    def outcome(name, **changes):
        values = distilbert_defaults | SMALL | changes | {"output_dir": str(folder / name)}
        run(DistilBertConfig.parse(values), distilbert_client)
        summary = json.loads((folder / name / "summary.json").read_text())
        lines = (folder / name / "rounds.jsonl").read_text().splitlines()
        rounds = [json.loads(line) for line in lines]
        for line in rounds:
            line.pop("seconds")
        return {"sha256": summary["model_sha256"], "rounds": rounds}

    def forget():
        dataset._load.cache_clear()
        dataset._tokenized.cache_clear()

    with pytest.MonkeyPatch.context() as patch:
        # Workers see these as they are when they start.
        patch.setenv("FLOWERBED_DATA", str(tiny_folder / "data"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        # Otherwise Ray has its own opinion of the number, in a container.
        patch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")
        forget()
        try:
            found = {}
            for name, keys in EXPERIMENTS.items():
                found["inline", name] = outcome(f"inline_{name}", engine="inline", **keys)
                found["seed", name] = outcome(f"seed_{name}", engine="inline", **keys | {"seed": 2})
            for workers, num_cpus in WORKERS.items():
                resources = {"num_cpus": num_cpus, "num_gpus": 0.0}
                for name, keys in EXPERIMENTS.items():
                    found[workers, name] = outcome(
                        f"{workers}_{name}", engine="ray", client_resources=resources, **keys
                    )
                found[workers, "size"] = worker_pool(num_cpus, 0.0, "").size
            yield found
        finally:
            ray.shutdown()
            worker_pool.cache_clear()
            forget()


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("workers", WORKERS)
def test_ray_gives_the_same_bits_as_inline(outcomes, workers, name):
    found, expected = outcomes[workers, name], outcomes["inline", name]
    assert found["rounds"] == expected["rounds"]
    assert found["sha256"] == expected["sha256"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_runs_were_what_they_are_taken_for(outcomes, name):
    assert (outcomes["one worker", "size"], outcomes["two workers", "size"]) == (1, 2)
    assert outcomes["seed", name]["sha256"] != outcomes["inline", name]["sha256"]
    rounds = outcomes["inline", name]["rounds"]
    assert [line["clients"] for line in rounds] == [[0, 1, 2, 3, 4]] * 3
    assert len({line["test_loss"] for line in rounds}) == 3
