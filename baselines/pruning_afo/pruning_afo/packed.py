"""What server and clients of a pruned model write to each other, beside FedAvg's records.

The server sends

- ARRAYS: the buffers only;
- PARAMETERS: the parameters, packed by the mask, as float32;
- MASK: the mask, if anything is pruned;
- TASK: what a client is to do beside training, if anything.

and a client answers with

- ARRAYS: its buffers;
- UPDATE: w_k - w_t of the parameters, packed by its mask and quantised;
- MASK: its own mask, if it was to change it; without, it is the server's;
- SQUARED_GRADIENTS: if it was to send them.

Packed tensors have no positions: both sides know the mask.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from common.compression import wire
from common.compression.quantisers import Quantiser
from common.compression.sparse import SparseTensor
from common.payload import of_record, to_record
from pruning_afo.mask_coding import decode_mask, encode_mask
from pruning_afo.masks import Mask, Shapes

PARAMETERS: Final = "parameters"
MASK: Final = "mask"
TASK: Final = "pruning"
SQUARED_GRADIENTS: Final = "squared-gradients"
# No parameter has this name: the sum of squared gradients of all that is never pruned.
REST: Final = ""


@dataclass(frozen=True)
class PruningTask:
    """What a client is to do in a round beside training.

    Attributes:
        readjusted_share: Of each layer, to remove and to grow amid training (FedDST); 0 for none.
        send_squared_gradients: Of all entries, pruned ones included (PruneFL).
    """

    readjusted_share: float = 0.0
    send_squared_gradients: bool = False

    def to_record(self) -> ConfigRecord:
        """Return the record that asks for this."""
        return ConfigRecord(
            {
                "readjusted-share": self.readjusted_share,
                "send-squared-gradients": self.send_squared_gradients,
            }
        )

    @classmethod
    def of(cls, content: RecordDict) -> Self:
        """Read what a client was asked for."""
        record: Mapping[str, Any] = content.config_records.get(TASK, {})
        return cls(record.get("readjusted-share", 0.0), record.get("send-squared-gradients", False))


def encode_tensors(
    tensors: Mapping[str, NDArray[Any]], quantiser: Quantiser, rng: np.random.Generator
) -> ArrayRecord:
    """Return tensors, packed or not, as a record.

    Raises:
        ValueError: One holds what is not finite.
    """
    whole = {
        name: SparseTensor(None, np.ravel(tensor).astype(np.float32, copy=False), tensor.shape)
        for name, tensor in tensors.items()
    }
    return to_record(wire.encode(whole, quantiser, rng))


def decode_tensors(record: ArrayRecord, shapes: Shapes) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a record.

    Args:
        record: What :func:`encode_tensors` returned, or any other.
        shapes: In which they were encoded.

    Raises:
        ValueError: It is none of such tensors; the text goes on after the record's name.
    """
    tensors = wire.decode(of_record(record), shapes)
    return {name: tensor.to_dense() for name, tensor in tensors.items()}


def mask_to_record(mask: Mask) -> ArrayRecord:
    """Return a mask as a record."""
    return to_record(encode_mask(mask))


def mask_of_record(record: ArrayRecord, shapes: Shapes) -> Mask:
    """Return the mask of a record.

    Args:
        record: What :func:`mask_to_record` returned, or any other.
        shapes: Of the parameters that may be pruned.

    Raises:
        ValueError: It is no mask of these; the text goes on after the record's name.
    """
    return decode_mask(of_record(record), shapes)
