"""Clients that differ in size alone.

Lognormal sizes: Acar et al. 2021, "Federated Learning Based on Dynamic Regularization" (arXiv
2111.04263), unbalanced splits.
"""

import numpy as np

from common.partition.csr import Partition
from common.partition.rounding import largest_remainder
from common.partition.validation import check_clients, check_min_partition_size, check_sigma
from common.partition.weights import log_lognormal, proportions


def quantity_skew(
    num_examples: int,
    num_clients: int,
    sigma: float,
    rng: np.random.Generator,
    min_partition_size: int = 1,
) -> Partition:
    """Deal out examples at random in lognormal amounts.

    Every client first gets ``min_partition_size`` examples; the others are shared in proportion to
    lognormal(0, sigma) draws.

    Args:
        num_examples: Number of examples, >= 1.
        num_clients: Number of clients, 1 <= num_clients <= num_examples.
        sigma: Standard deviation of the logarithm of the draws, >= 0; 0 gives equal sizes.
        rng: Source of randomness.
        min_partition_size: Smallest size of a client, at most num_examples / num_clients.

    Returns:
        Every example exactly once.

    Raises:
        UserInputError: If an argument is outside its range.
    """
    check_clients(num_clients, num_examples)
    check_sigma(sigma)
    check_min_partition_size(min_partition_size, num_clients, num_examples)
    shares = proportions(log_lognormal(sigma, num_clients, rng))
    sizes = min_partition_size + largest_remainder(
        shares, num_examples - min_partition_size * num_clients
    )
    owners = np.repeat(np.arange(num_clients), sizes)
    return Partition.from_owners(rng.permutation(owners), num_clients)
