"""The clock of a run: one round to warm up, then whole passes until they took long enough."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speed.work import Work


class Recorder:
    """Times rounds and decides when a run may end.

    Args:
        work: Says what a pass is.
        min_seconds: Passes are repeated until they took this long together.
    """

    def __init__(self, work: Work, min_seconds: float) -> None:
        self._work = work
        self._min_seconds = min_seconds
        self._first_round: float | None = None
        self._rounds: list[float] = []
        self._mark = self._window_start = time.perf_counter()

    def begin(self) -> None:
        """Start the clock of a round: nothing since the last round counts."""
        self._mark = time.perf_counter()
        if not self._rounds:
            self._window_start = self._mark

    def round_finished(self) -> None:
        """Stop the clock of a round and start that of the next."""
        now = time.perf_counter()
        if self._first_round is None:
            self._first_round = now - self._mark
            self._window_start = now
        else:
            self._rounds.append(now - self._mark)
        self._mark = now

    @property
    def done(self) -> int:
        """Rounds finished, the one to warm up included."""
        return len(self._rounds) + (self._first_round is not None)

    @property
    def is_proof_due(self) -> bool:
        """Whether the model now is the one that all systems must agree on: after one pass."""
        return len(self._rounds) == self._work.num_rounds

    @property
    def is_enough(self) -> bool:
        """Whether a pass has just ended and all passes together took long enough."""
        return (
            len(self._rounds) > 0
            and len(self._rounds) % self._work.num_rounds == 0
            and sum(self._rounds) >= self._min_seconds
        )

    def write(
        self, result: Path, proof: Mapping[str, NDArray], accuracy: float | None, **more: object
    ) -> None:
        """Write what was measured.

        Args:
            result: The JSON file; the proof's weights go beside it, as one vector.
            proof: The global model after one pass, in the model's order.
            accuracy: Its accuracy on the test set.
            more: Other values to note.
        """
        vector = np.concatenate([np.ravel(array) for array in proof.values()])
        np.save(result.with_suffix(".npy"), vector.astype(np.float32))
        values = {
            "first_round_seconds": self._first_round,
            "round_seconds": self._rounds,
            "clients": len(self._rounds) * self._work.clients_per_round,
            # Of CLOCK_MONOTONIC, which all processes of a Linux machine share.
            "window": [self._window_start, self._mark],
            "accuracy": accuracy,
            **more,
        }
        result.write_text(json.dumps(values))
