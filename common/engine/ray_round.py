"""The calls that let workers answer the clients of a round, and what becomes of these calls."""

import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from common.engine.broadcast import Envelope
from common.engine.flower import fail
from common.engine.worker import SECONDS_BETWEEN_ANSWERS, Answer, Broadcast, Reference
from common.engine.worker_pool import Actor, Started, WorkerPool

# What Ray makes of a method that yields; its type hints know nothing of it.
Stream = Any

MAX_DEATHS: Final = 3
_HOUR: Final = 3600.0  # Ray cannot wait for a number of seconds that is too large.
# Ray's ways to say that a worker's process or machine is gone, or what it has left there.
_DEATHS = (RayActorError, ObjectLostError, NodeDiedError, OutOfMemoryError)


@dataclass
class _Call:
    """A call under way.

    Attributes:
        worker: Who was called.
        hand: Positions of the clients that it has not answered yet, in its order.
        heard: When the server last heard of it, by ``time.monotonic()``; inf if it has not started.
    """

    worker: Actor
    hand: deque[int]
    heard: float = math.inf


class Round:
    """Lets workers answer every client of a round, whatever becomes of the workers.

    A worker that dies, or is silent for too long, is replaced, and its clients that have no answer
    run again: a client's answer depends on its envelope only. They run alone, one a call, on
    whichever worker is idle, so that one which is itself to blame is found. That one is answered
    for with an error, when it took too long or when its worker has died ``MAX_DEATHS`` times.

    Args:
        pool: Replaces workers.
        envelopes: The clients' messages; a client is known by its position here.
        broadcast: What several clients of the round receive alike.
        run: What the workers must know of the run.
        client_timeout: Seconds that a client may take; ``math.inf`` if it may take any.
    """

    def __init__(
        self,
        pool: WorkerPool,
        envelopes: Sequence[Envelope],
        broadcast: Broadcast,
        run: Reference,
        client_timeout: float,
    ) -> None:
        self._pool = pool
        self._envelopes = envelopes
        self._broadcast = broadcast
        self._run = run
        self._client_timeout = client_timeout
        self._calls: dict[Stream, _Call] = {}
        self._idle: list[Actor] = []
        self._starting: dict[Started, Actor] = {}
        self._to_run_alone: deque[int] = deque()
        self._deaths: Counter[int] = Counter()

    def call(self, worker: Actor, hand: Iterable[int]) -> None:
        """Let a worker answer clients, in this order; returns at once."""
        positions = deque(hand)
        envelopes = [self._envelopes[position] for position in positions]
        report_start = self._client_timeout < math.inf
        stream = worker.answer.remote(envelopes, self._broadcast, [self._run], report_start)
        self._calls[stream] = _Call(worker, positions)

    def answers(self) -> Iterator[tuple[int, Answer]]:
        """Yield each client's position and answer, as they come.

        Workers that are still at it when nobody takes their answers any more are ended: what comes
        next would have to wait for them.

        Raises:
            ClientFailedError: No worker is left, and none can be started.
            RayError: The worker's own code failed, such as an app that cannot be imported there.
        """
        try:
            self._pool.wait_for_a_worker()
            while self._calls or self._to_run_alone:
                while self._to_run_alone and self._idle:
                    self.call(self._idle.pop(), [self._to_run_alone.popleft()])
                if not self._calls:
                    self._pool.wait_for_a_worker()
                sources = [*self._calls, *self._starting]
                ready, _ = ray.wait(sources, timeout=self._seconds_to_wait())
                for source in ready:
                    if source in self._starting:
                        self._welcome(self._starting.pop(source))
                    else:
                        yield from self._hear(source)
                for stream in self._overdue():
                    yield from self._end_overdue(stream)
        finally:
            for call in self._calls.values():
                self._pool.discard(call.worker)

    def _welcome(self, worker: Actor) -> None:
        """Take a new worker in, or replace it if it has failed to start."""
        if self._pool.has_started(worker):
            self._idle.append(worker)
        else:
            self._replace(worker)

    def _hear(self, stream: Stream) -> Iterator[tuple[int, Answer]]:
        """Take what a worker has to say, or that it is dead."""
        call = self._calls[stream]
        try:
            answers: list[Answer] = ray.get(next(stream))
        except RayTaskError:  # May be one of the others as well, if that is what was raised there.
            raise
        except _DEATHS as error:
            if isinstance(error, RayActorError) and error.actor_init_failed:
                raise
            yield from self._bury(stream, error)
            return
        call.heard = time.monotonic()
        answered = [(call.hand.popleft(), answer) for answer in answers]
        if not call.hand:
            del self._calls[stream]
            self._idle.append(call.worker)
        yield from answered

    def _bury(self, stream: Stream, error: RayError) -> Iterator[tuple[int, Answer]]:
        """Go on without a worker that died; yields an answer for a client that is to blame."""
        print("A worker died: the clients that it has not answered run again.", flush=True)
        call = self._calls.pop(stream)
        if len(call.hand) == 1 and self._pool.has_started(call.worker):
            self._deaths[call.hand[0]] += 1
        self._replace(call.worker)
        if self._deaths[call.hand[0]] == MAX_DEATHS:
            yield self._failure(call.hand[0], f"its worker died {MAX_DEATHS} times: {error}")
        else:
            self._to_run_alone.extend(call.hand)

    def _end_overdue(self, stream: Stream) -> Iterator[tuple[int, Answer]]:
        """End a worker that is silent for too long; yields an answer for a client to blame."""
        call = self._calls.pop(stream)
        self._replace(call.worker)
        if len(call.hand) == 1:
            reason = f"it took longer than client_timeout={self._client_timeout:g} s"
            yield self._failure(call.hand[0], reason)
        else:
            self._to_run_alone.extend(call.hand)

    def _replace(self, worker: Actor) -> None:
        """Replace a worker that has no call any more."""
        new = self._pool.replace(worker)
        at_work = [call.worker for call in self._calls.values()]
        if new not in (*at_work, *self._idle, *self._starting.values()):
            # Not idle before it runs: until then, the others do what there is to do.
            self._starting[self._pool.started(new)] = new

    def _failure(self, position: int, reason: str) -> tuple[int, Answer]:
        return position, Answer(fail(self._envelopes[position].message, reason), None, 0.0)

    def _seconds_to_wait(self) -> float | None:
        """Return how long nothing may be heard before a call is overdue; None if there is none."""
        left = self._next_overdue() - time.monotonic()
        return None if left == math.inf else min(max(left, SECONDS_BETWEEN_ANSWERS), _HOUR)

    def _next_overdue(self) -> float:
        heard = min((call.heard for call in self._calls.values()), default=math.inf)
        return heard + self._client_timeout + SECONDS_BETWEEN_ANSWERS

    def _overdue(self) -> Sequence[Stream]:
        """Return the calls of which nothing was heard for too long, and nothing is to be heard."""
        now = time.monotonic()
        if now < self._next_overdue():
            return []
        silent = [
            stream
            for stream, call in self._calls.items()
            if now >= call.heard + self._client_timeout + SECONDS_BETWEEN_ANSWERS
        ]
        # What has come while the server aggregated, or is still on its way from another machine.
        overdue: Sequence[Stream] = ray.wait(
            silent, num_returns=len(silent), timeout=0, fetch_local=False
        )[1]
        return overdue
