"""Which Flower node holds which partition."""

import time
from collections.abc import Sequence
from typing import Final

from flwr.app import Context, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from common.engine.grid import SimulationGrid
from common.errors import ClientFailedError, UserInputError

IDENTITY: Final = "identity"
PARTITION_ID: Final = "partition-id"
SECONDS_WITHOUT_A_NEW_NODE: Final = 10


def nodes_by_partition(grid: Grid, num_examples: Sequence[int]) -> list[int]:
    """Return the node id of every client; the index is the partition id.

    Our own engines know it, and start the workers that do not run yet. In Flower's, node ids come
    from the operating system's randomness, so every node is asked once; its app must answer with
    :func:`report_partition`.

    Args:
        grid: Reaches the clients.
        num_examples: Examples of every client, for our own engines to share work out by.

    Raises:
        UserInputError: The federation has another number of nodes, or the machine or cluster cannot
            hold one worker.
        ClientFailedError: A node's app raised.
    """
    if isinstance(grid, SimulationGrid):
        grid.prepare(num_examples)
        return grid.nodes
    num_clients = len(num_examples)
    nodes = _wait_for_nodes(grid, num_clients)
    if len(nodes) != num_clients:
        raise UserInputError(
            f"num_clients={num_clients} is not allowed: it must be the number of SuperNodes, "
            f'{len(nodes)}; set that with --federation-config "num-supernodes={num_clients}".'
        )
    queries = [Message(RecordDict(), node, MessageType.QUERY) for node in nodes]
    partitions = {}
    for reply in grid.send_and_receive(queries):
        if reply.has_error():
            node = reply.metadata.src_node_id
            raise ClientFailedError(
                f"Node {node} failed to say its partition: {reply.error.reason}"
            )
        partition = reply.content.metric_records[IDENTITY][PARTITION_ID]
        partitions[partition] = reply.metadata.src_node_id
    return [partitions[client] for client in range(num_clients)]


def report_partition(message: Message, context: Context) -> Message:
    """Answer, in a client app, which partition this node holds."""
    identity = MetricRecord({PARTITION_ID: int(context.node_config[PARTITION_ID])})
    return Message(RecordDict({IDENTITY: identity}), reply_to=message)


def _wait_for_nodes(grid: Grid, num_clients: int) -> list[int]:
    """Wait until the nodes are there; Flower starts the server app before they are."""
    nodes = list(grid.get_node_ids())
    last_arrival = time.monotonic()
    while len(nodes) < num_clients and time.monotonic() - last_arrival < SECONDS_WITHOUT_A_NEW_NODE:
        time.sleep(0.1)
        now = list(grid.get_node_ids())
        if len(now) > len(nodes):
            last_arrival = time.monotonic()
        nodes = now
    return nodes
