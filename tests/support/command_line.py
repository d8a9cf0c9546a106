"""The command line in this process: a start of its own would take seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hydra_state import forget_last_run, hydra_as_new

from common.experiment import cli
from common.experiment.config import ExperimentConfig


@dataclass(frozen=True)
class Ended:
    """What came of a command: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


@contextmanager
def main_of(
    package: str,
    config_class: type[ExperimentConfig],
    patch: pytest.MonkeyPatch,
    capture: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Ended]]:
    """Make `python -m PACKAGE.main ARGUMENTS` a function of the arguments.

    Args:
        package: Of the baseline.
        config_class: Of its configuration.
        patch: Undone after the test.
        capture: Pytest's capfd, for the workers' output, too.
    """

    def main(*arguments: str) -> Ended:
        forget_last_run()
        patch.setattr(sys, "argv", [f"{package}.main", *arguments])
        code = cli.main(package, config_class)
        return Ended(code, *capture.readouterr())

    with hydra_as_new(patch):
        yield main
