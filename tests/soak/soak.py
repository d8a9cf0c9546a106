"""Watches a run from outside: memory, files and sockets of its processes, time of its rounds.

Linux only: processes are looked at through /proc.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from processes import Socket, descendants, named, sockets

NUM_WORKERS: Final = 2
# The logistic model on Synthetic(1, 1), two workers, a checkpoint each round: the shortest rounds
# there are, and everything that a round does.
EXPERIMENT: Final = (
    "+experiment=synthetic",
    "engine=ray",
    f"client_resources.num_cpus={(os.cpu_count() or 1) / NUM_WORKERS}",
    "learning_rate=0.001",
)
_INTERVAL: Final = 0.1
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Sample:
    """The processes of a run at one moment.

    Attributes:
        round: Rounds that were written by then.
        memory: Resident bytes of each process, the server's first.
        files: Open file descriptors of each process, the server's first.
    """

    round: int
    memory: list[int]
    files: list[int]


@dataclass(frozen=True)
class Soak:
    """What was seen of a run.

    Attributes:
        samples: Over the run, ten a second, once all workers were there.
        seconds: What each round took.
        sockets: All that any of its processes had open at any time.
    """

    samples: list[Sample]
    seconds: list[float]
    sockets: set[Socket]

    def memory(self, process: int, rounds: range) -> float:
        """Return the mean resident bytes of a process (0 is the server) over some rounds."""
        return self._mean([sample.memory[process] for sample in self._in(rounds)])

    def files(self, process: int, rounds: range) -> float:
        """Return the mean number of open files of a process over some rounds."""
        return self._mean([sample.files[process] for sample in self._in(rounds)])

    def median_seconds(self, rounds: range) -> float:
        """Return the median time of some rounds, the first of the run being 1."""
        return float(np.median([self.seconds[round_ - 1] for round_ in rounds]))

    def _in(self, rounds: range) -> list[Sample]:
        return [sample for sample in self.samples if sample.round in rounds]

    @staticmethod
    def _mean(values: list[int]) -> float:
        return float(np.mean(values))


def run_soak(
    num_rounds: int,
    folder: Path,
    *changes: str,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Soak:
    """Run the experiment as a user does, and watch it.

    Args:
        num_rounds: Its rounds.
        folder: Where its results go.
        changes: Further arguments, key=value.
        prefix: What to put before the command.
        environment: Its variables.

    Raises:
        RuntimeError: It failed.
    """
    command = [*EXPERIMENT, f"num_rounds={num_rounds}", f"output_dir={folder}", *changes]
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "fedprox.main", *command],
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    seen: set[Socket] = set()
    samples = list(_watch(process, folder / "rounds.jsonl", seen))
    if process.wait() != 0:
        raise RuntimeError(f"The run ended with {process.returncode}")
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    return Soak(samples, [json.loads(line)["seconds"] for line in lines], seen)


def _watch(process: subprocess.Popen[bytes], rounds: Path, seen: set[Socket]) -> Iterator[Sample]:
    """Yield samples until the process ends, and note all sockets; those of the start, too."""
    pids: list[int] = []
    while process.poll() is None:
        if len(pids) <= NUM_WORKERS:
            family = [process.pid, *descendants(process.pid)]
            seen |= sockets(family)
            pids = [*named(family, "fedprox.main")[-1:], *named(family, "ray::Worker")]
        elif rounds.exists():
            seen |= sockets(pids)
            try:
                sample = _sample(rounds, pids)
            except OSError:  # They are ending.
                return
            if all(sample.memory):  # What has ended, and is waited for, has none.
                yield sample
        time.sleep(_INTERVAL)


def _sample(rounds: Path, pids: Sequence[int]) -> Sample:
    return Sample(
        round=rounds.read_bytes().count(b"\n"),
        memory=[_resident(pid) for pid in pids],
        files=[len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids],
    )


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
