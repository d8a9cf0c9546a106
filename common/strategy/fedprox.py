"""FedProx (Li et al. 2020, arXiv 1812.06127, algorithm 2) as its difference from FedAvg."""

import math
from collections.abc import Iterable, Sequence
from typing import Unpack

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from common.protocol import TrainInstruction
from common.strategy.adaptive_mu import AdaptiveMu
from common.strategy.cohort import Cohort, partial_batches, partial_epochs
from common.strategy.fedavg import FedAvg, FedAvgOptions
from common.strategy.mu_schedule import MuSchedule, require_one_rule_for_mu


class FedProx(FedAvg):
    """FedAvg, but clients add mu/2 ||w - w_global||^2 and stragglers send what they managed.

    Args:
        nodes: As for FedAvg.
        num_examples: As for FedAvg.
        mu: Coefficient of the proximal term, >= 0, or how it goes over the rounds; with
            ``adaptive_mu``, where it starts.
        batch_size: B, in which the work of stragglers at E = 1 is counted.
        adaptive_mu: Follow the paper's heuristic for mu.
        options: As for FedAvg. A straggler does a number of epochs drawn uniformly from 1..E-1, at
            E = 1 a number of mini-batches drawn uniformly from 1 to one less than its epoch has.

    Raises:
        UserInputError: mu is to be adaptive and to follow a schedule.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        num_examples: Sequence[int],
        *,
        mu: float | MuSchedule,
        batch_size: int,
        adaptive_mu: bool = False,
        **options: Unpack[FedAvgOptions],
    ) -> None:
        super().__init__(nodes, num_examples, **options)
        self._schedule = mu if isinstance(mu, MuSchedule) else MuSchedule("constant", mu, mu, 1)
        require_one_rule_for_mu(self._schedule.shape, adaptive_mu)
        self.mu = self._schedule.mu
        self.batch_size = batch_size
        self._heuristic = AdaptiveMu(self.mu) if adaptive_mu else None

    def _check(self) -> None:
        """Take any fraction of stragglers: whoever straggles sends something."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Do what FedAvg does, with the mu of the round."""
        if self._heuristic is None:
            self.mu = self._schedule.at(server_round)
        return super().configure_train(server_round, arrays, config, grid)

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
        """Return what FedAvg does, and what the heuristic for mu remembers."""
        heuristic = {} if self._heuristic is None else dict(self._heuristic.state())
        return RecordDict({**super().state(), **heuristic})

    def restore(self, state: RecordDict) -> None:
        """Continue from what :meth:`state` returned after some round.

        Raises:
            KeyError: Something is missing.
            ValueError: It returned something else.
        """
        super().restore(state)
        if self._heuristic is not None:
            self._heuristic.restore(state)
            self.mu = self._heuristic.mu
