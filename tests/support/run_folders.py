"""What runs leave in their folders."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Record = dict[str, Any]


def read_rounds(folder: Path) -> list[Record]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def read_summary(folder: Path) -> Record:
    summary: Record = json.loads((folder / "summary.json").read_text())
    return summary


def read_environment(folder: Path) -> Record:
    environment: Record = json.loads((folder / "environment.json").read_text())
    return environment


def read_config(folder: Path) -> Record:
    config: Record = yaml.safe_load((folder / "config.yaml").read_text())
    return config


def without_seconds(rounds: list[Record]) -> list[Record]:
    """Return rounds without what a clock said, which must have said something."""
    assert all(record["seconds"] > 0 for record in rounds)
    return [{key: value for key, value in r.items() if key != "seconds"} for r in rounds]


@dataclass(frozen=True)
class Outcome:
    """What two runs of one experiment must agree on, to the last bit.

    Attributes:
        rounds: The rounds, without their seconds.
        sha256: The digest of the final model.
        engine: What ran the clients, on which two outcomes may differ.
    """

    rounds: list[Record]
    sha256: str
    engine: str = field(compare=False)


def read_outcome(folder: Path) -> Outcome:
    rounds = without_seconds(read_rounds(folder))
    engine = read_environment(folder)["engine"]
    return Outcome(rounds, read_summary(folder)["model_sha256"], engine)
