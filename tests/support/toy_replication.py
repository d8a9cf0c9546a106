"""A baseline that replicates no paper: two figures of methods that there are not."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Literal

import made_runs
import pytest
import tomli_w
import yaml

from common.experiment.config import ExperimentConfig, NonNegativeFloat, PositiveFloat
from common.replication.compared_keys import ArmKeys, PanelKeys
from common.replication.definition import FigureOf, Replication
from common.replication.metrics import TEST_ACCURACY, TRAIN_LOSS, Metric


class ToyConfig(ExperimentConfig):
    dataset: Literal["hills", "plains"]
    alpha: PositiveFloat
    algorithm: Literal["avg", "prox", "pooled"]
    mu: NonNegativeFloat


class ToyPanelKeys(PanelKeys):
    dataset: Literal["hills", "plains"]
    alpha: PositiveFloat

    @property
    def facts(self) -> tuple[str, str]:
        return (self.dataset.capitalize(), f"alpha = {self.alpha:g}" if self.alpha < 1000 else "")

    @property
    def name(self) -> str:
        return self.facts[0]

    @property
    def order(self) -> tuple[str, float]:
        return (self.dataset, self.alpha)


class ToyArmKeys(ArmKeys):
    algorithm: Literal["avg", "prox", "pooled"]
    mu: NonNegativeFloat

    @property
    def name(self) -> str:
        names = {"avg": "FedAvg", "prox": f"FedProx, μ = {self.mu:g}", "pooled": "pooled data"}
        return names[self.algorithm]

    @property
    def order(self) -> tuple[str, float]:
        return (self.algorithm, self.mu)


# What ToyConfig compares, and one key more.
CONFIG = {
    "dataset": "hills",
    "alpha": 0.5,
    "algorithm": "prox",
    "mu": 1.0,
    "seed": 0,
    "engine": "inline",
    "num_epochs": 2,
}
AVG = {"algorithm": "avg", "mu": 0.0}
POOLED = {"algorithm": "pooled", "mu": 0.0}
PANEL = "Hills"

make_run = partial(made_runs.make_run, CONFIG)
make_arm = partial(made_runs.make_arm, CONFIG)

DRIFT = Metric("drift", "drift", (0, float("inf")), (".2f", ".1f"))
RATE = Metric("rate", "rate", (0, 1), (".1f", ".1f"), only_if_varied=True)
FIGURES = {
    "first": FigureOf("The first figure", "Which is better?"),
    "second": FigureOf("The second figure", "How soon?", target=0.99),
    "third": FigureOf(
        *("The third figure", "At what cost?"),
        reference="pooled data",
        statistics=("best", "last", "bytes_up", "bytes_down"),
    ),
}
TOY = Replication(
    package="toy",
    schema=ToyConfig,
    panel_keys=ToyPanelKeys,
    arm_keys=ToyArmKeys,
    metrics=(TRAIN_LOSS, TEST_ACCURACY, DRIFT, RATE),
    figures=FIGURES,
    folder=Path("toy"),
    page=Path("toy.md"),
)

_DEFAULTS = CONFIG | {
    "num_clients": 6,
    "clients_per_round": 3,
    "num_rounds": 2,
    "batch_size": 10,
    "learning_rate": 0.03,
    "precision": "float32",
    "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
    "ray_address": "",
    "server_device": "cpu",
    "client_timeout": float("inf"),
    "on_client_failure": "end",
    "checkpoint_every": 1,
    "output_dir": "",
}
_EXPERIMENTS = {
    "first": {"hydra": {"sweeper": {"params": {"algorithm": "avg,prox"}}}},
    "second": {"num_epochs": 1},
    "third": {},
}
_CLAIM = {
    "id": "prox-helps",
    "source": "nobody",
    "statement": "FedProx is above FedAvg.",
    "quantity": {
        "statistic": "tail_mean",
        "metric": "test_accuracy",
        "contrasts": [
            {
                "experiment": "first",
                "arm": {"algorithm": "prox"},
                "minus": {"algorithm": "avg"},
            }
        ],
    },
    "rule": {"above": 0},
    "unit": "points",
}
_PAGE = """# Of {name}

<!-- begin: first -->
<!-- end: first -->

Between.

<!-- begin: second -->
old
<!-- end: second -->

<!-- begin: claims -->
<!-- end: claims -->
"""


def lay_out(repository: Path, patch: pytest.MonkeyPatch) -> Replication:
    """Write the files of the toy, and return it: no results, a claim, two pages, no apps."""
    folder = repository / "baselines" / "toy"
    toy = replace(TOY, folder=folder, page=repository / "docs" / "toy.md")
    conf = folder / "toy" / "conf" / "experiment"
    for parent in (conf, toy.results, toy.page.parent):
        parent.mkdir(parents=True)
    table = {"tool": {"flwr": {"app": {"config": _DEFAULTS}}}}
    (folder / "pyproject.toml").write_text(tomli_w.dumps(table))
    for name, values in _EXPERIMENTS.items():
        (conf / f"{name}.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(values)}")
    toy.claims.write_text(yaml.safe_dump([_CLAIM]))
    toy.readme.write_text(_PAGE.format(name="the README"))
    toy.page.write_text(_PAGE.format(name="the page"))
    package = ModuleType("toy")
    package.__file__ = str(folder / "toy" / "__init__.py")
    patch.setitem(sys.modules, "toy", package)
    return toy
