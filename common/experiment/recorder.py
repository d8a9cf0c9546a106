"""What a run leaves of each round: a line, and a checkpoint."""

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp import Grid

from common.engine.grid import SimulationGrid
from common.errors import StorageError, UserInputError
from common.experiment.checkpoint import Checkpoint
from common.experiment.config import ExperimentConfig
from common.experiment.progress import Progress
from common.experiment.run_directory import RunDirectory, as_written
from common.experiment.run_files import ROUNDS
from common.experiment.watch import Failure, Watch, Watcher
from common.strategy.fedavg import FedAvg, RoundTraffic
from common.threads import use_one_thread

# What a line tells of the round beside the evaluation.
_NOT_EVALUATED: Final = {
    *("round", "mu", "seconds", "failure_modes"),
    *(field.name for field in fields(RoundTraffic)),
}


@dataclass(frozen=True)
class Evaluation:
    """The global model after a round. A baseline that measures more derives its own from this.

    Attributes:
        test_accuracy: Fraction of the test examples classified correctly.
        test_loss: Mean cross-entropy over the test examples, in nats.
        train_loss: f(w), the mean over all clients' training examples, in nats; None where it
            is not asked for.
    """

    test_accuracy: float
    test_loss: float
    train_loss: float | None


class Recorder:
    """Evaluates the global model of each round, writes the round's line and the checkpoint.

    All that happens in a thread of its own while the clients train the next model, unless the
    strategy must know its loss first or the round may be the last. Use it in a ``with`` block,
    which waits for that thread.

    Args:
        strategy: Says who took part in a round, and what a checkpoint must hold of it.
        grid: Says what clients keep, and how long they took.
        config: The run's configuration.
        directory: Takes the lines and checkpoints; what it has already is counted.
        progress: Is told of each round.
        evaluate: Evaluates a global model.
        watcher: Is shown every round; each line has the modes of the failures that it found.

    Raises:
        UserInputError: The lines that are there are not those of such a run.
        StorageError: A line or a checkpoint could not be written.
    """

    def __init__(
        self,
        strategy: FedAvg,
        grid: Grid,
        config: ExperimentConfig,
        directory: RunDirectory,
        progress: Progress,
        evaluate: Callable[[ArrayRecord], Evaluation],
        watcher: Watcher | None = None,
    ) -> None:
        self._strategy = strategy
        self._grid = grid
        self._config = config
        self._directory = directory
        self._progress = progress
        self._evaluate = evaluate
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=use_one_thread)
        self._pending: deque[Future[None]] = deque()
        self._is_broken = False
        self._unsaved: Checkpoint | None = None
        self._watch = Watch(watcher) if watcher else None
        self._last: dict[str, Any] = {}
        self._num_rounds = 0
        self._bytes_up = self._bytes_down = self._num_failed = 0
        try:
            for line in directory.rounds:
                self._count(line)
                if self._watch:
                    self._watch.take(line)
        except (KeyError, TypeError) as error:
            raise UserInputError(
                f"{str(directory.path / ROUNDS)!r} is not allowed: its lines must be those of this "
                f"run ({error!r:.100})."
            ) from None
        before = directory.checkpoint.counters if directory.checkpoint else {}
        # Wall time of all rounds, without what evaluation delayed them, times the workers.
        self._worker_seconds = before.get("worker_seconds", 0.0)
        now = time.perf_counter()
        self._start = now - before.get("seconds", 0.0)
        self._last_model = self._left = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Write what is not yet written, also after an error, which then goes on."""
        with self._thread, suppress(Exception) if kind else nullcontext():
            self._finish()
        if kind:
            with suppress(StorageError):  # Such as the error that goes on.
                self._save()

    @property
    def stopped(self) -> str:
        """Why the run ends before its last round; empty if it does not."""
        is_over = self._num_rounds == self._config.num_rounds
        return self._watch.stopped if self._watch and not is_over else ""

    def begin(self, arrays: ArrayRecord) -> None:
        """Take the initial model; only who follows the training loss asks for its loss."""
        if self._strategy.follows_train_loss:
            self._observe(self._thread.submit(self._evaluate, arrays))
        self._left = time.perf_counter()

    def record(self, server_round: int, arrays: ArrayRecord) -> None:
        """Take the model of a round."""
        now = time.perf_counter()
        self._worker_seconds += (now - self._left) * getattr(self._grid, "num_workers", 1)
        line = {
            "round": server_round,
            **self._strategy.measures,
            "mu": self._strategy.mu,
            **asdict(self._strategy.traffic),
            "seconds": round(now - self._last_model, 6),
        }
        self._last_model = now
        evaluation = self._thread.submit(self._evaluate, arrays)
        if self._strategy.follows_train_loss:
            self._observe(evaluation)
        checkpoint = self._checkpoint(server_round, arrays)
        self._pending.append(self._thread.submit(self._write, line, evaluation, checkpoint))
        # Whether there is a next round may depend on this one.
        self._finish(all_but=0 if self._watch and self._watch.stops else 1)
        self._left = time.perf_counter()

    def _observe(self, evaluation: Future[Evaluation]) -> None:
        train_loss = evaluation.result().train_loss
        if train_loss is not None:
            self._strategy.observe_train_loss(train_loss)

    def _checkpoint(self, server_round: int, arrays: ArrayRecord) -> Checkpoint:
        counters = {
            "seconds": time.perf_counter() - self._start,
            "worker_seconds": self._worker_seconds,
        }
        clients: dict[int, RecordDict] = {}
        if isinstance(self._grid, SimulationGrid):
            clients = dict(self._grid.client_states)
            if math.isfinite(self._grid.client_seconds):
                counters["client_seconds"] = self._grid.client_seconds
        return Checkpoint(server_round, arrays, self._strategy.state(), clients, counters)

    def _write(
        self, line: dict[str, Any], evaluation: Future[Evaluation], checkpoint: Checkpoint
    ) -> None:
        """Write a round's line, then its checkpoint: a checkpoint's rounds all have their lines."""
        if self._is_broken:
            return  # After a round without a line there is none with one.
        self._is_broken = True
        figures = evaluation.result()
        record = {"round": line["round"], **asdict(figures), **line}
        new: list[Failure] = []
        if self._watch:
            record["failure_modes"], new = self._watch.take(as_written(record))
        self._count(record)
        self._directory.append_round(record)
        self._unsaved = checkpoint
        if checkpoint.round % self._config.checkpoint_every == 0:
            self._save()
        for client, reason in line["failed"].items():
            self._progress.tell(f"round {line['round']}: client {client} is left out: {reason}")
        if not self.stopped:  # Why a run ends is told at its end.
            for failure in new:
                self._progress.tell(f"round {line['round']}: {failure.mode}: {failure.reason}")
        self._progress.round_finished(line["round"], figures.test_accuracy, figures.test_loss)
        self._is_broken = False

    def _save(self) -> None:
        if self._unsaved is not None:
            self._directory.save(self._unsaved)
            self._unsaved = None

    def _count(self, line: dict[str, Any]) -> None:
        missing = {field.name for field in fields(Evaluation)} - line.keys()
        if missing:
            raise KeyError(min(missing))
        self._last = {key: value for key, value in line.items() if key not in _NOT_EVALUATED}
        self._num_rounds = line["round"]
        self._bytes_up += line["bytes_up"]
        self._bytes_down += line["bytes_down"]
        self._num_failed += len(line["failed"])

    def _finish(self, all_but: int = 0) -> None:
        """Wait until rounds are written, in order; what interrupts the wait leaves them pending."""
        while len(self._pending) > all_but:
            self._pending[0].result()
            self._pending.popleft()

    def summary(self) -> dict[str, Any]:
        """Return the closing figures: those of the last round, totals, and failures found."""
        failures = {"failure_modes": self._watch.modes} if self._watch else {}
        stopped = {"stopped": self.stopped} if self.stopped else {}
        return {
            **self._last,
            "rounds": self._num_rounds,
            "seconds": round(time.perf_counter() - self._start, 6),
            "bytes_up": self._bytes_up,
            "bytes_down": self._bytes_down,
            "client_failures": self._num_failed,
            "engine_share": self._engine_share(),
            **failures,
            **stopped,
        }

    def _engine_share(self) -> float | None:
        """Return what part of the workers' time was not spent in the clients' app.

        It is 1 - seconds in the clients' app / (seconds of all rounds * number of workers): the
        rest is sending, waiting, aggregating and what the workers still load in the first round,
        but neither the start of Ray, which comes before, nor the evaluation. None for an engine
        that does not tell, or did not in a part of the run.
        """
        if not isinstance(self._grid, SimulationGrid) or self._worker_seconds == 0:
            return None
        return round(1 - self._grid.client_seconds / self._worker_seconds, 6)
