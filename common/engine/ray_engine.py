"""Clients on a pool of Ray actors: one call a worker a round, weights sent once a worker."""

import copy
import math
from collections.abc import Iterator, Sequence

import ray
from flwr.app import Message, UserConfig
from flwr.clientapp import ClientApp

from common.engine.balance import deal
from common.engine.broadcast import Envelope, split_shared
from common.engine.grid import SimulationGrid
from common.engine.ray_round import Round
from common.engine.ray_start import SMALL_BYTES
from common.engine.serialization import take_out
from common.engine.worker import Answer, Broadcast, Reference
from common.engine.worker_pool import worker_pool


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
        client_timeout: Seconds that a client may take, or it is stopped and answered for with an
            error; ``math.inf`` if it may take any.
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
        client_timeout: float = math.inf,
    ) -> None:
        super().__init__(num_clients, run_config)
        self._client_app = client_app
        self._clients_per_round = clients_per_round
        self._pool_arguments = (num_cpus, num_gpus, ray_address)
        self._client_timeout = client_timeout
        self._run_reference: Reference | None = None

    def prepare(self, num_examples: Sequence[int]) -> None:
        """Start the workers that do not run yet; they load the app while the server goes on."""
        super().prepare(num_examples)
        for worker in worker_pool(*self._pool_arguments).workers(self._clients_per_round):
            worker.prepare.remote([self._reference()])

    def _reference(self) -> Reference:
        """Return a reference to what a worker must know of this run."""
        if self._run_reference is None:
            self._run_reference = ray.put((self._client_app, self.num_clients, self.run_config))
        return self._run_reference

    def _answer(self, messages: Sequence[Message]) -> Iterator[Message]:
        if not messages:
            return iter(())
        on_their_way = [copy.copy(message) for message in messages]
        broadcast, shared = split_shared(on_their_way)
        envelopes = [
            Envelope(message, own, self.client_states.get(self._client(message)))
            for message, own in zip(on_their_way, shared, strict=True)
        ]
        pool = worker_pool(*self._pool_arguments)
        workers = pool.workers(len(messages))
        self.num_workers = len(workers)
        # Each worker is sent a copy of what is small, and a reference to what is not.
        sent: Broadcast = broadcast
        if sum(record.count_bytes() for record in broadcast) > SMALL_BYTES:
            sent = ray.put(broadcast)
        round = Round(pool, envelopes, sent, self._reference(), self._client_timeout)
        hands = deal([self._work(message) for message in messages], len(workers))
        for worker, hand in zip(workers, hands, strict=True):
            round.call(worker, hand)
        return self._in_order(round.answers(), messages)

    def _in_order(
        self, answers: Iterator[tuple[int, Answer]], messages: Sequence[Message]
    ) -> Iterator[Message]:
        """Yield the replies in the order of the messages, each as soon as that allows.

        Args:
            answers: Position of each message, with its answer, as they come.
            messages: The messages.
        """
        waiting: dict[int, Message] = {}
        next_position = 0
        for position, answer in answers:
            if answer.state is not None:
                self._keep_state(self._client(messages[position]), take_out(answer.state))
            self.client_seconds += answer.seconds
            waiting[position] = answer.reply
            while next_position in waiting:
                yield waiting.pop(next_position)
                next_position += 1
