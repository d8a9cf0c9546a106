import pytest
from flwr.supercore.task_identity import TaskIdentity

from common.engine.flower import become_server


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    """Make this process one that may make messages, for the time of a test."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()
