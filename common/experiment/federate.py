"""One run: rounds of a strategy, each evaluated and recorded."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any, Self

from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from common.engine.grid import SimulationGrid
from common.experiment.config import ExperimentConfig
from common.experiment.progress import Progress
from common.experiment.run_directory import RunDirectory
from common.strategy.fedavg import FedAvg
from common.threads import use_one_thread


@dataclass(frozen=True)
class Evaluation:
    """The global model after a round.

    Attributes:
        test_accuracy: Fraction of the test examples classified correctly.
        test_loss: Mean cross-entropy over the test examples, in nats.
        train_loss: f(w), the mean over all clients' training examples, in nats; None where it
            is not asked for.
    """

    test_accuracy: float
    test_loss: float
    train_loss: float | None


def federate(
    grid: Grid,
    strategy: FedAvg,
    config: ExperimentConfig,
    initial_arrays: ArrayRecord,
    evaluate: Callable[[ArrayRecord], Evaluation],
) -> None:
    """Run all rounds and leave a run directory, whose place is printed.

    Args:
        grid: Reaches the clients.
        strategy: Configures and aggregates a round.
        config: The run's configuration.
        initial_arrays: The initial global model.
        evaluate: Evaluates a global model.

    Raises:
        UserInputError: ``output_dir`` cannot be used.
        ClientFailedError: A client raised or did not reply, or a worker died.
    """
    use_one_thread()
    directory = RunDirectory(config, engine=getattr(grid, "engine", "flower"))
    with (
        Progress(config.num_rounds) as progress,
        _Recorder(strategy, directory, progress, evaluate) as recorder,
    ):
        result = strategy.start(
            grid,
            initial_arrays,
            num_rounds=config.num_rounds,
            timeout=float("inf"),
            evaluate_fn=recorder.record,
        )
    engine_share = _engine_share(grid, recorder.seconds_in_rounds)
    directory.complete(result.arrays, {**recorder.summary(), "engine_share": engine_share})
    print(f"Results are in {directory.path}", flush=True)


def _engine_share(grid: Grid, seconds_in_rounds: float) -> float | None:
    """Return what part of the workers' time was not spent in the clients' app.

    It is 1 - (seconds in the clients' app / number of workers) / seconds of all rounds: sending,
    waiting, aggregating and what the workers still load in the first round, but neither the start
    of Ray, which comes before, nor the evaluation. None for an engine that does not tell.
    """
    if not isinstance(grid, SimulationGrid):
        return None
    return round(1 - grid.client_seconds / grid.num_workers / seconds_in_rounds, 6)


class _Recorder:
    """Evaluates the global model of each round and writes the round's line.

    A model is evaluated in a thread of its own while the clients train the next one, unless the
    strategy must know its loss first.

    Attributes:
        seconds_in_rounds: Wall time of all rounds, without what evaluation delayed them.
    """

    def __init__(
        self,
        strategy: FedAvg,
        directory: RunDirectory,
        progress: Progress,
        evaluate: Callable[[ArrayRecord], Evaluation],
    ) -> None:
        self.seconds_in_rounds = 0.0
        self._strategy = strategy
        self._directory = directory
        self._progress = progress
        self._evaluate = evaluate
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=use_one_thread)
        self._pending: deque[tuple[dict[str, Any], Future[Evaluation]]] = deque()
        self._last: dict[str, Any] = {}
        self._bytes_up = self._bytes_down = 0
        self._start = self._last_model = self._left = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Write the lines that are not yet written, also after an error, which then goes on."""
        with self._thread, suppress(Exception) if kind else nullcontext():
            self._finish_evaluations()

    def record(self, server_round: int, arrays: ArrayRecord) -> None:
        """Take a new global model; Flower calls this before round 1, too, as round 0."""
        if server_round == 0 and not self._strategy.follows_train_loss:
            self._left = time.perf_counter()
            return  # Nobody asks for the loss of the initial model.
        now = time.perf_counter()
        self.seconds_in_rounds += now - self._left
        traffic = self._strategy.traffic
        line = {
            "round": server_round,
            "mu": self._strategy.mu,
            "clients": traffic.clients,
            "stragglers": traffic.stragglers,
            "bytes_up": traffic.bytes_up,
            "bytes_down": traffic.bytes_down,
            "seconds": round(now - self._last_model, 6),
        }
        self._last_model = now
        self._pending.append((line, self._thread.submit(self._evaluate, arrays)))
        self._finish_evaluations(all_but=0 if self._strategy.follows_train_loss else 1)
        self._left = time.perf_counter()

    def _finish_evaluations(self, all_but: int = 0) -> None:
        """Wait for evaluations, in order; what interrupts the wait leaves them pending."""
        while len(self._pending) > all_but:
            line, future = self._pending[0]
            evaluation = future.result()
            self._pending.popleft()
            self._write(line, evaluation)

    def _write(self, line: dict[str, Any], evaluation: Evaluation) -> None:
        if self._strategy.follows_train_loss and evaluation.train_loss is not None:
            self._strategy.observe_train_loss(evaluation.train_loss)
        if line["round"] == 0:
            return
        self._last = {"round": line["round"], **asdict(evaluation), **line}
        self._directory.append_round(self._last)
        self._bytes_up += line["bytes_up"]
        self._bytes_down += line["bytes_down"]
        self._progress.round_finished(line["round"], evaluation.test_accuracy, evaluation.test_loss)

    def summary(self) -> dict[str, Any]:
        """Return the closing figures: those of the last round, and totals."""
        return {
            "test_accuracy": self._last["test_accuracy"],
            "test_loss": self._last["test_loss"],
            "train_loss": self._last["train_loss"],
            "rounds": self._last["round"],
            "seconds": round(time.perf_counter() - self._start, 6),
            "bytes_up": self._bytes_up,
            "bytes_down": self._bytes_down,
        }
