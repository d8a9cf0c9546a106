"""Clients of very different sizes that see few labels: FedProx's MNIST.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks" (arXiv 1812.06127), section 5.1,
and the authors' generator, data/mnist/generate_niid.py of github.com/litian96/FedProx.
"""

import numpy as np

from common.partition.allocation import owners_from_counts
from common.partition.csr import Partition
from common.partition.rounding import largest_remainder
from common.partition.validation import (
    LabelArray,
    check_clients,
    check_count,
    check_labels,
    check_sigma,
    refuse,
)
from common.partition.weights import log_lognormal, proportions


def power_law(
    labels: LabelArray,
    num_clients: int,
    rng: np.random.Generator,
    classes_per_client: int = 2,
    min_per_class: int = 5,
    sigma: float = 2.0,
) -> Partition:
    """Give neighbouring clients neighbouring classes, in lognormal amounts.

    Client u holds the classes u mod C, ..., (u + classes_per_client - 1) mod C. Of each it first
    gets ``min_per_class`` examples; what is left of a class is shared among its holders in
    proportion to lognormal(0, sigma) draws.

    Args:
        labels: Class of every example, shape [num_examples]; C is the largest plus one.
        num_clients: Number of clients, enough that every class has a holder.
        rng: Source of randomness.
        classes_per_client: Classes of one client, 1 <= classes_per_client <= C.
        min_per_class: Examples a client has of each of its classes at least, >= 1.
        sigma: Standard deviation of the logarithm of the draws, >= 0.

    Returns:
        Every example exactly once.

    Raises:
        UserInputError: If an argument is outside its range, or a class has too few examples.
    """
    labels = check_labels(labels)
    check_clients(num_clients, len(labels))
    check_count("classes_per_client", classes_per_client, 1)
    check_count("min_per_class", min_per_class, 1)
    check_sigma(sigma)
    class_sizes = np.bincount(labels)
    num_classes = len(class_sizes)
    if classes_per_client > num_classes:
        allowed = f"at most the number of classes, {num_classes}"
        refuse("classes_per_client", classes_per_client, allowed)
    fewest = num_classes - classes_per_client + 1
    if num_clients < fewest:
        allowed = f"at least {fewest}, so that each of the {num_classes} classes has a holder"
        refuse("num_clients", num_clients, allowed)

    clients = np.arange(num_clients)[:, None]
    held = (clients + np.arange(classes_per_client)) % num_classes
    num_holders = np.bincount(held.ravel(), minlength=num_classes)
    most_per_class = class_sizes // num_holders
    if min_per_class > most_per_class.min():
        scarce = int(most_per_class.argmin())
        allowed = (
            f"at most {most_per_class[scarce]}, since class {scarce} has "
            f"{class_sizes[scarce]} examples for its {num_holders[scarce]} clients"
        )
        refuse("min_per_class", min_per_class, allowed)

    log_weights = np.full((num_clients, num_classes), -np.inf)
    log_weights[clients, held] = log_lognormal(sigma, held.shape, rng)
    # The authors cut each share with int() and skip the last one that does not fit, which drops
    # some examples: 69,035 of MNIST's 70,000 are left (Table 1). Here none is lost.
    spare = class_sizes - num_holders * min_per_class
    counts = largest_remainder(proportions(log_weights.T), spare).T
    counts[clients, held] += min_per_class
    return Partition.from_owners(owners_from_counts(labels, counts, rng), num_clients)
