"""A pool of Ray actors that outlives a run, so that a sweep pays for its start once."""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import ray
from ray.exceptions import RayActorError

from common.engine.ray_start import connect
from common.engine.serialization import share_arrays
from common.engine.worker import Worker
from common.errors import ClientFailedError, UserInputError

# Ray gives actors their methods at run time: nothing more precise is known of them.
Actor = Any
# There once a worker's process runs, or has failed to start.
Started = ray.ObjectRef[Any]

SECONDS_BEFORE_TELLING: Final = 30.0


class WorkerPool:
    """Workers on this machine, or on a cluster.

    Args:
        num_cpus: CPUs that a worker reserves, > 0; fractions share one.
        num_gpus: GPUs that a worker reserves, >= 0; 0.25 puts four workers on a card.
        ray_address: Empty for a Ray of our own, else the address of a cluster ("auto" finds it).

    Attributes:
        size: Workers that the machines hold, as far as is known.

    Raises:
        UserInputError: There are not enough CPUs or GPUs for one worker, or no such cluster.
    """

    def __init__(self, num_cpus: float, num_gpus: float, ray_address: str) -> None:
        connect(ray_address)
        share_arrays()
        machines = _machines()
        _check_fit("num_cpus", num_cpus, max(machine.get("CPU", 0) for machine in machines))
        _check_fit("num_gpus", num_gpus, max(machine.get("GPU", 0) for machine in machines))
        self._num_cpus, self._num_gpus = num_cpus, num_gpus
        self.size = self._count()
        if self.size == 0:
            raise UserInputError(
                f"client_resources.num_cpus={num_cpus} is not allowed with client_resources."
                f"num_gpus={num_gpus}: one machine must have both, and none has."
            )
        self._actor_class = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(Worker)
        self._actors: list[Actor] = []
        self._started: dict[Actor, Started] = {}
        self._replacements: set[Actor] = set()
        self._failed_starts = 0
        # Ray may start a worker on each place of a machine that is gone, before it knows that.
        self._max_failed_starts = self.size + 3

    def workers(self, wanted: int) -> Sequence[Actor]:
        """Return up to ``wanted`` workers, starting those that do not run yet.

        One that takes the place of another is left out until it runs, unless there are no others:
        on a busy cluster, its CPU may now be somebody else's.

        Raises:
            ClientFailedError: As :meth:`replace`.
        """
        if self.size == 0:
            self._recount()
        for worker in [*self._replacements]:
            if self.has_started(worker):
                self._replacements.remove(worker)
            elif self._has_said_something(worker):
                self.replace(worker)
        while len(self._actors) < min(wanted, self.size):
            self._start()
        workers = self._actors[:wanted]
        return [worker for worker in workers if worker not in self._replacements] or workers

    def started(self, worker: Actor) -> Started:
        """Return what is there for ``ray.wait`` once the worker runs, or has failed to start."""
        return self._started[worker]

    def has_started(self, worker: Actor) -> bool:
        """Return whether the worker runs or ran, rather than waits or has failed to start."""
        if not self._has_said_something(worker):
            return False
        try:
            ray.get(self._started[worker])
        except RayActorError:
            return False
        return True

    def wait_for_a_worker(self) -> None:
        """Wait until one of the workers runs; says so, once, if that takes long.

        Raises:
            ClientFailedError: No machine is left that can hold a worker.
        """
        told = False
        while (
            self._started
            and not ray.wait([*self._started.values()], timeout=SECONDS_BEFORE_TELLING)[0]
        ):
            self._recount()
            if not told:
                print(
                    f"No worker has started for {SECONDS_BEFORE_TELLING:g} s: waiting for free "
                    "CPUs or GPUs of the cluster.",
                    flush=True,
                )
                told = True

    def replace(self, worker: Actor) -> Actor:
        """End a worker, if it is not dead anyway, and return one to go on with.

        That is a new one, or one that is there already, if the machines that are left hold no more.

        Args:
            worker: Which one.

        Returns:
            The worker to go on with.

        Raises:
            ClientFailedError: No machine is left that can hold a worker, or none starts any more.
        """
        self._failed_starts = 0 if self.has_started(worker) else self._failed_starts + 1
        self.discard(worker)
        self._recount()
        if self._failed_starts > self._max_failed_starts:
            raise ClientFailedError(
                f"No worker starts any more: {self._failed_starts} in a row have ended before."
            )
        if len(self._actors) < self.size:
            self._replacements.add(self._start())
        return self._actors[-1]

    def discard(self, worker: Actor) -> None:
        """End a worker, if it is not dead anyway."""
        if self._started.pop(worker, None) is None:
            return  # Done before; perhaps in another Ray, which has ended since.
        self._actors.remove(worker)
        self._replacements.discard(worker)
        if ray.is_initialized():
            ray.kill(worker)

    def _has_said_something(self, worker: Actor) -> bool:
        started = self._started.get(worker)  # None if it was discarded.
        return started is not None and bool(ray.wait([started], timeout=0)[0])

    def _start(self) -> Actor:
        environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        worker: Actor = self._actor_class.remote(environment)
        self._started[worker] = worker.__ray_ready__.remote()
        self._actors.append(worker)
        return worker

    def _count(self) -> int:
        return sum(_workers_on(machine, self._num_cpus, self._num_gpus) for machine in _machines())

    def _recount(self) -> None:
        self.size = self._count()
        if self.size == 0:
            raise ClientFailedError(
                "No machine of the Ray cluster is left that can hold a worker with client_resources"
                f".num_cpus={self._num_cpus} and client_resources.num_gpus={self._num_gpus}."
            )


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


def _machines() -> list[dict[str, float]]:
    """Return what each machine has, whoever uses it now."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


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
