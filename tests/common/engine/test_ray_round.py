"""What becomes of a round whose workers die, hang or cannot start, with a real Ray."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from ray.cluster_utils import Cluster
from ray.exceptions import RayTaskError

from common.engine.flower import become_server
from common.engine.grid import node_id
from common.engine.inline import InlineGrid
from common.engine.ray_engine import RayGrid
from common.engine.worker_pool import worker_pool
from common.errors import ClientFailedError

# The workers cannot import this module: send its functions as they are.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
NUM_CLIENTS = 6


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


@pytest.fixture
def make_grid(num_cpus, tmp_path):
    def make(client_app=None, **options):
        run_config = {"folder": str(tmp_path)}
        arguments = (client_app or app, NUM_CLIENTS, 3, run_config, num_cpus, 0.0, "")
        return RayGrid(*arguments, **options)

    return make


app = ClientApp()
"""Every client waits as long as there is a file ``wait`` in its folder; then it does as it is told
by files with its number."""


@app.train()
def train(message, context):
    client = context.node_config["partition-id"]
    folder = Path(context.run_config["folder"])
    (folder / f"started_{client}_{os.getpid()}").touch()
    while (folder / "wait").exists() or (folder / f"hang_{client}").exists():
        time.sleep(0.01)
    once = folder / f"die_once_{client}"
    if once.exists() or (folder / f"die_{client}").exists():
        once.unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / f"raise_{client}").exists():
        raise RuntimeError("told to")
    if (folder / "take_0.2_seconds").exists():
        time.sleep(0.2)
    visits = context.state.get("visits", MetricRecord({"number": 0}))
    context.state["visits"] = MetricRecord({"number": visits["number"] + 1})
    total = float(message.content["arrays"]["w"].numpy().sum())
    metrics = MetricRecord(
        {"client": client, "visit": context.state["visits"]["number"], "total": total}
    )
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def ask(clients=range(NUM_CLIENTS)):
    arrays = ArrayRecord({"w": Array(np.arange(5, dtype=np.float32))})
    return [Message(RecordDict({"arrays": arrays}), node_id(client), "train") for client in clients]


def metrics_of(replies):
    return [dict(reply.content["metrics"]) for reply in replies]


def expected(visit=1, clients=range(NUM_CLIENTS)):
    return [{"client": client, "visit": visit, "total": 10.0} for client in clients]


def visits_of(grid):
    return {client: state["visits"]["number"] for client, state in grid.client_states.items()}


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def started(folder):
    """Return the clients that have started, and the processes where they have."""
    return [tuple(map(int, file.name.split("_")[1:])) for file in folder.glob("started_*")]


def wait_for_three_workers(num_cpus):
    wait_until(lambda: len(worker_pool(num_cpus, 0.0, "").workers(3)) == 3)


def test_ray_leaves_sigterm_to_the_program(make_grid):
    before = signal.getsignal(signal.SIGTERM)
    make_grid().prepare([1] * NUM_CLIENTS)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_worker_that_is_killed_changes_nothing(make_grid, num_cpus, tmp_path):
    grid = make_grid()
    assert metrics_of(grid.send_and_receive(ask())) == expected(visit=1)
    before = {pid for _, pid in started(tmp_path)}
    for file in tmp_path.glob("started_*"):
        file.unlink()
    (tmp_path / "wait").touch()
    messages = ask()
    replies = grid.send_and_receive(messages)
    wait_until(lambda: len(started(tmp_path)) == 3)
    _, killed = started(tmp_path)[0]
    os.kill(killed, signal.SIGKILL)
    (tmp_path / "wait").unlink()
    replies = list(replies)
    assert metrics_of(replies) == expected(visit=2)
    assert [reply.metadata.reply_to_message_id for reply in replies] == [
        message.metadata.message_id for message in messages
    ]
    assert visits_of(grid) == dict.fromkeys(range(NUM_CLIENTS), 2)
    wait_for_three_workers(num_cpus)
    for file in tmp_path.glob("started_*"):
        file.unlink()
    assert metrics_of(grid.send_and_receive(ask())) == expected(visit=3)
    now = {pid for _, pid in started(tmp_path)}
    assert len(now) == 3
    assert before - now == {killed}


def test_a_worker_that_died_between_two_rounds_changes_nothing(make_grid, tmp_path):
    grid = make_grid()
    list(grid.send_and_receive(ask()))
    os.kill(started(tmp_path)[0][1], signal.SIGKILL)
    assert metrics_of(grid.send_and_receive(ask())) == expected(visit=2)


def test_a_client_that_kills_its_process_once_is_run_again(make_grid, tmp_path):
    (tmp_path / "die_once_1").touch()
    inline = InlineGrid(app, NUM_CLIENTS, {"folder": str(tmp_path)})
    grid = make_grid()
    replies = metrics_of(grid.send_and_receive(ask()))
    assert not (tmp_path / "die_once_1").exists()
    assert replies == metrics_of(inline.send_and_receive(ask())) == expected()
    assert grid.client_states == inline.client_states


def test_a_client_that_always_kills_its_process_is_answered_for(make_grid, tmp_path):
    (tmp_path / "die_4").touch()
    grid = make_grid()
    replies = list(grid.send_and_receive(ask()))
    failed = replies.pop(4)
    assert failed.metadata.src_node_id == node_id(4)
    assert failed.error.reason.startswith("its worker died 3 times: The actor died unexpectedly")
    others = [0, 1, 2, 3, 5]
    assert metrics_of(replies) == expected(clients=others)
    assert visits_of(grid) == dict.fromkeys(others, 1)
    (tmp_path / "die_4").unlink()
    (reply,) = grid.send_and_receive(ask([4]))
    assert metrics_of([reply]) == expected(clients=[4])


def test_a_client_that_hangs_is_answered_for(make_grid, tmp_path):
    (tmp_path / "hang_1").touch()
    grid = make_grid(client_timeout=1.0)
    start = time.monotonic()
    replies = list(grid.send_and_receive(ask()))
    assert 2 < time.monotonic() - start < 30  # Once in its hand, once alone.
    failed = replies.pop(1)
    assert failed.metadata.src_node_id == node_id(1)
    assert failed.error.reason == "it took longer than client_timeout=1 s"
    others = [0, 2, 3, 4, 5]
    assert metrics_of(replies) == expected(clients=others)
    assert visits_of(grid) == dict.fromkeys(others, 1)
    (tmp_path / "hang_1").unlink()
    assert [metrics["visit"] for metrics in metrics_of(grid.send_and_receive(ask()))] == [
        2 if client in others else 1 for client in range(NUM_CLIENTS)
    ]


def test_clients_may_all_hang(make_grid, tmp_path):
    (tmp_path / "wait").touch()
    grid = make_grid(client_timeout=0.5)
    replies = list(grid.send_and_receive(ask([3, 0])))
    reasons = [reply.error.reason for reply in replies]
    assert reasons == ["it took longer than client_timeout=0.5 s"] * 2
    assert grid.client_states == {}


def test_only_a_single_client_can_be_too_slow(make_grid, tmp_path):
    """Four clients of 0.2 s a worker are none of 0.5 s, however long the server takes itself."""
    (tmp_path / "take_0.2_seconds").touch()
    grid = make_grid(client_timeout=0.5)
    clients = [*range(NUM_CLIENTS)] * 2
    replies = []
    for reply in grid.send_and_receive(ask(clients)):
        replies.append(reply)
        if len(replies) in (1, 7):
            time.sleep(1.0)
    assert metrics_of(replies) == expected(clients=clients)
    assert len(started(tmp_path)) == len({client for client, _ in started(tmp_path)})  # Run once.


def test_a_worker_that_nobody_listens_to_any_more_is_in_nobodys_way(make_grid, tmp_path):
    (tmp_path / "hang_1").touch()
    (tmp_path / "raise_0").touch()
    replies = make_grid().send_and_receive(ask([0, 1, 2]))
    assert next(replies).error.reason.startswith("RuntimeError: told to")
    del replies
    assert metrics_of(make_grid().send_and_receive(ask([3, 4, 5]))) == expected(clients=[3, 4, 5])


class NotThere(ClientApp):
    """An app that cannot be imported on a worker."""

    def __reduce__(self):
        return __import__, ("no_such_module",)


def test_what_the_workers_own_code_raises_is_raised(make_grid, tmp_path):
    with pytest.raises(RayTaskError, match="No module named 'no_such_module'"):
        list(make_grid(NotThere()).send_and_receive(ask([0])))
    assert metrics_of(make_grid().send_and_receive(ask([0]))) == expected(clients=[0])


@pytest.fixture
def two_machines(num_cpus):
    """A Ray cluster of two machines with a CPU each, beside one without where the server runs."""
    ray.shutdown()
    worker_pool.cache_clear()
    look_often = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 1000,
        "health_check_failure_threshold": 3,
    }
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": look_often}
    cluster = Cluster(True, head_node_args=head)
    try:
        yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    finally:
        ray.shutdown()
        worker_pool.cache_clear()
        cluster.shutdown()


@pytest.mark.slow
def test_a_round_survives_the_loss_of_a_machine_but_not_of_all(two_machines, tmp_path):
    cluster, machines = two_machines
    grid = RayGrid(app, NUM_CLIENTS, 2, {"folder": str(tmp_path)}, 1.0, 0.0, cluster.address)
    pool = worker_pool(1.0, 0.0, cluster.address)
    (tmp_path / "wait").touch()
    replies = grid.send_and_receive(ask())
    wait_until(lambda: len(started(tmp_path)) == 2)
    workers = {pid for _, pid in started(tmp_path)}
    cluster.remove_node(machines[0], allow_graceful=False)
    wait_until(lambda: sum(Path(f"/proc/{pid}").exists() for pid in workers) == 1)
    (tmp_path / "wait").unlink()
    assert metrics_of(replies) == expected()
    assert metrics_of(grid.send_and_receive(ask())) == expected(visit=2)
    wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
    assert len(pool.workers(2)) == 1
    (tmp_path / "wait").touch()
    replies = grid.send_and_receive(ask())
    cluster.remove_node(machines[1], allow_graceful=False)
    with pytest.raises(ClientFailedError, match=r"^No machine of the Ray cluster is left "):
        list(replies)
