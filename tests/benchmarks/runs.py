"""Runs one measured process and returns what it measured, with the load that others made."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from foreign_load import ForeignLoad
from systems import HERE, OURS, REPOSITORY, System

TIMEOUT: Final = 900.0
HIGHEST_FOREIGN_LOAD: Final = 0.10
ATTEMPTS: Final = 3

# One thread for whatever library a system computes with; nothing phones home.
_ENVIRONMENT: Final = {
    **dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "MKL_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "NUMBA_NUM_THREADS",
        ),
        "1",
    ),
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


class MeasurementError(Exception):
    """A measured process failed; the message says where its log is."""


@dataclass(frozen=True)
class Outcome:
    """A measured process that ended well.

    Attributes:
        values: What it wrote.
        wall_seconds: From its start to its end.
        foreign_load: Share of all cores that others used while it measured.
        attempts: How often it was run to find the machine quiet.
    """

    values: Any
    wall_seconds: float
    foreign_load: float
    attempts: int = 1

    @property
    def is_quiet(self) -> bool:
        """Whether others left the machine alone."""
        return self.foreign_load <= HIGHEST_FOREIGN_LOAD


class Bench:
    """Where the processes of one benchmark run, read and write.

    Args:
        folder: Holds arrays, results and logs; made anew by every run.
        min_seconds: How long a system measures at least.
        attempts: How often a row is measured to find the machine quiet.
    """

    def __init__(self, folder: Path, min_seconds: float, attempts: int = ATTEMPTS) -> None:
        self.arrays = folder / "arrays"
        self._logs = folder / "logs"
        self._min_seconds = min_seconds
        self._attempts = attempts
        self._logs.mkdir(parents=True, exist_ok=True)

    def measure(self, system: System, work: str, repeat: int) -> Outcome:
        """Let a system do a work in a process of its own.

        Raises:
            MeasurementError: It failed.
        """
        result = self._logs / f"{work}-{system.name}-{repeat}.json"
        command = system.command(work, self.arrays, result, self._min_seconds)
        return self._quiet(lambda: self._once(command, result))

    def weights(self, system: System, work: str, repeat: int) -> Path:
        """Return where a system left its model after one pass."""
        return self._logs / f"{work}-{system.name}-{repeat}.npy"

    def script(self, *arguments: str | Path) -> Outcome:
        """Run a script of this folder whose last line is JSON.

        Raises:
            MeasurementError: It failed.
        """
        return self._quiet(lambda: self._once([OURS, HERE / arguments[0], *arguments[1:]]))

    def command(self, arguments: Sequence[str], output_key: str, **environment: str) -> Outcome:
        """Run a command for its wall-clock time; its values are the summaries that it leaves.

        Args:
            arguments: The command.
            output_key: The command is given ``KEY=FOLDER`` with an empty folder for its results.
            environment: More variables.

        Raises:
            MeasurementError: It failed.
        """

        def once() -> Outcome:
            with tempfile.TemporaryDirectory() as folder:
                command = [*arguments, f"{output_key}={folder}/runs"]
                outcome = self._once(command, environment=environment, has_values=False)
                files = sorted(Path(folder).rglob("summary.json"))
                return replace(outcome, values=[json.loads(file.read_text()) for file in files])

        return self._quiet(once)

    def _quiet(self, once: Callable[[], Outcome]) -> Outcome:
        """Run once, and again while others load the machine; the quietest counts."""
        outcomes: list[Outcome] = []
        while len(outcomes) < self._attempts:
            outcomes.append(once())
            if outcomes[-1].is_quiet:
                break
        best = min(outcomes, key=lambda outcome: outcome.foreign_load)
        return Outcome(best.values, best.wall_seconds, best.foreign_load, len(outcomes))

    def _once(
        self,
        command: Sequence[str | Path],
        result: Path | None = None,
        environment: Mapping[str, str] | None = None,
        has_values: bool = True,
    ) -> Outcome:
        name = result.stem if result else "-".join(Path(str(part)).stem for part in command[1:4])
        log = self._logs / f"{name}.log"
        with ForeignLoad() as foreign, log.open("w") as output:
            began = time.perf_counter()
            process = subprocess.run(
                command,
                cwd=REPOSITORY,
                env=os.environ
                | _ENVIRONMENT
                | {"PYTHONPATH": _python_path()}
                | (environment or {}),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT,
                check=False,
            )
            ended = time.perf_counter()
        if process.returncode != 0 or (result and not result.is_file()):
            raise MeasurementError(f"{name} ended with {process.returncode}; see {log}")
        window = (began, ended)
        values = None
        if result:
            values = json.loads(result.read_text())
            window = values.pop("window")
        elif has_values:
            values = json.loads(log.read_text().rstrip().rsplit("\n", 1)[-1])
        return Outcome(values, ended - began, foreign.share(*window))


def _python_path() -> str:
    """Return where peers find ``common`` and everybody the app, in whatever environment."""
    inherited = os.environ.get("PYTHONPATH", "")
    paths = [str(HERE / "app"), inherited, str(REPOSITORY)]
    return os.pathsep.join(path for path in paths if path)
