"""A partition by its name, as configurations have it."""

from collections.abc import Callable, Mapping

import numpy as np

from common.errors import UserInputError
from common.partition.csr import Partition
from common.partition.dirichlet import dirichlet_over_clients, dirichlet_over_labels
from common.partition.iid import iid
from common.partition.validation import LabelArray

Schemes = Mapping[str, Callable[[], Partition]]


def label_schemes(
    labels: LabelArray,
    num_clients: int,
    dirichlet_alpha: float,
    min_partition_size: int,
    rng: np.random.Generator,
) -> Schemes:
    """Return the schemes that every baseline has: "iid" and the two of Dirichlet.

    Args:
        labels: Class of every example, shape [num_examples].
        num_clients: Number of clients.
        dirichlet_alpha: Concentration.
        min_partition_size: Examples of the smallest client of a Dirichlet partition.
        rng: Source of randomness, for the one scheme that is used.
    """
    dirichlet = (labels, num_clients, dirichlet_alpha, rng, min_partition_size)
    return {
        "iid": lambda: iid(len(labels), num_clients, rng),
        "dirichlet_over_clients": lambda: dirichlet_over_clients(*dirichlet),
        "dirichlet_over_labels": lambda: dirichlet_over_labels(*dirichlet),
    }


def realise(partition: str, schemes: Schemes) -> Partition:
    """Return the partition that a scheme makes.

    Args:
        partition: Value of the key ``partition``, a name of the schemes.
        schemes: What makes each.

    Raises:
        UserInputError: It is not possible with these examples and clients.
    """
    try:
        return schemes[partition]()
    except ValueError as error:
        raise UserInputError(f"partition={partition!r} is not possible: {error}") from None
