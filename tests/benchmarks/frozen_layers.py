"""What is gained by running frozen layers once, and of the last layer only what the head reads.

    python tests/benchmarks/frozen_layers.py [--encoder minilm] [--rounds 5]

Trains the last two layers of an encoder on AG News ($FLOWERBED_DATA), in the three ways side by
side: each round of measurement takes one local epoch of a client of 256 texts in each of them, and
the medians over the rounds are compared. One thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import distilbert_failures
import numpy as np
import torch
from distilbert_failures import model as models
from distilbert_failures.config import DistilBertConfig
from distilbert_failures.dataset import load_dataset
from torch import nn

from common.client.local_sgd import train_locally
from common.client.work import LocalWork
from common.experiment.config import read_default_config

NUM_TEXTS = 256


def configuration(encoder: str, cached: bool) -> DistilBertConfig:
    """Return the defaults, with few texts."""
    table = read_default_config(Path(distilbert_failures.__file__).parents[1] / "pyproject.toml")
    few = {"num_train_texts": NUM_TEXTS, "num_test_texts": NUM_TEXTS, "partition": "iid"}
    own = {"encoder": encoder, "cache_frozen_layers": cached, "num_clients": 1}
    return DistilBertConfig.parse(table | few | own | {"clients_per_round": 1})


def whole_last_layer(config: DistilBertConfig) -> nn.Module:
    """Return the layers to train, of which the last is computed for all tokens."""
    shortcut = models._read_first_token_only
    models._read_first_token_only = lambda layer: False
    try:
        return models.make_tail(config, 4)
    finally:
        models._read_first_token_only = shortcut


def epoch_of(model: nn.Module, config: DistilBertConfig, precision: str) -> Callable[[], None]:
    """Return what trains for a local epoch."""
    x, y = load_dataset(config).client(0, torch.device("cpu"))
    work = LocalWork(1, 32, 2e-5, 0.0, precision=precision, optimizer="adamw", weight_decay=0.01)
    return lambda: train_locally(model, x, y, work, np.random.default_rng(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cached, uncached = (configuration(options.encoder, cached) for cached in (True, False))
    for precision in ("float32", "bfloat16"):
        ways = {
            "all layers run for each batch": epoch_of(
                whole_last_layer(uncached), uncached, precision
            ),
            "frozen layers cached": epoch_of(whole_last_layer(cached), cached, precision),
            "and the last for the first token": epoch_of(
                models.make_tail(cached, 4), cached, precision
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(options.rounds + 1):
            for name, train in ways.items():
                start = time.perf_counter()
                train()
                if round_ > 0:  # The first one warms up.
                    seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(of_way) for name, of_way in seconds.items()}
        slowest = max(medians.values())
        for name, median in medians.items():
            rate, gain = NUM_TEXTS / median, slowest / median
            print(f"{precision:9} {name:34} {rate:6.0f} texts/s {gain:5.2f} times", flush=True)


if __name__ == "__main__":
    main()
