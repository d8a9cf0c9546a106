"""The whole measurement: every system on every work in turn, then what only we are asked for."""

import json
import re
import statistics
import subprocess
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table
from runs import Bench, MeasurementError, Outcome
from speed.work import WORKS, Work, quick
from systems import OURS, PFL_PYTHON, SYSTEMS, System

EXTRAS: Final = ("local_step", "exactness", "partition", "memory", "sweep", "engine_share")
PARTITION_CLIENTS: Final = (1_000, 10_000, 100_000)
MEMORY_CLIENTS: Final = (1_000, 100_000)
# Figure 7 of Li et al. 2020 on MNIST: three methods at three fractions of stragglers.
SWEEP: Final = (
    "--multirun",
    "+method=fedavg,fedprox_mu0,fedprox_mu1",
    "stragglers_fraction=0.0,0.5,0.9",
)
# A network's run: the engine is to take little of it.
CNN_RUN: Final = (
    "model=cnn",
    "partition=iid",
    "num_clients=100",
    "num_epochs=5",
    "stragglers_fraction=0",
    "evaluate_train_loss=false",
    "num_rounds=5",
)
Values = dict[str, Any]


def run_benchmark(
    folder: Path, results: Path, parts: Collection[str], *, repeats: int, quick: bool
) -> list[str]:
    """Measure and write the result file.

    Args:
        folder: For arrays and logs.
        results: The file to write.
        parts: Names of works and extras to measure.
        repeats: How often each system does each work.
        quick: Tiny work, to test the harness.

    Returns:
        One sentence for everything that failed.
    """
    benchmark = _Benchmark(folder, repeats, quick)
    benchmark.measure(parts)
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(_to_json(benchmark.results))
    benchmark.console.print(f"Results are in {results}")
    return benchmark.failures


class _Benchmark:
    """One run of the benchmark: what it prints, what it found, what failed."""

    def __init__(self, folder: Path, repeats: int, quick: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        self.console = Console(width=110)
        self.failures: list[str] = []
        self.results: Values = {}
        self._repeats = repeats
        self._quick = quick
        self._data_root: str | None = None
        self._bench = Bench(folder, 0.2 if quick else 2.0, *([1] if quick else []))

    def measure(self, parts: Collection[str]) -> None:
        """Measure the parts asked for, in their usual order."""
        began = time.perf_counter()
        flags = ("--quick",) if self._quick else ()
        prepared = self._bench.script("prepare.py", self._bench.arrays, *flags).values
        self._data_root = prepared.pop("data_root")
        self.console.print(f"The arrays are {prepared['data']}.")
        works = [quick(work) if self._quick else work for work in WORKS]
        self.results = {
            "date": datetime.now(UTC).date().isoformat(),
            "quick": self._quick,
            **prepared,
            "works": {work.name: work.to_json() for work in works},
            "runs": [],
        }
        systems = list(SYSTEMS)
        if PFL_PYTHON.is_file():
            self.results["environment"]["packages"]["pfl"] = _version_of_pfl()
        else:
            systems = [system for system in systems if system.python != PFL_PYTHON]
            self.failures.append(f"pfl-research was left out: {PFL_PYTHON} is not there.")
        for work in works:
            if work.name in parts:
                self._measure_work(
                    work, [system for system in systems if work.name in system.works]
                )
        for name, measure in (
            ("local_step", self._local_step),
            ("exactness", self._exactness),
            ("partition", self._partition),
            ("memory", self._memory),
            ("sweep", self._sweep),
            ("engine_share", self._engine_share),
        ):
            if name in parts:
                self._extra(name, measure)
        self.results["wall_seconds"] = round(time.perf_counter() - began, 1)

    def _measure_work(self, work: Work, systems: Sequence[System]) -> None:
        """Let the systems take turns, so that what changes over time meets all of them."""
        self.console.rule(work.title)
        reference: np.ndarray | None = None
        for repeat in range(1, self._repeats + 1):
            for system in systems:
                try:
                    outcome = self._bench.measure(system, work.name, repeat)
                except (MeasurementError, subprocess.TimeoutExpired) as error:
                    self._fail(f"{system.title} on {work.name}: {error}")
                    continue
                weights = np.load(self._bench.weights(system, work.name, repeat)).astype(np.float64)
                reference = weights if reference is None else reference
                difference = np.linalg.norm(weights - reference) / np.linalg.norm(reference)
                run = _run(system, work, repeat, outcome) | {
                    "relative_difference": float(difference)
                }
                self.results["runs"].append(run)
                self._print_run(system, run)
        self._print_work(work, systems)

    def _extra(self, name: str, measure: Any) -> None:
        self.console.rule(name.replace("_", " "))
        try:
            rows = measure()
        except (MeasurementError, subprocess.TimeoutExpired) as error:
            self._fail(str(error))
            return
        if rows:
            self.results[name] = rows
            for row in rows:
                cells = (f"{key} {_short(value)}" for key, value in row.items())
                self.console.print("  ".join(cells), highlight=False)

    def _local_step(self) -> list[Values]:
        outcome = self._bench.script("local_step.py", "--repeats", "1" if self._quick else "15")
        return [row | {"foreign_load": outcome.foreign_load} for row in outcome.values]

    def _exactness(self) -> list[Values]:
        every = ("--every", "10" if self._quick else "5")
        outcome = self._bench.script("exactness.py", self._bench.arrays, *every)
        rows: list[Values] = outcome.values
        return rows

    def _partition(self) -> list[Values]:
        return [
            self._scale("partition", n) for n in PARTITION_CLIENTS[: 2 if self._quick else None]
        ]

    def _memory(self) -> list[Values]:
        return [self._scale("memory", n) for n in MEMORY_CLIENTS]

    def _scale(self, what: str, num_clients: int) -> Values:
        outcome = self._bench.script("scale.py", what, str(num_clients))
        return outcome.values | {"foreign_load": outcome.foreign_load}

    def _sweep(self) -> list[Values]:
        return self._fedprox(SWEEP, ("num_rounds=2",))

    def _engine_share(self) -> list[Values]:
        return self._fedprox(CNN_RUN, ("num_rounds=1", "num_epochs=1"))

    def _fedprox(self, keys: Sequence[str], less: Sequence[str]) -> list[Values]:
        """Time the command; with ``less`` work where the harness is only tested."""
        if not self._data_root:
            self.console.print("Left out: there is no MNIST here.")
            return []
        outcome = self._bench.command(
            [OURS, "-m", "fedprox.main", *keys, *(less if self._quick else ())],
            "output_dir",
            FLOWERBED_DATA=self._data_root,
        )
        row = {
            "command": " ".join(keys),
            "wall_seconds": outcome.wall_seconds,
            "engine_shares": [summary["engine_share"] for summary in outcome.values],
        }
        return [row | {"foreign_load": outcome.foreign_load}]

    def _fail(self, sentence: str) -> None:
        self.failures.append(sentence)
        self.console.print(f"[red]{sentence}")

    def _print_run(self, system: System, run: Values) -> None:
        note = "" if run["is_quiet"] else "  [red]others were busy"
        self.console.print(
            f"{run['repeat']}  {system.title:44} {run['clients_per_second']:9.1f} clients/s"
            f"  {1e3 * run['seconds_per_round']:9.1f} ms/round"
            f"  foreign load {run['foreign_load']:4.0%}{note}",
            highlight=False,
            soft_wrap=True,
        )

    def _print_work(self, work: Work, systems: Sequence[System]) -> None:
        table = Table("", "clients/s", "ms a round", "accuracy", "difference", "foreign load")
        for system in systems:
            runs = [
                run
                for run in self.results["runs"]
                if run["work"] == work.name and run["system"] == system.name
            ]
            if runs:
                table.add_row(
                    system.title,
                    f"{statistics.median(run['clients_per_second'] for run in runs):.1f}",
                    f"{1e3 * statistics.median(run['seconds_per_round'] for run in runs):.1f}",
                    "" if runs[0]["accuracy"] is None else f"{runs[0]['accuracy']:.4f}",
                    f"{max(run['relative_difference'] for run in runs):.0e}",
                    f"{max(run['foreign_load'] for run in runs):.0%}",
                )
        self.console.print(table)


def _run(system: System, work: Work, repeat: int, outcome: Outcome) -> Values:
    """Return one run as the result file has it."""
    seconds = outcome.values["round_seconds"]
    return {
        "work": work.name,
        "system": system.name,
        "title": system.title,
        "is_ours": system.is_ours,
        "repeat": repeat,
        "clients_per_second": outcome.values["clients"] / sum(seconds),
        "seconds_per_round": statistics.fmean(seconds),
        "wall_seconds": outcome.wall_seconds,
        "foreign_load": outcome.foreign_load,
        "is_quiet": outcome.is_quiet,
        "attempts": outcome.attempts,
        **outcome.values,
        "round_seconds": [round(value, 6) for value in seconds],
    }


def _to_json(results: Values) -> str:
    """Return JSON for readers, too: a list of numbers takes one line."""
    text = json.dumps(results, indent=1)
    numbers = re.compile(r"\[\s+([-+.\deE,\s]+?)\s+\]")
    return numbers.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _version_of_pfl() -> str:
    program = "from importlib.metadata import version; print(version('pfl'))"
    command = [PFL_PYTHON, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
