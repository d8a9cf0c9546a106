"""What the tests with a real Ray have in common."""

import os

import pytest
import ray

from common.engine.worker_pool import worker_pool


@pytest.fixture(scope="module")
def num_cpus():
    """CPUs a worker such that three fit; Ray ends with the module."""
    with pytest.MonkeyPatch.context() as patch:
        # Otherwise Ray has its own opinion, in a container.
        patch.setenv("RAY_USE_MULTIPROCESSING_CPU_COUNT", "1")
        yield round(os.cpu_count() / 3 - 0.001, 3)
        ray.shutdown()
        worker_pool.cache_clear()
