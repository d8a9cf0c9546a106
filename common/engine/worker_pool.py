"""A pool of Ray actors that outlives a run, so that a sweep pays for its start once."""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import ray

from common.engine.ray_start import connect
from common.engine.serialization import share_arrays
from common.engine.worker import Worker
from common.errors import UserInputError

# Ray gives actors their methods at run time: nothing more precise is known of them.
Actor = Any


class WorkerPool:
    """Workers on this machine, or on a cluster.

    Args:
        num_cpus: CPUs that a worker reserves, > 0; fractions share one.
        num_gpus: GPUs that a worker reserves, >= 0; 0.25 puts four workers on a card.
        ray_address: Empty for a Ray of our own, else the address of a cluster ("auto" finds it).

    Raises:
        UserInputError: There are not enough CPUs or GPUs for one worker, or no such cluster.
    """

    def __init__(self, num_cpus: float, num_gpus: float, ray_address: str) -> None:
        connect(ray_address)
        share_arrays()
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        machines = [node["Resources"] for node in nodes if node["Alive"]]
        _check_fit("num_cpus", num_cpus, max(machine.get("CPU", 0) for machine in machines))
        _check_fit("num_gpus", num_gpus, max(machine.get("GPU", 0) for machine in machines))
        self.size = sum(_workers_on(machine, num_cpus, num_gpus) for machine in machines)
        if self.size == 0:
            raise UserInputError(
                f"client_resources.num_cpus={num_cpus} is not allowed with client_resources."
                f"num_gpus={num_gpus}: one machine must have both, and none has."
            )
        self._actor_class = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(Worker)
        self._actors: list[Actor] = []

    def workers(self, wanted: int) -> Sequence[Actor]:
        """Return up to ``wanted`` workers, starting those that do not run yet."""
        environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        while len(self._actors) < min(wanted, self.size):
            self._actors.append(self._actor_class.remote(environment))
        return self._actors[:wanted]


# What tells a worker where data are, on a cluster whose nodes were started from elsewhere.
_PASSED_ON = ("FLOWERBED_DATA", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_OFFLINE")


@lru_cache(maxsize=1)
def worker_pool(num_cpus: float, num_gpus: float, ray_address: str) -> WorkerPool:
    """Return the pool of this process, a new one if other resources are asked for.

    Raises:
        UserInputError: As :class:`WorkerPool`.
    """
    worker_pool.cache_clear()  # Also if this one is refused: the other one's actors end here.
    return WorkerPool(num_cpus, num_gpus, ray_address)


def _check_fit(key: str, wanted: float, available: float) -> None:
    if wanted > available:
        raise UserInputError(
            f"client_resources.{key}={wanted} is not allowed: it must be at most {available:g}, "
            "what one machine has."
        )


def _workers_on(machine: dict[str, float], num_cpus: float, num_gpus: float) -> int:
    """Return how many workers fit on one machine: none is spread over two machines or cards."""
    by_cpus = _floor(machine.get("CPU", 0) / num_cpus)
    if num_gpus == 0:
        return by_cpus
    gpus = machine.get("GPU", 0)
    by_gpus = int(gpus) * _floor(1 / num_gpus) if num_gpus < 1 else _floor(gpus / num_gpus)
    return min(by_cpus, by_gpus)


def _floor(quotient: float) -> int:
    return int(quotient + 1e-9)  # 1 / 0.1 workers are ten.
