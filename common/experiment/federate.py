"""One run: rounds of a strategy, each evaluated and recorded."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from common.engine.grid import SimulationGrid
from common.errors import UserInputError
from common.experiment.checkpoint import Checkpoint
from common.experiment.config import ExperimentConfig
from common.experiment.progress import Progress
from common.experiment.recorder import Evaluation, Recorder
from common.experiment.run_directory import RunDirectory
from common.experiment.say import say
from common.experiment.watch import Watcher
from common.strategy.fedavg import FedAvg
from common.threads import use_one_thread


def federate(
    grid: Grid,
    strategy: FedAvg,
    config: ExperimentConfig,
    initial_arrays: ArrayRecord,
    evaluate: Callable[[ArrayRecord], Evaluation],
    weights: str = "",
    watcher: Watcher | None = None,
) -> None:
    """Run all rounds and leave a run directory, whose place is printed.

    With a watcher that stops, the first round that shows a failure is the last: the run is complete
    with it.

    A run that was stopped goes on after its last checkpoint, to the same end. Flower's own engine
    keeps what clients keep to itself: there, only a run whose clients keep nothing can go on.

    Args:
        grid: Reaches the clients.
        strategy: Configures and aggregates a round.
        config: The run's configuration.
        initial_arrays: The initial global model.
        evaluate: Evaluates a global model.
        weights: Identifies the pre-trained weights that the run begins with, if any: it is kept
            with the results, and a run goes on with the same ones only.
        watcher: Looks for failures in every round; what it finds is recorded, and told when it
            shows for the first time.

    Raises:
        UserInputError: ``output_dir`` cannot be used, or what it holds is not of this run.
        ClientFailedError: A client failed.
        StorageError: Results cannot be written.
    """
    use_one_thread()
    engine = getattr(grid, "engine", "flower")
    with RunDirectory(config, engine, strategy.num_examples, weights) as directory:
        if not directory.is_complete:
            _require_client_states(grid, strategy, directory)
            if directory.checkpoint:
                _restore(directory.checkpoint, initial_arrays, strategy, grid, config)
            with _telling_how_to_go_on(directory):
                _run_rounds(grid, strategy, config, initial_arrays, evaluate, watcher, directory)
        say(f"Results are in {directory.path}")


def _require_client_states(grid: Grid, strategy: FedAvg, directory: RunDirectory) -> None:
    """Refuse what takes the clients' states of Flower's own engine, which keeps them to itself.

    Raises:
        UserInputError: The run is to go on, or to take back what a failed client kept.
    """
    if isinstance(grid, SimulationGrid) or not strategy.clients_keep_state:
        return
    if directory.checkpoint:
        raise UserInputError(
            f"{str(directory.path)!r} is not allowed under `flwr run`: it must be a new folder, "
            "for clients of this algorithm keep state, which Flower's engine does not give away."
        )
    if strategy.on_client_failure == "leave_out":
        raise UserInputError(
            "on_client_failure='leave_out' is not allowed under `flwr run` with an algorithm whose "
            "clients keep state: it must be end, for what a failed client kept cannot be taken "
            "back."
        )


def _run_rounds(
    grid: Grid,
    strategy: FedAvg,
    config: ExperimentConfig,
    initial_arrays: ArrayRecord,
    evaluate: Callable[[ArrayRecord], Evaluation],
    watcher: Watcher | None,
    directory: RunDirectory,
) -> None:
    checkpoint = directory.checkpoint
    arrays = checkpoint.arrays if checkpoint else initial_arrays
    last_round = checkpoint.round if checkpoint else 0
    with (
        Progress(config.num_rounds, last_round) as progress,
        Recorder(strategy, grid, config, directory, progress, evaluate, watcher) as recorder,
    ):
        if last_round == 0:
            recorder.begin(arrays)
        # What Flower's Strategy.start does, but from any round.
        for server_round in range(last_round + 1, config.num_rounds + 1):
            if recorder.stopped:
                break
            messages = strategy.configure_train(server_round, arrays, ConfigRecord(), grid)
            # Flower's own engine, which knows no limit for one client, may train one after another.
            timeout = config.client_timeout * config.clients_per_round
            replies = grid.send_and_receive(messages, timeout=timeout)
            arrays, _ = strategy.aggregate_train(server_round, replies)
            if isinstance(grid, SimulationGrid):
                grid.take_back(strategy.traffic.failed)
            recorder.record(server_round, arrays)
    summary = recorder.summary()
    directory.complete(arrays, summary)
    if recorder.stopped:
        say(f"Stopped after round {summary['rounds']} of {config.num_rounds}: {recorder.stopped}")


@contextmanager
def _telling_how_to_go_on(directory: RunDirectory) -> Iterator[None]:
    if directory.checkpoint:
        say(f"Going on after round {directory.checkpoint.round}.")
    elif directory.is_resumed:
        say("There is no checkpoint: beginning anew.")
    for difference in directory.differences:
        say(f"Digits may differ from those of an undisturbed run: {difference}.")
    try:
        yield
    except BaseException:
        say(f"Incomplete; to go on: resume={directory.path}")
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
