"""The contract of a grid, for both engines; then what is particular to Ray."""

import copy
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
from processes import descendants, sockets

from common.client.control_variate import ControlVariate
from common.engine.flower import become_server
from common.engine.grid import node_id, partition_id
from common.engine.inline import InlineGrid
from common.engine.ray_engine import RayGrid
from common.engine.worker_pool import worker_pool
from common.protocol import TrainInstruction, count_bytes, train_reply
from common.strategy.scaffold import Scaffold

# The workers cannot import this module: send its functions as they are.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
NUM_CLIENTS = 6


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


@pytest.fixture(params=["inline", "ray"])
def make_grid(request):
    def make(client_app, num_clients=NUM_CLIENTS, run_config=None):
        if request.param == "inline":
            return InlineGrid(client_app, num_clients, run_config or {})
        num_cpus = request.getfixturevalue("num_cpus")
        return RayGrid(client_app, num_clients, 3, run_config or {}, num_cpus, 0.0, "")

    return make


@pytest.fixture
def make_ray_grid(num_cpus):
    def make(client_app, run_config=None):
        return RayGrid(client_app, NUM_CLIENTS, 3, run_config or {}, num_cpus, 0.0, "")

    return make


def arrays(*values):
    return ArrayRecord({"w": Array(np.array(values, dtype=np.float32))})


def ask(clients, **records):
    """Return one message a client; the records are the same objects in all of them."""
    return [Message(RecordDict(dict(records)), node_id(client), "train") for client in clients]


def reply_with(message, **metrics):
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


def metrics_of(replies):
    return [dict(reply.content["metrics"]) for reply in replies]


app = ClientApp()
"""Answers with all that a client can see."""


@app.train()
def train(message, context):
    visits = context.state.get("visits", MetricRecord({"by": []}))
    visits["by"] = [*visits["by"], context.node_config["partition-id"]]
    context.state["visits"] = visits
    content = message.content
    return reply_with(
        message,
        client=context.node_config["partition-id"],
        num_partitions=context.node_config["num-partitions"],
        node=context.node_id,
        visits=list(visits["by"]),
        w=content["arrays"]["w"].numpy().tolist() if "arrays" in content else [],
        pid=os.getpid(),
        threads=torch.get_num_threads(),
        **context.run_config,
    )


@app.query()
def query(message, context):
    client = context.node_config["partition-id"]
    context.state["before"] = MetricRecord({"client": client})
    if client % 2:
        raise FileNotFoundError(f"client {client} has no data")
    return reply_with(message, client=client)


@pytest.mark.parametrize("clients", [[5, 0, 3, 1, 4, 2], [0, 1], [2]])
def test_every_message_has_its_reply_in_order(make_grid, clients):
    grid = make_grid(app)
    messages = ask(clients, arrays=arrays(1, 2))
    replies = list(grid.send_and_receive(messages))
    found = metrics_of(replies)
    assert [metrics["client"] for metrics in found] == clients
    assert all(metrics["w"] == [1, 2] for metrics in found)
    for message, reply, client in zip(messages, replies, clients, strict=True):
        assert reply.metadata.reply_to_message_id == message.metadata.message_id
        assert reply.metadata.src_node_id == node_id(client)
        assert reply.metadata.message_type == "train"


def test_no_messages_have_no_replies(make_grid):
    assert list(make_grid(app).send_and_receive([])) == []


def test_a_client_is_told_who_it_is_and_the_configuration(make_grid):
    grid = make_grid(app, num_clients=4, run_config={"learning_rate": 0.5, "seed": 3})
    nodes = list(grid.get_node_ids())
    assert grid.nodes == nodes
    assert len(set(nodes)) == 4
    assert [partition_id(node) for node in nodes] == [0, 1, 2, 3]
    messages = [grid.create_message(RecordDict(), "train", node, "1") for node in nodes]
    for client, metrics in enumerate(metrics_of(grid.send_and_receive(messages))):
        assert metrics["client"] == client
        assert metrics["node"] == nodes[client]
        assert metrics["num_partitions"] == 4
        assert metrics["learning_rate"] == 0.5
        assert metrics["seed"] == 3


def test_node_ids_are_none_that_flower_takes_for_something_else():
    assert [partition_id(node_id(client)) for client in range(5)] == list(range(5))
    assert min(node_id(client) for client in range(5)) > TaskIdentity.node_id > 0


def test_a_client_finds_its_own_state_again_and_nobody_elses(make_grid):
    grid = make_grid(app)
    seen = {client: [] for client in range(NUM_CLIENTS)}
    # Of changing company, so that a client comes to another worker.
    for clients in ([0, 1, 2], [1, 4], [3, 2, 1, 0], [1]):
        for client, metrics in zip(
            clients, metrics_of(grid.send_and_receive(ask(clients))), strict=True
        ):
            seen[client].append(client)
            assert metrics["visits"] == seen[client]
    assert metrics_of(make_grid(app).send_and_receive(ask([1])))[0]["visits"] == [1]


def test_a_client_that_raises_answers_with_its_error(make_grid):
    grid = make_grid(app)
    messages = [Message(RecordDict(), node_id(client), "query") for client in (0, 1, 2, 3)]
    replies = list(grid.send_and_receive(messages))
    assert [reply.has_error() for reply in replies] == [False, True, False, True]
    assert [partition_id(reply.metadata.src_node_id) for reply in replies] == [0, 1, 2, 3]
    assert replies[2].content["metrics"]["client"] == 2
    assert isinstance(replies[1].error, Error)
    reason = replies[1].error.reason
    summary, traceback = reason.split("\n", 1)
    assert summary == "FileNotFoundError: client 1 has no data"
    assert "Traceback" in traceback
    assert ", in query" in traceback


leaving_app = ClientApp()
"""Client 1 exits its process, client 2 answers with nothing."""


@leaving_app.train()
def leave(message, context):
    client = context.node_config["partition-id"]
    if client == 1:
        sys.exit(0)
    return None if client == 2 else reply_with(message, client=client)


def test_a_client_that_exits_or_answers_with_nothing_answers_with_its_error(make_grid):
    replies = list(make_grid(leaving_app).send_and_receive(ask([0, 1, 2, 3])))
    assert [reply.has_error() for reply in replies] == [False, True, True, False]
    assert replies[1].error.reason.startswith("SystemExit: 0\n")
    assert "not with a message" in replies[2].error.reason


def test_a_client_that_fails_has_the_state_again_that_it_had(make_grid):
    """Also if it has changed what was in there, and if it returns its error."""
    grid = make_grid(moody_app)
    seen = []
    for mood in ("good", "bad", "good", "sad", "good"):
        before = grid.client_states.get(0)
        (reply,) = grid.send_and_receive(ask([0], mood=ConfigRecord({"is": mood})))
        assert reply.has_error() == (mood != "good")
        # The record dict of another time is never changed, for who still writes it to disk.
        assert (grid.client_states[0] is before) == reply.has_error()
        seen.append(list(grid.client_states[0]["visits"]["moods"]))
    assert seen == [["good"]] * 2 + [["good"] * 2] * 2 + [["good"] * 3]
    (reply,) = grid.send_and_receive(ask([1], mood=ConfigRecord({"is": "bad"})))
    assert 1 not in grid.client_states


def test_what_a_client_kept_can_be_taken_back(make_grid):
    """Its last answer was not good, as the strategy found."""
    grid = make_grid(app)
    list(grid.send_and_receive(ask([0, 1])))
    before = dict(grid.client_states)
    list(grid.send_and_receive(ask([0, 1, 2])))
    grid.take_back([1, 2, 5])
    assert grid.client_states[0]["visits"]["by"] == [0, 0]
    assert grid.client_states[1] is before[1]
    assert grid.client_states.keys() == {0, 1}


def test_a_run_may_go_on_with_the_states_of_another(make_grid):
    first, second = make_grid(app), make_grid(app)
    list(first.send_and_receive(ask([0, 1])))
    second.client_states = dict(first.client_states)
    (reply,) = second.send_and_receive(ask([1]))
    assert reply.content["metrics"]["visits"] == [1, 1]
    assert first.client_states[1]["visits"]["by"] == [1]


moody_app = ClientApp()
"""Changes its state before it fails."""


@moody_app.train()
def feel(message, context):
    mood = message.content["mood"]["is"]
    if "visits" in context.state:
        context.state["visits"]["moods"].append(mood)
    else:
        context.state["visits"] = ConfigRecord({"moods": [mood]})
    if mood == "bad":
        raise RuntimeError("a bad day")
    return Message(Error(0, "no"), reply_to=message) if mood == "sad" else reply_with(message)


def test_replies_wait_until_they_are_pulled_and_are_given_once(make_grid):
    grid = make_grid(app)
    first = list(grid.push_messages(ask([0, 1], arrays=arrays(1))))
    second = list(grid.push_messages(ask([0, 2], arrays=arrays(2))))
    assert len({*first, *second}) == 4
    pulled = metrics_of(grid.pull_messages([second[1], first[0], "no such message"]))
    assert [(metrics["client"], metrics["w"]) for metrics in pulled] == [(2, [2]), (0, [1])]
    pulled = metrics_of(grid.pull_messages([*first, *second]))
    assert [(metrics["client"], metrics["w"]) for metrics in pulled] == [(1, [1]), (0, [2])]
    assert list(grid.pull_messages([*first, *second])) == []


def test_every_round_has_its_own_broadcast(make_grid):
    grid = make_grid(app)
    for value in (1, 2, 3):
        replies = metrics_of(grid.send_and_receive(ask([0, 1, 2], arrays=arrays(value))))
        assert [metrics["w"] for metrics in replies] == [[value]] * 3


def test_clients_may_be_sent_different_weights(make_grid):
    grid = make_grid(app)
    messages = [ask([client], arrays=arrays(client))[0] for client in (3, 1, 2)]
    assert [m["w"] for m in metrics_of(grid.send_and_receive(messages))] == [[3], [1], [2]]


def test_a_content_that_messages_share_is_not_changed(make_grid):
    content = RecordDict({"arrays": arrays(1, 2), "config": ConfigRecord({"epochs": 1})})
    before = copy.deepcopy(dict(content))
    messages = [Message(content, node_id(client), "train") for client in (0, 1, 2)]
    replies = metrics_of(make_grid(app).send_and_receive(messages))
    assert [metrics["w"] for metrics in replies] == [[1, 2]] * 3
    assert dict(content) == before


def test_messages_can_be_sent_again(make_grid):
    grid = make_grid(app)
    messages = ask([0, 1, 2], arrays=arrays(1, 2))
    first = metrics_of(grid.send_and_receive(messages))
    assert [m["w"] for m in metrics_of(grid.send_and_receive(messages))] == [[1, 2]] * 3
    assert [m["w"] for m in first] == [[1, 2]] * 3


def test_clients_of_one_round_work_on_as_many_workers_as_fit(make_ray_grid):
    """Three with a third of the CPUs each."""
    grid = make_ray_grid(app)
    pids = [metrics["pid"] for metrics in metrics_of(grid.send_and_receive(ask(range(6))))]
    assert len(set(pids)) == 3
    assert sorted(pids.count(pid) for pid in set(pids)) == [2, 2, 2]
    assert os.getpid() not in pids


def test_a_worker_has_one_thread(make_ray_grid):
    replies = metrics_of(make_ray_grid(app).send_and_receive(ask([0, 1, 2])))
    assert {metrics["threads"] for metrics in replies} == {1}


def test_the_pool_serves_one_run_after_the_other(make_ray_grid):
    """The workers stay, but app and configuration are those of the run."""
    first = metrics_of(make_ray_grid(app, {"seed": 1}).send_and_receive(ask(range(3))))
    second = metrics_of(make_ray_grid(app, {"seed": 2}).send_and_receive(ask(range(3))))
    assert {metrics["pid"] for metrics in first} == {metrics["pid"] for metrics in second}
    assert [metrics["seed"] for metrics in (*first, *second)] == [1, 1, 1, 2, 2, 2]
    other_app = ClientApp()
    other_app.train()(lambda message, context: reply_with(message, client=-1, pid=os.getpid()))
    third = metrics_of(make_ray_grid(other_app).send_and_receive(ask(range(3))))
    assert [metrics["client"] for metrics in third] == [-1, -1, -1]
    assert {metrics["pid"] for metrics in third} == {metrics["pid"] for metrics in first}


def test_a_grid_starts_no_worker_before_it_is_used(make_ray_grid, monkeypatch):
    monkeypatch.setattr("common.engine.ray_engine.worker_pool", None)
    grid = make_ray_grid(app)
    assert len(grid.nodes) == NUM_CLIENTS
    assert list(grid.send_and_receive([])) == []


def test_no_more_workers_are_made_ready_than_clients_take_part(num_cpus):
    ray.shutdown()
    worker_pool.cache_clear()
    grid = RayGrid(app, NUM_CLIENTS, 2, {}, num_cpus, 0.0, "")
    grid.prepare([1] * NUM_CLIENTS)
    assert len(worker_pool(num_cpus, 0.0, "")._actors) == 2
    pids = {metrics["pid"] for metrics in metrics_of(grid.send_and_receive(ask([0, 1])))}
    assert len(pids) == 2


def test_two_runs_may_take_turns(make_ray_grid):
    grids = [make_ray_grid(app, {"seed": seed}) for seed in (1, 2)]
    for grid, seed in ((grids[0], 1), (grids[1], 2), (grids[0], 1)):
        assert {m["seed"] for m in metrics_of(grid.send_and_receive(ask(range(3))))} == {seed}


def test_a_round_is_dealt_out_by_the_work_that_it_asks_for(make_ray_grid):
    """The client with most of the work has a worker for itself."""
    grid = make_ray_grid(app)
    grid.num_examples = [10, 10, 400, 10, 10, 200]
    w = arrays(1)
    messages = [
        Message(TrainInstruction(1, epochs, 0.0).to_content(w), node_id(client), "train")
        for client, epochs in enumerate([1, 1, 2, 1, 1, 4])
    ]
    pids = [metrics["pid"] for metrics in metrics_of(grid.send_and_receive(messages))]
    assert pids.count(pids[2]) == 1
    assert pids.count(pids[5]) == 1
    assert len(set(pids)) == 3


waiting_app = ClientApp()
"""Client 0 answers at once; the others wait for a file."""


@waiting_app.train()
def wait(message, context):
    client = context.node_config["partition-id"]
    while client > 0 and not Path(context.run_config["file"]).exists():
        time.sleep(0.01)
    return reply_with(message, client=client)


def test_a_reply_is_there_while_others_still_work(make_ray_grid, tmp_path):
    file = tmp_path / "go on"
    replies = make_ray_grid(waiting_app, {"file": str(file)}).send_and_receive(ask([0, 1, 2]))
    assert next(replies).content["metrics"]["client"] == 0
    file.touch()
    assert [m["client"] for m in metrics_of(replies)] == [1, 2]


def test_what_the_clients_took_is_counted(make_grid, tmp_path):
    file = tmp_path / "go on"
    grid = make_grid(waiting_app, run_config={"file": str(file)})
    assert grid.client_seconds == 0
    threading.Timer(0.2, file.touch).start()
    list(grid.send_and_receive(ask([1])))
    assert 0.1 < grid.client_seconds < 30
    assert grid.num_workers == 1


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_large_replies_travel_one_by_one_and_arrive_as_they_were(make_grid, size):
    """Their bytes are then those of the object store: read-only, and never unpickled."""
    grid = make_grid(echo_app)
    sent = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    w = ArrayRecord({"w": Array(sent), "n": Array(np.array(3))})
    for reply in grid.send_and_receive(ask(range(5), arrays=w)):
        assert reply.content["arrays"]["w"].numpy().tobytes() == sent.tobytes()
        assert reply.content["arrays"]["n"].numpy() == 3
        assert count_bytes(reply.content) == count_bytes(RecordDict({"arrays": w}))
        kept = reply.content  # May be sent on, as it is.
        (again,) = grid.send_and_receive(ask([0], arrays=kept["arrays"]))
        assert again.content["arrays"]["w"].numpy().tobytes() == sent.tobytes()


def test_what_a_client_keeps_holds_no_shared_memory(make_grid):
    grid = make_grid(echo_app)
    replies = list(grid.send_and_receive(ask(range(3), arrays=arrays(*range(100_000)))))
    for client, reply in enumerate(replies):
        assert type(grid.client_states[client]["kept"]["w"].data) is bytes
        assert grid.client_states[client]["kept"] == reply.content["arrays"]


echo_app = ClientApp()
"""Sends back what it was sent, and keeps it."""


@echo_app.train()
def echo(message, context):
    context.state["kept"] = message.content["arrays"]
    return Message(RecordDict({"arrays": message.content["arrays"]}), reply_to=message)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_listens_to_other_machines(make_ray_grid):
    list(make_ray_grid(app).send_and_receive(ask([0])))
    found = sockets([os.getpid(), *descendants(os.getpid())])
    assert any(entry.is_listening for entry in found)
    assert [entry for entry in found if not entry.is_local] == []


scaffold = ClientApp()
"""Clients whose gradients are their own numbers, corrected by SCAFFOLD."""


@scaffold.train()
def train_corrected(message, context):
    net = torch.nn.ParameterDict({"w": torch.tensor(message.content["arrays"]["w"].numpy())})
    control = ControlVariate.of(message, context, net)
    rng = np.random.default_rng(context.node_config["partition-id"])
    with torch.no_grad():
        for _ in range(TrainInstruction.of(message).epochs):
            gradient = torch.tensor(rng.standard_normal(2, np.float32))
            control.correct([gradient])
            net["w"] -= 0.1 * gradient
    change = control.update(TrainInstruction.of(message).epochs, 0.1)
    return train_reply(message, arrays(*net["w"].tolist()), 5, control_variate_change=change)


def test_scaffold_is_the_same_on_both_engines_to_the_last_bit(make_ray_grid):
    """Both the model and c are broadcast; what comes back is a model, a change, and c_k."""
    found = []
    for grid in (InlineGrid(scaffold, NUM_CLIENTS, {}), make_ray_grid(scaffold)):
        strategy = Scaffold(
            grid.nodes,
            [5] * NUM_CLIENTS,
            clients_per_round=4,
            num_epochs=3,
            stragglers_fraction=0.0,
            seed=0,
            w_0={"w": np.zeros(2, np.float32)},
        )
        w = arrays(0, 0)
        for round_ in (1, 2, 3):
            messages = strategy.configure_train(round_, w, ConfigRecord(), grid)
            w, _ = strategy.aggregate_train(round_, grid.send_and_receive(messages))
        found.append((w, strategy.state(), grid.client_states))
    inline, on_ray = found
    assert inline == on_ray
    assert inline[0] != arrays(0, 0)
    assert len(inline[2]) > 4  # Some clients took part, and corrected, more than once.
