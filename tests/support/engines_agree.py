"""Runs of the same experiments on several engines, for tests that these agree to the last bit."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import ray
from run_folders import Outcome

from common.engine.worker_pool import worker_pool

# By the name of an engine, or "seed", and of an experiment.
Outcomes = dict[tuple[str, str], Outcome]
Experiments = Mapping[str, Mapping[str, Any]]
# Runs an experiment into a folder of this name, with some keys changed.
RunExperiment = Callable[..., Outcome]

WORKERS = {"two workers": 2, "one worker": 1}


class Cached(Protocol):
    """A function that keeps what it has returned."""

    def cache_clear(self) -> None: ...


@contextmanager
def ray_that_finds(data: Path, cache: Path, *loaded: Cached) -> Iterator[None]:
    """Let workers find their data in a folder; no Ray is left behind.

    Args:
        data: The data folder.
        cache: For what is made from it.
        loaded: What keeps what this process has loaded, perhaps from elsewhere: that is forgotten.
    """

    def forget() -> None:
        for function in loaded:
            function.cache_clear()

    with pytest.MonkeyPatch.context() as patch:
        # Workers see these as they are when they start.
        patch.setenv("FLOWERBED_DATA", str(data))
        patch.setenv("XDG_CACHE_HOME", str(cache))
        # Otherwise Ray has its own opinion of the number, in a container.
        patch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")
        forget()
        try:
            yield
        finally:
            ray.shutdown()
            worker_pool.cache_clear()
            forget()


def run_inline(run: RunExperiment, experiments: Experiments) -> Outcomes:
    """Run every experiment in this process, and with another seed than 1."""
    found = {}
    for name, keys in experiments.items():
        found["inline", name] = run(f"inline {name}", engine="inline", **keys)
        found["seed", name] = run(f"seed {name}", engine="inline", **keys, seed=2)
    return found


def run_on_ray(run: RunExperiment, experiments: Experiments, workers: str) -> Outcomes:
    """Run every experiment on a Ray of our own, with so many workers; it goes on running."""
    resources = resources_for(workers)
    found = {}
    for name, keys in experiments.items():
        folder = f"{workers} {name}"
        found[workers, name] = run(folder, engine="ray", client_resources=resources, **keys)
    assert worker_pool(*resources.values(), "").size == WORKERS[workers]
    return found


def resources_for(workers: str) -> dict[str, float]:
    """Return what each reserves, so that there are as many workers on this machine."""
    return {"num_cpus": (os.cpu_count() or 1) / WORKERS[workers], "num_gpus": 0.0}


def run_on_every_engine(run: RunExperiment, experiments: Experiments) -> Outcomes:
    """Run every experiment inline, with another seed, and on Rays of two workers and of one."""
    found = run_inline(run, experiments)
    for workers in WORKERS:
        found |= run_on_ray(run, experiments, workers)
    return found
