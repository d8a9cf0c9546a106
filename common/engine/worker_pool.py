"""A pool of Ray actors that outlives a run, so that a sweep pays for its start once."""

import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import ray
from flwr.app import ArrayRecord, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from ray._private import ray_constants

from common.engine.broadcast import Envelope
from common.engine.flower import answer
from common.engine.grid import make_context, partition_id
from common.errors import UserInputError
from common.threads import use_one_thread

# What a worker must know of a run: the clients' app, num_clients and the flat configuration.
Run = tuple[ClientApp, int, UserConfig]
Answer = tuple[Message, RecordDict]
# Ray gives actors their methods at run time: nothing more precise is known of them.
Actor = Any
LOOPBACK = "127.0.0.1"


class Worker:
    """One actor: lets clients answer, one after another.

    Args:
        environment: Variables of the server process that the worker must see, too.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        use_one_thread()

    def begin_run(self, run: Run) -> None:
        """Prepare for the messages of a run."""
        self._client_app, self._num_clients, self._run_config = run

    def answer(self, envelopes: list[Envelope], broadcast: list[ArrayRecord]) -> list[Answer]:
        """Let the clients answer; returns each one's reply and state, in the order given."""
        return [self._answer_one(envelope, broadcast) for envelope in envelopes]

    def _answer_one(self, envelope: Envelope, broadcast: list[ArrayRecord]) -> Answer:
        message = envelope.open(broadcast)
        context = make_context(
            partition_id(message.metadata.dst_node_id),
            self._num_clients,
            self._run_config,
            envelope.state,
        )
        return answer(self._client_app, message, context), context.state


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
        _connect(ray_address)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.size = min(
            _workers_that_fit("num_cpus", num_cpus, resources.get("CPU", 0)),
            _workers_that_fit("num_gpus", num_gpus, resources.get("GPU", 0)),
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


def _connect(ray_address: str) -> None:
    """Start a Ray that listens on loopback only, or join a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without this, Ray hides the GPUs of the server process when a worker asks for none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if ray.is_initialized():
        ray.shutdown()
    # A Ray that may form a cluster listens on every interface, whatever address it is given.
    ray_constants.ENABLE_RAY_CLUSTER = bool(ray_address)
    print("Starting Ray.", flush=True)
    if not ray_address:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address=LOOPBACK,
        )
        return
    try:
        ray.init(address=ray_address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise UserInputError(
            f"ray_address={ray_address!r} is not allowed: it must be empty or the address of a "
            f"running Ray cluster ({error})."
        ) from None


def _workers_that_fit(key: str, wanted: float, available: float) -> int:
    if wanted == 0:
        return 2**31
    if wanted > available:
        raise UserInputError(
            f"client_resources.{key}={wanted} is not allowed: it must be at most {available:g}, "
            "what there is."
        )
    return int(available / wanted + 1e-9)  # 1 / 0.1 workers are ten.
