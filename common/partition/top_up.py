"""Raises clients that got too little to a smallest size."""

from bisect import bisect_left

import numpy as np

from common.partition.csr import IntArray


def top_up(
    owners: IntArray, num_clients: int, min_partition_size: int, rng: np.random.Generator
) -> IntArray:
    """Move examples from the largest clients until none has fewer than ``min_partition_size``.

    The usual remedy is to draw the whole partition again until no client is too small (Yurochkin
    et al. 2019, arXiv 1905.12022, their code). For many clients or a small alpha that never ends,
    and where it ends it has bent the distribution of all clients. This moves the fewest examples
    that will do: whoever is largest gives one, again and again, so how many each client gives and
    gets is fixed by the sizes; which ones, is random.

    Args:
        owners: Owner of every example, shape [num_examples].
        num_clients: Number of clients.
        min_partition_size: Smallest size wanted, min_partition_size * num_clients <= num_examples.
        rng: Source of randomness, not drawn from if all clients are large enough.

    Returns:
        Owner of every example, shape [num_examples].
    """
    sizes = np.bincount(owners, minlength=num_clients)
    gets = np.maximum(min_partition_size - sizes, 0)
    if not gets.any():
        return owners
    gives = _given_by_largest(sizes, int(gets.sum()))
    shuffled = rng.permutation(len(owners))
    by_owner = shuffled[np.argsort(owners[shuffled], kind="stable")]
    place_in_row = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = by_owner[place_in_row < np.repeat(gives, sizes)]
    topped_up = owners.copy()
    topped_up[rng.permutation(moved)] = np.repeat(np.arange(num_clients), gets)
    return topped_up


def _given_by_largest(sizes: IntArray, wanted: int) -> IntArray:
    """Return how many each gives if the largest gives one, ``wanted`` times over: [num_clients]."""

    def too_little_above(level: int) -> bool:
        return int(np.maximum(sizes - level, 0).sum()) < wanted

    level = bisect_left(range(int(sizes.max()) + 1), True, key=too_little_above) - 1
    gives: IntArray = np.maximum(sizes - level, 0)
    # One level further down would be too much: the surplus stays with the first who give.
    surplus = int(gives.sum()) - wanted
    gives[np.flatnonzero(gives)[:surplus]] -= 1
    return gives
