"""The strategy of each way to prune."""

from collections.abc import Sequence
from typing import Unpack, assert_never

from torch import nn

from common.strategy.fedavg import FedAvg, FedAvgOptions
from pruning_afo.config import Importance, Pruning
from pruning_afo.feddst import READJUSTED_SHARE, FedDst
from pruning_afo.masks import prunable_parameters
from pruning_afo.prunefl import FIXED_TIME, PruneFl
from pruning_afo.pruning_schedule import PruningRounds
from pruning_afo.scheduled_pruning import ScheduledPruning


def make_pruning_strategy(
    pruning: Pruning,
    nodes: Sequence[int],
    num_examples: Sequence[int],
    model: nn.Module,
    *,
    importance: Importance,
    model_density: float,
    pruning_start: int,
    pruning_end: int,
    pruning_every: int,
    **options: Unpack[FedAvgOptions],
) -> FedAvg:
    """Return the strategy of a way to prune; FedAvg for "none".

    Args:
        pruning: Which one.
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        model: The federated model.
        importance: What one-shot and gradual pruning go by; PruneFL and FedDST have their own.
        model_density: What is kept of the entries that may be pruned, in (0, 1]; with PruneFL, at
            first.
        pruning_start: The round after which the mask is first made, or gradual pruning begins; 0
            is before the first round.
        pruning_end: The last round after which it changes; not looked at in one-shot pruning.
        pruning_every: Rounds from change to change; not looked at in one-shot pruning.
        options: As for FedAvg. The aggregation must know parameters from buffers.

    Raises:
        UserInputError: As for the strategy, or pruning ends before it starts.
    """
    if pruning == "none":
        return FedAvg(nodes, num_examples, **options)
    shapes = prunable_parameters(model)
    if pruning == "one_shot":
        return ScheduledPruning(
            nodes,
            num_examples,
            shapes=shapes,
            rounds=PruningRounds(pruning_start, pruning_start, 1),
            importance=importance,
            density=model_density,
            **options,
        )
    rounds = PruningRounds(pruning_start, pruning_end, pruning_every)
    if pruning == "gradual":
        return ScheduledPruning(
            nodes,
            num_examples,
            shapes=shapes,
            rounds=rounds,
            importance=importance,
            density=model_density,
            **options,
        )
    if pruning == "prunefl":
        return PruneFl(
            nodes,
            num_examples,
            shapes=shapes,
            rounds=rounds,
            density=model_density,
            fixed_time=FIXED_TIME,
            **options,
        )
    if pruning == "feddst":
        return FedDst(
            nodes,
            num_examples,
            shapes=shapes,
            rounds=rounds,
            density=model_density,
            readjusted_share=READJUSTED_SHARE,
            **options,
        )
    assert_never(pruning)
