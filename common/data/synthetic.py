"""Synthetic(alpha, beta) of the FedProx paper (Li et al. 2020, arXiv 1812.06127, section 5.1)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.data.arrays import ArrayDataset
from common.errors import UserInputError
from common.partition import Partition
from common.randomness import Purpose, generator

NUM_FEATURES = 60
NUM_CLASSES = 10
TRAIN_FRACTION = 0.9

Floats = NDArray[np.float64]
Examples = tuple[NDArray[np.float32], NDArray[np.int64]]


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
    return _pool([_client(alpha, beta, seed, client) for client in range(num_clients)])


def synthetic_iid(num_clients: int, seed: int) -> ArrayDataset:
    """Generate Synthetic-IID: the clients share one model and one distribution of inputs.

    W and b ~ N(0, 1) are drawn once, inputs are x ~ N(0, Sigma); sizes, Sigma and the split are
    those of :func:`synthetic`.

    Args:
        num_clients: Number of clients; the paper has 30.
        seed: The run's seed.

    Returns:
        As :func:`synthetic`.
    """
    W, b = _model(0, generator(seed, Purpose.SHARED_MODEL))
    clients = []
    for client in range(num_clients):
        rng = generator(seed, Purpose.DATA, client=client)
        clients.append(_examples(W, b, np.zeros(NUM_FEATURES), _num_examples(rng), rng))
    return _pool(clients)


def _client(alpha: float, beta: float, seed: int, client: int) -> Examples:
    """Return inputs [n_k, 60] and labels [n_k] of one client."""
    rng = generator(seed, Purpose.DATA, client=client)
    num_examples = _num_examples(rng)
    u = rng.normal(0, alpha)
    B = rng.normal(0, beta)
    W, b = _model(u, rng)
    v = rng.normal(B, 1, NUM_FEATURES)
    return _examples(W, b, v, num_examples, rng)


def _num_examples(rng: np.random.Generator) -> int:
    return int(rng.lognormal(4, 2)) + 50


def _model(u: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw W [60, 10] and b [10] from N(u, 1)."""
    return rng.normal(u, 1, (NUM_FEATURES, NUM_CLASSES)), rng.normal(u, 1, NUM_CLASSES)


def _examples(
    W: Floats, b: Floats, v: Floats, num_examples: int, rng: np.random.Generator
) -> Examples:
    sigma = np.arange(1, NUM_FEATURES + 1) ** -0.6  # square root of Sigma_jj = j^-1.2
    x = v + sigma * rng.standard_normal((num_examples, NUM_FEATURES))
    y = np.argmax(x @ W + b, axis=1)  # softmax keeps the order
    return x.astype(np.float32), y.astype(np.int64)


def _pool(clients: Sequence[Examples]) -> ArrayDataset:
    """Hold out the last tenth of every client's examples as the test set."""
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
