"""Runs of the ImageNet benchmark that nobody made."""

from functools import partial

import made_runs

# What a comparison looks at, and some keys more.
CONFIG = {
    "algorithm": "fedprox",
    "mu": 0.01,
    "mu_schedule": "constant",
    "mu_final": 0.0,
    "adaptive_mu": False,
    "weighting": "uniform",
    "buffers": "average",
    "server_optimizer": "none",
    "head": "fresh",
    "norm": "batch",
    "num_stages": 4,
    "trainable": "all",
    "num_clients": 10,
    "num_rounds": 20,
    "num_epochs": 5,
    "evaluate_clients": False,
    "dataset": "imagenette",
    "image_size": 128,
    "partition": "dirichlet_over_clients",
    "dirichlet_alpha": 0.1,
    "seed": 0,
    "engine": "inline",
    "batch_size": 32,
}
FEDAVG = {"algorithm": "fedavg", "mu": 0.0}
CENTRALISED = FEDAVG | {"num_clients": 1}
LOCAL_ONLY = FEDAVG | {"num_rounds": 1, "num_epochs": 100, "evaluate_clients": True}

make_run = partial(made_runs.make_run, CONFIG)
make_arm = partial(made_runs.make_arm, CONFIG)
