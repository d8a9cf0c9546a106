import numpy as np
import pytest
import torch
from fedprox.dissimilarity import dissimilarity
from torch import nn


def linear(W, b):
    model = nn.Linear(len(W[0]), len(W))
    with torch.no_grad():
        model.weight.copy_(torch.tensor(W))
        model.bias.copy_(torch.tensor(b))
    return model


def client(x, y):
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def test_by_hand():
    """Two classes, one feature, w = 0: the softmax is (1/2, 1/2).

    Client 0 has x = 2, y = 0: its gradient (dW0, dW1, db0, db1) is (-1, 1, -1/2, 1/2). Client 1 has
    three examples x = 0, y = 1: (0, 0, 1/2, -1/2). Weighted by examples, g = (-1/4, 1/4, 1/4,
    -1/4). The squared distances are 9/16 * 4 = 9/4 and 1/16 * 4 = 1/4, their mean 5/4.
    """
    model = linear([[0.0], [0.0]], [0.0, 0.0])
    clients = [client([[2.0]], [0]), client([[0.0]] * 3, [1, 1, 1])]
    assert dissimilarity(model, clients) == pytest.approx(1.25)


def test_is_the_mean_squared_distance_of_the_gradients_for_any_network():
    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 3))
    clients = [client(rng.normal(size=(n, 6)), rng.integers(0, 3, n)) for n in (1, 4, 17, 60)]
    model.eval()
    gradients = []
    for x, y in clients:
        loss = nn.functional.cross_entropy(model(x), y)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(np.concatenate([part.numpy().ravel() for part in parts]))
    g = np.average(gradients, axis=0, weights=[1, 4, 17, 60])
    expected = np.mean([np.sum((g_k - g) ** 2) for g_k in gradients])
    assert dissimilarity(model, clients) == pytest.approx(expected, rel=1e-5)


def test_equal_clients_do_not_differ():
    clients = [client([[1.0, 2.0], [0.5, -1.0]], [0, 1])] * 3
    model = linear([[0.1, 0.2], [0.3, -0.4]], [0.0, 0.1])
    assert dissimilarity(model, clients) == pytest.approx(0, abs=1e-12)


def test_weights_that_do_not_train_do_not_count():
    clients = [client([[2.0]], [0]), client([[0.0]] * 3, [1, 1, 1])]
    model = linear([[0.0], [0.0]], [0.0, 0.0])
    model.bias.requires_grad = False
    # Of the calculation by hand, the weights' part: (9/16 * 2 + 1/16 * 2) / 2.
    assert dissimilarity(model, clients) == pytest.approx(0.625)
