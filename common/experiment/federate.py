"""One run: rounds of a strategy, each evaluated and recorded."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid

from common.experiment.config import ExperimentConfig
from common.experiment.progress import Progress
from common.experiment.run_directory import RunDirectory
from common.strategy import FedAvg
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
        ClientFailedError: A client raised.
    """
    use_one_thread()
    directory = RunDirectory(config, engine=getattr(grid, "engine", "flower"))
    with Progress(config.num_rounds) as progress:
        recorder = _Recorder(strategy, directory, progress, evaluate)
        result = strategy.start(
            grid,
            initial_arrays,
            num_rounds=config.num_rounds,
            timeout=float("inf"),
            evaluate_fn=recorder.record,
        )
    directory.complete(result.arrays, recorder.summary())
    print(f"Results are in {directory.path}", flush=True)


class _Recorder:
    """Evaluates the global model after each round and writes the round's line."""

    def __init__(
        self,
        strategy: FedAvg,
        directory: RunDirectory,
        progress: Progress,
        evaluate: Callable[[ArrayRecord], Evaluation],
    ) -> None:
        self._strategy = strategy
        self._directory = directory
        self._progress = progress
        self._evaluate = evaluate
        self._start = self._round_start = time.perf_counter()
        self._last: Evaluation | None = None
        self._rounds = self._bytes_up = self._bytes_down = 0

    def record(self, server_round: int, arrays: ArrayRecord) -> MetricRecord:
        """Evaluate; Flower calls this before round 1, too, as round 0, and logs the result."""
        evaluation = self._evaluate(arrays)
        mu = self._strategy.mu
        if evaluation.train_loss is not None:
            self._strategy.observe_train_loss(evaluation.train_loss)
        now = time.perf_counter()
        seconds, self._round_start = now - self._round_start, now
        metrics = MetricRecord(
            {"test-accuracy": evaluation.test_accuracy, "test-loss": evaluation.test_loss}
        )
        if server_round == 0:
            return metrics
        traffic = self._strategy.traffic
        self._directory.append_round(
            {
                "round": server_round,
                "test_accuracy": evaluation.test_accuracy,
                "test_loss": evaluation.test_loss,
                "train_loss": evaluation.train_loss,
                "mu": mu,
                "clients": traffic.clients,
                "stragglers": traffic.stragglers,
                "bytes_up": traffic.bytes_up,
                "bytes_down": traffic.bytes_down,
                "seconds": round(seconds, 6),
            }
        )
        self._last = evaluation
        self._rounds = server_round
        self._bytes_up += traffic.bytes_up
        self._bytes_down += traffic.bytes_down
        self._progress.round_finished(server_round, evaluation.test_accuracy, evaluation.test_loss)
        return metrics

    def summary(self) -> dict[str, object]:
        """Return the closing figures: those of the last round, and totals."""
        assert self._last is not None
        return {
            "test_accuracy": self._last.test_accuracy,
            "test_loss": self._last.test_loss,
            "train_loss": self._last.train_loss,
            "rounds": self._rounds,
            "seconds": round(time.perf_counter() - self._start, 6),
            "bytes_up": self._bytes_up,
            "bytes_down": self._bytes_down,
        }
