"""Runs of FedProx that nobody made, and a place for what is made from them."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton

from common.analysis.results import Results
from common.analysis.runs import Run

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

Curve = Sequence[float | None]


def make_run(
    accuracies: Curve = (0.25, 0.5), *, folder: Path = Path("run"), metrics: Any = None, **keys: Any
) -> Run:
    """Return a run with these keys changed; ``metrics`` are curves of other numbers."""
    curves: dict[str, Curve] = {"test_accuracy": accuracies} | dict(metrics or {})
    rounds = [
        {"round": i, **dict(zip(curves, values, strict=True))}
        for i, values in enumerate(zip(*curves.values(), strict=True), 1)
    ]
    return Run(CONFIG | keys, rounds, {"rounds": len(rounds), "seconds": 61.0}, folder)


def make_arm(curves: Sequence[Curve], **keys: Any) -> list[Run]:
    """Return a run for every curve of accuracies, from seed 0."""
    return [make_run(curve, seed=seed, **keys) for seed, curve in enumerate(curves)]


def make_results(*arms: Sequence[Run]) -> Results:
    return Results.of([run for arm in arms for run in arm])


def write_run(folder: Path, run: Run, environment: Any = None) -> None:
    """Write the files that a run leaves."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(run.config))
    (folder / "rounds.jsonl").write_text("".join(json.dumps(r) + "\n" for r in run.rounds))
    (folder / "summary.json").write_text(json.dumps(run.summary))
    origin = {"commit": "0123456789", "processor": "a processor", "cpus": 2}
    (folder / "environment.json").write_text(json.dumps(environment or origin))


@contextmanager
def hydra_as_new(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hydra keeps one global state a process, and changes Python's logging."""
    patch.setenv("HYDRA_FULL_ERROR", "0")
    hydra_state = Singleton.get_state()
    handlers, level = logging.root.handlers[:], logging.root.level
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    yield
    GlobalHydra.instance().clear()
    Singleton.set_state(hydra_state)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


CLAIM = {
    "id": "partial-work-helps",
    "source": "nobody",
    "statement": "FedProx is above FedAvg.",
    "quantity": {
        "statistic": "tail_mean",
        "metric": "test_accuracy",
        "contrasts": [
            {
                "experiment": "figure1_mnist",
                "arm": {"algorithm": "fedprox"},
                "minus": {"algorithm": "fedavg"},
            }
        ],
    },
    "rule": {"above": 0},
    "unit": "points",
}
PAGE = """# Of {name}

<!-- begin: figure1_mnist -->
<!-- end: figure1_mnist -->

Between.

<!-- begin: figure2 -->
old
<!-- end: figure2 -->

<!-- begin: claims -->
<!-- end: claims -->
"""


def lay_out(folder: Path, patch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give the baseline an empty folder of results, a claim and two pages of its own."""
    place = SimpleNamespace(
        results=folder / "baselines" / "fedprox" / "results",
        claims=folder / "baselines" / "fedprox" / "claims.yaml",
        readme=folder / "baselines" / "fedprox" / "README.md",
        page=folder / "docs" / "fedprox.md",
    )
    for parent in (place.results, place.page.parent):
        parent.mkdir(parents=True)
    place.claims.write_text(yaml.safe_dump([CLAIM]))
    place.readme.write_text(PAGE.format(name="the README"))
    place.page.write_text(PAGE.format(name="the page"))
    for name, path in vars(place).items():
        patch.setattr(f"fedprox.pages.{name.upper()}", path)
    patch.setattr("fedprox.report.RESULTS", place.results)
    return place
