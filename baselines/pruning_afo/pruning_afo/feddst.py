"""FedDST (Bibikar et al. 2022, arXiv 2112.09824, algorithm 1): clients remove and grow entries.

In some rounds each client removes, of each layer, the share of smallest magnitude and grows as many
entries, those of largest gradient, amid its local training. The server takes the mean of each entry
over the clients that keep it, and prunes the result by magnitude to the density of before.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, Unpack

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from common.arrays import to_array, view
from common.strategy.fedavg import FedAvgOptions
from common.strategy.reply import BadReplyError
from pruning_afo.importance import keep_per_layer
from pruning_afo.masks import Mask, Shapes, erdos_renyi_counts
from pruning_afo.packed import MASK, PruningTask, mask_of_record
from pruning_afo.pruning_schedule import PruningRounds
from pruning_afo.pruning_strategy import PrunedFedAvg, Tensors

# alpha of the authors' runs on CIFAR-10, with density .2 and 15 rounds from change to change.
READJUSTED_SHARE: Final = 0.01


class FedDst(PrunedFedAvg):
    """FedAvg of a model whose density stays, while clients change the mask.

    The first mask keeps the entries of largest magnitude. Layers have the densities of
    Erdos-Renyi-Kernel (:func:`pruning_afo.masks.erdos_renyi_counts`), as in the authors' code, and
    each layer keeps its number of entries exactly, at the server and at every client.

    Clients readjust amid their local training, half-way, so that what grows has moved away from 0
    before the server prunes by magnitude.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        shapes: As for :class:`pruning_afo.pruning_strategy.PrunedFedAvg`.
        rounds: The first mask is made after the first of them (0: before the first round), and
            clients change it in the others but the last, when their share has come to 0.
        density: What is kept of the entries that may be pruned, in (0, 1].
        readjusted_share: alpha, the share of a layer's entries that clients exchange in the
            beginning, in [0, 1].
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
        density: float,
        readjusted_share: float,
        **options: Unpack[FedAvgOptions],
    ) -> None:
        super().__init__(nodes, num_examples, shapes=shapes, rounds=rounds, **options)
        self._counts = erdos_renyi_counts(shapes, density)
        self._alpha = readjusted_share
        self._start_round()

    def _start_round(self) -> None:
        # Of each entry, the weights of the clients that keep it.
        self._holders: dict[str, NDArray[np.int64]] = {}
        self._total_weight = 0

    def _task(self, server_round: int) -> PruningTask:
        if server_round <= self._rounds.start or not self._rounds.is_due(server_round):
            return PruningTask()
        share = readjusted_share(self._rounds.progress(server_round), self._alpha)
        return PruningTask(readjusted_share=share)

    def _mask_of(self, reply: Message) -> Mask:
        if self._asked.readjusted_share == 0:
            return super()._mask_of(reply)
        record = reply.content.array_records.get(MASK)
        if record is None:
            raise BadReplyError(f"its reply has no {MASK!r}")
        try:
            mask = mask_of_record(record, self._mask.shapes)
        except ValueError as error:
            raise BadReplyError(f"its {MASK!r} {error}") from None
        kept, must = mask.counts, self._mask.counts
        for name, count in kept.items():
            if count != must[name]:
                raise BadReplyError(
                    f"its {MASK!r} keeps {count} entries of {name!r}, not {must[name]}"
                )
        return mask

    def take(self, reply: Message, weight: int) -> None:
        """Note which entries a client keeps, with the weight of its model."""
        super().take(reply, weight)
        if self._asked.readjusted_share == 0 or weight == 0:
            return
        self._total_weight += weight
        for name, kept in self._mask_of(reply).is_kept.items():
            holders = self._holders.setdefault(name, np.zeros(kept.shape, np.int64))
            holders[kept] += weight

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, None]:
        """Make the next model of the means over the clients that keep an entry.

        Returns:
            As FedAvg.

        Raises:
            ClientFailedError: As for FedAvg.
        """
        self._start_round()
        return super().aggregate_train(server_round, replies)

    def _mean(self, w_mean: ArrayRecord) -> ArrayRecord:
        means = {}
        for name, holders in self._holders.items():
            factor = np.divide(
                self._total_weight, holders, out=np.zeros(holders.shape), where=holders > 0
            )
            w = view(w_mean[name])
            means[name] = to_array((w * factor).astype(w.dtype))
        return ArrayRecord({**w_mean, **means})

    def _next_mask(self, server_round: int, w: Tensors, update: Tensors) -> Mask:
        if server_round == self._rounds.start:
            return keep_per_layer(self._mask, w, self._counts)
        return keep_per_layer(self._trained(), w, self._counts)

    def _trained(self) -> Mask:
        """Return the entries that a client kept; those of before, if masks did not change."""
        if not self._holders:
            return self._mask
        return Mask({name: holders > 0 for name, holders in self._holders.items()})


def readjusted_share(progress: float, alpha: float) -> float:
    """Return the share of a layer that clients exchange: alpha / 2 (1 + cos(pi progress)).

    Args:
        progress: How many of the rounds with changes are done, in [0, 1]; at 1 none is left.
        alpha: The share in the beginning, in [0, 1].
    """
    return alpha / 2 * (1 + math.cos(math.pi * progress))
