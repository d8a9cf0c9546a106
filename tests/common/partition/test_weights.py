import math

import numpy as np
import pytest

from common.partition.weights import log_dirichlet, log_lognormal, proportions


@pytest.mark.parametrize("alpha", [0.05, 1.0, 30.0])
def test_dirichlet_has_the_right_mean_and_variance(alpha):
    prior = np.array([0.1, 0.2, 0.7])
    draws = proportions(log_dirichlet(alpha, prior, 40_000, np.random.default_rng(0)))
    assert draws.sum(axis=1) == pytest.approx(1.0)
    assert draws.mean(axis=0) == pytest.approx(prior, abs=0.01)
    assert draws.var(axis=0) == pytest.approx(prior * (1 - prior) / (alpha + 1), rel=0.05)


@pytest.mark.parametrize("alpha", [1e-3, 1e-6, 1e-12, 1e-300, 5e-324])
def test_tiny_alpha_gives_one_class_everything_with_the_probability_of_its_prior(alpha):
    prior = np.array([0.1, 0.2, 0.7])
    logs = log_dirichlet(alpha, prior, 10_000, np.random.default_rng(0))
    draws = proportions(logs)
    assert np.isfinite(logs).all()
    assert (draws.max(axis=1) > 0.99).mean() > 0.98
    winners = np.bincount(draws.argmax(axis=1), minlength=3) / 10_000
    assert winners == pytest.approx(prior, abs=0.02)


@pytest.mark.parametrize("alpha", [1e12, 1e300, np.finfo(float).max])
def test_huge_alpha_gives_the_prior(alpha):
    prior = np.array([0.1, 0.2, 0.7])
    draws = proportions(log_dirichlet(alpha, prior, 100, np.random.default_rng(0)))
    assert draws == pytest.approx(np.tile(prior, (100, 1)), abs=1e-4)


def test_lognormal_has_the_right_deviation():
    logs = log_lognormal(2.0, (200, 100), np.random.default_rng(0))
    assert logs.mean() == pytest.approx(0.0, abs=0.06)
    assert logs.std() == pytest.approx(2.0, rel=0.03)


def test_lognormal_of_a_huge_sigma_stays_usable():
    shares = proportions(log_lognormal(np.finfo(float).max, 50, np.random.default_rng(0)))
    assert sorted(shares)[-2:] == [0.0, 1.0]


def test_proportions_by_hand():
    logs = np.array([[math.log(1), math.log(3)], [-np.inf, -1e5], [1e5, 1e5]])
    assert proportions(logs) == pytest.approx(np.array([[0.25, 0.75], [0, 1], [0.5, 0.5]]))
