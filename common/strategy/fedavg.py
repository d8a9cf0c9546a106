"""FedAvg (McMahan et al. 2017, arXiv 1602.05629, algorithm 1), stragglers dropped.

What FedProx changes is in :mod:`common.strategy.fedprox`.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common.errors import ClientFailedError
from common.protocol import ARRAYS, TrainInstruction, count_bytes, num_examples
from common.strategy.aggregate import WeightedMean
from common.strategy.cohort import Cohort, require_a_complete_client, sample_cohort


@dataclass
class RoundTraffic:
    """Who took part in a round, and the serialised payload that it moved.

    Attributes:
        clients: Partition ids of the cohort, rising.
        stragglers: Those of them that could not finish in time.
        bytes_down: Bytes of the records sent to clients, summed over clients.
        bytes_up: Bytes of the records received from clients, summed over clients.
    """

    clients: list[int]
    stragglers: list[int]
    bytes_down: int = 0
    bytes_up: int = 0


class FedAvg(Strategy):
    """Each round K clients train from the global model; the server averages, weighted by n_k.

    Clients that straggle are dropped: they send nothing in time (Li et al. 2020, section 5.2).

    Args:
        nodes: Flower node id of every client; the index is the partition id.
        clients_per_round: K.
        num_epochs: E, local epochs.
        stragglers_fraction: p, in [0, 1]; exactly round(K (1 - p)) of a cohort do not straggle.
        seed: The run's seed.

    Raises:
        UserInputError: Every client of a cohort would be dropped.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        clients_per_round: int,
        num_epochs: int,
        stragglers_fraction: float,
        seed: int,
    ) -> None:
        self.nodes = nodes
        self.clients_per_round = clients_per_round
        self.num_epochs = num_epochs
        self.stragglers_fraction = stragglers_fraction
        self.seed = seed
        self.mu = 0.0
        self.traffic = RoundTraffic([], [])
        self._client_of_node = {node: client for client, node in enumerate(nodes)}
        self._w_global = ArrayRecord()
        self._sent: list[int] = []
        self._check()

    def _check(self) -> None:
        require_a_complete_client(self.clients_per_round, self.stragglers_fraction)

    def local_epochs(self, round: int, cohort: Cohort) -> dict[int, int]:
        """Return the epochs of every client that is to train: FedAvg drops the stragglers."""
        return {int(client): self.num_epochs for client in cohort.clients[~cohort.stragglers]}

    @property
    def follows_train_loss(self) -> bool:
        """Whether the next round depends on the global training loss after this one."""
        return False

    def observe_train_loss(self, train_loss: float) -> None:
        """Take note of the global training loss after a round; FedAvg has no use for it."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample the cohort and tell each client that is to train its work."""
        cohort = sample_cohort(
            self.seed,
            server_round,
            len(self.nodes),
            self.clients_per_round,
            self.stragglers_fraction,
        )
        self._w_global = arrays
        self.traffic = RoundTraffic(
            clients=cohort.clients.tolist(), stragglers=cohort.clients[cohort.stragglers].tolist()
        )
        messages = []
        work = self.local_epochs(server_round, cohort)
        self._sent = sorted(work)
        for client, epochs in work.items():
            content = TrainInstruction(server_round, epochs, self.mu).to_content(arrays)
            self.traffic.bytes_down += count_bytes(content)
            messages.append(Message(content, self.nodes[client], MessageType.TRAIN))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the client models in the order of their partition ids.

        Raises:
            ClientFailedError: A client raised or did not reply; a mean of the others would be
                another experiment.
        """
        mean = WeightedMean(self._w_global)
        for reply in self._in_order(server_round, replies):
            if reply.has_error():
                raise ClientFailedError(
                    f"Client {self._client(reply)} failed in round {server_round}: "
                    f"{reply.error.reason}"
                )
            self.traffic.bytes_up += count_bytes(reply.content)
            mean.add(reply.content.array_records[ARRAYS], num_examples(reply))
        return mean.result(), None

    def _in_order(self, server_round: int, replies: Iterable[Message]) -> Iterator[Message]:
        """Yield the replies in the order of their partition ids, each as soon as that allows."""
        early: dict[int, Message] = {}
        expected = deque(self._sent)
        for reply in replies:
            early[self._client(reply)] = reply
            while expected and expected[0] in early:
                yield early.pop(expected.popleft())
        for client in sorted(early):  # Somebody is missing, but one of these may say why.
            yield early[client]
        if expected:
            raise ClientFailedError(
                f"{len(expected) - len(early)} of {len(self._sent)} clients did not reply in round "
                f"{server_round}."
            )

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask nobody: the server evaluates."""
        return []

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return None: clients evaluate nothing."""
        return None

    def summary(self) -> None:
        """Print nothing: the run directory holds the whole configuration."""

    def _client(self, reply: Message) -> int:
        return self._client_of_node[reply.metadata.src_node_id]
