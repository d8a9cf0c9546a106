"""What many clients cost: partitioning, sampling a cohort, and the memory of server and worker.

One process measures one number of clients, so that peaks do not mix. Prints JSON.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from prepare import prepare
from speed.client_app import app as client_app
from speed.server_app import app as server_app
from speed.work import SEED, WORKS

from common.engine import run
from common.partition import power_law
from common.randomness import Purpose, generator
from common.strategy.cohort import sample_cohort

EXAMPLES_PER_CLIENT, NUM_CLASSES, CLIENTS_PER_ROUND = 60, 10, 10
COHORTS = 50
MEGABYTE = 1e6


def partition_and_sample(num_clients: int) -> dict[str, float]:
    """Partition a training set that grows with the federation, then draw cohorts."""
    labels = np.arange(num_clients * EXAMPLES_PER_CLIENT) % NUM_CLASSES
    before = _peak_bytes()
    began = time.perf_counter()
    partition = power_law(labels, num_clients, generator(SEED, Purpose.PARTITION))
    partitioned = time.perf_counter()
    peak = _peak_bytes() - before
    for server_round in range(1, COHORTS + 1):
        sample_cohort(SEED, server_round, num_clients, CLIENTS_PER_ROUND, 0.0)
    sampled = time.perf_counter()
    kept = partition.indices.nbytes + partition.offsets.nbytes
    return {
        "partition_seconds": partitioned - began,
        "partition_megabytes": kept / MEGABYTE,
        "partition_peak_megabytes": peak / MEGABYTE,
        "cohort_milliseconds": 1e3 * (sampled - partitioned) / COHORTS,
    }


def memory(num_clients: int) -> dict[str, float]:
    """Run rounds of clients that do nothing on Ray; returns what its processes then hold."""
    (idle,) = (work for work in WORKS if work.name == "nothing")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays"
        prepare(arrays, [replace(idle, num_clients=num_clients)], tiny=True)
        config = {
            "arrays": str(arrays),
            "work": idle.name,
            "client": "nothing",
            "result": str(Path(folder) / "result.json"),
            "min_seconds": 1.0,
        }
        before = _resident_bytes(os.getpid())
        run(
            server_app,
            client_app,
            config,
            num_clients=num_clients,
            clients_per_round=idle.clients_per_round,
            engine="ray",
        )
        server = _resident_bytes(os.getpid())
        # Ray names its actors so; the pool outlives the run.
        workers = [_resident_bytes(pid) for pid in _own_processes("ray::Worker")]
        seconds = json.loads(Path(config["result"]).read_text())["round_seconds"]
    return {
        "server_before_megabytes": before / MEGABYTE,
        "server_megabytes": server / MEGABYTE,
        "worker_megabytes": max(workers) / MEGABYTE,
        "round_milliseconds": 1e3 * float(np.median(seconds)),
    }


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _own_processes(title: str) -> list[int]:
    """Return the processes with a title among those started by this one, directly or not."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            titles[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # It has just ended.
            continue
        parents[int(folder.name)] = int(fields[1])
    found = []
    for pid, its_title in titles.items():
        ancestor = pid
        while ancestor and ancestor != os.getpid():
            ancestor = parents.get(ancestor, 0)
        if ancestor and its_title.startswith(title):
            found.append(pid)
    return found


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["partition", "memory"])
    parser.add_argument("num_clients", type=int)
    options = parser.parse_args()
    measure = partition_and_sample if options.what == "partition" else memory
    result = {"num_clients": options.num_clients, **measure(options.num_clients)}
    # The last line: what runs print comes before it.
    print(json.dumps(result))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
