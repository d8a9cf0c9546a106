"""How exact local training is: clients of MNIST, E = 20, beside the same training in float64.

The reference is autograd in float64. Both float32 ways are compared with it, and with each other,
by ||w - w'|| / ||w'||. Prints JSON.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from speed.arrays import Arrays, load_arrays
from speed.training import batch_rng, initial_model
from torch import nn

from common.client.local_sgd import epoch_orders, step, train_locally
from common.client.work import LocalWork
from common.threads import use_one_thread

WORK = "logistic_e20"
LARGEST_CLIENT = 500  # Examples; of a larger client, float64 takes minutes.
RULE = 2e-6


def autograd(arrays: Arrays, client: int, dtype: torch.dtype) -> NDArray[np.float64]:
    """Return a client's weights after plain autograd in a precision."""
    model, budget = initial_model(arrays).to(dtype), _budget(arrays)
    x, y = (torch.from_numpy(np.array(array)) for array in arrays.client(client))
    x = x.to(dtype)
    w = list(model.parameters())
    w_global = [parameter.detach().clone() for parameter in w]
    for order in torch.from_numpy(epoch_orders(len(y), budget.epochs, batch_rng(1, client))):
        for batch in torch.split(order, budget.batch_size):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            step(w, torch.autograd.grad(loss, w), w_global, budget, [])
    return _vector(model)


def ours(arrays: Arrays, client: int) -> NDArray[np.float64]:
    """Return a client's weights after ``train_locally``."""
    model = initial_model(arrays)
    x, y = (np.array(array) for array in arrays.client(client))
    train_locally(model, x, y, _budget(arrays), batch_rng(1, client))
    return _vector(model)


def _budget(arrays: Arrays) -> LocalWork:
    work = arrays.work
    return LocalWork(
        epochs=work.num_epochs,
        batch_size=work.batch_size,
        learning_rate=work.learning_rate,
        mu=work.mu,
    )


def _vector(model: nn.Module) -> NDArray[np.float64]:
    return nn.utils.parameters_to_vector(model.parameters()).detach().double().numpy()


def _row(between: str, distances: list[float]) -> dict[str, object]:
    return {
        "between": between,
        "clients": len(distances),
        "median": float(np.median(distances)),
        "largest": max(distances),
        "within_rule": sum(distance <= RULE for distance in distances),
    }


def main() -> None:
    """Compare every n-th client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arrays", type=Path)
    parser.add_argument("--every", type=int, default=5)
    options = parser.parse_args()
    use_one_thread()
    arrays = load_arrays(str(options.arrays), WORK)
    distances: dict[str, list[float]] = {}
    for client in range(0, arrays.work.num_clients, options.every):
        if arrays.num_examples[client] > LARGEST_CLIENT:
            continue
        exact = autograd(arrays, client, torch.float64)
        plain, fast = autograd(arrays, client, torch.float32), ours(arrays, client)
        for between, w, reference in (
            ("train_locally and float64", fast, exact),
            ("autograd in float32 and float64", plain, exact),
            ("train_locally and autograd in float32", fast, plain),
        ):
            distance = np.linalg.norm(w - reference) / np.linalg.norm(reference)
            distances.setdefault(between, []).append(float(distance))
    print(json.dumps([_row(between, values) for between, values in distances.items()]))


if __name__ == "__main__":
    main()
