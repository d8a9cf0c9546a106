import pytest
from flwr.app import Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.task_identity import TaskIdentity

from common import engine
from common.engine import ray_engine
from common.engine.inline import InlineGrid


@pytest.fixture(autouse=True)
def _no_flower_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)


client_app = ClientApp()


@client_app.train()
def train(message, context):
    number = message.content["question"]["number"] * context.run_config["factor"]
    return Message(RecordDict({"answer": MetricRecord({"number": number})}), reply_to=message)


def test_both_apps_run_unchanged():
    server_app = ServerApp()
    seen = {}

    @server_app.main()
    def main(grid, context):
        assert isinstance(grid, Grid)
        seen["run_config"] = context.run_config
        seen["node_config"] = context.node_config
        messages = [
            Message(RecordDict({"question": MetricRecord({"number": i})}), node, "train")
            for i, node in enumerate(grid.get_node_ids())
        ]
        replies = grid.send_and_receive(messages)
        seen["answers"] = [reply.content["answer"]["number"] for reply in replies]

    engine.run(
        server_app, client_app, {"factor": 3}, num_clients=4, clients_per_round=2, engine="inline"
    )
    assert seen == {"run_config": {"factor": 3}, "node_config": {}, "answers": [0, 3, 6, 9]}


def test_what_the_server_raises_is_raised():
    server_app = ServerApp()

    @server_app.main()
    def main(grid, context):
        raise KeyError("from the server")

    with pytest.raises(KeyError, match="from the server"):
        engine.run(server_app, client_app, {}, num_clients=1, clients_per_round=1, engine="inline")


def grid_of(**options):
    grids = []
    server_app = ServerApp()
    server_app.main()(lambda grid, context: grids.append(grid))
    engine.run(server_app, client_app, {"factor": 1}, **options)
    return grids[0]


def test_the_inline_engine_is_inline():
    grid = grid_of(num_clients=7, clients_per_round=1, engine="inline")
    assert type(grid) is InlineGrid
    assert len(list(grid.get_node_ids())) == 7


def test_the_ray_engine_is_told_its_resources(monkeypatch):
    asked = []
    monkeypatch.setattr(
        ray_engine, "RayGrid", lambda *arguments: asked.append(arguments) or InlineGrid(None, 7, {})
    )
    resources = {"num_cpus": 0.5, "num_gpus": 0.25, "ray_address": "auto"}
    grid_of(num_clients=7, clients_per_round=1, engine="ray", **resources, client_timeout=2.5)
    assert asked == [(client_app, 7, 1, {"factor": 1}, 0.5, 0.25, "auto", 2.5)]
