"""A worker of the Ray engine: one process that lets clients answer."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import ray
from flwr.app import ArrayRecord, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp

from common.engine.broadcast import Envelope
from common.engine.flower import answer
from common.engine.grid import make_context, partition_id
from common.engine.ray_start import SMALL_BYTES
from common.engine.serialization import share_arrays
from common.protocol import count_bytes
from common.threads import use_one_thread

# What a worker must know of a run: the clients' app, num_clients and the flat configuration.
Run = tuple[ClientApp, int, UserConfig]
Reference = ray.ObjectRef[Run]
# What several clients of a round receive alike; Ray replaces a reference on the way.
Broadcast = list[ArrayRecord] | ray.ObjectRef[list[ArrayRecord]]

# Answers that are held back to travel with later ones are held back no longer than that.
SECONDS_BETWEEN_ANSWERS: Final = 0.1


@dataclass(frozen=True)
class Answer:
    """What comes back from a client.

    Attributes:
        reply: The client's reply.
        state: What the client keeps for later rounds; None after an error, which changes nothing.
        seconds: What the client's app took.
    """

    reply: Message
    state: RecordDict | None
    seconds: float


class Worker:
    """One actor: lets clients answer, one after another.

    Args:
        environment: Variables of the server process that the worker must see, too.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        use_one_thread()
        share_arrays()
        self._run_reference: Reference | None = None

    def prepare(self, run: list[Reference]) -> None:
        """Load a run's app, which imports what it needs.

        Args:
            run: A reference to the run; in a list, or Ray would send the run itself each time.
        """
        if run[0] != self._run_reference:
            self._client_app, self._num_clients, self._run_config = ray.get(run[0])
            self._run_reference = run[0]

    def answer(
        self,
        envelopes: list[Envelope],
        broadcast: list[ArrayRecord],
        run: list[Reference],
        report_start: bool,
    ) -> Iterator[list[Answer]]:
        """Let the clients answer; yields their answers in the order given, some at a time.

        Small answers travel together, for they cost more to send than to make; a large one goes
        alone, for the server can use it while the next client trains. An error goes at once, and
        so does what has waited for ``SECONDS_BETWEEN_ANSWERS``: it would be lost with this process,
        and the server would not know for how long the client at work has been.

        Args:
            envelopes: The clients' messages.
            broadcast: What several clients of the round receive alike.
            run: As for :meth:`prepare`.
            report_start: Yield an empty list once the first client is about to start.

        Yields:
            Answers, each of them once.
        """
        self.prepare(run)
        if report_start:
            yield []
        answers: list[Answer] = []
        num_bytes = 0
        yielded = time.monotonic()
        for envelope in envelopes:
            answers.append(self._answer_one(envelope, broadcast))
            num_bytes += _count_bytes(answers[-1])
            if (
                num_bytes > SMALL_BYTES
                or answers[-1].reply.has_error()
                or time.monotonic() - yielded > SECONDS_BETWEEN_ANSWERS
            ):
                yield answers
                answers, num_bytes, yielded = [], 0, time.monotonic()
        if answers:
            yield answers

    def _answer_one(self, envelope: Envelope, broadcast: list[ArrayRecord]) -> Answer:
        message = envelope.open(broadcast)
        context = make_context(
            partition_id(message.metadata.dst_node_id),
            self._num_clients,
            self._run_config,
            envelope.state,
        )
        start = time.perf_counter()
        reply = answer(self._client_app, message, context)
        seconds = time.perf_counter() - start
        return Answer(reply, None if reply.has_error() else context.state, seconds)


def _count_bytes(answer: Answer) -> int:
    if answer.state is None:
        return 0  # An error.
    return count_bytes(answer.reply.content) + count_bytes(answer.state)
