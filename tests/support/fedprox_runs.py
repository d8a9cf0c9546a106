"""Runs of FedProx that nobody made."""

from functools import partial

import made_runs

# What a comparison looks at, and one key more.
CONFIG = {
    "algorithm": "fedprox",
    "mu": 1.0,
    "adaptive_mu": False,
    "dataset": "mnist",
    "synthetic_alpha": 1.0,
    "synthetic_beta": 1.0,
    "partition": "power_law",
    "normalisation": "per_pixel",
    "stragglers_fraction": 0.9,
    "seed": 0,
    "engine": "inline",
    "num_epochs": 20,
}
FEDAVG = {"algorithm": "fedavg", "mu": 0.0}

make_run = partial(made_runs.make_run, CONFIG)
make_arm = partial(made_runs.make_arm, CONFIG)
