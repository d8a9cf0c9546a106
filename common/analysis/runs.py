"""Runs, read back from their directories."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from common.errors import UserInputError
from common.experiment.result_files import finite, read_config, read_rounds, read_summary
from common.experiment.run_files import CONFIG, ROUNDS, SUMMARY
from common.problems import first_problem

TAIL = 10

Keys = TypeVar("Keys", bound=BaseModel)


@dataclass(frozen=True)
class Run:
    """One complete run.

    Attributes:
        config: Its configuration, nested, as it was written: see :meth:`config_as`.
        rounds: One record a round, as in rounds.jsonl.
        summary: Its closing figures.
        folder: Its directory.
    """

    config: dict[Any, Any]
    rounds: list[dict[str, Any]]
    summary: dict[str, Any]
    folder: Path

    def config_as(self, schema: type[Keys]) -> Keys:
        """Return those keys of the configuration that a schema has, checked.

        Args:
            schema: Has the keys that are needed, and ignores others, so that a run made with
                another version of the configuration can be read, too.

        Raises:
            UserInputError: One of them is missing or not allowed.
        """
        try:
            return schema.model_validate(self.config)
        except ValidationError as error:
            problem = first_problem(error)
            value = "" if problem.kind == "missing" else f"={problem.value}"
            raise UserInputError(
                f"{problem.key}{value} in {str(self.folder / CONFIG)!r} is not allowed: it must be "
                f"{problem.rule}."
            ) from None

    def curve(self, key: str) -> NDArray[np.float64]:
        """Return one number of every round, shape [rounds]; what was not finite is NaN.

        Raises:
            UserInputError: A round has no such number.
        """
        return np.array([self._number(record, key) for record in self.rounds], dtype=np.float64)

    def _number(self, record: dict[str, Any], key: str) -> float:
        if key in record and record[key] is None:
            return np.nan
        number = finite(record.get(key))
        if number is None:
            raise UserInputError(
                f"line {record['round']} of {str(self.folder / ROUNDS)!r} is not allowed: it must "
                f"be a record with the number {key!r}, or null for it."
            )
        return number


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Load every complete run in or below some folders, in the order of their paths.

    A folder without summary.json is no complete run, and left out. Links to folders are not
    followed.

    Returns:
        The runs, at least one of each folder.

    Raises:
        UserInputError: A folder cannot be read or holds no complete run, or a run is damaged.
    """
    runs = []
    for folder in folders:
        found = [run for run in _find_runs(folder) if os.path.lexists(run / SUMMARY)]
        if not found:
            raise UserInputError(
                f"{str(folder)!r} is not allowed: it must hold at least one complete run."
            )
        runs += [_load(run) for run in found]
    return runs


def find_incomplete(folders: Sequence[Path]) -> list[Path]:
    """Return the runs in or below some folders that have not ended.

    Raises:
        UserInputError: A folder cannot be read.
    """
    found = [run for folder in folders for run in _find_runs(folder)]
    return [run for run in found if not os.path.lexists(run / SUMMARY)]


def _find_runs(folder: Path) -> list[Path]:
    """Return the folders of runs in or below a folder, in the order of their paths."""
    found, ahead = [], [folder]
    while ahead:
        here = ahead.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name in (CONFIG, SUMMARY):
                        found.append(here)
                    elif entry.is_dir(follow_symlinks=False):
                        ahead.append(Path(entry.path))
        except OSError as error:
            raise UserInputError(
                f"{str(here)!r} is not allowed: it must be a folder that can be read "
                f"({error.strerror})."
            ) from None
    return sorted(set(found))


def _load(folder: Path) -> Run:
    config = read_config(folder / CONFIG)
    rounds = read_rounds(folder / ROUNDS)
    summary = read_summary(folder / SUMMARY)
    if summary.get("rounds", len(rounds)) != len(rounds):
        raise UserInputError(
            f"{str(folder / ROUNDS)!r} is not allowed: it must have as many lines as {SUMMARY} "
            f"says that there were rounds, but has {len(rounds)}."
        )
    return Run(config, rounds, summary, folder)
