"""How much of the machine others used while something was measured.

Busy time of all CPUs, from /proc/stat, less the CPU time of the caller's process tree. What a
hypervisor gave to others (steal) counts as theirs. Linux only.
"""

import ctypes
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

INTERVAL: Final = 0.2
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER: Final = 36
# Of /proc/stat's first line: user, nice, system, (idle, iowait,) irq, softirq, steal.
_BUSY_COLUMNS: Final = (0, 1, 2, 5, 6, 7)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none leaves the tree."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass(frozen=True)
class _Sample:
    at: float
    busy: float
    own: float


class ForeignLoad:
    """Watches the machine in the background, within a ``with`` block."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []
        # CPU seconds of every process of the tree when last seen, by (pid, start time): what a
        # process used before it ended must not be forgotten.
        self._used: dict[tuple[int, int], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        adopt_orphans()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def share(self, start: float, end: float) -> float:
        """Return the share of all cores that others used in between.

        Args:
            start: Of ``time.perf_counter()``, in this or in another process.
            end: The same, later.
        """
        at = [sample.at for sample in self._samples]
        foreign = [sample.busy - sample.own for sample in self._samples]
        used = float(np.interp(end, at, foreign) - np.interp(start, at, foreign))
        return max(0.0, used / (end - start) / (os.cpu_count() or 1))

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._sample()

    def _sample(self) -> None:
        self._used |= _cpu_seconds_of_tree(os.getpid())
        self._samples.append(
            _Sample(time.perf_counter(), _busy_seconds(), sum(self._used.values()))
        )


def _busy_seconds() -> float:
    numbers = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(int(numbers[column]) for column in _BUSY_COLUMNS) / _TICKS


def _cpu_seconds_of_tree(root: int) -> dict[tuple[int, int], float]:
    """Return CPU seconds of a process and all its descendants, by (pid, start time)."""
    parents: dict[int, int] = {}
    processes: dict[int, tuple[tuple[int, int], float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # It has just ended.
            continue
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        processes[pid] = ((pid, int(fields[19])), seconds)
    return dict(
        processes[pid] for pid in processes if root in _ancestors(pid, parents) or pid == root
    )


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while (pid := parents.get(pid, 0)) and pid not in found:
        found.add(pid)
    return found
