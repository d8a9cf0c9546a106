"""Which worker trains which clients of a round."""

import heapq
from collections.abc import Sequence


def deal(work: Sequence[float], num_workers: int) -> list[list[int]]:
    """Deal clients out so that workers finish at about the same time.

    The longest goes first, each to the worker with the least so far (Graham 1969): the last worker
    then needs at most 4/3 of the best possible time.

    Args:
        work: What each client asks for, in any unit.
        num_workers: At least 1.

    Returns:
        For every worker its positions in ``work``, rising; a worker may be left without any.
    """
    hands: list[list[int]] = [[] for _ in range(num_workers)]
    loads = [(0.0, worker) for worker in range(num_workers)]
    for position in sorted(range(len(work)), key=lambda i: (-work[i], i)):
        load, worker = loads[0]
        hands[worker].append(position)
        heapq.heapreplace(loads, (load + work[position], worker))
    return [sorted(hand) for hand in hands]
