"""Refuse what this machine does not have, before any work."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserInputError
from common.experiment.config import ExperimentConfig
from common.experiment.run_files import is_complete, require_free_or_own, require_unlocked

if TYPE_CHECKING:
    import torch


def check_machine(config: ExperimentConfig) -> None:
    """Check the devices and the folder that a configuration names against this machine.

    What a cluster (``ray_address``) has is its own to say.

    Raises:
        UserInputError: A worker or the server asks for a CPU or GPU that is not there, or
            ``output_dir`` holds another run, is being written by one, or is below something that
            is no folder or cannot be written.
    """
    if not config.ray_address:
        resources = config.client_resources
        _check_resource("num_cpus", resources.num_cpus, os.cpu_count() or 1, "CPUs")
        if resources.num_gpus > 0:
            _check_resource("num_gpus", resources.num_gpus, _count_gpus(), "GPUs")
    _check_server_device(config.server_device)
    _check_output_dir(config)


def client_device(config: ExperimentConfig) -> "torch.device":
    """Return where clients train: on the GPU that Ray gave the worker, if it reserves any."""
    import torch

    return torch.device("cuda" if config.client_resources.num_gpus > 0 else "cpu")


def _check_resource(key: str, wanted: float, available: int, what: str) -> None:
    if wanted > available:
        raise UserInputError(
            f"client_resources.{key}={wanted:g} is not allowed: it must be at most {available}, "
            f"the number of {what} here."
        )


def _check_server_device(device: str) -> None:
    if device != "cpu" and int(device.partition(":")[2] or 0) >= _count_gpus():
        raise UserInputError(
            f"server_device={device!r} is not allowed: it must be cpu or one of the "
            f"{_count_gpus()} GPUs here."
        )


def _count_gpus() -> int:
    import torch  # Here, for it takes seconds: most configurations are checked without it.

    return torch.cuda.device_count()


def _check_output_dir(config: ExperimentConfig) -> None:
    """Look at the nearest folder that exists; the run makes the rest."""
    try:
        path = Path(config.output_dir).expanduser().resolve()
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
    except (OSError, RuntimeError, ValueError) as error:  # A name too long, the home of nobody.
        raise UserInputError(
            f"output_dir={config.output_dir!r} is not allowed: it must be a folder that can be "
            f"written ({error})."
        ) from None
    if config.output_dir:  # Otherwise the run makes a folder of its own.
        require_free_or_own(path, config)
        if is_complete(path):
            return
        require_unlocked(path)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserInputError(
            f"output_dir={config.output_dir!r} is not allowed: it must be a folder that can be "
            f"written, and {str(existing)!r} is none."
        )
