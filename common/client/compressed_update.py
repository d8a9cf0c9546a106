"""A client's part of compression: its update, encoded, and what it keeps for later rounds."""

from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, Context, Message
from numpy.typing import NDArray
from torch import nn

from common.arrays import to_array, to_arrays, view
from common.compression.compressor import Compressor
from common.compression.error_feedback import ErrorFeedback, Memory
from common.payload import to_record
from common.protocol import ARRAYS, TrainInstruction

_RESIDUAL: Final = "residual"
_MOMENTUM: Final = "residual-momentum"


def encode_update(
    message: Message,
    context: Context,
    model: nn.Module,
    compression: Compressor | ErrorFeedback,
    rng: np.random.Generator,
) -> tuple[ArrayRecord, ArrayRecord]:
    """Encode a client's update w_k - w_t, once the model is w_k.

    A client app ends with::

        buffers, update = encode_update(message, context, model, compression, rng)
        return train_reply(message, buffers, len(y), metrics, update=update)

    With error feedback the residual, and DGC's momentum, are in the client's state from round to
    round; there is none before the first.

    Args:
        message: What the server asked: w_t.
        context: The client's, with what it keeps.
        model: Its parameters have the names that they have in the message.
        compression: What to send of the update.
        rng: Of what is drawn: random-k, stochastic rounding.

    Returns:
        What is sent as it is, which are the buffers and whatever is not trained; and the update.

    Raises:
        ValueError: The update holds what is not finite, or the state is of another model.
    """
    w_global = message.content.array_records[ARRAYS]
    state = model.state_dict()
    trained = [name for name, w in model.named_parameters() if w.requires_grad]
    # Of a model that diverged nothing is finite, which is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        delta = {key: state[key].cpu().numpy() - view(w_global[key]) for key in trained}
    server_round = TrainInstruction.of(message).server_round
    if isinstance(compression, ErrorFeedback):
        compressed, memory = compression.compress(delta, _recall(context), server_round, rng)
        _keep(context, memory)
    else:
        compressed = compression.compress(delta, server_round, rng)
    buffers = to_arrays({key: w for key, w in state.items() if key not in delta})
    return buffers, to_record(compressed.payload)


def _recall(context: Context) -> Memory:
    """Return what the client kept; nothing before its first round."""
    return Memory(_tensors(context, _RESIDUAL), _tensors(context, _MOMENTUM))


def _tensors(context: Context, name: str) -> dict[str, NDArray[Any]]:
    record = context.state.array_records.get(name, ArrayRecord())
    return {key: view(array) for key, array in record.items()}


def _keep(context: Context, memory: Memory) -> None:
    for name, tensors in ((_RESIDUAL, memory.residual), (_MOMENTUM, memory.momentum)):
        if tensors:
            context.state[name] = ArrayRecord({key: to_array(v) for key, v in tensors.items()})
