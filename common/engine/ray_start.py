"""Start a Ray of our own, or join a cluster."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest import mock

import ray
from ray._private import ray_constants
from ray._private.node import Node

from common.errors import UserInputError

LOOPBACK: Final = "127.0.0.1"
# What is smaller travels within the call, past the object store, in half the time. Ray's own limit
# is 100 kB, less than the models of a few clients of logistic regression.
SMALL_BYTES: Final = 2**20


def connect(ray_address: str) -> None:
    """Start a Ray that listens on loopback only, or join a cluster.

    Args:
        ray_address: Empty for a Ray of our own, else the address of a cluster ("auto" finds it).

    Raises:
        UserInputError: There is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without this, Ray hides the GPUs of the server process when a worker asks for none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if ray.is_initialized():
        ray.shutdown()
    if not ray_address:
        print("Starting Ray.", flush=True)
        with _own_sigterm_handler(), _on_loopback(), _only_what_actors_need():
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                _node_ip_address=LOOPBACK,
                _system_config={"max_direct_call_object_size": SMALL_BYTES},
            )
        return
    try:
        with _own_sigterm_handler():
            ray.init(address=ray_address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise UserInputError(
            f"ray_address={ray_address!r} is not allowed: it must be empty or the address of a "
            f"running Ray cluster ({error})."
        ) from None


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Leave SIGTERM to the program: Ray would exit there and then."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Nobody can set a handler here, Ray included.
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Start no Ray that may form a cluster: it listens on every interface, whatever it is told."""
    with mock.patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


@contextmanager
def _only_what_actors_need() -> Iterator[None]:
    """Leave out the dashboard's server, the autoscaler and the log monitor.

    Ray starts all three even if nobody is to use them, and waits for the first: without them it
    is there in half the time, and gone in a third of it.
    """
    with mock.patch.multiple(
        Node, start_api_server=_nothing, start_monitor=_nothing, start_log_monitor=_nothing
    ):
        yield


def _nothing(*arguments: object, **options: object) -> None:
    pass
