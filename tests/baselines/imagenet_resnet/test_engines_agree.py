"""One seed, one result: whatever runs the clients, and on however many workers."""

import json
import os

import pytest
import ray
import tiny_imagenette
from imagenet_resnet import dataset
from imagenet_resnet.client_app import app as imagenet_client
from imagenet_resnet.config import ImageNetConfig

from common.engine.worker_pool import worker_pool

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
# CPUs that a worker reserves, so that there are as many workers.
WORKERS = {"two workers": os.cpu_count() / 2, "one worker": float(os.cpu_count())}


@pytest.fixture(scope="module")
def outcomes(run, imagenet_defaults, tiny_folder, tmp_path_factory):
    """What came of each experiment, by engine; no Ray is left behind."""
    folder = tmp_path_factory.mktemp("engines")

    def outcome(name, **changes):
        values = imagenet_defaults | SMALL | changes | {"output_dir": str(folder / name)}
        run(ImageNetConfig.parse(values), imagenet_client)
        summary = json.loads((folder / name / "summary.json").read_text())
        lines = (folder / name / "rounds.jsonl").read_text().splitlines()
        rounds = [json.loads(line) for line in lines]
        for line in rounds:
            line.pop("seconds")
        return {"sha256": summary["model_sha256"], "rounds": rounds}

    with pytest.MonkeyPatch.context() as patch:
        # Workers see these as they are when they start.
        patch.setenv("FLOWERBED_DATA", str(tiny_folder / "data"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        # Otherwise Ray has its own opinion of the number, in a container.
        patch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")
        dataset._load.cache_clear()
        try:
            found = {}
            for model, keys in EXPERIMENTS.items():
                found["inline", model] = outcome(f"inline_{model}", engine="inline", **keys)
                found["seed", model] = outcome(f"seed_{model}", engine="inline", **keys, seed=2)
            for workers, num_cpus in WORKERS.items():
                resources = {"num_cpus": num_cpus, "num_gpus": 0.0}
                for model, keys in EXPERIMENTS.items():
                    found[workers, model] = outcome(
                        f"{workers}_{model}", engine="ray", client_resources=resources, **keys
                    )
                found[workers, "size"] = worker_pool(num_cpus, 0.0, "").size
            yield found
        finally:
            ray.shutdown()
            worker_pool.cache_clear()
            dataset._load.cache_clear()


@pytest.mark.parametrize("model", EXPERIMENTS)
@pytest.mark.parametrize("workers", WORKERS)
def test_ray_gives_the_same_bits_as_inline(outcomes, workers, model):
    found, expected = outcomes[workers, model], outcomes["inline", model]
    assert found["rounds"] == expected["rounds"]
    assert found["sha256"] == expected["sha256"]


@pytest.mark.parametrize("model", EXPERIMENTS)
def test_the_runs_were_what_they_are_taken_for(outcomes, model):
    assert (outcomes["one worker", "size"], outcomes["two workers", "size"]) == (1, 2)
    assert outcomes["seed", model]["sha256"] != outcomes["inline", model]["sha256"]
    rounds = outcomes["inline", model]["rounds"]
    assert [line["clients"] for line in rounds] == [[0, 1, 2, 3, 4]] * 2
    assert len({line["test_loss"] for line in rounds}) == 2
