from math import log

import numpy as np
import pytest
import torch
from torch import nn

from common.experiment.evaluation import _CHUNK, evaluate


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
