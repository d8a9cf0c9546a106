"""Clients one after another in this process: for debugging, a notebook, a machine without Ray."""

import copy
import time
from collections.abc import Iterator, Sequence

from flwr.app import Message, UserConfig
from flwr.clientapp import ClientApp

from common.engine.flower import answer
from common.engine.grid import SimulationGrid, make_context


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

    def _answer(self, messages: Sequence[Message]) -> Iterator[Message]:
        for message in messages:
            yield self._answer_one(message)

    def _answer_one(self, message: Message) -> Message:
        client = self._client(message)
        # A copy: what a client that fails has changed is forgotten.
        state = copy.deepcopy(self.client_states.get(client))
        context = make_context(client, self.num_clients, self.run_config, state)
        start = time.perf_counter()
        reply = answer(self._client_app, message, context)
        self.client_seconds += time.perf_counter() - start
        if not reply.has_error():
            self._keep_state(client, context.state)
        return reply
