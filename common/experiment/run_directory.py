"""The folder that a run leaves behind: self-describing, and append-only while it runs."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from flwr.app import ArrayRecord
from safetensors.numpy import save_file

from common.errors import UserInputError
from common.experiment.config import ExperimentConfig
from common.experiment.environment import describe_environment
from common.experiment.run_files import CONFIG, ENVIRONMENT, MODEL, ROUNDS, SUMMARY, refuse_used


class RunDirectory:
    """One run's results.

    It holds config.yaml (every key, resolved), environment.json, rounds.jsonl (one line a round),
    model.safetensors (the final weights) and, written last, summary.json, whose presence means
    that the run is complete. Numbers that are not finite are null in the JSON files.

    Args:
        config: The run's configuration; an empty ``output_dir`` becomes
            outputs/<date>/<time> below the current folder.
        engine: What runs the clients.

    Raises:
        UserInputError: ``output_dir`` cannot be written, or already holds a run.
    """

    def __init__(self, config: ExperimentConfig, engine: str) -> None:
        self.path = Path(config.output_dir or _timestamped()).expanduser().resolve()
        try:
            if config.output_dir:
                self.path.mkdir(parents=True, exist_ok=True)
            else:
                self.path = _make_new(self.path)
            refuse_used(self.path)
            resolved = config.model_dump() | {"output_dir": str(self.path)}
            (self.path / CONFIG).write_text(yaml.safe_dump(resolved, sort_keys=False))
        except OSError as error:
            raise UserInputError(
                f"output_dir={str(self.path)!r} is not allowed: it must be a folder that can be "
                f"written ({error.strerror})."
            ) from None
        self._write_json(ENVIRONMENT, describe_environment(engine))
        self._rounds = (self.path / ROUNDS).open("w")

    def append_round(self, record: Mapping[str, Any]) -> None:
        """Add one line to rounds.jsonl."""
        self._rounds.write(_to_json(record) + "\n")
        self._rounds.flush()

    def complete(self, arrays: ArrayRecord, summary: Mapping[str, Any]) -> None:
        """Write the final weights, then the summary with their hash.

        Args:
            arrays: The final weights.
            summary: The run's closing figures.
        """
        self._rounds.close()
        model = self.path / MODEL
        save_file({name: array.numpy() for name, array in arrays.items()}, model)
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        self._write_json(SUMMARY, {**summary, "model_sha256": digest, "complete": True})

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        (self.path / name).write_text(_to_json(value, indent=2) + "\n")


def _to_json(value: Mapping[str, Any], indent: int | None = None) -> str:
    finite = {
        key: None if isinstance(item, float) and not math.isfinite(item) else item
        for key, item in value.items()
    }
    return json.dumps(finite, indent=indent, allow_nan=False)


def _make_new(path: Path) -> Path:
    """Make a folder that was not there; of runs that start in one second, each has its own."""
    for number in itertools.count():
        new = path if number == 0 else path.with_name(f"{path.name}-{number}")
        try:
            new.mkdir(parents=True)
            return new
        except FileExistsError:
            continue
    raise AssertionError


def _timestamped() -> Path:
    return Path("outputs") / datetime.now().strftime("%Y-%m-%d/%H-%M-%S")
