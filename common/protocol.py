"""What server and client write to each other in a round of training."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

ARRAYS: Final = "arrays"
INSTRUCTION: Final = "config"
METRICS: Final = "metrics"
NUM_EXAMPLES: Final = "num-examples"
# SCAFFOLD's: c in a message, c_k in a client's state; c_k+ - c_k in a reply.
CONTROL_VARIATE: Final = "control-variate"
CONTROL_VARIATE_CHANGE: Final = "control-variate-change"
# An encoded update (common.compression.wire) in a reply: what ARRAYS lacks there is in it.
UPDATE: Final = "update"


@dataclass(frozen=True)
class TrainInstruction:
    """What the server asks of one client beside the global model.

    Attributes:
        server_round: The round, from 1.
        epochs: Local epochs to do.
        mu: Coefficient of the proximal term.
        batches: Mini-batches to do of an epoch; None for all of them.
    """

    server_round: int
    epochs: int
    mu: float
    batches: int | None = None

    def to_content(self, w_global: ArrayRecord) -> RecordDict:
        """Return the content of the message that asks for this."""
        instruction = ConfigRecord(
            {"server-round": self.server_round, "epochs": self.epochs, "mu": self.mu}
        )
        if self.batches is not None:
            instruction["batches"] = self.batches
        return RecordDict({ARRAYS: w_global, INSTRUCTION: instruction})

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the instruction that a client received."""
        record: dict[str, Any] = dict(message.content.config_records[INSTRUCTION])
        return cls(record["server-round"], record["epochs"], record["mu"], record.get("batches"))


def train_reply(
    message: Message,
    w_k: ArrayRecord,
    num_examples: int,
    metrics: Mapping[str, float] = MappingProxyType({}),
    control_variate_change: ArrayRecord | None = None,
    update: ArrayRecord | None = None,
) -> Message:
    """Answer with a client's model and n_k, the number of examples it was trained on.

    Args:
        message: What the server asked.
        w_k: The model; what is in ``update`` is not in it.
        num_examples: n_k.
        metrics: What the client measured of its own model, by name, such as "test-accuracy".
        control_variate_change: c_k+ - c_k of SCAFFOLD, None in any other algorithm.
        update: w_k - w_t, encoded; None if the whole model is in ``w_k``.

    Returns:
        The reply that a strategy reads.
    """
    record = MetricRecord({NUM_EXAMPLES: num_examples})
    for name, value in metrics.items():
        record[name] = value
    content = RecordDict({ARRAYS: w_k, METRICS: record})
    if control_variate_change is not None:
        content[CONTROL_VARIATE_CHANGE] = control_variate_change
    if update is not None:
        content[UPDATE] = update
    return Message(content, reply_to=message)


def count_bytes(content: RecordDict) -> int:
    """Return what the records of a message weigh: arrays with their .npy headers, and names.

    It is Flower's own count. The serialised message is longer by the type and shape of each array
    and the framing around it, some 40 bytes an array.
    """
    return sum(record.count_bytes() for record in content.values())
