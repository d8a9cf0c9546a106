"""The k entries of largest magnitude: exact, ties by lowest index, in little more than one pass.

``np.partition`` moves all entries several times to find the k-th magnitude, and hundreds of times
where few magnitudes differ. Here a sample gives a magnitude that somewhat more than k entries have,
one pass over memory in pieces that stay in the cache finds these candidates, and the k-th magnitude
is found among them by counting. A sample that misleads costs time, never exactness.

Magnitudes are compared as the bits of a float32 without its sign, read as an integer: these are in
the order of the magnitudes, subnormal ones included, whatever the processor's flags say.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MAGNITUDE = np.uint32(0x7FFFFFFF)  # All bits but the sign.
_PIECE = 1 << 17  # Entries; their magnitudes, 512 KiB, stay in the second-level cache.
_SAMPLE = 1 << 14  # Entries; a sample of fewer than four times as many would not pay.


def top_k(arrays: Sequence[NDArray[np.float32]], k: int) -> list[NDArray[np.int64]]:
    """Return where the k entries of largest magnitude of all arrays together are.

    Ties go to the first array, and in it to the lowest index.

    Args:
        arrays: Each of shape [n_i], finite.
        k: From 0 to the sum of all n_i.

    Returns:
        Rising indices into each array, shape [k_i], where all k_i add up to k.
    """
    num_entries = sum(len(values) for values in arrays)
    if k == num_entries:
        return [np.arange(len(values)) for values in arrays]
    if k == 0:
        return [np.empty(0, dtype=np.int64) for _ in arrays]

    floor = _floor(arrays, num_entries, k)
    candidates = [_at_least(values, floor) for values in arrays]
    if sum(map(len, candidates)) < k:  # The sample misled.
        floor = _kth_largest(_magnitudes(arrays), k)
        candidates = [_at_least(values, floor) for values in arrays]
    magnitudes = _magnitudes(
        [values[indices] for values, indices in zip(arrays, candidates, strict=True)]
    )

    kth = _kth_largest(magnitudes, k)
    is_chosen = magnitudes > kth
    num_ties = k - np.count_nonzero(is_chosen)
    is_chosen[np.flatnonzero(magnitudes == kth)[:num_ties]] = True
    ends = np.cumsum([len(indices) for indices in candidates])[:-1]
    return [
        indices[chosen]
        for indices, chosen in zip(candidates, np.split(is_chosen, ends), strict=True)
    ]


def at_least(values: NDArray[np.float32], magnitude: np.float32) -> NDArray[np.int64]:
    """Return the rising indices of the entries with ``|v| >= magnitude``.

    Args:
        values: Finite, shape [n].
        magnitude: >= 0.

    Returns:
        int64, shape [entries found].
    """
    return _at_least(values, magnitude.view(np.uint32))


def _floor(arrays: Sequence[NDArray[np.float32]], num_entries: int, k: int) -> np.uint32:
    """Return a magnitude that likely k entries or somewhat more have, and few others."""
    if num_entries < 4 * _SAMPLE:
        return _kth_largest(_magnitudes(arrays), k)
    step = num_entries // _SAMPLE
    sample = _magnitudes([values[_sampled(len(values), step)] for values in arrays])
    # The number of sampled entries among the k largest is about binomial: four deviations more.
    expected = k * len(sample) / num_entries
    rank = math.ceil(expected + 4 * math.sqrt(expected) + 4)
    return _kth_largest(sample, rank) if rank <= len(sample) else np.uint32(0)


def _sampled(num_entries: int, step: int) -> NDArray[np.int64]:
    """Return an index from each whole step of entries.

    Where in the step is scattered, for tensors have periods: the middle of a 3 x 3 filter.
    """
    steps = np.arange(num_entries // step)
    return steps * step + (steps * 2654435769 >> 16) % step  # 2 ** 32 by the golden ratio.


def _magnitudes(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.uint32]:
    bits = np.concatenate(arrays).view(np.uint32)
    bits &= _MAGNITUDE
    return bits


def _kth_largest(magnitudes: NDArray[np.uint32], k: int) -> np.uint32:
    """Return the largest magnitude that k or more have, by bisection: at most 31 counts."""
    low, high = int(magnitudes.min()), int(magnitudes.max())
    has_it = np.empty(len(magnitudes), dtype=np.bool_)
    while low < high:
        middle = (low + high + 1) // 2
        np.greater_equal(magnitudes, np.uint32(middle), out=has_it)
        if np.count_nonzero(has_it) >= k:
            low = middle
        else:
            high = middle - 1
    return np.uint32(low)


def _at_least(values: NDArray[np.float32], floor: np.uint32) -> NDArray[np.int64]:
    magnitudes = np.empty(min(_PIECE, len(values)), dtype=np.uint32)
    is_found = np.empty(len(magnitudes), dtype=np.bool_)
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE].view(np.uint32)
        n = len(piece)
        np.bitwise_and(piece, _MAGNITUDE, out=magnitudes[:n])
        np.greater_equal(magnitudes[:n], floor, out=is_found[:n])
        found.append(np.flatnonzero(is_found[:n]) + start)
    return np.concatenate(found)
