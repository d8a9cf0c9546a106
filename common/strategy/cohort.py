"""Which clients take part in a round, and which of them straggle.

The draws depend on (seed, round) only, so every arm of a comparison that shares a seed meets the
same clients and the same stragglers, as in the experiments of Li et al. 2020 (section 5.2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import UserInputError
from common.randomness import Purpose, generator


@dataclass(frozen=True)
class Cohort:
    """The clients of one round.

    Attributes:
        clients: Partition ids, rising, int64 [K].
        stragglers: Which of them cannot finish the full local epochs in time, bool [K].
    """

    clients: NDArray[np.int64]
    stragglers: NDArray[np.bool_]


def num_complete(clients_per_round: int, stragglers_fraction: float) -> int:
    """Return how many clients of a round do the full local epochs: round(K (1 - p)).

    The number is exact, as in the authors' code. Independent draws a client would leave 35 % of
    the rounds at K = 10, p = 0.9 with nobody complete.
    """
    return round(clients_per_round * (1 - stragglers_fraction))


def require_a_complete_client(clients_per_round: int, stragglers_fraction: float) -> None:
    """Refuse a fraction that makes a strategy which drops stragglers drop everybody.

    Raises:
        UserInputError: round(K (1 - p)) is 0.
    """
    if num_complete(clients_per_round, stragglers_fraction) == 0:
        raise UserInputError(
            f"stragglers_fraction={stragglers_fraction} is not allowed: algorithm=fedavg drops "
            f"stragglers, and must be left at least 1 of clients_per_round={clients_per_round}."
        )


def sample_cohort(
    seed: int, round: int, num_clients: int, clients_per_round: int, stragglers_fraction: float
) -> Cohort:
    """Draw K distinct clients uniformly, then which of them straggle.

    Args:
        seed: The run's seed.
        round: Server round, from 1.
        num_clients: Clients to draw from.
        clients_per_round: K, at most ``num_clients``.
        stragglers_fraction: p, in [0, 1].

    Returns:
        The cohort.
    """
    clients = generator(seed, Purpose.COHORT, round).choice(
        num_clients, clients_per_round, replace=False
    )
    stragglers = np.ones(clients_per_round, dtype=np.bool_)
    complete = generator(seed, Purpose.STRAGGLERS, round).permutation(clients_per_round)
    stragglers[complete[: num_complete(clients_per_round, stragglers_fraction)]] = False
    return Cohort(np.sort(clients), stragglers)


def partial_epochs(seed: int, round: int, client: int, num_epochs: int) -> int:
    """Draw the local epochs that a straggler manages: uniform in 1..E-1 (authors' code).

    Args:
        seed: The run's seed.
        round: Server round, from 1.
        client: Partition id.
        num_epochs: E, at least 2.

    Returns:
        Epochs, from 1 to E - 1.
    """
    return int(generator(seed, Purpose.PARTIAL_WORK, round, client).integers(1, num_epochs))


def partial_batches(seed: int, round: int, client: int, num_batches: int) -> int:
    """Draw the mini-batches that a straggler manages of one epoch.

    Uniform in 1..T-1 for an epoch of T mini-batches, and 1 for T = 1. It stands in where E = 1
    leaves no number of epochs below E, for figures 9 and 10 of the paper, which have stragglers
    there. The authors' code raises an error at E = 1; commented out beside it stands a draw of
    mini-batches from 1 to floor(n_k / B) + 1, by which a straggler may do the whole epoch.

    Args:
        seed: The run's seed.
        round: Server round, from 1.
        client: Partition id.
        num_batches: T, at least 1.

    Returns:
        Mini-batches, from 1 to max(T - 1, 1).
    """
    rng = generator(seed, Purpose.PARTIAL_WORK, round, client)
    return int(rng.integers(1, max(num_batches, 2)))
