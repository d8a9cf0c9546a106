"""One thread a process."""


def use_one_thread() -> None:
    """Give torch a single thread in this process.

    Parallelism comes from clients, one a worker. A second thread gains these models nothing,
    starves the neighbouring worker, and changes the order of float additions, hence the result.
    """
    import torch  # Here, for it takes seconds: who starts workers need not wait for it.

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
