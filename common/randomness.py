"""Every random draw of a run, addressed by what it is for.

A draw is identified by (seed, purpose, round, client) and by nothing else, so it does not depend
on which worker makes it, on how many there are, or on what was drawn before. No global random
state is read or left changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a draw decides. The numbers are part of every result: never renumber them."""

    DATA = 1
    PARTITION = 2
    INITIAL_WEIGHTS = 3
    COHORT = 4
    STRAGGLERS = 5
    PARTIAL_WORK = 6
    BATCH_ORDER = 7
    SHARED_MODEL = 8
    AUGMENTATION = 9
    BANDWIDTH = 10
    COMPRESSION = 11
    GRADIENT_COMPRESSION = 12


def _seed_sequence(seed: int, purpose: Purpose, round: int, client: int) -> np.random.SeedSequence:
    # Always four words: SeedSequence pads with zeros, so [1] and [1, 0] would be the same stream.
    return np.random.SeedSequence([seed, int(purpose), round, client])


def generator(seed: int, purpose: Purpose, round: int = 0, client: int = 0) -> np.random.Generator:
    """Return the NumPy generator for one purpose of one round and client.

    Args:
        seed: The run's seed, 0 <= seed < 2**32.
        purpose: What the draws decide.
        round: Server round, 0 for draws made once a run.
        client: Partition id of the client, 0 for draws the server makes.
    """
    return np.random.default_rng(_seed_sequence(seed, purpose, round, client))


@contextmanager
def torch_seeded(seed: int, purpose: Purpose, round: int = 0, client: int = 0) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block, and restore it afterwards.

    For torch code that takes no generator of its own, such as the initialisation of layers.
    The arguments are those of :func:`generator`.
    """
    import torch  # Here, for it takes seconds: a configuration is checked without it.

    state = _seed_sequence(seed, purpose, round, client).generate_state(2, np.uint32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(state[0]) << 32 | int(state[1]))
        yield
