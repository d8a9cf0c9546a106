"""The files of a run directory, and whether a configuration may be run there."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from filelock import FileLock, Timeout

from common.errors import UserInputError
from common.experiment import result_files
from common.experiment.config import ExperimentConfig
from common.shown import shown

CONFIG: Final = "config.yaml"
ENVIRONMENT: Final = "environment.json"
ROUNDS: Final = "rounds.jsonl"
CHECKPOINT: Final = "checkpoint"
MODEL: Final = "model.safetensors"
SUMMARY: Final = "summary.json"

_LOCK: Final = "lock"
# Keys that change no result: a run may go on with others than it began with, and the runs of an
# arm may differ in them.
CHANGEABLE: Final = {
    "engine",
    "client_resources.num_cpus",
    "ray_address",
    "client_timeout",
    "checkpoint_every",
    "output_dir",
}

Config = TypeVar("Config", bound=ExperimentConfig)


def identify(config: ExperimentConfig, num_examples: Sequence[int], weights: str) -> str:
    """Return what tells a run from all others: a hash of what decides on its results.

    Args:
        config: Its configuration.
        num_examples: n_k of every client, by which other data show.
        weights: Identifies the pre-trained weights that a key names; empty if there are none.
    """
    keys = {k: v for k, v in config.to_run_config().items() if k not in CHANGEABLE}
    content = [keys, list(num_examples), *([weights] if weights else [])]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def is_complete(folder: Path) -> bool:
    """Whether a folder holds a run that has ended."""
    return (folder / SUMMARY).exists() and (folder / CONFIG).exists()


def read_config(folder: Path, schema: type[Config]) -> Config:
    """Return the configuration of the run in a folder, whoever wrote it.

    Raises:
        UserInputError: There is no run, or its config.yaml is none of the schema's.
    """
    file = folder / CONFIG
    values = result_files.read_config(file)
    try:
        return schema.parse(values)
    except UserInputError as error:
        raise UserInputError(
            f"{str(file)!r} is not allowed: it must be the configuration of a run of this "
            f"experiment ({str(error).rstrip('.')})."
        ) from None


def require_free_or_own(folder: Path, config: ExperimentConfig) -> None:
    """Refuse to write a run where there is another one.

    The same configuration may go on where it stopped.

    Raises:
        UserInputError: The folder holds a run of another configuration, or a link in the place of
            one of its files.
    """
    for name in (CONFIG, ENVIRONMENT, ROUNDS, CHECKPOINT, MODEL, SUMMARY):
        if (folder / name).is_symlink():
            raise UserInputError(
                f"output_dir={str(folder)!r} is not allowed: its {name} must be no link, for what "
                "is written there would be written elsewhere."
            )
    if not (folder / CONFIG).exists():
        return
    changeable = CHANGEABLE
    if config.on_client_failure == "leave_out":  # Then it decides who is left out.
        changeable = changeable - {"client_timeout"}
    stored = read_config(folder, type(config)).to_run_config()
    for key, value in config.to_run_config().items():
        if key not in changeable and value != stored[key]:
            raise UserInputError(
                f"{key}={shown(value)} is not allowed: it must be {shown(stored[key])}, as in the "
                f"run that {str(folder)!r} holds, or output_dir another folder."
            )


def changed_keys(folder: Path, config: ExperimentConfig) -> dict[str, Any]:
    """Return the keys, flat, in which a configuration differs from that of the run in a folder.

    Raises:
        UserInputError: As :func:`read_config`.
    """
    stored = read_config(folder, type(config)).to_run_config()
    return {
        key: value
        for key, value in config.to_run_config().items()
        if value != stored[key] and key != "output_dir"
    }


def lock(folder: Path) -> FileLock:
    """Reserve a run directory for this process, until the lock is released or the process ends.

    Args:
        folder: Has a folder for checkpoints.

    Returns:
        The lock; ``release()`` frees the folder.

    Raises:
        UserInputError: Another run is being written there.
    """
    file_lock = FileLock(folder / CHECKPOINT / _LOCK)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        rule = "that no other process is writing a run into"
    except OSError as error:
        rule = f"that can be written ({error.strerror})"
    else:
        return file_lock
    raise UserInputError(f"output_dir={str(folder)!r} is not allowed: it must be a folder {rule}.")


def require_unlocked(folder: Path) -> None:
    """Refuse a folder that is being written.

    Raises:
        UserInputError: Another run is being written there.
    """
    if (folder / CHECKPOINT / _LOCK).exists():
        lock(folder).release()
