"""The models, the order of batches, and local training as a DataLoader loop.

Imports NumPy, torch and the two plain modules ``common.randomness`` and ``common.threads`` only,
for peers run it in environments of their own.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from common.randomness import Purpose, generator
from speed.arrays import Arrays
from speed.work import SEED, Work

NUM_FEATURES, NUM_CLASSES = 784, 10


def make_model(work: Work) -> nn.Module:
    """Build the model of a work that trains; its weights are to be overwritten."""
    if work.model == "logistic":
        return nn.Linear(NUM_FEATURES, NUM_CLASSES)
    # The CNN of McMahan et al. 2017, as baselines/fedprox has it.
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 32, kernel_size=5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 512),
        nn.ReLU(),
        nn.Linear(512, NUM_CLASSES),
    )


def initial_model(arrays: Arrays) -> nn.Module:
    """Build the model of a work with its initial weights."""
    model = make_model(arrays.work)
    weights = {name: torch.tensor(array) for name, array in arrays.initial_weights().items()}
    model.load_state_dict(weights)
    return model


def batch_rng(server_round: int, client: int) -> np.random.Generator:
    """Return what orders a client's examples in a round."""
    return generator(SEED, Purpose.BATCH_ORDER, server_round, client)


def epoch_orders(rng: np.random.Generator, n_k: int, epochs: int) -> Iterator[NDArray[np.int64]]:
    """Draw the order of the examples in every epoch, the one that ``train_locally`` draws."""
    for _ in range(epochs):
        yield rng.permutation(n_k)


class _NextEpoch(Sampler[int]):
    """Hands the DataLoader the drawn order of one epoch after the other."""

    def __init__(self, orders: Iterator[NDArray[np.int64]], n_k: int) -> None:
        self._orders = orders
        self._n_k = n_k

    def __iter__(self) -> Iterator[int]:
        return iter(next(self._orders).tolist())

    def __len__(self) -> int:
        return self._n_k


def data_loader_epochs(
    model: nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    work: Work,
    rng: np.random.Generator,
) -> None:
    """Train in place as most examples do: DataLoader, SGD, the proximal term in the loss."""
    model.train()
    w_global = [parameter.detach().clone() for parameter in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), lr=work.learning_rate)
    examples = TensorDataset(torch.tensor(x), torch.tensor(y))
    sampler = _NextEpoch(epoch_orders(rng, len(y), work.num_epochs), len(y))
    loader = DataLoader(examples, batch_size=work.batch_size, sampler=sampler)
    for _ in range(work.num_epochs):
        for inputs, labels in loader:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            for w, start in zip(model.parameters(), w_global, strict=True):
                loss = loss + work.mu / 2 * (w - start).square().sum()
            loss.backward()
            optimiser.step()


@torch.no_grad()
def accuracy(model: nn.Module, arrays: Arrays) -> float:
    """Return the fraction of the test set that a model classifies correctly."""
    model.eval()
    x, y = (torch.from_numpy(array) for array in arrays.test_set())
    parts = zip(torch.split(x, 500), torch.split(y, 500), strict=True)
    correct = sum(int((model(inputs).argmax(dim=1) == labels).sum()) for inputs, labels in parts)
    return correct / len(y)
