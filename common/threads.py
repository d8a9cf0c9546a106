"""One thread a process."""

import os
import sys


def use_one_thread() -> None:
    """Give torch a single thread in this process, whether it is imported already or will be.

    Parallelism comes from clients, one a worker. A second thread gains these models nothing,
    starves the neighbouring worker, and changes the order of float additions, hence the result.
    """
    torch = sys.modules.get("torch")  # Importing it takes seconds, and not everybody needs it.
    if torch is None:
        os.environ["OMP_NUM_THREADS"] = "1"
    elif torch.get_num_threads() != 1:
        torch.set_num_threads(1)
