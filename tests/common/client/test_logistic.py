"""The compiled path against plain autograd with the proximal term written into the loss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.client.logistic import logistic_sgd
from common.client.work import LocalWork


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """With more, the reference waits for the machine's other work at every step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def reference(model, x, y, order, batch_size, learning_rate, mu):
    """Return the weights and biases that autograd finds for F_k(w) + mu/2 ||w - w_global||^2."""
    x, y = torch.tensor(x), torch.tensor(y)
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


def train(model, x, y, order, batch_size, learning_rate, mu):
    W, b = model.weight.detach().numpy().copy(), model.bias.detach().numpy().copy()
    work = LocalWork(len(order), batch_size, learning_rate, mu)
    logistic_sgd(W, b, x, y, order, work)
    return W, b


def distance(found, expected):
    """Return the distance of two models relative to the length of the second."""
    found, expected = (np.concatenate([part.ravel() for part in w]) for w in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    features=st.integers(1, 30),
    classes=st.integers(2, 12),
    mu=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
)
def test_equals_autograd(seed, n, batch_size, features, classes, mu):
    model, *problem = make_problem(seed, n, features, classes, epochs=4)
    found = train(model, *problem, batch_size, 0.05, mu)
    assert distance(found, reference(model, *problem, batch_size, 0.05, mu)) < 2e-6


@pytest.mark.parametrize(("n", "batch_size"), [(1, 10), (23, 10), (7, 100), (30, 10), (12, 1)])
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_equals_autograd_over_the_epochs_of_the_paper(n, batch_size, mu):
    model, *problem = make_problem(n, n, 60, 10, epochs=20)
    found = train(model, *problem, batch_size, 0.03, mu)
    start = model.weight.detach().numpy().copy()
    expected = reference(model, *problem, batch_size, 0.03, mu)
    assert np.abs(expected[0] - start).max() > 1e-2
    assert distance(found, expected) < 2e-6


def test_one_step_by_hand():
    """One example, x = 2, y = 0, from W = b = 0: p = (1/2, 1/2), dW = (-1, 1), db = (-1/2, 1/2)."""
    W, b = np.zeros((2, 1), np.float32), np.zeros(2, np.float32)
    x, y = np.array([[2]], np.float32), np.array([0])
    logistic_sgd(W, b, x, y, np.array([[0]]), LocalWork(1, 1, 0.5, mu=3.0))
    np.testing.assert_array_equal(W, [[0.5], [-0.5]])
    np.testing.assert_array_equal(b, [0.25, -0.25])


def test_mu_changes_the_result_from_the_second_step_on():
    model, x, y, order = make_problem(0, 10, 5, 3, epochs=1)
    one_step = [train(model, x, y, order, 10, 0.1, mu)[0] for mu in (0.0, 1.0)]
    two_steps = [train(model, x, y, order, 5, 0.1, mu)[0] for mu in (0.0, 1.0)]
    np.testing.assert_array_equal(*one_step)
    assert not np.array_equal(*two_steps)


def test_a_larger_mu_stays_nearer_to_the_global_model():
    model, *problem = make_problem(1, 50, 20, 10, epochs=20)
    start = model.weight.detach().numpy(), model.bias.detach().numpy()
    moved = [distance(train(model, *problem, 10, 0.03, mu), start) for mu in (0, 0.1, 1, 10)]
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < moved[0] / 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_an_input_that_is_not_finite_shows_in_every_weight(bad, mu):
    model, x, y, order = make_problem(0, 12, 6, 3, epochs=2)
    x[5, 2] = bad
    W, b = train(model, x, y, order, 5, 0.1, mu)
    assert np.isnan(W).all()
    assert np.isnan(b).all()


def test_a_client_that_diverges_does_not_end_finite():
    model, x, y, order = make_problem(0, 12, 6, 3, epochs=30)
    W, _ = train(model, x, y, order, 5, 1e4, mu=10.0)
    assert not np.isfinite(W).any()


def test_large_logits_do_not_overflow():
    model, x, y, order = make_problem(0, 12, 6, 3, epochs=2)
    found = train(model, 1000 * x, y, order, 5, 0.1, 1.0)
    assert distance(found, reference(model, 1000 * x, y, order, 5, 0.1, 1.0)) < 1e-5


def test_gives_the_same_bits_each_time():
    model, *problem = make_problem(3, 33, 17, 5, epochs=5)
    first, second = (train(model, *problem, 10, 0.1, 1.0) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_does_not_care_how_the_inputs_lie_in_memory():
    model, x, y, order = make_problem(4, 20, 8, 3, epochs=2)
    expected = train(model, x, y, order, 5, 0.1, 1.0)
    found = train(model, np.asfortranarray(x), np.repeat(y, 2)[::2], order, 5, 0.1, 1.0)
    np.testing.assert_array_equal(found[0], expected[0])


def test_a_batch_size_far_beyond_the_examples_needs_no_memory():
    model, *problem = make_problem(5, 9, 4, 3, epochs=2)
    found = train(model, *problem, 10**15, 0.1, 1.0)
    np.testing.assert_array_equal(found[0], train(model, *problem, 9, 0.1, 1.0)[0])
