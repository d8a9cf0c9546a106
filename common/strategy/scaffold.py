"""SCAFFOLD (Karimireddy et al. 2020, arXiv 1910.06378, algorithm 1) as its difference from FedAvg.

A client's part, and why it is one of plain SGD, is in :mod:`common.client.control_variate`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Unpack

import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from numpy.typing import NDArray

from common.arrays import to_array, view
from common.finite import is_finite
from common.protocol import CONTROL_VARIATE, CONTROL_VARIATE_CHANGE, TrainInstruction
from common.strategy.aggregate import WeightedMean
from common.strategy.fedavg import FedAvg, FedAvgOptions
from common.strategy.reply import BadReplyError

_STATE: Final = "server-control-variate"


class Scaffold(FedAvg):
    """FedAvg, but clients correct their gradients by c - c_k, and say how c_k changed.

    The server keeps c = sum_k p_k c_k over all clients, where p_k is a client's share of the
    weights of the aggregation. After a round of the cohort S::

        c <- c + sum_{k in S} p_k (c_k+ - c_k)

    With uniform weights that is the paper's ``c + |S|/N`` times the mean change over S; with n_k it
    is that of the objective sum_k p_k F_k. Clients that failed, straggled or have no examples
    change nothing. The paper's global step size is that of a server optimiser without momentum.

    c is kept in the types of the parameters, to which it is rounded once a round.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        w_0: The parameters that clients train, before the first round, by key; only their shapes
            and types matter.
        options: As for FedAvg. The aggregation's weights are those of c, too, and a client fails,
            too, if its change cannot be used.

    Raises:
        UserInputError: Every client of a cohort would be dropped.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        num_examples: Sequence[int],
        *,
        w_0: Mapping[str, NDArray[Any]],
        **options: Unpack[FedAvgOptions],
    ) -> None:
        super().__init__(nodes, num_examples, **options)
        self._c = ArrayRecord({key: to_array(np.zeros(w.shape, w.dtype)) for key, w in w_0.items()})
        self._total_weight = sum(self.aggregation.weight(n_k) for n_k in num_examples)
        self._start_round()

    def _start_round(self) -> None:
        self._changes = WeightedMean(self._c)
        self._cohort_weight = 0

    def content(self, instruction: TrainInstruction, w_global: ArrayRecord) -> RecordDict:
        """Return what FedAvg sends, and c."""
        return RecordDict({**super().content(instruction, w_global), CONTROL_VARIATE: self._c})

    def take(self, reply: Message, weight: int) -> None:
        """Take the change of a client's control variate, with the weight of its model.

        Raises:
            BadReplyError: It is missing, of other parameters, or holds what is not finite.
        """
        change = reply.content.array_records.get(CONTROL_VARIATE_CHANGE)
        if change is None:
            raise BadReplyError(f"its reply has no {CONTROL_VARIATE_CHANGE!r}")
        try:
            _require_like(self._c, change)
        except ValueError as error:
            raise BadReplyError(f"its {CONTROL_VARIATE_CHANGE!r} {error}") from None
        self._changes.add(change, weight)
        self._cohort_weight += weight

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, None]:
        """Make the next model as FedAvg does, then the next c.

        Returns:
            As FedAvg.

        Raises:
            ClientFailedError: As for FedAvg.
        """
        self._start_round()
        result = super().aggregate_train(server_round, replies)
        if self._cohort_weight > 0:
            self._c = self._next_c(self._cohort_weight / self._total_weight)
        return result

    def _next_c(self, share: float) -> ArrayRecord:
        """Return c plus the mean change of a cohort that has this share of all weights."""
        change = self._changes.result()
        return ArrayRecord(
            {key: to_array(view(c) + share * view(change[key])) for key, c in self._c.items()}
        )

    @property
    def clients_keep_state(self) -> bool:
        """Whether clients keep something, which is c_k."""
        return True

    def state(self) -> RecordDict:
        """Return what FedAvg does, and c."""
        return RecordDict({**super().state(), _STATE: self._c})

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned after some round.

        Raises:
            KeyError: Something is missing; nothing has changed then.
            ValueError: It returned something else; nothing has changed then.
        """
        c = state.array_records[_STATE]
        try:
            _require_like(self._c, c)
        except ValueError as error:
            raise ValueError(f"{_STATE} {error}") from None
        super().restore(state)
        self._c = c


def _require_like(c: ArrayRecord, record: ArrayRecord) -> None:
    """Refuse a record that cannot be added to c.

    Raises:
        ValueError: It has other keys, shapes or types, or a value that is not finite; the text goes
            on after the record's name.
    """
    missing, extra = c.keys() - record.keys(), record.keys() - c.keys()
    if missing:
        raise ValueError(f"lacks {min(missing)!r}")
    if extra:
        raise ValueError(f"has {min(extra)!r:.50}, which is no parameter that is trained")
    for key, like in c.items():
        try:
            tensor = view(record[key])
        except Exception as error:  # NumPy raises errors of many kinds at a header that is none.
            raise ValueError(f"of {key!r} is no array ({error!s:.80})") from None
        if (tensor.shape, str(tensor.dtype)) != (tuple(like.shape), like.dtype):
            found = f"{tensor.dtype!s:.50}{list(tensor.shape)!s:.100}"
            raise ValueError(f"of {key!r} is {found}, not {like.dtype}{list(like.shape)}")
        if not is_finite(tensor):
            raise ValueError(f"of {key!r} holds a number that is not finite")
