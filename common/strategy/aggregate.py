"""How the client models of a round become the next global model."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from common.arrays import to_array, view
from common.strategy.options import Buffers, Weighting
from common.strategy.server_optimizer import ServerOptimizer


class WeightedMean:
    """sum_k a_k w_k / sum_k a_k, key by key, of models that come one after another.

    Each is added as it comes, so that the server works while clients still train and holds one
    sum, whatever the size of the cohort. Sums are taken in float64 in the order given, because
    float addition does not commute: give the models in a fixed order, not in that of their arrival.

    Args:
        w_global: The model of the round; it is the result when no model has weight.
        keys: The tensors to average, None for all; the others stay those of ``w_global``.
    """

    def __init__(self, w_global: ArrayRecord, keys: Collection[str] | None = None) -> None:
        self._w_global = w_global
        self._total = 0
        self._sums = {
            key: np.zeros(w.shape, np.float64)
            for key, w in w_global.items()
            if keys is None or key in keys
        }

    def add(self, w_k: ArrayRecord, weight: int) -> None:
        """Add a client's model and its weight a_k.

        Args:
            w_k: Has the tensors to average, in the shapes of ``w_global``.
            weight: a_k.

        Raises:
            ValueError: A tensor has another shape; what was added before it stays added.
        """
        self._total += weight
        for key, sum_ in self._sums.items():
            w = view(w_k[key])
            if w.shape != sum_.shape:
                raise ValueError(f"{key} has shape {w.shape}, but must have {sum_.shape}")
            _add_product(sum_.reshape(-1), np.ravel(w), float(weight))

    def result(self) -> ArrayRecord:
        """Return the mean, in the types of ``w_global``."""
        if self._total == 0:
            return self._w_global
        return ArrayRecord(
            {
                key: to_array(self._mean(key)) if key in self._sums else w
                for key, w in self._w_global.items()
            }
        )

    def _mean(self, key: str) -> NDArray[Any]:
        mean = self._sums[key] / self._total
        dtype = np.dtype(self._w_global[key].dtype)
        if np.issubdtype(dtype, np.integer):  # Such as the batches BatchNorm has seen.
            mean = np.rint(mean)
        return mean.astype(dtype)


@dataclass(frozen=True)
class Aggregation:
    """What becomes of a round's client models.

    Attributes:
        parameters: Keys of the model that are parameters; the others are buffers, such as the
            statistics of BatchNorm. None if all are parameters.
        weighting: A model's weight in the mean: its client's examples n_k (McMahan et al. 2017,
            algorithm 1), or 1. A client without examples has none in either.
        buffers: The mean of the clients' buffers, or those of w_global.
        server_optimizer: Moves the parameters that it was made for from w_global; all else, and
            everything without one, becomes the mean.
        broadcast_only: Keys of what clients get, but do not send back; it stays that of w_global.
    """

    parameters: Collection[str] | None = None
    weighting: Weighting = "examples"
    buffers: Buffers = "average"
    server_optimizer: ServerOptimizer | None = None
    broadcast_only: Collection[str] = ()

    def start(self, w_global: ArrayRecord) -> WeightedMean:
        """Return the mean of a round, to which no model is added yet."""
        return WeightedMean(w_global, self.averaged(w_global))

    def averaged(self, w_global: ArrayRecord) -> list[str]:
        """Return the keys of the tensors whose mean is taken."""
        if self.buffers == "keep":
            return self.sent_parameters(w_global)
        return [key for key in w_global if key not in self.broadcast_only]

    def sent_parameters(self, w_global: ArrayRecord) -> list[str]:
        """Return the keys of the parameters that clients send."""
        return [
            key
            for key in w_global
            if key not in self.broadcast_only
            and (self.parameters is None or key in self.parameters)
        ]

    def weight(self, n_k: int) -> int:
        """Return the weight of a client's model in the mean."""
        return n_k if self.weighting == "examples" else min(n_k, 1)

    def next_model(self, w_global: ArrayRecord, w_mean: ArrayRecord) -> ArrayRecord:
        """Return the model of the next round, given the mean of this one.

        The pseudo-gradient is w_mean - w_global, after w_mean was rounded to the model's type: what
        no client changed has one of exactly 0.
        """
        if self.server_optimizer is None:
            return w_mean
        w = {key: view(w_global[key]) for key in self.server_optimizer.parameters}
        delta = {
            key: np.subtract(view(w_mean[key]), w_t, dtype=np.float64) for key, w_t in w.items()
        }
        moved = self.server_optimizer.step(w, delta)
        return ArrayRecord(
            {key: to_array(moved[key]) if key in moved else mean for key, mean in w_mean.items()}
        )


MEAN_BY_EXAMPLES: Final = Aggregation()


@numba.njit(cache=True, nogil=True)
def _add_product(sum_: NDArray[np.float64], w: NDArray[Any], weight: float) -> None:
    """Do ``sum_ += weight * w`` in one pass over memory; NumPy takes three."""
    for i in range(len(sum_)):
        sum_[i] += weight * w[i]
