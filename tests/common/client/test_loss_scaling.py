import math
from types import SimpleNamespace

import pytest
import torch

from common.client import loss_scaling
from common.client.loss_scaling import LossScaler


def unscaled(scaler, *values):
    """Return whether a step is made, and the gradients that it is made with."""
    gradient = [torch.tensor([value]) for value in values]
    makes_step = scaler.unscale(gradient)
    return makes_step, [g.item() for g in gradient]


def test_gradients_are_divided_by_the_scale_exactly():
    scaler = LossScaler()
    assert scaler.scale == 65536
    assert unscaled(scaler, 65536.0, -3 * 2.0**-60) == (True, [1.0, -3 * 2.0**-76])


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_not_finite_skips_the_step_and_halves_the_scale(bad):
    scaler = LossScaler()
    assert not unscaled(scaler, 1.0, bad)[0]
    assert scaler.scale == 32768
    assert unscaled(scaler, 32768.0, 0.0) == (True, [1.0, 0.0])
    assert scaler.scale == 32768


def test_the_scale_follows_that_of_torch(monkeypatch):
    """Also in that a skipped step begins the count anew of those until it doubles, here 5."""
    monkeypatch.setattr(loss_scaling, "_STEPS_UNTIL_GROWTH", 5)
    scaler, torchs = LossScaler(), torch.amp.GradScaler("cpu", growth_interval=5)
    w = torch.nn.Parameter(torch.zeros(1))
    # No real one, whose import takes longer than all the rest.
    optimizer = SimpleNamespace(param_groups=[{"params": [w]}], step=lambda: None)
    seen = set()
    for is_good in [False] * 3 + [True] * 4 + [False] + [True] * 11 + [False]:
        torchs.scale(torch.zeros(1))
        w.grad = torch.tensor([1.0 if is_good else math.inf])
        torchs.step(optimizer)
        torchs.update()
        assert unscaled(scaler, 1.0 if is_good else math.inf)[0] == is_good
        assert scaler.scale == torchs.get_scale()
        seen.add(scaler.scale)
    assert seen == {2.0**power for power in (15, 14, 13, 12)}


def test_it_begins_and_doubles_as_torch_does():
    torchs = torch.amp.GradScaler("cpu")
    assert LossScaler().scale == torchs.get_scale()
    assert torchs.get_growth_interval() == loss_scaling._STEPS_UNTIL_GROWTH
    assert (torchs.get_growth_factor(), torchs.get_backoff_factor()) == (2, 0.5)


def test_what_overflows_without_a_scale_is_not_hidden():
    scaler = LossScaler()
    made = [unscaled(scaler, math.nan)[0] for _ in range(18)]
    assert made == [False] * 16 + [True] * 2
    assert scaler.scale == 1
