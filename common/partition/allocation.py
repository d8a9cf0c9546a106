"""Who owns which example, once it is settled how many of each class every client gets."""

import numpy as np

from common.partition.csr import IntArray


def owners_from_counts(labels: IntArray, counts: IntArray, rng: np.random.Generator) -> IntArray:
    """Give every example an owner; which examples of a class a client gets is random.

    Args:
        labels: Class of every example, shape [num_examples].
        counts: Examples of each class for each client, shape [num_clients, num_classes]; column c
            adds up to the number of examples of class c.
        rng: Source of randomness.

    Returns:
        Owner of every example, shape [num_examples].
    """
    num_clients, num_classes = counts.shape
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    owners = np.empty(len(labels), dtype=np.int64)
    owners[by_class] = np.repeat(np.tile(np.arange(num_clients), num_classes), counts.T.ravel())
    return owners
