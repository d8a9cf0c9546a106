"""Read run directories back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from common.errors import UserInputError

TAIL = 10


@dataclass(frozen=True)
class Run:
    """One complete run.

    Attributes:
        config: Its configuration, nested.
        rounds: One record a round, as in rounds.jsonl.
        summary: Its closing figures.
    """

    config: dict[str, Any]
    rounds: list[dict[str, Any]]
    summary: dict[str, Any]

    def curve(self, key: str) -> NDArray[np.float64]:
        """Return one number of every round, shape [rounds]; what was not finite is NaN."""
        return np.array([record[key] for record in self.rounds], dtype=np.float64)

    def tail_mean(self, key: str) -> float:
        """Return the mean of a number over the last ten rounds: single rounds are noise."""
        return float(self.curve(key)[-TAIL:].mean())


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Load every complete run in or below some folders, in the order of their paths.

    Raises:
        UserInputError: A folder holds none.
    """
    runs = []
    for folder in folders:
        found = sorted(summary.parent for summary in folder.rglob("summary.json"))
        if not found:
            raise UserInputError(
                f"{str(folder)!r} is not allowed: it must hold at least one complete run."
            )
        runs += [_load(run) for run in found]
    return runs


def _load(folder: Path) -> Run:
    return Run(
        config=yaml.safe_load((folder / "config.yaml").read_text()),
        rounds=[json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()],
        summary=json.loads((folder / "summary.json").read_text()),
    )
