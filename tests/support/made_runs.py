"""Runs that nobody made."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from common.analysis.results import Results
from common.analysis.runs import Run

Curve = Sequence[float | None]


def make_run(
    config: Mapping[str, Any],
    accuracies: Curve = (0.25, 0.5),
    *,
    folder: Path = Path("run"),
    metrics: Any = None,
    **keys: Any,
) -> Run:
    """Return a run with some keys of a configuration changed.

    Args:
        config: The configuration.
        accuracies: What the run reached, a number a round.
        folder: Where it pretends to be.
        metrics: Curves of other numbers, by name.
        keys: What is changed.
    """
    curves: dict[str, Curve] = {"test_accuracy": accuracies} | dict(metrics or {})
    rounds = [
        {"round": i, **dict(zip(curves, values, strict=True))}
        for i, values in enumerate(zip(*curves.values(), strict=True), 1)
    ]
    return Run({**config, **keys}, rounds, {"rounds": len(rounds), "seconds": 61.0}, folder)


def make_arm(config: Mapping[str, Any], curves: Sequence[Curve], **keys: Any) -> list[Run]:
    """Return a run for every curve of accuracies, from seed 0."""
    return [make_run(config, curve, seed=seed, **keys) for seed, curve in enumerate(curves)]


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
