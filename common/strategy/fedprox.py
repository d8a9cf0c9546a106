"""FedProx (Li et al. 2020, arXiv 1812.06127, algorithm 2) as its difference from FedAvg."""

import math
from collections.abc import Sequence

from flwr.app import RecordDict

from common.protocol import TrainInstruction
from common.strategy.adaptive_mu import AdaptiveMu
from common.strategy.cohort import Cohort, partial_batches, partial_epochs
from common.strategy.fedavg import FedAvg, OnClientFailure


class FedProx(FedAvg):
    """FedAvg, but clients add mu/2 ||w - w_global||^2 and stragglers send what they managed.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        clients_per_round: K.
        num_epochs: E; a straggler does a number drawn uniformly from 1..E-1, at E = 1 a number of
            mini-batches drawn uniformly from 1 to one less than its epoch has.
        stragglers_fraction: p, in [0, 1].
        seed: The run's seed.
        on_client_failure: As for FedAvg.
        mu: Coefficient of the proximal term, >= 0; with ``adaptive_mu``, where it starts.
        batch_size: B, in which the work of stragglers at E = 1 is counted.
        adaptive_mu: Follow the paper's heuristic for mu.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        num_examples: Sequence[int],
        clients_per_round: int,
        num_epochs: int,
        stragglers_fraction: float,
        seed: int,
        on_client_failure: OnClientFailure = "end",
        *,
        mu: float,
        batch_size: int,
        adaptive_mu: bool = False,
    ) -> None:
        super().__init__(
            nodes,
            num_examples,
            clients_per_round,
            num_epochs,
            stragglers_fraction,
            seed,
            on_client_failure,
        )
        self.mu = mu
        self.batch_size = batch_size
        self._heuristic = AdaptiveMu(mu) if adaptive_mu else None

    def _check(self) -> None:
        """Take any fraction of stragglers: whoever straggles sends something."""

    def instructions(self, round: int, cohort: Cohort) -> dict[int, TrainInstruction]:
        """Return what every client is asked for: E epochs, or less of a straggler."""
        full = TrainInstruction(round, self.num_epochs, self.mu)
        return {
            client: self._partial_work(round, client) if straggles else full
            for client, straggles in zip(
                cohort.clients.tolist(), cohort.stragglers.tolist(), strict=True
            )
        }

    def _partial_work(self, round: int, client: int) -> TrainInstruction:
        if self.num_epochs > 1:
            epochs = partial_epochs(self.seed, round, client, self.num_epochs)
            return TrainInstruction(round, epochs, self.mu)
        num_batches = math.ceil(self.num_examples[client] / self.batch_size)
        batches = partial_batches(self.seed, round, client, num_batches)
        return TrainInstruction(round, 1, self.mu, batches)

    @property
    def follows_train_loss(self) -> bool:
        """Whether mu is adaptive."""
        return self._heuristic is not None

    def observe_train_loss(self, train_loss: float) -> None:
        """Let the heuristic choose the mu of the next round."""
        if self._heuristic is not None:
            self.mu = self._heuristic.update(train_loss)

    def state(self) -> RecordDict:
        """Return what the heuristic for mu remembers; a fixed mu needs nothing."""
        return RecordDict() if self._heuristic is None else self._heuristic.state()

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned after some round."""
        if self._heuristic is not None:
            self._heuristic.restore(state)
            self.mu = self._heuristic.mu
