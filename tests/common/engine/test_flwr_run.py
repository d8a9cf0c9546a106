import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.engine.flwr_run import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    SuperLink,
    flwr_run,
    main,
    parse_request,
)
from common.errors import UserInputError

PYPROJECT = """
[project]
name = "toy"
version = "1.0.0"
description = "A toy app"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "flowerbed"

[tool.flwr.app.components]
serverapp = "toy.server_app:app"
clientapp = "toy.client_app:app"

[tool.flwr.app.config]
behaviour = "run"
mu = 1.0
num_clients = 2
shuffle = false
output_dir = ""
client_resources.num_cpus = 1.0
client_resources.num_gpus = 0.0
"""

SERVER_APP = """
import json, os, time
from pathlib import Path

import ray
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()


def in_my_session(pid):
    try:
        return os.getsid(pid) == os.getsid(0)
    except ProcessLookupError:
        return False


@app.main()
def main(grid, context):
    print("STARTED", os.getpid())
    if context.run_config["behaviour"] == "raise":
        raise RuntimeError("the server raises on purpose")
    if context.run_config["behaviour"] == "sleep":
        time.sleep(600)
    # Flower starts this before it has registered the nodes.
    while len(nodes := list(grid.get_node_ids())) < context.run_config["num_clients"]:
        time.sleep(0.01)
    ask = [Message(RecordDict({"ask": ConfigRecord()}), node, MessageType.TRAIN) for node in nodes]
    replies = grid.send_and_receive(ask)
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    report = {
        "run_config": dict(context.run_config),
        "clients": sorted(reply.content["answer"]["partition"] for reply in replies),
        "folder": os.getcwd(),
        "colour": os.environ["TOY_COLOUR"],
        "ray_address": ray.util.get_node_ip_address(),
        "pids": [pid for pid in pids if in_my_session(pid)],
    }
    print("REPORT", json.dumps(report))
"""

CLIENT_APP = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    answer = ConfigRecord({"partition": context.node_config["partition-id"]})
    return Message(RecordDict({"answer": answer}), reply_to=message)
"""

RUN_CONFIG = {
    "behaviour": "it's \"quoted\" = \\ [1], ünïcode\nand two lines",
    "mu": 3,
    "num_clients": 3,
    "shuffle": True,
    "client_resources.num_cpus": 0.5,
}


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def printed(self, marker):
        return next(line for line in self.out.splitlines() if line.startswith(marker)).split(" ", 1)[1]


@dataclass(frozen=True)
class Session:
    folder: Path
    completed: Ended
    failed: Ended
    timed_out: Ended
    report: dict


def run(app_dir, superlink, run_config, **options) -> Ended:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = flwr_run(app_dir, run_config, 3, superlink=superlink, **options)
    return Ended(code, out.getvalue(), err.getvalue())


def is_alive(pid) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def app_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("apps") / "toy"
    package = folder / "toy"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").touch()
    (package / "server_app.py").write_text(SERVER_APP)
    (package / "client_app.py").write_text(CLIENT_APP)
    return folder


@pytest.fixture(scope="module")
def session(app_dir, tmp_path_factory) -> Session:
    """Everything that needs a SuperLink, on one, because a run takes seconds to start."""
    folder = tmp_path_factory.mktemp("caller")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TOY_COLOUR", "green")
        # As on a machine behind a proxy, and without an activated environment.
        patch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        patch.setenv("PATH", os.defpath)
        with SuperLink() as superlink:
            completed = run(app_dir, superlink, RUN_CONFIG)
            failed = run(app_dir, superlink, {"behaviour": "raise"})
            timed_out = run(app_dir, superlink, {}, timeout=0.5)
    return Session(folder, completed, failed, timed_out, json.loads(completed.printed("REPORT")))


def test_a_completed_run_returns_0_and_its_output_is_streamed(session):
    assert session.completed.code == COMPLETED
    assert session.report["clients"] == [0, 1, 2]


def test_the_app_runs_in_the_folder_and_environment_of_the_caller(session):
    assert session.report["folder"] == str(session.folder)
    assert session.report["colour"] == "green"


def test_the_run_config_arrives_as_given_over_the_defaults(session):
    assert session.report["run_config"] == {
        "output_dir": "",
        "client_resources.num_gpus": 0.0,
        **RUN_CONFIG,
    }


def test_ray_listens_on_the_loopback_interface(session):
    assert session.report["ray_address"] == "127.0.0.1"


def test_a_run_whose_server_app_raises_returns_1_and_says_why(session):
    assert session.failed.code == FAILED
    assert "Traceback" in session.failed.out
    assert "finished:failed" in session.failed.err
    assert "the server raises on purpose" in session.failed.err


def test_a_run_that_takes_too_long_returns_1_and_says_so(session):
    assert session.timed_out.code == FAILED
    assert session.timed_out.err == "The run took more than 0.5 seconds: stopping it.\n"


def test_no_process_is_left_behind(session):
    assert len(session.report["pids"]) >= 5  # SuperExec, simulation, Ray's own, one worker.
    assert not [pid for pid in session.report["pids"] if is_alive(pid)]


def test_ctrl_c_ends_the_run_with_130_and_leaves_no_process_behind(app_dir):
    command = [sys.executable, "-m", "common.engine.flwr_run", str(app_dir), "behaviour=sleep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stdout if line.startswith("STARTED"))
        server_app = int(line.split()[1])
        others = [pid for pid in pids() if session_of(pid) == os.getsid(server_app)]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == INTERRUPTED
    assert server_app in others
    assert not [pid for pid in others if is_alive(pid)]
