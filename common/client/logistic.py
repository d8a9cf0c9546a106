"""Multinomial logistic regression with its gradient written out, compiled.

For a batch (x_i, y_i), i = 1..B, logits z_i = W x_i + b and p_i = softmax(z_i), the gradient of
the mean cross-entropy is::

    dW = 1/B sum_i (p_i - e_{y_i}) x_i^T        db = 1/B sum_i (p_i - e_{y_i})

A step costs a few microseconds; through autograd, most of the time of so small a model goes into
bookkeeping. tests/benchmarks has the comparison.

Every step adds multiples of a client's own inputs, and the proximal term shrinks what was added.
So there are coefficients A, one row a class and one column an example, with::

    W = W_global + A X        b = b_global + A 1

A client with few examples is trained on A alone: with Z = W_global X^T + b_global 1^T and the Gram
matrix G = X X^T + 1 1^T, of which the ones carry the bias, the logits of example i are
z_i = Z_i + A G_i, and a step is::

    A <- (1 - eta mu) A        A_i <- A_i - eta/B (p_i - e_{y_i})

That is the same iteration with sums over n_k examples in the place of sums over features.

It is the model of MNIST and of the synthetic data in Li et al. 2020 (arXiv 1812.06127).
"""

from typing import TypeGuard

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.client.work import LocalWork

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Sums may be reordered, so that they use vector instructions; the order is fixed when compiled,
# so a result stays the same from run to run. NaN and infinity keep their meaning, for a diverging
# client must be seen.
_compiled = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "arcp", "nsz"})

# A row of G is read for every example of a batch: beyond 4 MB, G would not stay in the cache.
_LARGEST_GRAM = 1024
# Examples evaluated at a time: their logits stay in the cache.
_CHUNK = 1000


def logistic_sgd(W: Floats, b: Floats, x: Floats, y: Ints, order: Ints, work: LocalWork) -> None:
    """Run minibatch SGD on F_k(w) + mu/2 ||w - w_global||^2, in place, from (W, b) = w_global.

    Args:
        W: Weights, shape [classes, features].
        b: Biases, shape [classes].
        x: Inputs, shape [n_k, features].
        y: Labels, shape [n_k].
        order: Examples of every epoch in their order, shape [epochs, examples of an epoch].
        work: The local problem; its epochs are those of ``order``.

    Raises:
        ValueError: Inputs or labels do not fit the weights.
    """
    require_fit(W, x, y)
    epochs, n_k = len(order), len(x)
    classes, features = W.shape
    sgd = _sgd_on_coefficients if gram_pays(n_k, features, classes, epochs) else _sgd_on_weights
    sgd(
        W,
        b,
        np.ascontiguousarray(x),
        np.ascontiguousarray(y),
        order,
        work.batch_size,
        np.float32(work.learning_rate),
        np.float32(work.mu),
    )


def is_logistic_regression(model: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether a model is one linear layer with biases, in float32 on the CPU."""
    return (
        isinstance(model, nn.Linear)
        and type(model).forward is nn.Linear.forward
        and model.bias is not None
        and all(w.dtype == torch.float32 and w.device.type == "cpu" for w in model.parameters())
    )


def require_fit(W: Floats, x: Floats, y: Ints) -> None:
    """Refuse what compiled code, which checks no bounds, would read or write past the end for.

    Args:
        W: Weights, shape [classes, features].
        x: Inputs, shape [examples, features].
        y: Labels, shape [examples].

    Raises:
        ValueError: Inputs are not as wide as W, or a label is no row of it.
    """
    classes, features = W.shape
    if x.ndim != 2 or x.shape[1] != features or len(x) != len(y):
        raise ValueError(f"inputs {x.shape} and labels {y.shape} do not fit weights {W.shape}")
    if len(y) > 0 and not 0 <= y.min() <= y.max() < classes:
        raise ValueError(f"labels {y.min()} to {y.max()} do not fit {classes} classes")


@_compiled
def logits(W: Floats, b: Floats, x: Floats) -> Floats:
    """Return W x_i + b for every example, shape [examples, classes].

    Args:
        W: Weights, shape [classes, features].
        b: Biases, shape [classes].
        x: Inputs, shape [examples, features].
    """
    z = np.empty((len(x), len(W)), dtype=np.float32)
    _products(W, x, np.arange(len(x)), z)
    return z + b


@_compiled
def loss_and_correct(W: Floats, b: Floats, x: Floats, y: Ints) -> tuple[float, int]:
    """Return the summed cross-entropy, in nats, and how many examples are classified correctly.

    Args:
        W: Weights, shape [classes, features].
        b: Biases, shape [classes].
        x: Inputs, shape [examples, features].
        y: Labels, shape [examples].
    """
    loss = 0.0
    correct = 0
    for start in range(0, len(x), _CHUNK):
        z_chunk = logits(W, b, x[start : start + _CHUNK])
        for i in range(len(z_chunk)):
            z, label = z_chunk[i], y[start + i]
            likeliest = z.argmax()
            total = np.float32(0)
            for c in range(len(z)):
                total += np.exp(z[c] - z[likeliest])
            loss += np.log(total) + z[likeliest] - z[label]
            correct += likeliest == label
    return loss, correct


def gram_pays(n_k: int, features: int, classes: int, epochs: int) -> bool:
    """Tell whether training on A takes fewer multiplications than training on W.

    On W, an example takes 2 C d in each epoch: for its logits and for its part of dW. On A its
    logits take C n_k; Z, A X and half of G, which is symmetric, are needed once.

    Returns:
        Whether it does, and G is small enough for the cache.
    """
    on_W = epochs * n_k * 2 * classes * features
    once = n_k * features * (2 * classes + n_k / 2)
    return n_k <= _LARGEST_GRAM and once + epochs * n_k * classes * n_k < on_W


@_compiled
def _sgd_on_weights(
    W: Floats,
    b: Floats,
    x: Floats,
    y: Ints,
    order: Ints,
    batch_size: int,
    learning_rate: np.float32,
    mu: np.float32,
) -> None:
    epochs, examples = order.shape
    classes, features = W.shape
    W_global, b_global = W.copy(), b.copy()
    error = np.zeros((_padded(min(batch_size, examples)), classes), dtype=np.float32)
    dW = np.empty((2, features), dtype=np.float32)
    for epoch in range(epochs):
        for start in range(0, examples, batch_size):
            batch = order[epoch, start : start + batch_size]
            _products(W, x, batch, error)
            for i in range(len(batch)):
                for c in range(classes):
                    error[i, c] += b[c]
                _softmax_error(error[i], y[batch[i]])
                for c in range(classes):
                    error[i, c] /= np.float32(len(batch))
            error[len(batch) :] = 0
            for c in range(0, classes, 2):
                _weighted_sums(error, c, x, batch, dW)
                for k in range(c, min(c + 2, classes)):
                    _step(W[k], dW[k - c], W_global[k], learning_rate, mu)
            for c in range(classes):
                db = np.float32(0)
                for i in range(len(batch)):
                    db += error[i, c]
                b[c] -= learning_rate * (db + mu * (b[c] - b_global[c]))


@_compiled
def _step(
    w: Floats, dw: Floats, w_global: Floats, learning_rate: np.float32, mu: np.float32
) -> None:
    for j in range(len(w)):
        w[j] -= learning_rate * (dw[j] + mu * (w[j] - w_global[j]))


@_compiled
def _sgd_on_coefficients(
    W: Floats,
    b: Floats,
    x: Floats,
    y: Ints,
    order: Ints,
    batch_size: int,
    learning_rate: np.float32,
    mu: np.float32,
) -> None:
    epochs, examples = order.shape
    n_k = len(x)
    classes, features = W.shape
    everyone = np.arange(n_k)
    Z = logits(W, b, x)
    G = _gram(x)
    A = np.zeros((classes, _padded(n_k)), dtype=np.float32)
    error = np.empty((min(batch_size, examples), classes), dtype=np.float32)
    for epoch in range(epochs):
        for start in range(0, examples, batch_size):
            batch = order[epoch, start : start + batch_size]
            _products(A, G, batch, error)
            for i in range(len(batch)):
                for c in range(classes):
                    error[i, c] += Z[batch[i], c]
                _softmax_error(error[i], y[batch[i]])
            if mu != 0:
                for c in range(classes):
                    for j in range(n_k):
                        A[c, j] *= np.float32(1) - learning_rate * mu
            step = learning_rate / np.float32(len(batch))
            for i in range(len(batch)):
                for c in range(classes):
                    A[c, batch[i]] -= step * error[i, c]
    AX = np.empty((2, features), dtype=np.float32)
    for c in range(0, classes, 2):
        _weighted_sums(A.T, c, x, everyone, AX)
        for k in range(c, min(c + 2, classes)):
            W[k] += AX[k - c]
            b[k] += A[k].sum()


@_compiled
def _gram(x: Floats) -> Floats:
    """Return X X^T + 1 1^T, of which one triangle is computed."""
    n = len(x)
    G = np.empty((n, n), dtype=np.float32)
    for i in range(0, n, 5):
        five = np.arange(i, min(i + 5, n))
        _products(x[: five[-1] + 1], x, five, G[i:])
    for i in range(n):
        for j in range(i + 1):
            G[i, j] += 1
            G[j, i] = G[i, j]
    return G


@_compiled
def _padded(batch: int) -> int:
    """Return the rows of an array for a batch that is gone through five examples at a time."""
    return -(-batch // 5) * 5


@_compiled
def _products(M: Floats, v: Floats, batch: Ints, out: Floats) -> None:
    """Write M_c . v_i for the examples i of a batch and all rows c of M into ``out``.

    Five examples and two rows at a time, for what is loaded once to be used often. Past the end
    the last one is done again.
    """
    last_i, last_c = len(batch) - 1, len(M) - 1
    for i0 in range(0, len(batch), 5):
        i1, i2 = min(i0 + 1, last_i), min(i0 + 2, last_i)
        i3, i4 = min(i0 + 3, last_i), min(i0 + 4, last_i)
        v0, v1, v2 = v[batch[i0]], v[batch[i1]], v[batch[i2]]
        v3, v4 = v[batch[i3]], v[batch[i4]]
        for c0 in range(0, len(M), 2):
            c1 = min(c0 + 1, last_c)
            p, q = M[c0], M[c1]
            p0 = p1 = p2 = p3 = p4 = np.float32(0)
            q0 = q1 = q2 = q3 = q4 = np.float32(0)
            for j in range(len(v0)):  # A row of A is longer, for its padding.
                p0 += p[j] * v0[j]
                p1 += p[j] * v1[j]
                p2 += p[j] * v2[j]
                p3 += p[j] * v3[j]
                p4 += p[j] * v4[j]
                q0 += q[j] * v0[j]
                q1 += q[j] * v1[j]
                q2 += q[j] * v2[j]
                q3 += q[j] * v3[j]
                q4 += q[j] * v4[j]
            out[i0, c0], out[i1, c0], out[i2, c0], out[i3, c0], out[i4, c0] = p0, p1, p2, p3, p4
            out[i0, c1], out[i1, c1], out[i2, c1], out[i3, c1], out[i4, c1] = q0, q1, q2, q3, q4


@_compiled
def _weighted_sums(a: Floats, c: int, v: Floats, batch: Ints, out: Floats) -> None:
    """Write sum_i a_ic v_i over the examples i of a batch, and that for c + 1, into ``out``.

    Five examples at a time; ``a`` has zeros for those past the end of the batch.
    """
    d = min(c + 1, a.shape[1] - 1)
    last = len(batch) - 1
    out[:] = 0
    s, t = out[0], out[1]
    for i in range(0, len(batch), 5):
        v0, v1 = v[batch[i]], v[batch[min(i + 1, last)]]
        v2, v3 = v[batch[min(i + 2, last)]], v[batch[min(i + 3, last)]]
        v4 = v[batch[min(i + 4, last)]]
        e0, e1, e2, e3, e4 = a[i, c], a[i + 1, c], a[i + 2, c], a[i + 3, c], a[i + 4, c]
        f0, f1, f2, f3, f4 = a[i, d], a[i + 1, d], a[i + 2, d], a[i + 3, d], a[i + 4, d]
        for j in range(len(s)):
            s[j] += e0 * v0[j] + e1 * v1[j] + e2 * v2[j] + e3 * v3[j] + e4 * v4[j]
            t[j] += f0 * v0[j] + f1 * v1[j] + f2 * v2[j] + f3 * v3[j] + f4 * v4[j]


@_compiled
def _softmax_error(z: Floats, label: int) -> None:
    """Turn the logits z of an example into softmax(z) - e_label, in place."""
    largest = z.max()
    total = np.float32(0)
    for c in range(len(z)):
        z[c] = np.exp(z[c] - largest)
        total += z[c]
    for c in range(len(z)):
        z[c] /= total
    z[label] -= 1
