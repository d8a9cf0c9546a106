"""One-shot and gradual pruning of a federated model."""

from collections.abc import Sequence
from typing import Unpack

from common.strategy.fedavg import FedAvgOptions
from pruning_afo.config import Importance
from pruning_afo.importance import keep_globally, keep_per_layer, score_entries
from pruning_afo.masks import Mask, Shapes, uniform_counts
from pruning_afo.pruning_schedule import PruningRounds, cubic_density
from pruning_afo.pruning_strategy import PrunedFedAvg, Tensors


class ScheduledPruning(PrunedFedAvg):
    """Prunes what matters least, ever more from round to round or all at once.

    The density falls from 1 on the way from the first to the last of the rounds
    (:func:`pruning_afo.pruning_schedule.cubic_density`); one-shot pruning has one round. What is
    pruned stays pruned.

    By magnitude, every parameter is pruned to the same density, as in Zhu & Gupta 2017: weights of
    different layers have different scales. By gradient and by Taylor expansion all entries are
    ranked together, as in Molchanov et al. 2019, for these say what the loss of the one whole model
    changes by.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        shapes: As for :class:`pruning_afo.pruning_strategy.PrunedFedAvg`.
        rounds: After which the model is pruned; 0 is before the first round.
        importance: What says how much entries matter
            (:func:`pruning_afo.importance.score_entries`).
        density: What is kept in the end of the entries that may be pruned, in (0, 1].
        options: As for :class:`pruning_afo.pruning_strategy.PrunedFedAvg`.

    Raises:
        UserInputError: Every client of a cohort would be dropped.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        num_examples: Sequence[int],
        *,
        shapes: Shapes,
        rounds: PruningRounds,
        importance: Importance,
        density: float,
        **options: Unpack[FedAvgOptions],
    ) -> None:
        super().__init__(nodes, num_examples, shapes=shapes, rounds=rounds, **options)
        self._importance: Importance = importance
        self._density = density

    def _next_mask(self, server_round: int, w: Tensors, update: Tensors) -> Mask:
        density = cubic_density(self._rounds.progress(server_round), self._density)
        scores = score_entries(self._importance, w, update)
        if self._importance == "weight":
            return keep_per_layer(self._mask, scores, uniform_counts(self._mask.shapes, density))
        return keep_globally(self._mask, scores, density)
