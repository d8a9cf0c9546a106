"""Work in threads, for code that lets go of Python's lock: Pillow's decoders, PyTorch's layers."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, computed on all cores.

    No more items are taken than the threads have to do, so that neither these nor results that
    wait for their turn fill the memory.

    Args:
        function: Is called in several threads at once.
        items: Any number of them.
    """
    num_threads = _num_cores()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _num_cores() -> int:
    """Return how many cores this process may use; not every system tells them from all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
