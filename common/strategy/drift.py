"""How far the models of a round go from the global one, and from each other."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numba
import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from common.arrays import view


class Drift:
    """Distances and directions of the updates w_k - w_t, of models that come one after another.

    Every client counts alike, whatever its examples. Sums are taken in float64 in the order given.
    Beside w_t, it holds one sum of unit vectors, whatever the size of the cohort: with
    s = sum_k u_k over m updates of length 1, the mean cosine over pairs is
    (||s||^2 - m) / (m (m - 1)).

    Args:
        w_global: w_t, the model that the clients started from.
        parameters: The keys to measure; None for all. Tensors of whole numbers are left out.
    """

    def __init__(self, w_global: ArrayRecord, parameters: Collection[str] | None = None) -> None:
        self._w = _measured(w_global, parameters)
        self._directions = {key: np.zeros(len(w), np.float64) for key, w in self._w.items()}
        self._distances: list[float] = []

    def add(self, w_k: ArrayRecord) -> None:
        """Add a client's model, with the keys and shapes of ``w_global``."""
        distance = self._distance(w_k)
        self._distances.append(distance)
        if distance > 0:
            for key, w in self._w.items():
                _add_scaled(self._directions[key], np.ravel(view(w_k[key])), w, 1 / distance)

    def result(self, w_mean: ArrayRecord) -> dict[str, float | None]:
        """Return the measures of the round.

        Args:
            w_mean: The mean of the models, as weighted for the next one.

        Returns:
            These measures, by name.

            - ``drift``: mean_k ||w_k - w_t||, in l2 norm; None without clients.
            - ``drift_relative``: drift / ||w_t||; None for a w_t of zeros, too.
            - ``update_cosine``: The mean cosine between the updates of two clients; None with
              fewer than two updates that are not zero.
            - ``update_norm``: ||w_mean - w_t||.
        """
        drift = math.fsum(self._distances) / len(self._distances) if self._distances else None
        norm = math.sqrt(sum(_squares(w) for w in self._w.values()))
        return {
            "drift": drift,
            "drift_relative": None if drift is None or norm == 0 else drift / norm,
            "update_cosine": self._mean_cosine(),
            "update_norm": self._distance(w_mean),
        }

    def _distance(self, w_k: ArrayRecord) -> float:
        return math.sqrt(
            sum(_squared_distance(np.ravel(view(w_k[key])), w) for key, w in self._w.items())
        )

    def _mean_cosine(self) -> float | None:
        m = sum(distance > 0 for distance in self._distances)
        if m < 2:
            return None
        return (sum(_squares(s) for s in self._directions.values()) - m) / (m * (m - 1))


def divergence(
    w_global: ArrayRecord, models: Sequence[ArrayRecord], parameters: Collection[str] | None = None
) -> dict[str, float | None]:
    """Return how far the models of a round are from their mean, the one before any weighting.

    Where drift is the way from w_t, this is what is left of it once the way that all clients go
    together is taken off: it is at most twice the drift. It grows with the local learning rate, and
    so does its ratio to ||w_t||; that to the mean update does not, to first order, and is
    sqrt(m - 1) for m updates of one length at right angles. Every client counts alike.

    All models are needed at once, for the mean comes first; beside them one tensor is held, in
    float64, in which sums are taken in the order of the models.

    Args:
        w_global: w_t, the model that the clients started from.
        models: Those of the clients, with the keys and shapes of ``w_global``.
        parameters: The keys to measure; None for all. Tensors of whole numbers are left out.

    Returns:
        These measures, by name.

        - ``divergence``: mean_k ||w_k - mean_k w_k||, in l2 norm; None without models.
        - ``divergence_relative``: divergence / ||w_t||; None for a w_t of zeros, too.
        - ``divergence_to_update``: divergence / ||mean_k w_k - w_t||; None for a mean that does not
          move, too.
    """
    from_mean = [0.0] * len(models)
    update = norm = 0.0
    for key, w in _measured(w_global, parameters).items():
        mean = np.zeros(len(w), np.float64)
        for w_k in models:
            _add(mean, np.ravel(view(w_k[key])))
        mean /= max(len(models), 1)
        for k, w_k in enumerate(models):
            from_mean[k] += _squared_distance(np.ravel(view(w_k[key])), mean)
        update += _squared_distance(mean, w)
        norm += _squares(w)
    if not models:
        return {"divergence": None, "divergence_relative": None, "divergence_to_update": None}
    mean_distance = math.fsum(map(math.sqrt, from_mean)) / len(models)
    return {
        "divergence": mean_distance,
        "divergence_relative": mean_distance / math.sqrt(norm) if norm else None,
        "divergence_to_update": mean_distance / math.sqrt(update) if update else None,
    }


def _measured(w_global: ArrayRecord, parameters: Collection[str] | None) -> dict[str, NDArray[Any]]:
    """Return the tensors that count, as vectors."""
    return {
        key: np.ravel(view(w))
        for key, w in w_global.items()
        if (parameters is None or key in parameters) and np.dtype(w.dtype).kind == "f"
    }


def _squares(w: NDArray[Any]) -> float:
    return float(_squared_distance(w, np.zeros_like(w)))


@numba.njit(cache=True, nogil=True)
def _squared_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return ``||a - b||^2`` in one pass over memory."""
    total = 0.0
    for i in range(len(a)):
        difference = np.float64(a[i]) - np.float64(b[i])
        total += difference * difference
    return total


@numba.njit(cache=True, nogil=True)
def _add(sum_: NDArray[np.float64], a: NDArray[Any]) -> None:
    """Do ``sum_ += a`` in one pass over memory."""
    for i in range(len(sum_)):
        sum_[i] += a[i]


@numba.njit(cache=True, nogil=True)
def _add_scaled(sum_: NDArray[np.float64], a: NDArray[Any], b: NDArray[Any], scale: float) -> None:
    """Do ``sum_ += scale * (a - b)`` in one pass over memory."""
    for i in range(len(sum_)):
        sum_[i] += scale * (np.float64(a[i]) - np.float64(b[i]))
