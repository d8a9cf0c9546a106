"""Flower's ``Grid`` for simulation: what the inline and the Ray engine have in common."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from flwr.app import Context, Message, RecordDict, UserConfig
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from common.engine.flower import RUN_ID, SERVER_NODE_ID, make_run, number_message
from common.protocol import INSTRUCTION, TrainInstruction

# Node ids are partition ids, shifted past 0, which Flower takes for "no node", and the server's.
_FIRST_NODE_ID: Final = SERVER_NODE_ID + 1


def node_id(client: int) -> int:
    """Return the Flower node id of a client, given its partition id."""
    return client + _FIRST_NODE_ID


def partition_id(node: int) -> int:
    """Return the partition id of a client, given its Flower node id."""
    return node - _FIRST_NODE_ID


class SimulationGrid(Grid):
    """A grid whose nodes are the partitions 0..num_clients-1 of a data set.

    What a client keeps in ``context.state`` is there again when it next takes part; a client whose
    reply is an error keeps what it had before.

    Args:
        num_clients: Number of clients.
        run_config: Flat configuration that every client finds in its context.

    Attributes:
        engine: Value of the key ``engine`` that it stands for.
        num_examples: Examples of every client, if the server app says so; the work that a client
            is asked for is estimated from it.
        num_workers: Clients that answer at the same time.
        client_seconds: What the clients' apps took so far, summed over clients.
        client_states: What each client keeps for later rounds, by partition id; only clients that
            ever kept something. May be set, to go on with a run. No record dict in it is ever
            changed: a client that answers again has a new one, and one that fails the one it had.
    """

    engine: str

    def __init__(self, num_clients: int, run_config: UserConfig) -> None:
        self.num_clients = num_clients
        self.run_config = run_config
        self.num_examples: Sequence[int] | None = None
        self.num_workers = 1
        self.client_seconds = 0.0
        self._run = make_run()
        self.client_states: dict[int, RecordDict] = {}
        self._states_before: dict[int, RecordDict | None] = {}
        self._replies: dict[str, Message] = {}
        self._num_pushed = 0

    @abstractmethod
    def _answer(self, messages: Sequence[Message]) -> Iterator[Message]:
        """Let the clients answer; the replies come in the order of the messages."""

    def prepare(self, num_examples: Sequence[int]) -> None:
        """Get ready to answer, while the server app does the same.

        Args:
            num_examples: Examples of every client.
        """
        self.num_examples = num_examples

    @property
    def nodes(self) -> list[int]:
        """Node id of every client; the index is the partition id."""
        return [node_id(client) for client in range(self.num_clients)]

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message; ``Message(...)`` does the same."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids of all clients."""
        return self.nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the clients answer; returns one identifier a message, to pull its reply with."""
        batch = self._numbered(messages)
        for reply in self._answer(batch):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in batch]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that were not pulled before."""
        return [self._replies.pop(id_) for id_ in message_ids if id_ in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Let the clients answer; yields their replies in the order of the messages.

        A reply is there to be used while later clients still train. Take all of them before the
        next messages are sent.

        Args:
            messages: To the clients that take part.
            timeout: In Flower, seconds to wait for replies; not looked at here.

        Returns:
            The replies, one after another.
        """
        return self._answer(self._numbered(messages))

    def _numbered(self, messages: Iterable[Message]) -> list[Message]:
        batch = list(messages)
        self._states_before = {}
        for message in batch:
            number_message(message, str(self._num_pushed))
            self._num_pushed += 1
        return batch

    def _work(self, message: Message) -> float:
        """Estimate what a message asks for: examples that the client passes, and one for itself."""
        if self.num_examples is None or INSTRUCTION not in message.content:
            return 1
        epochs = TrainInstruction.of(message).epochs
        return 1 + epochs * self.num_examples[self._client(message)]

    @staticmethod
    def _client(message: Message) -> int:
        return partition_id(message.metadata.dst_node_id)

    def _keep_state(self, client: int, state: RecordDict) -> None:
        self._states_before[client] = self.client_states.get(client)
        if state or client in self.client_states:
            self.client_states[client] = state

    def take_back(self, clients: Iterable[int]) -> None:
        """Let clients keep what they had before their last answer, which was not good.

        Args:
            clients: Partition ids; one that has not answered is as it was.
        """
        for client in clients:
            state = self._states_before.pop(client, self.client_states.get(client))
            if state is not None:
                self.client_states[client] = state
            else:
                self.client_states.pop(client, None)


def make_context(
    client: int, num_clients: int, run_config: UserConfig, state: RecordDict | None
) -> Context:
    """Return what Flower's simulation would hand a client beside the message."""
    return Context(
        run_id=RUN_ID,
        node_id=node_id(client),
        node_config={"partition-id": client, "num-partitions": num_clients},
        state=RecordDict() if state is None else state,
        run_config=run_config,
    )
