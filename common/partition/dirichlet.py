"""Clients whose label mixes are Dirichlet draws. Two conventions share the name.

``dirichlet_over_clients`` splits every class over the clients: Yurochkin et al. 2019, "Bayesian
Nonparametric Federated Learning of Neural Networks" (arXiv 1905.12022), section 4, and Lin et al.
2020, "Ensemble Distillation for Robust Model Fusion" (arXiv 2006.07242), section 4. Sizes vary.

``dirichlet_over_labels`` draws every client's mix of labels: Hsu et al. 2019, "Measuring the
Effects of Non-Identical Data Distribution" (arXiv 1909.06335), section 2. Sizes are equal.

The same alpha means different skews: the first draws over clients with alpha each, the second over
labels with alpha in all, which for 10 classes of one size is 0.1 alpha each.
"""

import numpy as np

from common.partition.allocation import owners_from_counts
from common.partition.csr import IntArray, Partition
from common.partition.rounding import even_sizes, largest_remainder, systematic
from common.partition.top_up import top_up
from common.partition.validation import (
    LabelArray,
    check_alpha,
    check_clients,
    check_labels,
    check_min_partition_size,
)
from common.partition.weights import FloatArray, log_dirichlet, proportions


def dirichlet_over_clients(
    labels: LabelArray,
    num_clients: int,
    alpha: float,
    rng: np.random.Generator,
    min_partition_size: int = 0,
) -> Partition:
    """Split every class over the clients in proportions drawn from Dir(alpha, ..., alpha).

    Sizes vary, and for small alpha many clients get nothing; clients below ``min_partition_size``
    are topped up from the largest, see :func:`common.partition.top_up.top_up`.

    Args:
        labels: Class of every example, shape [num_examples].
        num_clients: Number of clients, 1 <= num_clients <= num_examples.
        alpha: Concentration, finite and above 0. Towards 0 one client gets a whole class; towards
            infinity all clients get the same number of it.
        rng: Source of randomness.
        min_partition_size: Smallest size of a client, at most num_examples / num_clients.

    Returns:
        Every example exactly once.

    Raises:
        UserInputError: If an argument is outside its range.
    """
    labels = check_labels(labels)
    check_clients(num_clients, len(labels))
    check_alpha(alpha)
    check_min_partition_size(min_partition_size, num_clients, len(labels))
    class_sizes = np.bincount(labels)
    log_weights = log_dirichlet(alpha, np.ones(num_clients), len(class_sizes), rng)
    counts = largest_remainder(proportions(log_weights), class_sizes).T
    owners = owners_from_counts(labels, counts, rng)
    return Partition.from_owners(top_up(owners, num_clients, min_partition_size, rng), num_clients)


def dirichlet_over_labels(
    labels: LabelArray,
    num_clients: int,
    alpha: float,
    rng: np.random.Generator,
    min_partition_size: int = 0,
) -> Partition:
    """Give every client equally many examples, of labels in proportions from Dir(alpha * prior).

    The prior is the share of each class in the training set. Clients take their examples one after
    another in random order. When a class has run out, the mixes of those still to come are
    renormalised over the classes left, so that every example is given exactly once; the price is
    that the last clients' mixes depend on what the others left over.

    Args:
        labels: Class of every example, shape [num_examples].
        num_clients: Number of clients, 1 <= num_clients <= num_examples.
        alpha: Concentration, finite and above 0. Towards 0 a client has one label; towards infinity
            every client has the labels of the training set.
        rng: Source of randomness.
        min_partition_size: Smallest size of a client, at most num_examples / num_clients. As sizes
            differ by at most one, one that can be had is had.

    Returns:
        Every example exactly once; sizes differ by at most one.

    Raises:
        UserInputError: If an argument is outside its range.
    """
    labels = check_labels(labels)
    check_clients(num_clients, len(labels))
    check_alpha(alpha)
    check_min_partition_size(min_partition_size, num_clients, len(labels))
    _, dense_labels, class_sizes = np.unique(labels, return_inverse=True, return_counts=True)
    log_mixes = log_dirichlet(alpha, class_sizes / len(labels), num_clients, rng)
    sizes = even_sizes(len(labels), num_clients)
    turns = rng.permutation(num_clients)
    counts = np.empty(log_mixes.shape, dtype=np.int64)
    counts[turns] = _take_in_turn(log_mixes, sizes[turns], class_sizes, rng)
    return Partition.from_owners(owners_from_counts(dense_labels, counts, rng), num_clients)


def _take_in_turn(
    log_mixes: FloatArray, sizes: IntArray, stock: IntArray, rng: np.random.Generator
) -> IntArray:
    """Let clients take examples one after another, each in its mix of the classes left.

    Args:
        log_mixes: Log weights of the classes for each client, shape [num_clients, num_classes].
        sizes: Examples each client takes, above 0, shape [num_clients].
        stock: Examples of each class, above 0, shape [num_classes], adding up to ``sizes.sum()``.
        rng: Source of randomness for the rounding.

    Returns:
        Examples of each class for each client, shape [num_clients, num_classes].
    """
    num_clients, num_classes = log_mixes.shape
    counts = np.zeros((num_clients, num_classes), dtype=np.int64)
    left = stock.copy()
    # As long as no class runs out clients do not affect each other, and a block of them is one
    # array operation. A block ends at the client that wants more of a class than is left, which
    # happens at most num_classes times; the block length bounds what is then drawn again.
    block = -(-num_clients // num_classes)
    client = 0
    while client < num_clients:
        rows = slice(client, client + block)
        wanted = _wanted(log_mixes[rows], sizes[rows], left, rng)
        runs_out = (wanted.cumsum(axis=0) > left).any(axis=1)
        undisturbed = int(runs_out.argmax()) if runs_out.any() else len(wanted)
        counts[client : client + undisturbed] = wanted[:undisturbed]
        left -= wanted[:undisturbed].sum(axis=0)
        client += undisturbed
        if runs_out.any():
            taken = np.minimum(wanted[undisturbed], left)
            # Each pass takes all that this client still lacks, or empties a class.
            while (lacking := sizes[client] - taken.sum()) > 0:
                more = _wanted(log_mixes[client], lacking, left - taken, rng)
                taken += np.minimum(more, left - taken)
            counts[client] = taken
            left -= taken
            client += 1
    return counts


def _wanted(
    log_mixes: FloatArray, sizes: IntArray, left: IntArray, rng: np.random.Generator
) -> IntArray:
    """Return what clients would take were the classes left inexhaustible: [..., num_classes].

    Not by largest remainders, which round like mixes alike: for a large alpha every client would
    take too many of the same classes, and the last clients would find them gone.
    """
    return systematic(proportions(np.where(left > 0, log_mixes, -np.inf)), sizes, rng)
