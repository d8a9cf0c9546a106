"""The weighted mean of client models."""

from collections.abc import Sequence

import numpy as np
from flwr.app import Array, ArrayRecord


def weighted_mean(
    models: Sequence[ArrayRecord], num_examples: Sequence[int], w_global: ArrayRecord
) -> ArrayRecord:
    """Return sum_k n_k w_k / sum_k n_k, key by key.

    Sums are taken in float64 in the order given, because float addition does not commute: give
    the models in a fixed order, not in that of their arrival.

    Args:
        models: The client models, with the keys and shapes of ``w_global``.
        num_examples: Examples n_k that each was trained on.
        w_global: The model of the round; it is the result when nobody has examples.
    """
    total = sum(num_examples)
    if total == 0:
        return w_global
    mean = ArrayRecord()
    for key, reference in w_global.items():
        sum_ = np.zeros(reference.shape, dtype=np.float64)
        for model, n_k in zip(models, num_examples, strict=True):
            sum_ += np.multiply(model[key].numpy(), n_k / total, dtype=np.float64)
        if np.issubdtype(reference.dtype, np.integer):  # Such as the batches BatchNorm has seen.
            sum_ = np.rint(sum_, out=sum_)
        mean[key] = Array(sum_.astype(reference.dtype))
    return mean
