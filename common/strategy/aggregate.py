"""The weighted mean of client models."""

from typing import Any

import numba
import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from common.arrays import to_array, view


class WeightedMean:
    """sum_k n_k w_k / sum_k n_k, key by key, of models that come one after another.

    Each is added as it comes, so that the server works while clients still train and holds one
    sum, whatever the size of the cohort. Sums are taken in float64 in the order given, because
    float addition does not commute: give the models in a fixed order, not in that of their arrival.

    Args:
        w_global: The model of the round; it is the result when nobody has examples.
    """

    def __init__(self, w_global: ArrayRecord) -> None:
        self._w_global = w_global
        self._total = 0
        self._sums = {key: np.zeros(w.shape, np.float64) for key, w in w_global.items()}

    def add(self, w_k: ArrayRecord, n_k: int) -> None:
        """Add a client's model, with the keys and shapes of ``w_global``, and its examples."""
        self._total += n_k
        for key, sum_ in self._sums.items():
            w = view(w_k[key])
            if w.shape != sum_.shape:
                raise ValueError(f"{key} has shape {w.shape}, but must have {sum_.shape}")
            _add_product(sum_.reshape(-1), np.ravel(w), float(n_k))

    def result(self) -> ArrayRecord:
        """Return the mean, in the types of ``w_global``."""
        if self._total == 0:
            return self._w_global
        return ArrayRecord({key: to_array(self._mean(key)) for key in self._sums})

    def _mean(self, key: str) -> NDArray[Any]:
        mean = self._sums[key] / self._total
        dtype = np.dtype(self._w_global[key].dtype)
        if np.issubdtype(dtype, np.integer):  # Such as the batches BatchNorm has seen.
            mean = np.rint(mean)
        return mean.astype(dtype)


@numba.njit(cache=True, nogil=True)
def _add_product(sum_: NDArray[np.float64], w: NDArray[Any], n_k: float) -> None:
    """Do ``sum_ += n_k * w`` in one pass over memory; NumPy takes three."""
    for i in range(len(sum_)):
        sum_[i] += n_k * w[i]
