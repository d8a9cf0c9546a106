"""What every client of a round receives alike is sent to a worker once, not once a client."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message, RecordDict


@dataclass(frozen=True)
class Envelope:
    """A message for one client without the records that it shares with others.

    Attributes:
        message: The message, its shared records taken out.
        shared: Position in the broadcast of every record taken out, by its name.
        state: What the client kept from earlier rounds, None if nothing.
    """

    message: Message
    shared: dict[str, int] = field(default_factory=dict)
    state: RecordDict | None = None

    def open(self, broadcast: Sequence[ArrayRecord]) -> Message:
        """Put the shared records back."""
        for name, position in self.shared.items():
            self.message.content[name] = broadcast[position]
        return self.message


def split_shared(messages: Sequence[Message]) -> tuple[list[ArrayRecord], list[dict[str, int]]]:
    """Take the array records out of the messages that more than one message refers to.

    The messages' contents are replaced, not changed: a content may itself be shared.

    Args:
        messages: Messages with content.

    Returns:
        The records to broadcast, and for every message the position of each of its own there.
    """
    occurrences = Counter(
        id(record) for message in messages for record in message.content.array_records.values()
    )
    positions: dict[int, int] = {}
    broadcast: list[ArrayRecord] = []
    shared: list[dict[str, int]] = []
    for message in messages:
        own = {}
        rest = RecordDict()
        for name, record in message.content.items():
            if isinstance(record, ArrayRecord) and occurrences[id(record)] > 1:
                if id(record) not in positions:
                    positions[id(record)] = len(broadcast)
                    broadcast.append(record)
                own[name] = positions[id(record)]
            else:
                rest[name] = record
        message.content = rest
        shared.append(own)
    return broadcast, shared
