import io
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.engine.flwr_run import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    flwr_run,
    main,
    parse_request,
)
from common.engine.superlink import SuperLink
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
    "behaviour": 'it\'s "quoted" = \\ [1], ünïcode\nand two lines',
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
        return next(line for line in self.out.splitlines() if line.startswith(marker)).split(
            " ", 1
        )[1]


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


def session_of(pid) -> int | None:
    """The session of a process that is neither gone nor a zombie."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(session)


def alive(pids) -> list[int]:
    return [pid for pid in pids if session_of(pid) is not None]


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


@contextmanager
def ports_of_another_superlink():
    """Take the ports that a SuperLink has by default, as one that runs already does."""
    with ExitStack() as taken:
        for port in (9091, 9092, 9093):
            with suppress(OSError):  # One does run already.
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


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
        with ports_of_another_superlink(), SuperLink() as superlink:
            completed = run(app_dir, superlink, RUN_CONFIG)
            failed = run(app_dir, superlink, {"behaviour": "raise"})
            timed_out = run(app_dir, superlink, {}, timeout=0.5)
    return Session(folder, completed, failed, timed_out, json.loads(completed.printed("REPORT")))


def test_a_completed_run_returns_0_and_its_output_is_streamed(session):
    assert session.completed.code == COMPLETED
    assert session.report["clients"] == [0, 1, 2]


def test_a_superlink_that_runs_already_is_left_alone(session):
    """The run above had one of its own, on other ports."""
    assert session.completed.code == 0
    for port in (9091, 9092, 9093):
        assert f":{port}" not in session.completed.out


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
    assert not alive(session.report["pids"])


@pytest.mark.slow
def test_ctrl_c_ends_the_run_with_130_and_leaves_no_process_behind(app_dir):
    command = [sys.executable, "-m", "common.engine.flwr_run", str(app_dir), "behaviour=sleep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stdout if line.startswith("STARTED"))
        session = session_of(line.split()[1])
        folders = Path("/proc").glob("[0-9]*")
        pids = [folder.name for folder in folders if session_of(folder.name) == session]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == INTERRUPTED
    assert len(pids) >= 2  # SuperExec and simulation.
    assert not alive(pids)


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("mu=0.5", "mu", 0.5),
        ("mu=1e-3", "mu", 1e-3),
        ("mu=2", "mu", 2),
        ("shuffle=true", "shuffle", True),
        ("behaviour=plain", "behaviour", "plain"),
        ("behaviour='two words, \"quoted\"'", "behaviour", 'two words, "quoted"'),
        ("behaviour='7'", "behaviour", "7"),
        ("output_dir=/absolute/folder", "output_dir", "/absolute/folder"),
        ("output_dir=", "output_dir", ""),
    ],
)
def test_a_pair_is_read_as_the_hydra_front_end_reads_it(app_dir, pair, key, value):
    read = parse_request(str(app_dir), [pair]).run_config
    assert read == {key: value}
    assert type(read[key]) is type(value)


def test_a_relative_output_dir_is_below_the_folder_of_the_caller(app_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = parse_request(str(app_dir), ["output_dir=runs/one"])
    assert request.run_config == {"output_dir": str(tmp_path / "runs" / "one")}


def test_supernodes_and_resources_are_those_of_the_app(app_dir):
    request = parse_request(str(app_dir), [])
    assert request.run_config == {}
    assert (request.num_supernodes, request.num_cpus, request.num_gpus) == (2, 1, 0.0)


def test_supernodes_and_resources_can_be_given(app_dir):
    pairs = ["num_clients=30", "client_resources.num_cpus=1.5", "client_resources.num_gpus=0.25"]
    request = parse_request(str(app_dir), pairs)
    assert request.run_config["num_clients"] == 30
    assert request.run_config["client_resources.num_cpus"] == 1.5
    # Flower reserves whole CPUs only.
    assert (request.num_supernodes, request.num_cpus, request.num_gpus) == (30, 2, 0.25)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("mu", "'mu' is not understood: give key=value."),
        ("num_client=1", "num_client is not a key of this experiment: did you mean num_clients?"),
        ("+mu=1", "+mu is not a key of this experiment: did you mean mu?"),
        ("mu=much", "'mu=much' is not allowed: mu takes one float, such as 1.0."),
        ("mu=1,2", "'mu=1,2' is not allowed: mu takes one float, such as 1.0."),
        ("mu=[1]", "'mu=[1]' is not allowed: mu takes one float, such as 1.0."),
        (
            "num_clients=2.5",
            "'num_clients=2.5' is not allowed: num_clients takes one int, such as 2.",
        ),
        ("num_clients=0", "num_clients=0 is not allowed: it must be a whole number from 1."),
        (
            "client_resources.num_gpus=-1",
            "client_resources.num_gpus=-1 is not allowed: it must be a number from 0.",
        ),
        (
            "output_dir=${now:}",
            "'output_dir=${now:}' is not allowed: output_dir takes one str, such as ''.",
        ),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_in_one_sentence(app_dir, pair, message):
    with pytest.raises(UserInputError) as refusal:
        parse_request(str(app_dir), [pair])
    assert str(refusal.value) == message


def test_a_key_without_a_near_one_is_answered_with_all_keys(app_dir):
    with pytest.raises(UserInputError, match="the keys are behaviour, client_resources"):
        parse_request(str(app_dir), ["xyz=1"])


def test_a_folder_without_an_app_is_refused(tmp_path):
    with pytest.raises(UserInputError, match=r"no Flower app: it has to be a folder with"):
        parse_request(str(tmp_path / "missing"), [])


@pytest.mark.parametrize(
    ("pyproject", "message"),
    [
        ("[project]\nname = 'toy'\n", r"has no table \[tool\.flwr\.app\.config\]\."),
        ("[project\n", r"is not valid TOML: .*\.$"),
        ("[tool.flwr.app.config]\nmu = 1.0\n", r"^num_clients=None is not allowed"),
    ],
)
def test_an_app_that_cannot_be_run_is_refused(tmp_path, pyproject, message):
    (tmp_path / "pyproject.toml").write_text(pyproject)
    with pytest.raises(UserInputError, match=message):
        parse_request(str(tmp_path), [])


def test_wrong_usage_is_one_sentence_and_exit_code_2(app_dir, capsys):
    assert main([str(app_dir), "mu"]) == WRONG_USAGE
    out, err = capsys.readouterr()
    assert (out, err) == ("", "'mu' is not understood: give key=value.\n")
