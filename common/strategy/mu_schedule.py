"""mu as a function of the round, chosen before the run.

Li et al. 2020 (arXiv 1812.06127) fix mu or let it follow the training loss
(:mod:`common.strategy.adaptive_mu`); a schedule is the third way.
"""

import math
from dataclasses import dataclass
from typing import Literal

from common.errors import UserInputError

MuScheduleShape = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True)
class MuSchedule:
    """mu_t = (1 - s_t) mu + s_t mu_final for the rounds t = 1..T.

    With x_t = (t - 1) / (T - 1), s_t is 0 if constant, x_t if linear, and (1 - cos(pi x_t)) / 2 if
    cosine. A run of one round has mu.

    Attributes:
        shape: How mu goes.
        mu: Where it starts, >= 0.
        mu_final: Where it ends, >= 0; a constant one does not go there.
        num_rounds: Number of rounds, T.
    """

    shape: MuScheduleShape
    mu: float
    mu_final: float
    num_rounds: int

    def at(self, round: int) -> float:
        """Return the mu of a round, from 1."""
        if self.shape == "constant" or self.num_rounds == 1:
            return self.mu
        x = (round - 1) / (self.num_rounds - 1)
        s = x if self.shape == "linear" else (1 - math.cos(math.pi * x)) / 2
        return (1 - s) * self.mu + s * self.mu_final


def require_one_rule_for_mu(mu_schedule: MuScheduleShape, adaptive_mu: bool) -> None:
    """Refuse a schedule beside the heuristic that follows the training loss.

    Raises:
        UserInputError: mu is to follow both.
    """
    if adaptive_mu and mu_schedule != "constant":
        raise UserInputError(
            f"mu_schedule={mu_schedule!r} is not allowed with adaptive_mu=True: it must be "
            "constant, for adaptive mu follows the training loss."
        )


def require_train_loss(adaptive_mu: bool, evaluate_train_loss: bool) -> None:
    """Refuse the heuristic that follows the training loss without that loss.

    Raises:
        UserInputError: mu is to follow what is not measured.
    """
    if adaptive_mu and not evaluate_train_loss:
        raise UserInputError(
            "evaluate_train_loss=False is not allowed with adaptive_mu=True: it must be True, for "
            "adaptive mu follows the training loss."
        )
