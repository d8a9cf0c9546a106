"""FedAvg whose clients send encoded updates (:mod:`common.compression`) in the place of models."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
from flwr.app import ArrayRecord, Message
from numpy.typing import NDArray

from common.arrays import join, to_array, view
from common.compression import wire
from common.compression.entropy import information_bound
from common.compression.sparse import SparseTensor
from common.payload import of_record
from common.protocol import UPDATE
from common.strategy.fedavg import FedAvg, FedAvgOptions
from common.strategy.reply import BadReplyError, read_sent, require_model


class _Sent(NamedTuple):
    """What a client's update has: entries, those of them that were sent, and their bound."""

    num_entries: int
    num_sent: int
    bound: float


class CompressedFedAvg(FedAvg):
    """FedAvg, but w_k = w_t + what the server decodes of a client's update.

    All that follows, such as the mean, its weights, server optimisers and drift, is done with these
    models. What no update has an entry of has a pseudo-gradient of exactly 0.

    Another strategy gets compressed updates by ``class Compressed(CompressedFedAvg, Another)``.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        error_feedback: Whether clients keep what they did not send.
        options: As for FedAvg. ``measures`` have, besides, of the updates in the mean:
            density_up, the share of their entries that was sent, all where that weighs less than
            to say which; and bound_up, the bytes that these entries take at least if which they are
            is as good as random (:mod:`common.compression.entropy`), summed over clients. What is
            sent beside the updates, such as buffers, is not in it.

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
        self._last_update = _Sent(0, 0, 0.0)
        self._updates: list[_Sent] = []

    @property
    def clients_keep_state(self) -> bool:
        """Whether clients keep something, which is what they did not send."""
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
        self._last_update = _Sent(
            sum(tensor.size for tensor in tensors.values()),
            sum(tensor.count for tensor in tensors.values()),
            information_bound(tensors, wire.read_quantiser(payload)),
        )
        # A sum beyond float32 is infinite, which is refused below.
        with np.errstate(over="ignore"):
            moved = {key: to_array(_moved(w[key], tensors[key])) for key in encoded}
        w_k = join(sent, moved)
        require_model(w_k, w_global, self.aggregation.broadcast_only)
        return w_k

    def take(self, reply: Message, weight: int) -> None:
        """Count what was sent by a client whose model is averaged.

        Raises:
            BadReplyError: As for the strategy that gets compressed updates.
        """
        super().take(reply, weight)
        if weight > 0:
            self._updates.append(self._last_update)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, None]:
        """Make the next model as FedAvg does of the decoded ones.

        Returns:
            As FedAvg.

        Raises:
            ClientFailedError: As for FedAvg.
        """
        self._updates = []
        result = super().aggregate_train(server_round, replies)
        num_entries = sum(update.num_entries for update in self._updates)
        num_sent = sum(update.num_sent for update in self._updates)
        self.measures |= {
            "density_up": num_sent / num_entries if num_entries else None,
            "bound_up": sum(update.bound for update in self._updates),
        }
        return result


def _moved(w: NDArray[Any], update: SparseTensor) -> NDArray[Any]:
    """Return w plus an update, in its type; what is not sent is not touched."""
    if update.indices is None:
        return (w + update.values.reshape(w.shape)).astype(w.dtype, copy=False)
    moved = np.array(w, order="C")
    moved.reshape(-1)[update.indices] += update.values
    return moved
