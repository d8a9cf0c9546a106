"""Multinomial logistic regression with its gradient written out, compiled.

For a batch (x_i, y_i), i = 1..B, logits z_i = W x_i + b and p_i = softmax(z_i), the gradient of
the mean cross-entropy is

    dW = 1/B sum_i (p_i - e_{y_i}) x_i^T        db = 1/B sum_i (p_i - e_{y_i})

A step costs a few microseconds; through autograd, most of the time of so small a model goes into
bookkeeping. tests/benchmarks has the comparison.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from common.client.work import LocalWork

Floats = NDArray[np.float32]
# Sums may be reordered, so that they use vector instructions; the order is fixed when compiled,
# so a result stays the same from run to run. NaN and infinity keep their meaning, for a diverging
# client must be seen.
_REORDER_SUMS = {"reassoc", "contract", "arcp", "nsz"}


def logistic_sgd(
    W: Floats, b: Floats, x: Floats, y: NDArray[np.int64], order: NDArray[np.int64], work: LocalWork
) -> None:
    """Run minibatch SGD on F_k(w) + mu/2 ||w - w_global||^2, in place, from (W, b) = w_global.

    Args:
        W: Weights, shape [classes, features].
        b: Biases, shape [classes].
        x: Inputs, shape [n_k, features].
        y: Labels, shape [n_k].
        order: Order of the examples in every epoch, shape [epochs, n_k].
        work: The local problem; its epochs are those of ``order``.
    """
    _sgd(
        W,
        b,
        np.ascontiguousarray(x),
        np.ascontiguousarray(y),
        order,
        work.batch_size,
        np.float32(work.learning_rate),
        np.float32(work.mu),
    )


@numba.njit(cache=True, fastmath=_REORDER_SUMS)
def _sgd(
    W: Floats,
    b: Floats,
    x: Floats,
    y: NDArray[np.int64],
    order: NDArray[np.int64],
    batch_size: int,
    learning_rate: np.float32,
    mu: np.float32,
) -> None:
    classes, features = W.shape
    W_global = W.copy()
    b_global = b.copy()
    p_minus_e = np.empty((min(batch_size, order.shape[1]), classes), dtype=np.float32)
    dW = np.empty(features, dtype=np.float32)
    for epoch in range(order.shape[0]):
        for start in range(0, order.shape[1], batch_size):
            batch = order[epoch, start : start + batch_size]
            for i in range(len(batch)):
                _softmax_error(W, b, x[batch[i]], y[batch[i]], p_minus_e[i])
            scale = np.float32(1 / len(batch))
            for c in range(classes):
                dW[:] = 0
                db = np.float32(0)
                for i in range(len(batch)):
                    error = p_minus_e[i, c] * scale
                    db += error
                    row = x[batch[i]]
                    for j in range(features):
                        dW[j] += error * row[j]
                if mu != 0:
                    db += mu * (b[c] - b_global[c])
                    for j in range(features):
                        dW[j] += mu * (W[c, j] - W_global[c, j])
                b[c] -= learning_rate * db
                for j in range(features):
                    W[c, j] -= learning_rate * dW[j]


@numba.njit(cache=True, fastmath=_REORDER_SUMS)
def _softmax_error(W: Floats, b: Floats, row: Floats, label: int, out: Floats) -> None:
    """Write softmax(W x + b) - e_label into ``out``."""
    classes, features = W.shape
    for c in range(classes):
        z = b[c]
        for j in range(features):
            z += W[c, j] * row[j]
        out[c] = z
    largest = out.max()
    total = np.float32(0)
    for c in range(classes):
        out[c] = np.exp(out[c] - largest)
        total += out[c]
    for c in range(classes):
        out[c] /= total
    out[label] -= 1
