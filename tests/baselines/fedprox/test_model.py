import numpy as np
import pytest
import torch
from fedprox.model import CNN, LogisticRegression, make_model
from torch.nn.functional import conv2d, max_pool2d, relu


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return [torch.equal(value, second[name]) for name, value in first.items()]


@pytest.fixture
def make(make_config):
    """Makes a model for a configuration that differs in these keys."""

    def make(**changes):
        config = make_config(**changes)
        return make_model(config, 784 if config.model == "cnn" else 60, 10)

    return make


CNN_KEYS = {"model": "cnn", "dataset": "mnist", "partition": "iid"}
BOTH = pytest.mark.parametrize("keys", [{"model": "logistic"}, CNN_KEYS], ids=["logistic", "cnn"])


def test_the_cnn_is_that_of_mcmahan(make):
    model = make(**CNN_KEYS)
    assert isinstance(model, CNN)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_663_370
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model(torch.zeros(3, 784)).shape == (3, 10)


def test_the_cnn_computes_what_the_paper_says(make):
    model = make(**CNN_KEYS)
    w1, b1, w2, b2, w3, b3, w4, b4 = model.parameters()
    x = torch.tensor(np.random.default_rng(0).standard_normal((4, 784), dtype=np.float32))
    h = max_pool2d(relu(conv2d(x.reshape(4, 1, 28, 28), w1, b1, padding=2)), 2)
    h = max_pool2d(relu(conv2d(h, w2, b2, padding=2)), 2)
    expected = relu(h.flatten(1) @ w3.T + b3) @ w4.T + b4
    torch.testing.assert_close(model(x), expected)
    assert [tuple(w.shape) for w in (w1, w2)] == [(32, 1, 5, 5), (64, 32, 5, 5)]
    assert len(b3) == 512


def test_logistic_regression_is_one_linear_layer(make):
    model = make()
    assert isinstance(model, LogisticRegression)
    x = torch.randn(3, 60, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), x @ model.weight.T + model.bias)
    assert model(x).shape == (3, 10)


def test_logistic_regression_starts_as_in_the_authors_code(make):
    """Glorot-uniform: flat between plus and minus sqrt(6 / (60 + 10))."""
    model = make()
    bound = (6 / 70) ** 0.5
    weight = model.weight.detach()
    assert not model.bias.any()
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.98 * bound
    assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.1)


@BOTH
def test_initial_weights_are_a_function_of_the_seed_alone(make, keys):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = make(seed=3, **keys)
    others = {
        "mu": 0.5,
        "algorithm": "fedavg",
        "num_clients": 50,
        "clients_per_round": 7,
        "engine": "ray",
        "learning_rate": 0.7,
    }
    assert all(same(model, make(seed=3, **keys, **others)))
    differs = [not equal for equal in same(model, make(seed=4, **keys))]
    assert differs == [parameter.any().item() for parameter in model.parameters()]


@BOTH
def test_building_a_model_leaves_the_global_generator_as_it_was(make, keys):
    before = torch.get_rng_state()
    make(**keys)
    assert torch.equal(torch.get_rng_state(), before)
