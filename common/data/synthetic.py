"""Synthetic(alpha, beta) of the FedProx paper (Li et al. 2020, arXiv 1812.06127, section 5.1)."""

import numpy as np

from common.data.arrays import ArrayDataset
from common.errors import UserInputError
from common.partition import Partition
from common.randomness import Purpose, generator

NUM_FEATURES = 60
NUM_CLASSES = 10
TRAIN_FRACTION = 0.9


def synthetic(alpha: float, beta: float, num_clients: int, seed: int) -> ArrayDataset:
    """Generate one multinomial logistic regression problem a client.

    Client k draws u_k ~ N(0, alpha) and B_k ~ N(0, beta), then W_k ~ N(u_k, 1),
    b_k ~ N(u_k, 1), v_k ~ N(B_k, 1) and n_k = int(lognormal(4, 2)) + 50 examples
    x ~ N(v_k, Sigma) with Sigma_jj = j^-1.2, labelled y = argmax(softmax(W_k x + b_k)).
    ``beta`` controls how much local data differ. ``alpha`` is meant to control how much local
    models differ, but changes nothing: u_k shifts all logits of a client alike, and argmax does not
    see that. Both are standard deviations, as in the authors' generator. 90 % of a client's
    examples train, the rest is pooled into the test set.

    Args:
        alpha: Standard deviation of the mean of the local models, >= 0.
        beta: Standard deviation of the mean of the local inputs, >= 0.
        num_clients: Number of clients; the paper has 30.
        seed: The run's seed.

    Returns:
        Inputs float32 [n, 60], labels int64 [n], ten classes, and the clients' own partition.

    Raises:
        UserInputError: alpha or beta is negative.
    """
    for key, value in (("synthetic_alpha", alpha), ("synthetic_beta", beta)):
        if not 0 <= value < np.inf:
            raise UserInputError(f"{key}={value} is not allowed: it must be at least 0.")
    clients = [_client(alpha, beta, seed, client) for client in range(num_clients)]
    num_train = [int(TRAIN_FRACTION * len(labels)) for _, labels in clients]
    parts = list(zip(clients, num_train, strict=True))
    offsets = np.concatenate([[0], np.cumsum(num_train)]).astype(np.int64)
    return ArrayDataset(
        x_train=np.concatenate([x[:n] for (x, _), n in parts]),
        y_train=np.concatenate([y[:n] for (_, y), n in parts]),
        x_test=np.concatenate([x[n:] for (x, _), n in parts]),
        y_test=np.concatenate([y[n:] for (_, y), n in parts]),
        num_classes=NUM_CLASSES,
        natural_partition=Partition(np.arange(offsets[-1], dtype=np.int64), offsets),
    )


def _client(alpha: float, beta: float, seed: int, client: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs [n_k, 60] and labels [n_k] of one client."""
    rng = generator(seed, Purpose.DATA, client=client)
    num_examples = int(rng.lognormal(4, 2)) + 50
    u = rng.normal(0, alpha)
    B = rng.normal(0, beta)
    W = rng.normal(u, 1, (NUM_FEATURES, NUM_CLASSES))
    b = rng.normal(u, 1, NUM_CLASSES)
    v = rng.normal(B, 1, NUM_FEATURES)
    sigma = np.arange(1, NUM_FEATURES + 1) ** -0.6  # square root of Sigma_jj = j^-1.2
    x = v + sigma * rng.standard_normal((num_examples, NUM_FEATURES))
    y = np.argmax(x @ W + b, axis=1)  # softmax keeps the order
    return x.astype(np.float32), y.astype(np.int64)
