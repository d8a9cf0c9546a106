"""PruneFL (Jiang et al. 2022, arXiv 1909.12326): a model that finds its own density.

A step of SGD with the entries M lowers the loss by about eta times Delta(M), the sum over M of
g_j^2. It takes the time ``T(M) = c + t |M|``. Once in some rounds, PruneFL keeps the M that lowers
the loss most per time: that maximises Delta(M) / T(M).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Unpack

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from common.compression.top_k import top_k
from common.strategy.fedavg import FedAvgOptions
from common.strategy.reply import BadReplyError
from pruning_afo.importance import keep_per_layer
from pruning_afo.masks import Mask, Shapes, mask_of_indices, uniform_counts
from pruning_afo.packed import REST, SQUARED_GRADIENTS, PruningTask, decode_tensors
from pruning_afo.pruning_schedule import PruningRounds
from pruning_afo.pruning_strategy import PrunedFedAvg, Tensors

# The authors' measurement for VGG-11 on CIFAR-10 (configs/cifar10.py of their code): a round of
# 5 steps takes 86.8 s whatever is kept, and 123 s more if all is.
FIXED_TIME: Final = 0.7
REMOVABLE_SHARE: Final = 0.3
_HALF_LIFE: Final = 10_000


class PruneFl(PrunedFedAvg):
    """FedAvg of a model whose mask is chosen anew in some rounds, by gradients that clients send.

    In such a round each client sends the mean over its steps of g_j^2, of every entry that may be
    pruned and whether it is or not, as float32: as much as a dense model. The server takes their
    mean, with the weights of the models.

    The paper's first mask comes of the same choice, made again and again at one client before the
    first round. Here it is by magnitude, to a density that is given; the later ones are free.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        shapes: As for :class:`pruning_afo.pruning_strategy.PrunedFedAvg`.
        rounds: The first mask is made after the first of them (0: before the first round), and it
            is chosen anew after the others.
        density: What the first mask keeps of each parameter that may be pruned, in (0, 1].
        fixed_time: c, where all entries that may be pruned take the time 1; > 0.
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
        fixed_time: float,
        **options: Unpack[FedAvgOptions],
    ) -> None:
        super().__init__(nodes, num_examples, shapes=shapes, rounds=rounds, **options)
        self._counts = uniform_counts(shapes, density)
        self._fixed_time = fixed_time
        self._start_round()

    def _start_round(self) -> None:
        self._squares: dict[str, NDArray[np.float64]] = {}
        self._total_weight = 0

    def _task(self, server_round: int) -> PruningTask:
        is_reconfigured = server_round > self._rounds.start and self._rounds.is_due(server_round)
        return PruningTask(send_squared_gradients=is_reconfigured)

    def take(self, reply: Message, weight: int) -> None:
        """Take the squared gradients of a client, with the weight of its model.

        Raises:
            BadReplyError: They are missing, unasked, cannot be decoded or are no squares.
        """
        super().take(reply, weight)
        record = reply.content.array_records.get(SQUARED_GRADIENTS)
        if not self._asked.send_squared_gradients:
            if record is not None:
                raise BadReplyError(f"its reply has {SQUARED_GRADIENTS!r}, which were not asked")
            return
        if record is None:
            raise BadReplyError(f"its reply has no {SQUARED_GRADIENTS!r}")
        try:
            squares = decode_tensors(record, {**self._mask.shapes, REST: (1,)})
        except ValueError as error:
            raise BadReplyError(f"its {SQUARED_GRADIENTS!r} {error}") from None
        if any((square < 0).any() for square in squares.values()):
            raise BadReplyError(f"its {SQUARED_GRADIENTS!r} hold a number below 0")
        self._total_weight += weight
        for name, square in squares.items():
            sum_ = self._squares.setdefault(name, np.zeros(square.shape))
            sum_ += np.multiply(square, weight, dtype=np.float64)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, None]:
        """Make the next model as FedAvg does, then choose its mask.

        Returns:
            As FedAvg.

        Raises:
            ClientFailedError: As for FedAvg.
        """
        self._start_round()
        return super().aggregate_train(server_round, replies)

    def _next_mask(self, server_round: int, w: Tensors, update: Tensors) -> Mask:
        if server_round == self._rounds.start:
            return keep_per_layer(self._mask, w, self._counts)
        if self._total_weight == 0:
            return self._mask
        means = {name: sum_ / self._total_weight for name, sum_ in self._squares.items()}
        rest = float(means.pop(REST)[0])
        return reconfigure(
            self._mask,
            w,
            means,
            rest,
            removable=removable_share(server_round),
            fixed_time=self._fixed_time,
        )


def removable_share(server_round: int) -> float:
    """Return the share of a layer that may be removed after a round: .3, halved in 10,000 rounds.

    That is the authors' schedule, with which the mask comes to rest.
    """
    return float(REMOVABLE_SHARE * 0.5 ** (server_round / _HALF_LIFE))


def reconfigure(
    mask: Mask,
    w: Mapping[str, NDArray[Any]],
    squared_gradients: Mapping[str, NDArray[np.float64]],
    squared_gradients_of_rest: float,
    *,
    removable: float,
    fixed_time: float,
) -> Mask:
    """Return the mask that maximises Delta(M) / T(M) of all that may be chosen.

    What may go are the entries of smallest magnitude of each layer, for their loss changes the
    model least; what may come is all that is pruned. Of both, entries are taken by falling g_j^2
    as long as each is worth more than the mean of what is taken already, which is the maximum,
    and of several the one with fewest entries. An entry takes as long as any other, while the
    paper measures t for each layer.

    Args:
        mask: What is kept so far.
        w: Weights, in the shapes of the mask, 0 where they are pruned.
        squared_gradients: Mean of g_j^2, in the shapes of the mask.
        squared_gradients_of_rest: Sum of g_j^2 over what is never pruned, and so is in every M.
        removable: Share of what is kept of each layer that may go, in [0, 1).
        fixed_time: c, where all entries that may be pruned take the time 1.
    """
    sure = [_largest(kept, w[name], removable) for name, kept in mask.is_kept.items()]
    kept = mask_of_indices(mask.shapes, sure)
    values = np.concatenate([np.ravel(squared_gradients[name]) for name in mask.is_kept])
    is_kept = np.concatenate([np.ravel(tensor) for tensor in kept.is_kept.values()])
    gain = squared_gradients_of_rest + float(values[is_kept].sum())
    time = fixed_time + np.count_nonzero(is_kept) / mask.size
    # The mean only rises: what does not beat the first one need not be sorted, which is most.
    optional = np.flatnonzero(~is_kept & (values > gain / time / mask.size))
    optional = optional[np.argsort(-values[optional], kind="stable")]
    count = _worth_taking(values[optional], gain, time, 1 / mask.size)
    is_kept[optional[:count]] = True
    ends = np.cumsum([tensor.size for tensor in mask.is_kept.values()])[:-1]
    return Mask(
        {
            name: flat.reshape(shape)
            for (name, shape), flat in zip(
                mask.shapes.items(), np.split(is_kept, ends), strict=True
            )
        }
    )


def _worth_taking(gains: NDArray[np.float64], gain: float, time: float, time_of_one: float) -> int:
    """Return how many of the gains, which fall, raise (gain + their sum) / (time + theirs)."""
    before = gain + np.concatenate([[0.0], np.cumsum(gains)[:-1]])
    times = time + time_of_one * np.arange(len(gains))
    stops = np.flatnonzero(gains * times <= before * time_of_one)
    return int(stops[0]) if len(stops) else len(gains)


def _largest(is_kept: NDArray[np.bool_], w: NDArray[Any], removable: float) -> NDArray[np.int64]:
    """Return where the kept entries are but the removable ones of smallest magnitude."""
    kept = np.flatnonzero(is_kept)
    packed = np.ravel(w)[kept].astype(np.float32, copy=False)
    (chosen,) = top_k([packed], len(kept) - int(removable * len(kept)))
    return kept[chosen]
