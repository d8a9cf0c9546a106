"""The compiled paths against plain autograd with the proximal term written into the loss."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch
from fedprox.config import FedProxConfig
from fedprox.dataset import load_dataset
from fedprox.model import make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.client import logistic
from common.client.local_sgd import epoch_orders
from common.client.logistic import gram_pays, logistic_sgd
from common.client.work import LocalWork


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """With more, the reference waits for the machine's other work at every step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["weights", "coefficients"])
def path(request):
    """Every test that asks for it is run on W and on A."""
    return request.param


def reference(model, x, y, order, batch_size, learning_rate, mu, dtype=torch.float32):
    """Return the weights and biases that autograd finds for F_k(w) + mu/2 ||w - w_global||^2."""
    x, y = torch.tensor(x, dtype=dtype), torch.tensor(y)
    model = copy.deepcopy(model).to(dtype)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for epoch in order:
        for batch in torch.tensor(epoch).split(batch_size):
            distance = sum(
                (w - w0).pow(2).sum() for w, w0 in zip(model.parameters(), start, strict=True)
            )
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch]) + mu / 2 * distance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.weight.detach().numpy(), model.bias.detach().numpy()


def make_problem(seed, n, features, classes, epochs):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, features), dtype=np.float32)
    y = rng.integers(0, classes, n)
    order = np.stack([rng.permutation(n) for _ in range(epochs)])
    model = nn.Linear(features, classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.tensor(rng.standard_normal(tuple(parameter.shape))))
    return model, x, y, order


def train(path, model, x, y, order, batch_size, learning_rate, mu):
    """Train on W, on A, or, where path is None, on what the size of the problem calls for."""
    W, b = model.weight.detach().numpy().copy(), model.bias.detach().numpy().copy()
    work = LocalWork(len(order), batch_size, learning_rate, mu)
    with mock.patch.object(logistic, "gram_pays", wraps=gram_pays) as decide:
        if path is not None:
            decide.side_effect = lambda *sizes: path == "coefficients"
        logistic_sgd(W, b, x, y, order, work)
    return W, b


def distance(found, expected):
    """Return the distance of two models relative to the length of the second."""
    found, expected = (np.concatenate([part.ravel() for part in w]) for w in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


problems = {
    "path": st.sampled_from(["weights", "coefficients"]),
    "seed": st.integers(0, 2**32 - 1),
    "n": st.integers(1, 40),
    "batch_size": st.integers(1, 50),
    "features": st.integers(1, 30),
    "classes": st.integers(2, 12),
    "epochs": st.integers(1, 6),
    "learning_rate": st.sampled_from([0.01, 0.05]),
    "mu": st.sampled_from([0.0, 0.3, 1.0, 5.0]),
}


@settings(max_examples=120)
@given(**problems)
def test_equals_autograd(path, seed, n, batch_size, features, classes, epochs, learning_rate, mu):
    model, *problem = make_problem(seed, n, features, classes, epochs)
    found = train(path, model, *problem, batch_size, learning_rate, mu)
    assert distance(found, reference(model, *problem, batch_size, learning_rate, mu)) < 2e-6


@pytest.mark.parametrize("path", ["weights", "coefficients"])
def test_an_epoch_may_leave_examples_out(path):
    """Training on the examples of a short order is training without the others."""
    model, x, y, _ = make_problem(3, 30, 8, 4, 1)
    order = np.random.default_rng(0).permutation(30)[None, :12]
    found = train(path, model, x, y, order, 5, 0.05, 0.5)
    kept = np.sort(order[0])
    alone = np.searchsorted(kept, order)
    assert distance(found, train(path, model, x[kept], y[kept], alone, 5, 0.05, 0.5)) < 2e-6
    assert distance(found, reference(model, x, y, order, 5, 0.05, 0.5)) < 2e-6


@settings(max_examples=60)
@given(**problems)
def test_is_as_near_to_the_truth_as_float32_can_be(
    path, seed, n, batch_size, features, classes, epochs, learning_rate, mu
):
    model, *problem = make_problem(seed, n, features, classes, epochs)
    settings = batch_size, learning_rate, mu
    truth = reference(model, *problem, *settings, dtype=torch.float64)
    assert distance(train(path, model, *problem, *settings), truth) < 1e-6


@pytest.mark.parametrize(("n", "batch_size"), [(1, 10), (23, 10), (7, 100), (30, 10), (12, 1)])
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_equals_autograd_over_the_epochs_of_the_paper(path, n, batch_size, mu):
    model, *problem = make_problem(n, n, 60, 10, epochs=20)
    found = train(path, model, *problem, batch_size, 0.03, mu)
    start = model.weight.detach().numpy()
    expected = reference(model, *problem, batch_size, 0.03, mu)
    assert np.abs(expected[0] - start).max() > 1e-2
    assert distance(found, expected) < 2e-6


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_equals_autograd_on_the_images_of_a_digit_pair(real_mnist, fedprox_defaults, path, mu):
    """A small, a middling and a large client of the paper's partition, its epochs and its rate.

    At mu = 0 float32 itself wanders from the truth as the steps add up: no farther than autograd.
    """
    config = FedProxConfig.parse(fedprox_defaults)
    data = load_dataset(config)
    by_size = np.argsort(data.partition.sizes)
    model = make_model(config, 784, 10)
    for client in by_size[[0, 500, 950]]:
        x, y = data.client(int(client))
        order = epoch_orders(len(y), 20, np.random.default_rng(0))
        truth, usual = (
            reference(model, x, y, order, 10, 0.03, mu, dtype)
            for dtype in (torch.float64, torch.float32)
        )
        found = train(path, model, x, y, order, 10, 0.03, mu)
        assert distance(found, usual) < 2e-6
        assert distance(found, truth) < max(5e-7, 1.5 * distance(usual, truth))


def test_the_paths_differ_in_rounding_alone():
    model, *problem = make_problem(7, 40, 30, 10, epochs=20)
    on_W, on_A = (
        train(path, model, *problem, 10, 0.05, 1.0) for path in ("weights", "coefficients")
    )
    assert 0 < distance(on_A, on_W) < 2e-6


@pytest.mark.parametrize("n", [99, 100])
def test_the_size_decides_and_the_result_does_not_jump(n):
    """With d = 60, C = 10, E = 20: 20 n 10 n + 60 n (20 + n/2) < 20 n 1200 up to n = 99."""
    model, *problem = make_problem(8, n, 60, 10, epochs=20)
    found = train(None, model, *problem, 10, 0.03, 1.0)
    expected = "coefficients" if n == 99 else "weights"
    np.testing.assert_array_equal(found[0], train(expected, model, *problem, 10, 0.03, 1.0)[0])
    for path in ("weights", "coefficients"):
        other = train(path, model, *problem, 10, 0.03, 1.0)
        assert distance(found, other) < 2e-6


def test_few_examples_and_many_epochs_call_for_the_gram_matrix():
    sizes = {"features": 784, "classes": 10, "epochs": 20}
    assert gram_pays(10, **sizes)
    assert gram_pays(400, **sizes)
    assert not gram_pays(600, **sizes)
    assert not gram_pays(10, **sizes | {"epochs": 1})
    assert not gram_pays(400, **sizes | {"features": 60})


def test_the_gram_matrix_has_a_largest_size():
    """However much it would spare, n_k^2 numbers must fit in the cache."""
    sizes = {"features": 10**6, "classes": 1000, "epochs": 1000}
    assert gram_pays(1024, **sizes)
    assert not gram_pays(1025, **sizes)


def test_one_step_by_hand(path):
    """One example, x = 2, y = 0, from W = b = 0: p = (1/2, 1/2), dW = (-1, 1), db = (-1/2, 1/2)."""
    x, y = np.array([[2]], np.float32), np.array([0])
    model = nn.Linear(1, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    W, b = train(path, model, x, y, np.array([[0]]), 1, 0.5, mu=3.0)
    np.testing.assert_array_equal(W, [[0.5], [-0.5]])
    np.testing.assert_array_equal(b, [0.25, -0.25])


def test_mu_changes_the_result_from_the_second_step_on(path):
    model, x, y, order = make_problem(0, 10, 5, 3, epochs=1)
    one_step = [train(path, model, x, y, order, 10, 0.1, mu)[0] for mu in (0.0, 1.0)]
    two_steps = [train(path, model, x, y, order, 5, 0.1, mu)[0] for mu in (0.0, 1.0)]
    np.testing.assert_array_equal(*one_step)
    assert not np.array_equal(*two_steps)


def test_a_larger_mu_stays_nearer_to_the_global_model(path):
    model, *problem = make_problem(1, 50, 20, 10, epochs=20)
    start = model.weight.detach().numpy(), model.bias.detach().numpy()
    moved = [distance(train(path, model, *problem, 10, 0.03, mu), start) for mu in (0, 0.1, 1, 10)]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < moved[0] / 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_an_input_that_is_not_finite_shows_in_every_weight(path, bad, mu):
    model, x, y, order = make_problem(0, 12, 6, 3, epochs=2)
    x[5, 2] = bad
    W, b = train(path, model, x, y, order, 5, 0.1, mu)
    assert np.isnan(W).all()
    assert np.isnan(b).all()


def test_a_client_that_diverges_does_not_end_finite(path):
    model, x, y, order = make_problem(0, 12, 6, 3, epochs=30)
    W, _ = train(path, model, x, y, order, 5, 1e4, mu=10.0)
    assert not np.isfinite(W).any()


def test_large_logits_do_not_overflow(path):
    model, x, y, order = make_problem(0, 12, 6, 3, epochs=2)
    x *= 300  # Logits of hundreds; e^89 is beyond float32.
    found = train(path, model, x, y, order, 5, 0.1, 1.0)
    assert np.abs(x @ found[0].T).max() > 89
    assert distance(found, reference(model, x, y, order, 5, 0.1, 1.0)) < 1e-5


def test_gives_the_same_bits_each_time(path):
    model, *problem = make_problem(3, 33, 17, 5, epochs=5)
    first, second = (train(path, model, *problem, 10, 0.1, 1.0) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_does_not_care_how_the_inputs_lie_in_memory(path):
    model, x, y, order = make_problem(4, 20, 8, 3, epochs=2)
    expected = train(path, model, x, y, order, 5, 0.1, 1.0)
    found = train(path, model, np.asfortranarray(x), np.repeat(y, 2)[::2], order, 5, 0.1, 1.0)
    np.testing.assert_array_equal(found[0], expected[0])


def test_a_batch_size_far_beyond_the_examples_needs_no_memory(path):
    model, *problem = make_problem(5, 9, 4, 3, epochs=2)
    found = train(path, model, *problem, 10**15, 0.1, 1.0)
    np.testing.assert_array_equal(found[0], train(path, model, *problem, 9, 0.1, 1.0)[0])
