"""Clients on a pool of Ray actors: one call a worker a round, weights sent once a worker."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from flwr.app import Message, UserConfig
from flwr.clientapp import ClientApp
from ray.exceptions import RayActorError

from common.engine.balance import deal
from common.engine.broadcast import Envelope, split_shared
from common.engine.grid import SimulationGrid
from common.engine.ray_start import SMALL_BYTES
from common.engine.serialization import take_out
from common.engine.worker import Answer, Reference
from common.engine.worker_pool import Actor, worker_pool
from common.errors import ClientFailedError

# What Ray makes of a method that yields; its type hints know nothing of it.
Stream = Any


class RayGrid(SimulationGrid):
    """Deals the clients of a round out to the workers of a pool.

    Args:
        client_app: The clients' app.
        num_clients: Number of clients.
        clients_per_round: Clients that are to answer at a time: more workers are not started.
        run_config: Flat configuration that every client finds in its context.
        num_cpus: CPUs that a worker reserves.
        num_gpus: GPUs that a worker reserves.
        ray_address: Empty for a Ray of our own, else the address of a cluster.
    """

    engine = "ray"

    def __init__(
        self,
        client_app: ClientApp,
        num_clients: int,
        clients_per_round: int,
        run_config: UserConfig,
        num_cpus: float,
        num_gpus: float,
        ray_address: str,
    ) -> None:
        super().__init__(num_clients, run_config)
        self._client_app = client_app
        self._clients_per_round = clients_per_round
        self._pool_arguments = (num_cpus, num_gpus, ray_address)
        self._run_reference: Reference | None = None

    def prepare(self, num_examples: Sequence[int]) -> None:
        """Start the workers that do not run yet; they load the app while the server goes on."""
        super().prepare(num_examples)
        for worker in self._workers(self._clients_per_round):
            worker.prepare.remote([self._reference()])

    def _workers(self, wanted: int) -> Sequence[Actor]:
        return worker_pool(*self._pool_arguments).workers(wanted)

    def _reference(self) -> Reference:
        """Return a reference to what a worker must know of this run."""
        if self._run_reference is None:
            self._run_reference = ray.put((self._client_app, self.num_clients, self.run_config))
        return self._run_reference

    def _answer(self, messages: Sequence[Message]) -> Iterator[Message]:
        if not messages:
            return iter(())
        contents = [message.content for message in messages]
        broadcast, shared = split_shared(messages)
        envelopes = [
            Envelope(message, own, self._states.get(self._client(message)))
            for message, own in zip(messages, shared, strict=True)
        ]
        workers = self._workers(len(messages))
        self.num_workers = len(workers)
        run = [self._reference()]
        # Each worker is sent a copy of what is small, and a reference to what is not.
        sent: Any = broadcast
        if sum(record.count_bytes() for record in broadcast) > SMALL_BYTES:
            sent = ray.put(broadcast)
        hands = deal([self._work(message) for message in messages], len(workers))
        streams = {
            worker.answer.remote([envelopes[i] for i in hand], sent, run): deque(hand)
            for worker, hand in zip(workers, hands, strict=True)
        }
        for message, content in zip(messages, contents, strict=True):
            message.content = content  # They are on their way: whole again for the caller.
        return self._in_order(streams, messages)

    def _in_order(
        self, streams: dict[Stream, deque[int]], messages: Sequence[Message]
    ) -> Iterator[Message]:
        """Yield the replies in the order of the messages, each as soon as that allows.

        Args:
            streams: Every worker's answers to come, with the positions of their messages.
            messages: The messages.

        Raises:
            ClientFailedError: A worker died.
        """
        waiting: dict[int, Message] = {}
        next_position = 0
        while next_position < len(messages):
            ready: list[Stream] = ray.wait(list(streams), num_returns=1)[0]
            stream = ready[0]
            hand = streams[stream]
            try:
                answers: list[Answer] = ray.get(next(stream))
            except RayActorError as error:
                worker_pool.cache_clear()
                clients = [self._client(messages[position]) for position in hand]
                raise ClientFailedError(f"The worker of clients {clients} died: {error}") from None
            for answer in answers:
                position = hand.popleft()
                self._keep_state(self._client(messages[position]), take_out(answer.state))
                self.client_seconds += answer.seconds
                waiting[position] = answer.reply
            if not hand:
                del streams[stream]
            while next_position in waiting:
                yield waiting.pop(next_position)
                next_position += 1
