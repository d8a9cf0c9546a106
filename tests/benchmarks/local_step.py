"""How long one local step takes, by ways to write it: `python tests/benchmarks/local_step.py`.

The work is the paper's: logistic regression on inputs like MNIST's, B = 10, mu = 1, one thread.
The ways take turns, so that a busy machine slows all of them; the figures are medians and their
ratio to the usual loop. Weights are compared at the end, as proof of equal work.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from common.client import LocalWork, train_locally
from common.client.local_sgd import _autograd_sgd
from common.threads import use_one_thread

EXAMPLES, FEATURES, CLASSES, REPEATS = 60, 784, 10, 15
WORK = LocalWork(epochs=20, batch_size=10, learning_rate=0.03, mu=1.0)
STEPS = WORK.epochs * -(-EXAMPLES // WORK.batch_size)

_rng = np.random.default_rng(0)
X = _rng.standard_normal((EXAMPLES, FEATURES)).astype(np.float32)
Y = _rng.integers(0, CLASSES, EXAMPLES)


def data_loader_loop(model: nn.Linear, order: np.ndarray) -> None:
    """The usual client: a DataLoader, an optimiser, the proximal term in the loss."""
    w_global = [parameter.detach().clone() for parameter in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), lr=WORK.learning_rate)
    examples = TensorDataset(torch.tensor(X), torch.tensor(Y))
    for epoch_order in order:
        for x, y in DataLoader(examples, WORK.batch_size, sampler=epoch_order.tolist()):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            for w, start in zip(model.parameters(), w_global, strict=True):
                loss = loss + WORK.mu / 2 * (w - start).square().sum()
            loss.backward()
            optimiser.step()


def autograd(model: nn.Linear, order: np.ndarray) -> None:
    """Tensors loaded once, the proximal term added to the gradient: any network's path here."""
    _autograd_sgd(model, torch.tensor(X), torch.tensor(Y), torch.tensor(order), WORK)


def compiled(model: nn.Linear, order: np.ndarray) -> None:
    """The gradient written out and compiled: logistic regression's path here."""
    train_locally(model, X, Y, WORK, np.random.default_rng(1))


def main() -> None:
    """Print the table."""
    use_one_thread()
    ways: list[Callable[[nn.Linear, np.ndarray], None]] = [data_loader_loop, autograd, compiled]
    order_rng = np.random.default_rng(1)
    order = np.stack([order_rng.permutation(EXAMPLES) for _ in range(WORK.epochs)])
    torch.manual_seed(0)
    start = nn.Linear(FEATURES, CLASSES).state_dict()
    seconds: dict[str, list[float]] = {way.__name__: [] for way in ways}
    weights: dict[str, torch.Tensor] = {}
    for repeat in range(REPEATS + 1):
        for way in ways:
            model = nn.Linear(FEATURES, CLASSES)
            model.load_state_dict(start)
            began = time.perf_counter()
            way(model, order)
            if repeat > 0:  # The first round compiles and warms up.
                seconds[way.__name__].append(time.perf_counter() - began)
            weights[way.__name__] = model.weight.detach()
    usual = statistics.median(seconds["data_loader_loop"])
    reference = weights["data_loader_loop"]
    print(f"{'':18}{'µs a step':>10}{'times faster':>14}{'relative difference':>21}")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        difference = (weights[name] - reference).norm() / reference.norm()
        print(f"{name:18}{1e6 * median / STEPS:10.1f}{usual / median:14.1f}{difference:21.1e}")


if __name__ == "__main__":
    main()
