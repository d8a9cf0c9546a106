"""Runs by `flwr run`, for tests that it gives the numbers of our own engines."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from run_folders import Outcome, read_outcome

from common.engine.flwr_run import COMPLETED, flwr_run
from common.engine.superlink import SuperLink


@contextmanager
def superlink_that_finds(data: Path, cache: Path) -> Iterator[SuperLink]:
    """Start a SuperLink whose apps find their data in a folder, and keep what they make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBED_DATA", str(data))
        patch.setenv("XDG_CACHE_HOME", str(cache))
        with SuperLink() as superlink:
            yield superlink


def run_by_flower(
    app: Path, run_config: Mapping[str, Any], superlink: SuperLink, folder: Path
) -> Outcome:
    """Run the baseline of a folder by `flwr run`, into another folder.

    Args:
        app: Where the baseline's pyproject.toml is.
        run_config: Keys over its defaults; num_clients is one.
        superlink: Of :func:`superlink_that_finds`.
        folder: For the results.
    """
    run_config = {**run_config, "output_dir": str(folder)}
    assert flwr_run(app, run_config, run_config["num_clients"], superlink=superlink) == COMPLETED
    return read_outcome(folder)
