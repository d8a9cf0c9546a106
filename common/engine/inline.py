"""Clients one after another in this process: for debugging, a notebook, a machine without Ray."""

from collections.abc import Sequence

from flwr.app import Message, UserConfig
from flwr.clientapp import ClientApp

from common.engine.flower import answer
from common.engine.grid import SimulationGrid, make_context, partition_id


class InlineGrid(SimulationGrid):
    """Runs every client in the calling process.

    Args:
        client_app: The clients' app.
        num_clients: Number of clients.
        run_config: Flat configuration that every client finds in its context.
    """

    engine = "inline"

    def __init__(self, client_app: ClientApp, num_clients: int, run_config: UserConfig) -> None:
        super().__init__(num_clients, run_config)
        self._client_app = client_app

    def _answer(self, messages: Sequence[Message]) -> Sequence[Message]:
        return [self._answer_one(message) for message in messages]

    def _answer_one(self, message: Message) -> Message:
        client = partition_id(message.metadata.dst_node_id)
        context = make_context(client, self.num_clients, self.run_config, self._states.get(client))
        reply = answer(self._client_app, message, context)
        self._keep_state(client, context.state)
        return reply
