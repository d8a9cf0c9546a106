"""The folder that a run leaves behind: self-describing, and whole whenever the run is killed."""

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
import yaml
from flwr.app import ArrayRecord
from safetensors.numpy import save

from common.arrays import view
from common.durable import telling, write_atomically
from common.errors import UserInputError
from common.experiment.checkpoint import Checkpoint, CheckpointFolder
from common.experiment.config import ExperimentConfig
from common.experiment.environment import describe_environment
from common.experiment.result_files import read_environment, read_first_rounds
from common.experiment.run_files import (
    CHECKPOINT,
    CONFIG,
    ENVIRONMENT,
    MODEL,
    ROUNDS,
    SUMMARY,
    changed_keys,
    identify,
    is_complete,
    lock,
    require_free_or_own,
)
from common.shown import shown

# What of the environment may decide on digits.
_DECIDING: Final = ("commit", "python", "packages", "processor", "gpus")


class RunDirectory:
    """One run's results, in a ``with`` block, during which no other process can write there.

    It holds config.yaml (every key, resolved), environment.json, rounds.jsonl (one line a round),
    model.safetensors (the final weights) and, written last, summary.json, whose presence means
    that the run is complete; until then, checkpoint/ has what the run needs to go on. Numbers that
    are not finite are null in the JSON files.

    Args:
        config: The run's configuration; an empty ``output_dir`` becomes
            outputs/<date>/<time> below the current folder.
        engine: What runs the clients.
        num_examples: n_k of every client: a run goes on with the same data only.
        weights: Identifies the pre-trained weights that it began with, so that it goes on with the
            same ones only; empty if there are none.

    Attributes:
        path: The folder.
        is_complete: Whether the run has ended; then nothing is written.
        checkpoint: Where an incomplete run goes on, None at its beginning.
        rounds: The lines of rounds.jsonl up to there.
        is_resumed: Whether there was an incomplete run, even one without a checkpoint.
        differences: What was another thing when the run began, commit, versions or hardware, told.

    Raises:
        UserInputError: ``output_dir`` cannot be written, is being written by another process, holds
            a run of another configuration, or one that is damaged.
        StorageError: A file cannot be written.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        engine: str,
        num_examples: Sequence[int] = (),
        weights: str = "",
    ) -> None:
        self.path = Path(config.output_dir or _timestamped()).expanduser().resolve()
        self.checkpoint: Checkpoint | None = None
        self.rounds: list[dict[str, Any]] = []
        self.is_resumed = False
        self.differences: list[str] = []
        self._held = ExitStack()
        if config.output_dir:
            require_free_or_own(self.path, config)  # Before anything is made there.
        else:
            self.path = _make_new(self.path)
        self._checkpoints = CheckpointFolder(
            _make(self.path / CHECKPOINT), identify(config, num_examples, weights)
        )
        with ExitStack() as held:
            held.callback(lock(self.path).release)
            require_free_or_own(self.path, config)  # Nobody else can change that now.
            self.is_complete = is_complete(self.path)
            if self.is_complete:
                self._checkpoints.remove()
                return
            environment = describe_environment(engine)
            if weights:
                environment["weights"] = weights
            if (self.path / CONFIG).exists():
                self._go_on(config, environment)
            else:
                self._begin(config, environment)
            with telling(self.path / ROUNDS):
                self._rounds_file = (self.path / ROUNDS).open("ab")
            held.callback(_close, self._rounds_file)
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let other processes write here again."""
        self._held.close()

    def append_round(self, record: Mapping[str, Any]) -> None:
        """Add one line to rounds.jsonl; it is on disk then.

        Raises:
            StorageError: It cannot be written.
        """
        with telling(self.path / ROUNDS):
            self._rounds_file.write(_to_json(record).encode() + b"\n")
            self._rounds_file.flush()
            os.fsync(self._rounds_file.fileno())

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint; the lines of its rounds are written already.

        Raises:
            StorageError: It cannot be written.
        """
        self._checkpoints.save(checkpoint)

    def complete(self, arrays: ArrayRecord, summary: Mapping[str, Any]) -> None:
        """Write the final weights, then the summary with their hash.

        Args:
            arrays: The final weights.
            summary: The run's closing figures.

        Raises:
            StorageError: One of them cannot be written.
        """
        # In C order, whatever the array's: safetensors takes bytes as they lie in memory.
        model = save({key: np.asarray(view(w), order="C") for key, w in arrays.items()})
        write_atomically(self.path / MODEL, model)
        digest = hashlib.sha256(model).hexdigest()
        self._write_json(SUMMARY, {**summary, "model_sha256": digest, "complete": True})
        self.is_complete = True
        self._checkpoints.remove()

    def _begin(self, config: ExperimentConfig, environment: dict[str, object]) -> None:
        for name in (SUMMARY, MODEL):  # Of a run whose config.yaml was taken away.
            with telling(self.path / name):
                (self.path / name).unlink(missing_ok=True)
        self._checkpoints.clear()
        self._write_json(ENVIRONMENT, environment)
        write_atomically(self.path / ROUNDS, b"")
        resolved = config.model_dump() | {"output_dir": str(self.path)}
        # Last, for this file makes the folder a run's.
        write_atomically(self.path / CONFIG, yaml.safe_dump(resolved, sort_keys=False).encode())

    def _go_on(self, config: ExperimentConfig, environment: dict[str, object]) -> None:
        """Take up a run after its last checkpoint; rounds after that will be run again."""
        self.checkpoint = self._checkpoints.load()
        last_round = self.checkpoint.round if self.checkpoint else 0
        lines, self.rounds = read_first_rounds(self.path / ROUNDS, last_round)
        write_atomically(self.path / ROUNDS, lines.encode())
        first = read_environment(self.path / ENVIRONMENT)
        again = {"after_round": last_round, "changed": changed_keys(self.path, config)}
        self.is_resumed = True
        self.differences = [
            f"{key} was {shown(first.get(key))}, and is {shown(environment[key])}"
            for key in _DECIDING
            if environment[key] != first.get(key)
        ]
        first["resumed"] = [*first.get("resumed", []), again | environment]
        self._write_json(ENVIRONMENT, first)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, (_to_json(value, indent=2) + "\n").encode())


def as_written(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as it is when it was written to a JSON file and read again."""
    written: dict[str, Any] = json.loads(_to_json(record))
    return written


def _to_json(value: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite by None, at any depth."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _close(file: IO[bytes]) -> None:
    """Close a file; what it could not write, and would try to write again, was told already."""
    with suppress(OSError):
        file.close()


def _make(folder: Path) -> Path:
    with _refusing(folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_new(path: Path) -> Path:
    """Make a folder that was not there; of runs that start in one second, each has its own."""
    with _refusing(path):
        for number in itertools.count():
            new = path if number == 0 else path.with_name(f"{path.name}-{number}")
            with suppress(FileExistsError):
                new.mkdir(parents=True)
                return new
    raise AssertionError


@contextmanager
def _refusing(output_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserInputError(
            f"output_dir={str(output_dir)!r} is not allowed: it must be a folder that can be "
            f"written ({error.strerror})."
        ) from None


def _timestamped() -> Path:
    return Path("outputs") / datetime.now().strftime("%Y-%m-%d/%H-%M-%S")
