"""FedAvg whose clients send encoded updates (:mod:`common.compression`) in the place of models."""

from collections.abc import Iterable, Sequence
from typing import Any, Unpack

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from common.arrays import to_array, view
from common.compression import wire
from common.compression.entropy import information_bound
from common.compression.sparse import SparseTensor
from common.payload import of_record
from common.protocol import UPDATE
from common.strategy.fedavg import FedAvg, FedAvgOptions
from common.strategy.reply import BadReplyError, read_sent, require_model


class CompressedFedAvg(FedAvg):
    """FedAvg, but w_k = w_t + what the server decodes of a client's update.

    All that follows, such as the mean, its weights, server optimisers and drift, is done with these
    models. What no update has an entry of has a pseudo-gradient of exactly 0.

    Another strategy gets compressed updates by ``class Compressed(CompressedFedAvg, Another)``.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        error_feedback: Whether clients keep what they did not send.
        options: As for FedAvg. :attr:`measures` have, besides, density_up, the share of the
            updates' entries that was sent, and bound_up, the bytes that these take at least
            (:mod:`common.compression.entropy`), summed over clients.

    Raises:
        UserInputError: Every client of a cohort would be dropped.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        num_examples: Sequence[int],
        *,
        error_feedback: bool,
        **options: Unpack[FedAvgOptions],
    ) -> None:
        super().__init__(nodes, num_examples, **options)
        self._error_feedback = error_feedback
        self._start_round()

    def _start_round(self) -> None:
        self._num_entries = self._num_sent = 0
        self._bound = 0.0

    @property
    def clients_keep_state(self) -> bool:
        """Whether clients keep something: what they did not send."""
        return self._error_feedback or super().clients_keep_state

    def read_model(self, reply: Message, w_global: ArrayRecord, n_k: int) -> ArrayRecord:
        """Return w_t plus a client's update; what it sent as it is, such as buffers, stays so.

        Raises:
            BadReplyError: As for FedAvg, or the update cannot be decoded.
        """
        sent = read_sent(reply, n_k)
        update = reply.content.array_records.get(UPDATE)
        if update is None:
            raise BadReplyError(f"its reply has no {UPDATE!r}")
        others = {*sent, *self.aggregation.broadcast_only}
        encoded = [key for key in w_global if key not in others]
        w = {key: view(w_global[key]) for key in encoded}
        try:
            payload = of_record(update)
            tensors = wire.decode(payload, {key: w[key].shape for key in encoded})
        except ValueError as error:
            raise BadReplyError(f"its {UPDATE!r} {error}") from None
        self._num_entries += sum(tensor.size for tensor in tensors.values())
        self._num_sent += sum(tensor.count for tensor in tensors.values())
        self._bound += information_bound(tensors, wire.read_quantiser(payload))
        # A sum beyond float32 is infinite, which is refused below.
        with np.errstate(over="ignore"):
            moved = {key: to_array(_moved(w[key], tensors[key])) for key in encoded}
        w_k = ArrayRecord({**sent, **moved})
        require_model(w_k, w_global, self.aggregation.broadcast_only)
        return w_k

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, None]:
        """Make the next model as FedAvg does of the decoded ones.

        Raises:
            ClientFailedError: As for FedAvg.
        """
        self._start_round()
        result = super().aggregate_train(server_round, replies)
        self.measures |= {
            "density_up": self._num_sent / self._num_entries if self._num_entries else None,
            "bound_up": self._bound,
        }
        return result


def _moved(w: NDArray[Any], update: SparseTensor) -> NDArray[Any]:
    """Return w plus an update, in its type; what is not sent is not touched."""
    if update.indices is None:
        return (w + update.values.reshape(w.shape)).astype(w.dtype, copy=False)
    moved = np.array(w, order="C")
    moved.reshape(-1)[update.indices] += update.values
    return moved
