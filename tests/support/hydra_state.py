"""Hydra's state, which is one for a process."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton


@contextmanager
def hydra_as_new(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hydra keeps one global state a process, and changes Python's logging."""
    patch.setenv("HYDRA_FULL_ERROR", "0")
    hydra_state = Singleton.get_state()
    handlers, level = logging.root.handlers[:], logging.root.level
    forget_last_run()
    yield
    GlobalHydra.instance().clear()
    Singleton.set_state(hydra_state)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def forget_last_run() -> None:
    """As in a new process, but for what Hydra knows of configuration classes."""
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
