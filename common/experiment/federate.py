"""One run: rounds of a strategy, each evaluated and recorded."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any, Self

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.serverapp import Grid

from common.engine.grid import SimulationGrid
from common.errors import StorageError, UserInputError
from common.experiment.checkpoint import Checkpoint
from common.experiment.config import ExperimentConfig
from common.experiment.progress import Progress
from common.experiment.run_directory import RunDirectory
from common.experiment.run_files import ROUNDS
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

    A run that was stopped goes on after its last checkpoint, to the same end. Flower's own engine
    keeps what clients keep to itself: there, only a run whose clients keep nothing can go on.

    Args:
        grid: Reaches the clients.
        strategy: Configures and aggregates a round.
        config: The run's configuration.
        initial_arrays: The initial global model.
        evaluate: Evaluates a global model.

    Raises:
        UserInputError: ``output_dir`` cannot be used, or what it holds is not of this run.
        ClientFailedError: A client failed.
        StorageError: Results cannot be written.
    """
    use_one_thread()
    engine = getattr(grid, "engine", "flower")
    with RunDirectory(config, engine, strategy.num_examples) as directory:
        if not directory.is_complete:
            if directory.checkpoint:
                _restore(directory.checkpoint, initial_arrays, strategy, grid, config)
            with _telling_how_to_go_on(directory):
                _run_rounds(grid, strategy, config, initial_arrays, evaluate, directory)
        print(f"Results are in {directory.path}", flush=True)


def _run_rounds(
    grid: Grid,
    strategy: FedAvg,
    config: ExperimentConfig,
    initial_arrays: ArrayRecord,
    evaluate: Callable[[ArrayRecord], Evaluation],
    directory: RunDirectory,
) -> None:
    checkpoint = directory.checkpoint
    arrays = checkpoint.arrays if checkpoint else initial_arrays
    last_round = checkpoint.round if checkpoint else 0
    with (
        Progress(config.num_rounds, last_round) as progress,
        _Recorder(strategy, grid, config, directory, progress, evaluate) as recorder,
    ):
        if last_round == 0:
            recorder.begin(arrays)
        # What Flower's Strategy.start does, but from any round.
        for server_round in range(last_round + 1, config.num_rounds + 1):
            messages = strategy.configure_train(server_round, arrays, ConfigRecord(), grid)
            # Flower's own engine, which knows no limit for one client, may train one after another.
            timeout = config.client_timeout * config.clients_per_round
            replies = grid.send_and_receive(messages, timeout=timeout)
            arrays, _ = strategy.aggregate_train(server_round, replies)
            if isinstance(grid, SimulationGrid):
                grid.take_back(strategy.traffic.failed)
            recorder.record(server_round, arrays)
    directory.complete(arrays, recorder.summary())


@contextmanager
def _telling_how_to_go_on(directory: RunDirectory) -> Iterator[None]:
    if directory.checkpoint:
        print(f"Going on after round {directory.checkpoint.round}.", flush=True)
    if directory.differences:
        print(f"Digits may differ: not as in the beginning: {', '.join(directory.differences)}.")
    try:
        yield
    except BaseException:
        print(f"Incomplete; to go on: resume={directory.path}", flush=True)
        raise


def _restore(
    checkpoint: Checkpoint,
    initial_arrays: ArrayRecord,
    strategy: FedAvg,
    grid: Grid,
    config: ExperimentConfig,
) -> None:
    """Put strategy and clients where they were.

    Raises:
        UserInputError: The checkpoint is of another model or strategy.
    """

    def tensors(arrays: ArrayRecord) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {key: (array.dtype, tuple(array.shape)) for key, array in arrays.items()}

    try:
        if tensors(checkpoint.arrays) != tensors(initial_arrays):
            raise ValueError("its tensors are others")
        if checkpoint.round > config.num_rounds:
            raise ValueError(f"num_rounds is {config.num_rounds}")
        strategy.restore(checkpoint.strategy)
    except (KeyError, TypeError, ValueError) as error:
        raise UserInputError(
            f"The checkpoint of round {checkpoint.round} is not allowed: it must be of this run's "
            f"model and strategy ({error})."
        ) from None
    if isinstance(grid, SimulationGrid):
        grid.client_states.update(checkpoint.clients)
        # Flower's own engine does not tell them, and a part of them would be a wrong number.
        grid.client_seconds = checkpoint.counters.get("client_seconds", math.nan)


class _Recorder:
    """Evaluates the global model of each round, writes the round's line and the checkpoint.

    All that happens in a thread of its own while the clients train the next model, unless the
    strategy must know its loss first.
    """

    def __init__(
        self,
        strategy: FedAvg,
        grid: Grid,
        config: ExperimentConfig,
        directory: RunDirectory,
        progress: Progress,
        evaluate: Callable[[ArrayRecord], Evaluation],
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
        self._last: dict[str, Any] = {}
        self._bytes_up = self._bytes_down = self._num_failed = 0
        try:
            for line in directory.rounds:
                self._count(line)
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

    def begin(self, arrays: ArrayRecord) -> None:
        """Take the initial model; only who follows the training loss asks for its loss."""
        if self._strategy.follows_train_loss:
            self._observe(self._thread.submit(self._evaluate, arrays))
        self._left = time.perf_counter()

    def record(self, server_round: int, arrays: ArrayRecord) -> None:
        """Take the model of a round."""
        now = time.perf_counter()
        self._worker_seconds += (now - self._left) * getattr(self._grid, "num_workers", 1)
        traffic = self._strategy.traffic
        line = {
            "round": server_round,
            "mu": self._strategy.mu,
            "clients": traffic.clients,
            "stragglers": traffic.stragglers,
            "failed": traffic.failed,
            "bytes_up": traffic.bytes_up,
            "bytes_down": traffic.bytes_down,
            "seconds": round(now - self._last_model, 6),
        }
        self._last_model = now
        evaluation = self._thread.submit(self._evaluate, arrays)
        if self._strategy.follows_train_loss:
            self._observe(evaluation)
        checkpoint = self._checkpoint(server_round, arrays)
        self._pending.append(self._thread.submit(self._write, line, evaluation, checkpoint))
        self._finish(all_but=1)
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
        self._count(record)
        self._directory.append_round(record)
        self._unsaved = checkpoint
        if checkpoint.round % self._config.checkpoint_every == 0:
            self._save()
        self._progress.round_finished(line["round"], figures.test_accuracy, figures.test_loss)
        self._is_broken = False

    def _save(self) -> None:
        if self._unsaved is not None:
            self._directory.save(self._unsaved)
            self._unsaved = None

    def _count(self, line: dict[str, Any]) -> None:
        self._last = {key: line[key] for key in ("test_accuracy", "test_loss", "train_loss")}
        self._bytes_up += line["bytes_up"]
        self._bytes_down += line["bytes_down"]
        self._num_failed += len(line["failed"])

    def _finish(self, all_but: int = 0) -> None:
        """Wait until rounds are written, in order; what interrupts the wait leaves them pending."""
        while len(self._pending) > all_but:
            self._pending[0].result()
            self._pending.popleft()

    def summary(self) -> dict[str, Any]:
        """Return the closing figures: those of the last round, and totals."""
        return {
            **self._last,
            "rounds": self._config.num_rounds,
            "seconds": round(time.perf_counter() - self._start, 6),
            "bytes_up": self._bytes_up,
            "bytes_down": self._bytes_down,
            "failed_clients": self._num_failed,
            "engine_share": self._engine_share(),
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
