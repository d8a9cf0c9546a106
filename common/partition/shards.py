"""Clients that see few labels: shards of the sorted training set.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data"
(arXiv 1602.05629), section 3, "pathological non-IID".
"""

import numpy as np

from common.partition.csr import Partition
from common.partition.rounding import even_sizes
from common.partition.validation import LabelArray, check_clients, check_count, check_labels, refuse


def shards(
    labels: LabelArray, num_clients: int, rng: np.random.Generator, shards_per_client: int = 2
) -> Partition:
    """Sort by label, cut into shards of equal size, and give each client some at random.

    A shard may straddle two labels, so a client may see up to twice as many labels as it has
    shards, or more if classes are smaller than shards.

    Args:
        labels: Class of every example, shape [num_examples]. Within a class the order of the
            examples is kept, as in the paper.
        num_clients: Number of clients, >= 1.
        rng: Source of randomness: who gets which shard.
        shards_per_client: Shards of one client; num_clients * shards_per_client <= num_examples.

    Returns:
        Every example exactly once; sizes of shards differ by at most one.

    Raises:
        UserInputError: If an argument is outside its range.
    """
    labels = check_labels(labels)
    check_clients(num_clients, len(labels))
    check_count("shards_per_client", shards_per_client, 1)
    num_shards = num_clients * shards_per_client
    if num_shards > len(labels):
        most = len(labels) // num_clients
        allowed = f"at most {most}, {len(labels)} examples / {num_clients} clients"
        refuse("shards_per_client", shards_per_client, allowed)
    owner_of_shard = rng.permutation(np.repeat(np.arange(num_clients), shards_per_client))
    owners = np.empty(len(labels), dtype=np.int64)
    by_label = np.argsort(labels, kind="stable")
    owners[by_label] = np.repeat(owner_of_shard, even_sizes(len(labels), num_shards))
    return Partition.from_owners(owners, num_clients)
