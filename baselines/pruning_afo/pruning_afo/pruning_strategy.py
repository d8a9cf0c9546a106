"""FedAvg of a model of which entries are pruned, by a mask that the server keeps."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Final, Unpack

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.arrays import join, to_array, view
from common.compression.quantisers import Float32
from common.protocol import ARRAYS, UPDATE, TrainInstruction
from common.strategy.fedavg import FedAvg, FedAvgOptions
from common.strategy.reply import BadReplyError, read_sent, require_model
from pruning_afo.masks import Mask, Shapes
from pruning_afo.packed import (
    MASK,
    PARAMETERS,
    TASK,
    PruningTask,
    decode_tensors,
    encode_tensors,
    mask_of_record,
    mask_to_record,
)
from pruning_afo.pruning_schedule import PruningRounds

_STATE: Final = "pruning-mask"

Tensors = dict[str, NDArray[Any]]


class PrunedFedAvg(FedAvg):
    """FedAvg of the entries that a mask keeps; what it prunes is 0, not trained and not sent.

    After some rounds the mask changes, and with it the next model. What clients send is in
    :mod:`pruning_afo.packed`, what they do in :mod:`pruning_afo.pruned_client`.

    The model is encoded once a round, not once a client.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        shapes: Of the parameters that may be pruned
            (:func:`pruning_afo.masks.prunable_parameters`).
        rounds: After which the mask may change; 0 is before the first round.
        options: As for FedAvg. ``measures`` have, besides, model_density, the share of the
            entries that may be pruned which the next model keeps, and mask_change, the share of
            them that only one of its mask and the one of before keeps. Clients fail, too, if what
            they send cannot be decoded.

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
        **options: Unpack[FedAvgOptions],
    ) -> None:
        super().__init__(nodes, num_examples, **options)
        self._rounds = rounds
        self._mask = Mask.full(shapes)
        self._asked = PruningTask()
        self._model_records: dict[str, ArrayRecord | ConfigRecord] = {}
        self._w_mean = ArrayRecord()

    @abstractmethod
    def _next_mask(self, server_round: int, w: Tensors, update: Tensors) -> Mask:
        """Return the mask after a round.

        Args:
            server_round: One after which the mask may change; 0 is before the first.
            w: What may be pruned of the next model, 0 where it is pruned already.
            update: The mean update of the round, of the same entries; nothing before the first.
        """

    def _task(self, server_round: int) -> PruningTask:
        """Return what clients do in a round beside training: nothing."""
        return PruningTask()

    def _mean(self, w_mean: ArrayRecord) -> ArrayRecord:
        """Return the mean model of a round, given that in which pruned entries count as 0."""
        return w_mean

    def _trained(self) -> Mask:
        """Return the entries that clients trained in a round: the mask of the round."""
        return self._mask

    def _mask_of(self, reply: Message) -> Mask:
        """Return the mask of a client's model.

        Raises:
            BadReplyError: It is none that the client may have.
        """
        if MASK in reply.content.array_records:
            raise BadReplyError(f"its reply has a {MASK!r}, for which it was not asked")
        return self._mask

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Do what FedAvg does, with a model that is encoded here, once."""
        if server_round == 1 and self._rounds.start == 0:
            self._mask = self._next_mask(0, self._prunable(arrays), {})
            arrays = self._masked(arrays, self._mask)
        self._model_records = self._encode(arrays)
        self._asked = self._task(server_round)
        if self._asked != PruningTask():
            self._model_records[TASK] = self._asked.to_record()
        return super().configure_train(server_round, arrays, config, grid)

    def _encode(self, arrays: ArrayRecord) -> dict[str, ArrayRecord | ConfigRecord]:
        parameters = self.aggregation.sent_parameters(arrays)
        packed = self._mask.pack({key: view(arrays[key]) for key in parameters})
        buffers = {key: array for key, array in arrays.items() if key not in packed}
        # Nothing is drawn to write float32.
        values = encode_tensors(packed, Float32(), np.random.default_rng(0))
        records: dict[str, ArrayRecord | ConfigRecord] = {
            ARRAYS: ArrayRecord(buffers),
            PARAMETERS: values,
        }
        if self._mask.density < 1:
            records[MASK] = mask_to_record(self._mask)
        return records

    def content(self, instruction: TrainInstruction, w_global: ArrayRecord) -> RecordDict:
        """Return the packed model, its mask and what a client is asked for."""
        return RecordDict({**super().content(instruction, w_global), **self._model_records})

    def read_model(self, reply: Message, w_global: ArrayRecord, n_k: int) -> ArrayRecord:
        """Return w_t plus a client's update, of the entries that its mask keeps; 0 elsewhere.

        Raises:
            BadReplyError: As for FedAvg, or its mask or update cannot be used.
        """
        sent = read_sent(reply, n_k)
        update = reply.content.array_records.get(UPDATE)
        if update is None:
            raise BadReplyError(f"its reply has no {UPDATE!r}")
        mask = self._mask_of(reply)
        w_t = {key: view(w_global[key]) for key in self.aggregation.sent_parameters(w_global)}
        shapes = {key: w.shape for key, w in w_t.items()}
        try:
            packed = decode_tensors(update, mask.packed_shapes(shapes))
        except ValueError as error:
            raise BadReplyError(f"its {UPDATE!r} {error}") from None
        both = w_t.keys() & sent.keys()
        if both:
            raise BadReplyError(f"its {ARRAYS!r} has {min(both)!r}, which is in its {UPDATE!r}")
        # What overflows is refused below.
        with np.errstate(over="ignore"):
            moved = {key: np.add(w, packed[key]) for key, w in mask.pack(w_t).items()}
        w_k = {key: to_array(w) for key, w in mask.unpack(moved).items()}
        model = join(sent, w_k)
        require_model(model, w_global, self.aggregation.broadcast_only)
        return model

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, None]:
        """Make the next model as FedAvg does, then its mask; what that prunes is exactly 0.

        Returns:
            As FedAvg.

        Raises:
            ClientFailedError: As for FedAvg.
        """
        arrays, _ = super().aggregate_train(server_round, replies)
        # A server optimiser's momentum moves what was pruned lately, too.
        arrays = self._masked(arrays, self._trained())
        before = self._mask
        if self._rounds.is_due(server_round):
            self._mask = self._next_mask(server_round, self._prunable(arrays), self._update())
            arrays = self._masked(arrays, self._mask)
        self._w_mean = ArrayRecord()  # It is large, and of no more use.
        self.measures |= {
            "model_density": self._mask.density,
            "mask_change": self._mask.difference(before) / self._mask.size,
        }
        return arrays, None

    def next_model(self, w_mean: ArrayRecord) -> ArrayRecord:
        """Return what FedAvg does, given the mean in which pruned entries count as 0."""
        self._w_mean = self._mean(w_mean)
        return super().next_model(self._w_mean)

    def _update(self) -> Tensors:
        w_t = self._prunable(self._w_global)
        return {key: w - w_t[key] for key, w in self._prunable(self._w_mean).items()}

    def _prunable(self, arrays: ArrayRecord) -> Tensors:
        return {key: view(arrays[key]) for key in self._mask.is_kept}

    def _masked(self, arrays: ArrayRecord, mask: Mask) -> ArrayRecord:
        """Return a model with the entries that a mask prunes set to 0."""
        if mask.density == 1:
            return arrays
        pruned = mask.apply(self._prunable(arrays))
        return ArrayRecord({**arrays, **{key: to_array(w) for key, w in pruned.items()}})

    def state(self) -> RecordDict:
        """Return what FedAvg does, and the mask."""
        return RecordDict({**super().state(), _STATE: mask_to_record(self._mask)})

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned after some round.

        Raises:
            KeyError: Something is missing; nothing has changed then.
            ValueError: It returned something else; nothing has changed then.
        """
        try:
            mask = mask_of_record(state.array_records[_STATE], self._mask.shapes)
        except ValueError as error:
            raise ValueError(f"{_STATE} {error}") from None
        super().restore(state)
        self._mask = mask
