import pytest
from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from common.engine import nodes, nodes_by_partition, report_partition
from common.engine.flower import become_server
from common.engine.inline import InlineGrid
from common.errors import ClientFailedError, UserInputError


@pytest.fixture(autouse=True)
def _server_process(monkeypatch):
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    become_server()


class FlowerGrid(Grid):
    """A grid as Flower's: it knows node ids only, and they come one by one, in any order.

    Args:
        partitions: Partition id of every node id.
        visible: How many nodes are there, from one look to the next; the last is for good.
    """

    def __init__(self, partitions, visible=None):
        self.partitions = partitions
        self.visible = [len(partitions)] if visible is None else list(visible)
        self.looks = 0
        self.asked = []
        self.client_app = ClientApp()
        self.client_app.query()(report_partition)

    def get_node_ids(self):
        self.looks += 1
        count = self.visible.pop(0) if len(self.visible) > 1 else self.visible[0]
        return list(self.partitions)[:count]

    def send_and_receive(self, messages, *, timeout=None):
        replies = []
        for message in messages:
            self.asked.append(message)
            node = message.metadata.dst_node_id
            identity = {"partition-id": self.partitions[node], "num-partitions": 9}
            context = Context(1, node, identity, RecordDict(), {})
            replies.append(self.client_app(message, context))
        return replies[::-1]

    def set_run(self, run):
        raise NotImplementedError

    run = property(set_run)

    def create_message(self, *args, **kwargs):
        raise NotImplementedError

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError


class Clock:
    """A module `time` whose seconds pass when somebody sleeps."""

    def __init__(self, step=0.0):
        self.now = 0.0
        self.step = step

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, self.step)


def test_our_own_grid_is_not_asked():
    def fail(message, context):
        raise AssertionError

    app = ClientApp()
    app.query()(fail)
    grid = InlineGrid(app, 4, {})
    assert nodes_by_partition(grid, [1] * 4) == list(grid.get_node_ids())


def test_every_node_of_flowers_grid_is_asked_once_which_partition_it_holds():
    grid = FlowerGrid({901: 2, 17: 0, 555: 3, 40: 1})
    assert nodes_by_partition(grid, [1] * 4) == [17, 40, 901, 555]
    assert sorted(message.metadata.dst_node_id for message in grid.asked) == [17, 40, 555, 901]
    assert {message.metadata.message_type for message in grid.asked} == {MessageType.QUERY}
    assert grid.looks == 1


def test_a_node_whose_app_raises_is_named_with_its_error():
    grid = FlowerGrid({901: 1, 17: 0})
    error = Error(0, "ValueError: no partition")
    grid.send_and_receive = lambda messages: [Message(error, reply_to=m) for m in messages]
    with pytest.raises(ClientFailedError, match=r"^Node 901 failed .*: ValueError: no partition$"):
        nodes_by_partition(grid, [1] * 2)


def test_a_node_reports_its_partition_to_who_asked():
    message = Message(RecordDict(), 9, MessageType.QUERY)
    context = Context(1, 9, {"partition-id": 6, "num-partitions": 10}, RecordDict(), {})
    reply = report_partition(message, context)
    assert reply.content["identity"]["partition-id"] == 6
    assert reply.metadata.src_node_id == 9


def test_waits_for_nodes_that_come_late(monkeypatch):
    monkeypatch.setattr(nodes, "time", Clock())
    grid = FlowerGrid({30: 1, 20: 0, 10: 2}, visible=[0, 0, 1, 1, 2, 3])
    assert nodes_by_partition(grid, [1] * 3) == [20, 30, 10]
    assert grid.looks == 6


def test_every_node_that_comes_gives_the_others_new_time(monkeypatch):
    """Thirty nodes, one a second: as long as they keep coming, ten seconds are no limit."""
    monkeypatch.setattr(nodes, "time", Clock(step=0.5))
    visible = [count for count in range(31) for _ in range(2)]
    grid = FlowerGrid({node: node - 100 for node in range(100, 130)}, visible)
    assert nodes_by_partition(grid, [1] * 30) == list(range(100, 130))


@pytest.mark.parametrize(("asked_for", "there"), [(3, 2), (2, 3), (1, 0)])
def test_another_number_of_nodes_is_refused(monkeypatch, asked_for, there):
    clock = Clock()
    monkeypatch.setattr(nodes, "time", clock)
    grid = FlowerGrid({node: node for node in range(there)})
    with pytest.raises(UserInputError) as caught:
        nodes_by_partition(grid, [1] * asked_for)
    assert str(caught.value) == (
        f"num_clients={asked_for} is not allowed: it must be the number of SuperNodes, {there}; "
        f'set that with --federation-config "num-supernodes={asked_for}".'
    )
    assert grid.asked == []
    assert clock.now == pytest.approx(10 if there < asked_for else 0, abs=0.2)
