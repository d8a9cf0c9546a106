"""FedAvg (McMahan et al. 2017, arXiv 1602.05629, algorithm 1), stragglers dropped.

What FedProx changes is in :mod:`common.strategy.fedprox`.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, Literal, Required, TypedDict

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from common.errors import ClientFailedError
from common.protocol import TrainInstruction, count_bytes
from common.strategy.aggregate import MEAN_BY_EXAMPLES, Aggregation
from common.strategy.client_metrics import ClientMetrics
from common.strategy.cohort import Cohort, require_a_complete_client, sample_cohort
from common.strategy.drift import Drift, divergence
from common.strategy.reply import BadReplyError, read_metrics, read_reply

OnClientFailure = Literal["end", "leave_out"]

_MAX_REASON: Final = 200  # Characters in rounds.jsonl; what ends a run is told in full.


@dataclass
class RoundTraffic:
    """Who took part in a round, and the serialised payload that it moved.

    Attributes:
        clients: Partition ids of the cohort, rising.
        stragglers: Those of them that could not finish in time.
        failed: Why a client was left out of the mean, by partition id.
        bytes_up: Bytes of the records received from clients, summed over clients.
        bytes_down: Bytes of the records sent to clients, summed over clients.
        client_bytes_up: The same of each client, parallel to ``clients``; 0 of one that was not
            asked or did not reply.
        client_bytes_down: The same of what each client was sent.
    """

    clients: list[int]
    stragglers: list[int]
    failed: dict[int, str] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    client_bytes_up: list[int] = field(init=False)
    client_bytes_down: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Begin the lists of bytes with nothing for each client."""
        self.client_bytes_up = [0] * len(self.clients)
        self.client_bytes_down = [0] * len(self.clients)

    def count_up(self, client: int, num_bytes: int) -> None:
        """Count what a client of the cohort replied with."""
        self.bytes_up += num_bytes
        self.client_bytes_up[bisect_left(self.clients, client)] += num_bytes

    def count_down(self, client: int, num_bytes: int) -> None:
        """Count what a client of the cohort was sent."""
        self.bytes_down += num_bytes
        self.client_bytes_down[bisect_left(self.clients, client)] += num_bytes


# Turns a round's traffic into further measures, by name.
TrafficMeasure = Callable[[RoundTraffic], Mapping[str, float]]


class FedAvgOptions(TypedDict, total=False):
    """What :class:`FedAvg` is given by name, and what derives from it passes on.

    Attributes:
        clients_per_round: As for :class:`FedAvg`, and so are the others.
        num_epochs: Local epochs, E.
        stragglers_fraction: Part of a cohort that cannot do all epochs, p.
        seed: The run's seed.
        on_client_failure: "end" or "leave_out".
        aggregation: What becomes of the models.
        measure_drift: Whether to measure how far the models go.
        measure_divergence: Whether to measure how far they are from their mean.
        client_metrics: Names of the numbers that clients report.
        measure_traffic: Computes measures of the bytes of a round.
    """

    clients_per_round: Required[int]
    num_epochs: Required[int]
    stragglers_fraction: Required[float]
    seed: Required[int]
    on_client_failure: OnClientFailure
    aggregation: Aggregation
    measure_drift: bool
    measure_divergence: bool
    client_metrics: Sequence[str]
    measure_traffic: TrafficMeasure | None


class FedAvg(Strategy):
    """Each round K clients train from the global model; the server averages their models.

    Clients that straggle are dropped: they send nothing in time (Li et al. 2020, section 5.2).

    Args:
        nodes: Flower node id of every client; the index is the partition id.
        num_examples: n_k of every client; a client that reports another number fails.
        clients_per_round: Clients of a cohort, K.
        num_epochs: E, local epochs.
        stragglers_fraction: p, in [0, 1]; exactly round(K (1 - p)) of a cohort do not straggle.
        seed: The run's seed.
        on_client_failure: "end" the run, or "leave_out" the client of the round's mean. A client
            fails if it raises, does not reply, or sends what cannot be averaged
            (:func:`common.strategy.reply.read_reply`).
        aggregation: What becomes of the models; by default the mean, weighted by n_k.
        measure_drift: Measure each round how far the models go
            (:class:`common.strategy.drift.Drift`).
        measure_divergence: Measure each round how far the models are from their mean
            (:func:`common.strategy.drift.divergence`), for which all of them are held at once.
        client_metrics: Names of the numbers that every client must report of its model
            (:class:`common.strategy.client_metrics.ClientMetrics`).
        measure_traffic: Computes measures of the bytes of a round, such as what they take on a
            link.

    Attributes:
        mu: Coefficient of the proximal term in the round last configured.
        traffic: Of the round last configured.
        measures: Of the round last aggregated, by name in rounds.jsonl; None for what is not
            defined by its models.

    Raises:
        UserInputError: Every client of a cohort would be dropped.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        num_examples: Sequence[int],
        *,
        clients_per_round: int,
        num_epochs: int,
        stragglers_fraction: float,
        seed: int,
        on_client_failure: OnClientFailure = "end",
        aggregation: Aggregation = MEAN_BY_EXAMPLES,
        measure_drift: bool = False,
        measure_divergence: bool = False,
        client_metrics: Sequence[str] = (),
        measure_traffic: TrafficMeasure | None = None,
    ) -> None:
        self.nodes = nodes
        self.num_examples = num_examples
        self.clients_per_round = clients_per_round
        self.num_epochs = num_epochs
        self.stragglers_fraction = stragglers_fraction
        self.seed = seed
        self.on_client_failure = on_client_failure
        self.aggregation = aggregation
        self.measure_drift = measure_drift
        self.measure_divergence = measure_divergence
        self.client_metrics = client_metrics
        self.measure_traffic = measure_traffic
        self.mu = 0.0
        self.traffic = RoundTraffic([], [])
        self.measures: dict[str, float | None] = {}
        self._client_of_node = {node: client for client, node in enumerate(nodes)}
        self._w_global = ArrayRecord()
        self._sent: list[int] = []
        self._missing: set[int] = set()
        self._check()

    def _check(self) -> None:
        require_a_complete_client(self.clients_per_round, self.stragglers_fraction)

    def instructions(self, round: int, cohort: Cohort) -> dict[int, TrainInstruction]:
        """Return what every client that is to train is asked for: FedAvg drops the stragglers."""
        full = TrainInstruction(round, self.num_epochs, self.mu)
        return {int(client): full for client in cohort.clients[~cohort.stragglers]}

    def content(self, instruction: TrainInstruction, w_global: ArrayRecord) -> RecordDict:
        """Return what a client is sent that is to train: the model and what it is asked for."""
        return instruction.to_content(w_global)

    def read_model(self, reply: Message, w_global: ArrayRecord, n_k: int) -> ArrayRecord:
        """Return the model w_k of a client that answered as asked.

        Args:
            reply: The client's.
            w_global: The model that it started from, whose keys, shapes and types w_k has.
            n_k: Examples of the client.

        Raises:
            BadReplyError: There is none that can be averaged.
        """
        return read_reply(reply, w_global, n_k, self.aggregation.broadcast_only)

    def take(self, reply: Message, weight: int) -> None:
        """Take what a client sent beside its model and metrics; FedAvg has no use for it.

        Args:
            reply: Its model and metrics are as they must be.
            weight: Of the model in the mean, 0 for a client without examples.

        Raises:
            BadReplyError: It cannot be used; the client fails, and its model is left out, too.
        """

    @property
    def clients_keep_state(self) -> bool:
        """Whether clients keep something from round to round, which a checkpoint must hold."""
        return False

    @property
    def follows_train_loss(self) -> bool:
        """Whether the next round depends on the global training loss after this one."""
        return False

    def observe_train_loss(self, train_loss: float) -> None:
        """Take note of the global training loss after a round; FedAvg has no use for it."""

    def state(self) -> RecordDict:
        """Return what the strategy carries from round to round beside the model.

        That is what the server optimiser remembers. It is part of a checkpoint, and must not change
        afterwards.
        """
        optimizer = self.aggregation.server_optimizer
        return RecordDict() if optimizer is None else optimizer.state()

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned after some round.

        Raises:
            KeyError: Something is missing.
            ValueError: It returned something else.
        """
        if self.aggregation.server_optimizer is not None:
            self.aggregation.server_optimizer.restore(state)

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
        instructions = self.instructions(server_round, cohort)
        self._sent = sorted(instructions)
        for client, instruction in instructions.items():
            content = self.content(instruction, arrays)
            self.traffic.count_down(client, count_bytes(content))
            messages.append(Message(content, self.nodes[client], MessageType.TRAIN))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, None]:
        """Make the next model of the clients', in the order of their partition ids.

        Args:
            server_round: From 1.
            replies: Of the round's clients, in any order.

        Returns:
            The model; and None for the metrics, which are in ``measures``.

        Raises:
            ClientFailedError: A client failed, and is not to be left out; or all of them failed.
        """
        mean = self.aggregation.start(self._w_global)
        metrics = ClientMetrics(self.client_metrics)
        parameters = self.aggregation.sent_parameters(self._w_global)
        drift = Drift(self._w_global, parameters) if self.measure_drift else None
        models: list[ArrayRecord] = []
        for client, reply in self._in_order(replies):
            if not reply.has_error():
                self.traffic.count_up(client, count_bytes(reply.content))
            n_k = self.num_examples[client]
            try:
                w_k = self.read_model(reply, self._w_global, n_k)
                reported = read_metrics(reply, self.client_metrics) if n_k > 0 else {}
                self.take(reply, self.aggregation.weight(n_k))
            except BadReplyError as error:
                self._fail(server_round, client, str(error))
                continue
            if n_k == 0:
                continue  # It trained nothing, and counts nowhere.
            mean.add(w_k, self.aggregation.weight(n_k))
            metrics.add(reported)
            if drift:
                drift.add(w_k)
            if self.measure_divergence:
                models.append(w_k)
        self._account_for_failures(server_round)
        w_mean = mean.result()
        self.measures = drift.result(w_mean) if drift else {}
        if self.measure_divergence:
            self.measures |= divergence(self._w_global, models, parameters)
        self.measures |= metrics.result()
        if self.measure_traffic:
            self.measures |= self.measure_traffic(self.traffic)
        return self.next_model(w_mean), None

    def next_model(self, w_mean: ArrayRecord) -> ArrayRecord:
        """Return the model of the next round, given the mean of this one."""
        return self.aggregation.next_model(self._w_global, w_mean)

    def _in_order(self, replies: Iterable[Message]) -> Iterator[tuple[int, Message]]:
        """Yield clients and replies in the order of partition ids, each as soon as that allows.

        Who is still missing then is in ``_missing``.
        """
        awaited = deque(self._sent)
        early: dict[int, Message] = {}
        self._missing = set(self._sent)
        for reply in replies:
            client = self._client_of_node[reply.metadata.src_node_id]
            if client not in self._missing:
                continue  # Nobody is averaged twice, or unasked.
            self._missing.remove(client)
            early[client] = reply
            while awaited and awaited[0] in early:
                client = awaited.popleft()
                yield client, early.pop(client)
        yield from sorted(early.items(), key=itemgetter(0))

    def _account_for_failures(self, server_round: int) -> None:
        """Note who did not reply, and end the run if nobody is left."""
        for client in sorted(self._missing):
            self._fail(server_round, client, "it did not reply")
        if self._sent and len(self.traffic.failed) == len(self._sent):
            raise ClientFailedError(
                f"All clients of round {server_round} failed, client {self._sent[0]} because: "
                f"{self.traffic.failed[self._sent[0]]}"
            )

    def _fail(self, server_round: int, client: int, reason: str) -> None:
        """Leave a client out, or end the run: a mean of the others is another experiment."""
        if self.on_client_failure == "end":
            raise ClientFailedError(f"Client {client} failed in round {server_round}: {reason}")
        self.traffic.failed[client] = reason.partition("\n")[0][:_MAX_REASON]

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
