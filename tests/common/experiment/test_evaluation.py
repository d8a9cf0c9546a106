from math import log

import numpy as np
import pytest
import torch
from torch import nn

from common.client import logistic
from common.experiment.evaluation import _CHUNK, evaluate, evaluate_top_k, logits_of
from common.inputs import InMemory, OnDisk


def test_by_hand():
    # Softmax of [0, ln 3] is [1/4, 3/4], of [ln 4, 0] it is [4/5, 1/5], of [0, 0] [1/2, 1/2].
    logits = torch.tensor([[0, log(3)], [log(4), 0], [0, log(3)], [log(4), 0]])
    labels = torch.tensor([1, 0, 0, 1])
    metrics = evaluate(nn.Identity(), logits, labels)
    assert metrics.accuracy == 0.5
    assert metrics.loss == pytest.approx((log(4 / 3) + log(5 / 4) + log(4) + log(5)) / 4)


@pytest.mark.parametrize("num_examples", [1, _CHUNK - 1, _CHUNK, _CHUNK + 1, 2 * _CHUNK + 3])
def test_mean_is_over_examples_whatever_the_chunks(num_examples):
    """The loss grows along the examples, so a mean of chunk means would differ."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (num_examples, 5)) * np.linspace(0, 9, num_examples)[:, None]
    labels = rng.integers(0, 5, num_examples)
    chosen = logits[np.arange(num_examples), labels]
    losses = np.log(np.exp(logits).sum(axis=1)) - chosen
    metrics = evaluate(
        nn.Identity(), torch.tensor(logits, dtype=torch.float32), torch.tensor(labels)
    )
    assert metrics.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert metrics.accuracy == (logits.argmax(axis=1) == labels).mean()


@pytest.mark.parametrize(
    "num_examples", [1, logistic._CHUNK - 1, logistic._CHUNK, logistic._CHUNK + 1, 5003]
)
@pytest.mark.parametrize("bias", [True, False])
def test_one_linear_layer_is_a_model_like_any_other(num_examples, bias):
    """It has a product of its own: compare with float64, and with the layer's."""
    rng = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(num_examples, 17, generator=rng)
    y = torch.randint(0, 5, (num_examples,), generator=rng)
    model = nn.Linear(17, 5, bias=bias)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    found = evaluate(model, x, y)
    logits = nn.functional.linear(*(v.double() for v in (x, *model.parameters())))
    assert found.loss == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-6)
    assert found.accuracy == (logits.argmax(dim=1) == y).sum().item() / num_examples
    as_network = evaluate(nn.Sequential(model), x, y)
    assert found.loss == pytest.approx(as_network.loss, rel=1e-6)
    assert found.accuracy == as_network.accuracy


def test_a_network_with_convolutions_stays_what_it_is():
    """It is brought into another memory format: the same numbers, and it can still be trained."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(450, 3, 6, 6, generator=rng), torch.randint(0, 5, (450,), generator=rng)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5))
    model.eval()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(x), y).item()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert evaluate(model, x, y).loss == pytest.approx(loss, rel=1e-6)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    model.train()
    nn.functional.cross_entropy(model(x), y).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_loss_of_a_million_examples_is_summed_exactly():
    """A float32 sum of 0.1 over a million examples would be off by a part in a thousand or so."""
    p = np.exp(-0.1)
    logits = torch.tensor([[np.log(p / (1 - p)), 0.0]], dtype=torch.float32)
    one = evaluate(nn.Identity(), logits, torch.zeros(1, dtype=torch.int64))
    many = evaluate(
        nn.Identity(), logits.expand(1_000_000, 2), torch.zeros(1_000_000, dtype=torch.int64)
    )
    assert many.loss == pytest.approx(one.loss, rel=1e-12)


def test_the_loss_of_a_sure_answer_is_small_but_not_lost():
    """log(1 + exp(-12)) = 6.1e-6, with logits that are known to 8e-6 only."""
    logits = torch.tensor([[112.0, 100.0]])
    metrics = evaluate(nn.Identity(), logits, torch.tensor([0]))
    assert metrics.loss == pytest.approx(np.log1p(np.exp(-12)), rel=0.02)


def test_of_equal_logits_the_first_is_the_answer():
    logits, labels = torch.zeros(1500, 4), torch.zeros(1500, dtype=torch.int64)
    assert evaluate(nn.Identity(), logits, labels).accuracy == 1
    assert evaluate(nn.Identity(), logits, labels + 1).accuracy == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("model", [nn.Identity(), nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3))])
def test_a_model_that_diverged_is_seen(bad, model):
    x = torch.ones(700, 3)
    x[600, 1] = bad
    assert not np.isfinite(evaluate(model, x, torch.zeros(700, dtype=torch.int64)).loss)


def test_model_is_in_evaluation_mode_and_no_gradient_is_kept():
    seen = []

    class Spy(nn.Dropout):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    logits = torch.tensor([[5.0, 0.0]]).repeat(100, 1)
    metrics = evaluate(Spy(0.9).train(), logits, torch.zeros(100, dtype=torch.int64))
    assert seen == [(False, False)]
    assert metrics.accuracy == 1.0
    assert metrics.loss == pytest.approx(log(1 + np.exp(-5)), rel=1e-4)


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("examples", [1, 4, 5, 6, 1003])
def test_every_logit_is_computed_whatever_the_shape(examples, classes):
    """Five examples by two classes are taken at a time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((examples, 9), dtype=np.float32)
    W = rng.standard_normal((classes, 9), dtype=np.float32)
    b = rng.standard_normal(classes, dtype=np.float32)
    np.testing.assert_allclose(logistic.logits(W, b, x), x @ W.T + b, rtol=1e-5, atol=1e-5)


def top_k(logits, labels, k):
    return evaluate_top_k(nn.Identity(), InMemory(torch.tensor(logits)), torch.tensor(labels), k)


def test_top_k_by_hand():
    logits = [[4.0, 3, 2, 1], [1, 2, 3, 4], [1, 4, 2, 3], [4, 1, 3, 2]]
    labels = [0, 1, 3, 1]  # Likeliest, third, second and least likely.
    found = [top_k(logits, labels, k) for k in (1, 2, 3, 4)]
    assert [metrics.top_k_accuracy for metrics in found] == [0.25, 0.5, 0.75, 1.0]
    assert [metrics.accuracy for metrics in found] == [0.25] * 4


@pytest.mark.parametrize("k", [4, 5, 100])
def test_of_no_more_classes_than_k_all_are_among_the_likeliest(k):
    assert top_k([[1.0, 2, 3, 4], [4, 3, 2, 1]], [0, 2], k).top_k_accuracy == 1.0


@pytest.mark.parametrize("num_examples", [1, _CHUNK - 1, _CHUNK, _CHUNK + 1, 2 * _CHUNK + 3])
def test_top_k_is_over_examples_whatever_the_chunks(num_examples):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(num_examples, 7)).astype(np.float32)
    labels = rng.integers(0, 7, num_examples)
    ranks = (logits > logits[np.arange(num_examples), labels][:, None]).sum(axis=1)
    for k in (1, 5):
        assert top_k(logits, labels, k).top_k_accuracy == (ranks < k).mean()


def test_top_k_agrees_with_evaluate_and_reads_what_is_on_disk():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(450, 3, 6, 6, generator=rng), torch.randint(0, 5, (450,), generator=rng)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 5))
    expected = evaluate(model, x, y)
    rows = np.arange(450)[::-1]
    stored = OnDisk(x.numpy()[::-1].copy(), rows, torch.device("cpu"), nn.Identity())
    for inputs in (InMemory(x), stored):
        found = evaluate_top_k(model, inputs, y, k=2)
        assert (found.loss, found.accuracy) == (expected.loss, expected.accuracy)
        assert expected.accuracy < found.top_k_accuracy < 1


@pytest.mark.parametrize("num_examples", [1, _CHUNK, 2 * _CHUNK + 3])
def test_logits_are_those_of_every_example_in_order(num_examples):
    x = torch.randn(num_examples, 6, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(6, 4)).train()
    found = logits_of(model, InMemory(x), 4)
    assert found.shape == (num_examples, 4)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, model[1](x).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_logits_may_be_computed_in_less_precision(precision, dtype):
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(6, 4))
    exact, found = (logits_of(model, InMemory(x), 4, p) for p in ("float32", precision))
    assert found.dtype == torch.float32
    assert torch.equal(found, found.to(dtype).float())
    assert 0 < (found - exact).abs().max() < 0.05
    assert model[0].weight.dtype == torch.float32
