"""Prepares the one folder of arrays that every system reads.

MNIST from ``$FLOWERBED_DATA`` or from ``../shared/data`` beside the checkout; without it, random
arrays of the same shape, on which accuracies mean nothing but still have to agree. As a script, it
prints what the arrays are and what machine this is, as JSON.
"""

import argparse
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fedprox.model import CNN, LogisticRegression
from fedprox.normalisation import mnist_normalisation
from numpy.typing import NDArray
from speed.training import NUM_CLASSES, NUM_FEATURES
from speed.work import SEED, WORKS, Work, quick
from torch import nn
from torchvision.models import resnet18

from common.data import load
from common.experiment.environment import describe_environment
from common.partition import iid, power_law
from common.randomness import Purpose, generator, torch_seeded
from common.strategy.cohort import sample_cohort

Split = Mapping[str, NDArray]
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


def find_mnist() -> Path | None:
    """Return the data folder that holds MNIST as parquet files, if there is one."""
    root = Path(os.environ.get("FLOWERBED_DATA") or SHARED_DATA)
    splits = [root / "mnist" / f"{split}.parquet" for split in ("train", "test")]
    return root if all(split.is_file() for split in splits) else None


def prepare(folder: Path, works: Sequence[Work], *, tiny: bool = False) -> str:
    """Write the folder anew.

    Args:
        folder: Where to.
        works: The works to prepare for.
        tiny: Take few random examples, to test the harness.

    Returns:
        What the arrays are, in words.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mnist = None if tiny else find_mnist()
    if mnist is not None:
        os.environ["FLOWERBED_DATA"] = str(mnist)
        split, description = _mnist(), "MNIST"
    else:
        sizes = (3000, 500) if tiny else (60_000, 10_000)
        split, description = _random(*sizes), "random arrays of MNIST's shape"
    for name, array in split.items():
        np.save(folder / f"{name}.npy", array)
    for work in works:
        _write_partition(folder, work, split["y_train"])
        cohorts = [
            sample_cohort(SEED, server_round, work.num_clients, work.clients_per_round, 0.0).clients
            for server_round in range(1, work.num_rounds + 1)
        ]
        np.save(folder / f"cohorts_{work.name}.npy", np.stack(cohorts))
        weights = {k: tensor.numpy() for k, tensor in _initial_model(work).state_dict().items()}
        np.savez(folder / f"initial_{work.model}.npz", **weights)
    table = {work.name: work.to_json() for work in works}
    (folder / "works.json").write_text(json.dumps(table, indent=1))
    return description


def _mnist() -> Split:
    arrays = load("mnist")
    shift, scale = mnist_normalisation("per_pixel")

    def normalised(x: NDArray) -> NDArray[np.float32]:
        flat = x.reshape(len(x), NUM_FEATURES).astype(np.float32)
        flat -= shift
        flat /= scale
        return flat

    return {
        "x_train": normalised(arrays.x_train),
        "y_train": np.array(arrays.y_train),
        "x_test": normalised(arrays.x_test),
        "y_test": np.array(arrays.y_test),
    }


def _random(num_train: int, num_test: int) -> Split:
    rng = generator(SEED, Purpose.DATA)
    split = {}
    for name, n in (("train", num_train), ("test", num_test)):
        split[f"x_{name}"] = rng.standard_normal((n, NUM_FEATURES), dtype=np.float32)
        split[f"y_{name}"] = rng.permutation(np.arange(n) % NUM_CLASSES)
    return split


def _write_partition(folder: Path, work: Work, labels: NDArray[np.int64]) -> None:
    if not work.trains:
        return
    rng = generator(SEED, Purpose.PARTITION)
    if work.partition == "iid":
        partition = iid(len(labels), work.num_clients, rng)
    else:
        partition = power_law(labels, work.num_clients, rng)
    np.save(folder / f"{work.partition}_indices.npy", partition.indices)
    np.save(folder / f"{work.partition}_offsets.npy", partition.offsets)


def _initial_model(work: Work) -> nn.Module:
    with torch_seeded(SEED, Purpose.INITIAL_WEIGHTS):
        if work.model == "logistic":
            return LogisticRegression(NUM_FEATURES, NUM_CLASSES)
        return CNN(NUM_CLASSES) if work.model == "cnn" else resnet18()


def main() -> None:
    """Prepare what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the arrays go")
    parser.add_argument("--quick", action="store_true", help="tiny arrays, to test the harness")
    options = parser.parse_args()
    works = [quick(work) for work in WORKS] if options.quick else WORKS
    data = prepare(options.folder, works, tiny=options.quick)
    environment = describe_environment("benchmark")
    del environment["engine"]
    root = find_mnist()
    print(
        json.dumps(
            {"data": data, "data_root": root and str(root.absolute()), "environment": environment}
        )
    )


if __name__ == "__main__":
    main()
