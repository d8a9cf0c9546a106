"""Clients on a pool of Ray actors: one call a worker a round, weights broadcast once."""

from collections.abc import Sequence

import ray
from flwr.app import Message, UserConfig
from flwr.clientapp import ClientApp

from common.engine.broadcast import Envelope, split_shared
from common.engine.grid import SimulationGrid, partition_id
from common.engine.worker_pool import Actor, Answer, worker_pool


class RayGrid(SimulationGrid):
    """Deals the clients of a round out to the workers of a pool.

    Args:
        client_app: The clients' app.
        num_clients: Number of clients.
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
        run_config: UserConfig,
        num_cpus: float,
        num_gpus: float,
        ray_address: str,
    ) -> None:
        super().__init__(num_clients, run_config)
        self._client_app = client_app
        self._pool_arguments = (num_cpus, num_gpus, ray_address)
        self._workers: list[Actor] = []

    def _answer(self, messages: Sequence[Message]) -> Sequence[Message]:
        if not messages:
            return []
        contents = [message.content for message in messages]
        broadcast, shared = split_shared(messages)
        envelopes = [
            Envelope(message, own, self._states.get(partition_id(message.metadata.dst_node_id)))
            for message, own in zip(messages, shared, strict=True)
        ]
        workers = self._prepared_workers(len(messages))
        reference = ray.put(broadcast)
        hands = [
            worker.answer.remote(envelopes[first :: len(workers)], reference)
            for first, worker in enumerate(workers)
        ]
        for message, content in zip(messages, contents, strict=True):
            message.content = content  # They are on their way: whole again for the caller.
        answers: list[list[Answer]] = ray.get(hands)
        replies = []
        for reply, state in (answer for hand in answers for answer in hand):
            self._keep_state(partition_id(reply.metadata.src_node_id), state)
            replies.append(reply)
        return replies

    def _prepared_workers(self, wanted: int) -> Sequence[Actor]:
        """Return up to ``wanted`` workers that know this run.

        The first call starts the pool: not earlier, so that bad input is refused before that.
        """
        workers = worker_pool(*self._pool_arguments).workers(wanted)
        new = workers[len(self._workers) :]
        if new:
            run = ray.put((self._client_app, self.num_clients, self.run_config))
            for worker in new:
                worker.begin_run.remote(run)
            self._workers += new
        return workers
