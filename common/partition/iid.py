"""Clients that are alike: equal sizes, labels at random.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data"
(arXiv 1602.05629), section 3.
"""

import numpy as np

from common.partition.csr import Partition
from common.partition.rounding import even_sizes
from common.partition.validation import check_clients


def iid(num_examples: int, num_clients: int, rng: np.random.Generator) -> Partition:
    """Shuffle the examples and deal them out in sizes that differ by at most one.

    Args:
        num_examples: Number of examples, >= 1.
        num_clients: Number of clients, 1 <= num_clients <= num_examples.
        rng: Source of randomness.

    Returns:
        Every example exactly once.

    Raises:
        UserInputError: If an argument is outside its range.
    """
    check_clients(num_clients, num_examples)
    owners = np.repeat(np.arange(num_clients), even_sizes(num_examples, num_clients))
    return Partition.from_owners(rng.permutation(owners), num_clients)
