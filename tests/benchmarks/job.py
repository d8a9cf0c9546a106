"""The command line that all measured systems share: what to run, on what, and where to write."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from speed.arrays import Arrays, load_arrays


@dataclass(frozen=True)
class Job:
    """One run of one system.

    Attributes:
        work: Name of the work.
        folder: The arrays.
        result: The JSON file to write.
        min_seconds: Passes are repeated until they took this long.
    """

    work: str
    folder: Path
    result: Path
    min_seconds: float

    @property
    def arrays(self) -> Arrays:
        """The arrays of the work."""
        return load_arrays(str(self.folder), self.work)

    def app_config(self, client: str) -> dict[str, str | float]:
        """Return the run configuration of the app in ``app/``."""
        return {
            "arrays": str(self.folder),
            "work": self.work,
            "client": client,
            "result": str(self.result),
            "min_seconds": self.min_seconds,
        }


def job_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every system takes; a system may add to it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("work", help="name of the work")
    parser.add_argument("folder", type=Path, help="what prepare.py made")
    parser.add_argument("result", type=Path, help="JSON file to write")
    parser.add_argument("--min-seconds", type=float, default=2.0, help="how long at least")
    return parser


def to_job(options: argparse.Namespace) -> Job:
    """Return the job that a command line asks for."""
    return Job(
        options.work, options.folder.absolute(), options.result.absolute(), options.min_seconds
    )
